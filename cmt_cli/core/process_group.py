"""The process group of a run, as methods, trainer and evaluator see it: rank, world size and collectives.

Every rank runs the same program on the same data with the same draws, so that each holds the whole state: method,
memories, buffers, generators, optimizer. Only what is costly is distributed: the rows of an effective batch and the
batches of questions. What a collective returns is the same on every rank, hence also every decision that rests on it.
Collectives must therefore be called by all ranks, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from torch import Tensor

DISTRIBUTED = ("none", "ddp", "fsdp2")  # one process | each rank holds the whole model | the weights are sharded
T = TypeVar("T")


class ProcessGroup(Protocol):
    """The ranks of a run, seen from one of them."""

    rank: int  # of this process, from 0; rank 0 writes the run folder
    world_size: int
    is_sharded: bool  # the model's weights are sharded, so that all ranks take each forward pass together

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is true on any rank; without flags, wait for all."""

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over the ranks."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by that of rank 0."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""

    def run_on_rank_zero(self, action: Callable[[], T]) -> T:
        """Let rank 0 act while the others wait; return its result, or raise its error, on every rank."""


class SingleProcess(ProcessGroup):
    """A run in one process: collectives change nothing."""

    rank, world_size, is_sharded = 0, 1, False

    @override
    def any(self, *flags: bool) -> tuple[bool, ...]:
        return flags

    @override
    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        pass

    @override
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        pass

    @override
    def gather(self, value: Any) -> list[Any]:
        return [value]

    @override
    def run_on_rank_zero(self, action: Callable[[], T]) -> T:
        return action()


SINGLE_PROCESS: ProcessGroup = SingleProcess()

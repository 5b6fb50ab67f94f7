"""The processes that work on one run, as methods, trainer and evaluator see them.

Every process runs the same program on the same data with the same draws, so that each holds the whole state: method,
memories, buffers, generators, optimizer. Only what is costly is divided: the rows of an effective batch and the batches
of questions. What comes back from a division is the same in every process, hence also every decision that rests on it.
Calls that exchange something must therefore be made by all processes, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

DISTRIBUTED = ("none", "ddp", "fsdp2")  # one process | each holds the whole model | the model's weights are divided
T = TypeVar("T")


class ProcessGroup(Protocol):
    """The processes of a run, seen from one of them."""

    @property
    def rank(self) -> int:
        """Return this process's number, from 0; process 0 writes the run folder."""

    @property
    def world_size(self) -> int:
        """Return how many processes there are."""

    @property
    def is_sharded(self) -> bool:
        """Return whether the model's weights are divided, too: then all processes take each forward pass together."""

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is true in any process."""

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by its sum over the processes."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, in place, by that of process 0."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank."""

    def run_on_rank_zero(self, action: Callable[[], T]) -> T:
        """Let process 0 act while the others wait; return its result, or raise its error, in every process."""


class SingleProcess:
    """A run in one process: nothing is exchanged."""

    rank, world_size, is_sharded = 0, 1, False

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return the flags."""
        return flags

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors as they are: each is its own sum."""

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Leave the tensors as they are."""

    def gather(self, value: Any) -> list[Any]:
        """Return the value alone."""
        return [value]

    def run_on_rank_zero(self, action: Callable[[], T]) -> T:
        """Act."""
        return action()


SINGLE_PROCESS: ProcessGroup = SingleProcess()

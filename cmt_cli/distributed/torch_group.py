"""The process group of a run in torch.distributed: gloo between CPUs, and NCCL between GPUs where there are any.

What decides the course of a run (flags, answers, errors) goes over the CPUs, so that no GPU is waited for. A process
that ends closes its connections; the others notice at their next collective, or after `TIMEOUT` at the latest.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.exceptions import ProcessLost, UserError
from cmt_cli.core.process_group import ProcessGroup
from cmt_cli.distributed.environment import DistributedEnvironment

T = TypeVar("T")
# Longer than rank 0 takes to write a large checkpoint, while the others wait.
TIMEOUT = datetime.timedelta(minutes=30)


class TorchProcessGroup(ProcessGroup):
    """One rank of torch's default process group."""

    def __init__(self, *, is_sharded: bool) -> None:
        """Take rank and world size from torch; `is_sharded` says that the model's weights are sharded."""
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self.is_sharded = is_sharded

    @override
    def any(self, *flags: bool) -> tuple[bool, ...]:
        values = torch.tensor([0, *flags], dtype=torch.uint8)
        with _collective():
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return tuple(map(bool, values[1:].tolist()))

    @override
    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        with _collective():
            for tensor in tensors:
                dist.all_reduce(tensor)

    @override
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        with _collective():
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @override
    def gather(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.world_size
        with _collective():
            dist.all_gather_object(found, value)
        return found

    @override
    def run_on_rank_zero(self, action: Callable[[], T]) -> T:
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = action()
            except BaseException as error:
                self._send([None, error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"])
                raise
        outcome = self._send(outcome)
        if isinstance(outcome[1], UserError):
            raise outcome[1]
        if outcome[1] is not None:
            raise ProcessLost(f"Rank 0 of this run has failed: {outcome[1]}")
        return outcome[0]

    def _send(self, values: list[Any]) -> list[Any]:
        with _collective():
            dist.broadcast_object_list(values, 0)
        return values


@contextlib.contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"Another process of this run has ended or does not answer ({str(error).splitlines()[0]}); its own output "
            "says why. What was saved is kept: repeat the command to go on."
        ) from error


def join(place: DistributedEnvironment, *, is_sharded: bool) -> TorchProcessGroup:
    """Return the process group of `place`, made once, and choose this rank's GPU; only rank 0 gives warnings."""
    if torch.cuda.is_available():
        torch.cuda.set_device(_device_index(place))
    if not dist.is_initialized():
        os.environ.update({"MASTER_ADDR": place.address, "MASTER_PORT": str(place.port)})
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        with _collective():
            dist.init_process_group(backend, rank=place.rank, world_size=place.world_size, timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    if place.rank > 0:
        warnings.simplefilter("ignore")  # rank 0 gives the same ones
    return TorchProcessGroup(is_sharded=is_sharded)


def _device_index(place: DistributedEnvironment) -> int:
    count = torch.cuda.device_count()
    if count == 1:  # a launcher may show each process its own GPU only
        return 0
    if place.local_rank >= count:
        raise UserError(
            f"Process {place.local_rank} of this machine (counted from 0) has no GPU: there are {count}. Start no more "
            "processes than that on each machine."
        )
    return place.local_rank

"""Outputs that several processes have computed in parts, joined so that gradients flow back to every part.

Process r computes y_r = f(x_r); `all_gather` gives all processes y = (y_0, y_1, ...). With the loss divided by the
number of processes in each, the gradient that belongs to y_r is the sum of what all processes have for it, which the
backward pass takes. Parameter gradients that are then added up over the processes are those of the whole loss, whether
a parameter was used before the joint, in parts, or behind it, by all alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.process_group import ProcessGroup


def local_slice(total: int, processes: ProcessGroup) -> slice:
    """Return which of `total` rows this process computes; a run of neighbors, possibly none."""
    return slice(processes.rank * total // processes.world_size, (processes.rank + 1) * total // processes.world_size)


def all_gather(own: Tensor, total: int, processes: ProcessGroup) -> Tensor:
    """Return the rows `[total, ...]` of all processes; `own` `[own rows, ...]` are this one's `local_slice`."""
    result: Tensor = _AllGather.apply(own, total, processes)  # type: ignore[no-untyped-call]
    return result


class _AllGather(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, own: Tensor, total: int, processes: ProcessGroup) -> Tensor:
        ctx.rows, ctx.processes = local_slice(total, processes), processes
        rows = own.new_zeros(total, *own.shape[1:])
        rows[ctx.rows] = own
        processes.all_reduce([rows])
        return rows

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        ctx.processes.all_reduce([gradient])
        return gradient[ctx.rows], None, None

"""An all-gather of rows through which gradients flow back to the rank that computed each row.

Rank r computes y_r = f(x_r); `all_gather` gives all ranks y = (y_0, y_1, ...). With the loss divided by the world size
on each, the gradient that belongs to y_r is the sum of what all ranks have for it, which the backward pass takes.
Parameter gradients that are then summed over the ranks are those of the whole loss, whether a parameter was used before
the gather, on each rank's rows, or behind it, by all ranks alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.process_group import ProcessGroup


def local_slice(total: int, process_group: ProcessGroup) -> slice:
    """Return which of `total` rows this rank computes; neighbors, possibly none."""
    rank, world_size = process_group.rank, process_group.world_size
    return slice(rank * total // world_size, (rank + 1) * total // world_size)


def all_gather(own: Tensor, total: int, process_group: ProcessGroup) -> Tensor:
    """Return the rows `[total, ...]` of all ranks; `own` `[own rows, ...]` are this one's `local_slice`."""
    result: Tensor = _AllGather.apply(own, total, process_group)  # type: ignore[no-untyped-call]
    return result


class _AllGather(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, own: Tensor, total: int, process_group: ProcessGroup) -> Tensor:
        ctx.rows, ctx.process_group = local_slice(total, process_group), process_group
        rows = own.new_zeros(total, *own.shape[1:])
        rows[ctx.rows] = own
        process_group.all_reduce([rows])
        return rows

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        ctx.process_group.all_reduce([gradient])
        return gradient[ctx.rows], None, None

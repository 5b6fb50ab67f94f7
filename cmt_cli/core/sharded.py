"""Collective operations on tensors: sharded ones (torch's DTensor), and an all-gather that gradients flow through.

`full_tensor`, `shard_like` and `all_gather` exchange data: all ranks call them, in the same order.

Rank r computes y_r = f(x_r); `all_gather` gives every rank y = (y_0, y_1, ...). With the loss divided by the world size
on each rank, the gradient that belongs to y_r is the sum of what all ranks have for it, which the backward pass takes.
Parameter gradients that are then summed over the ranks are those of the whole loss, whether a parameter was used
before the gathering, in shards, or behind it, by all alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.process_group import ProcessGroup


def is_sharded(tensor: Tensor) -> bool:
    """Return whether each rank holds only a shard of the tensor."""
    return isinstance(tensor, DTensor)


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """Return this rank's shard, or the tensor itself if it is not sharded; changing it changes the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Return a full tensor, moved to the device of `like` and sharded as it is."""
    moved = value.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    return distribute_tensor(moved, like.device_mesh, like.placements)


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


def make_trainable(parameters: Mapping[str, nn.Parameter]) -> None:
    """Let parameters take gradients, in float32 so that small updates are not lost.

    Raises ValueError for quantized ones, UserError for shards of another number format.
    """
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            raise ValueError(f"'{name}' is stored as {parameter.dtype}: quantized weights cannot be trained.")
        if is_sharded(parameter) and parameter.dtype != torch.float32:
            raise UserError(
                f"trainer.distributed=fsdp2 has sharded weights of {parameter.dtype}, and what is trained must be "
                "float32. Load them so, model.dtype=fp32, or train adapters: trainable@method.trainable=lora."
            )
        if parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
        parameter.requires_grad_(True)

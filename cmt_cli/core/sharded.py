"""Tensors that are sharded over ranks (torch's DTensor): the full tensor, the local shard, and back.

`full_tensor` and `shard_like` are collectives: all ranks call them, in the same order.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


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

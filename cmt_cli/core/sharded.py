"""Tensors whose parts lie in several processes (torch's DTensor): to the whole and back.

`full_tensor` and `shard_like` exchange data: all processes call them, in the same order.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(tensor: Tensor) -> bool:
    """Return whether each process holds a part of the tensor only."""
    return isinstance(tensor, DTensor)


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be divided."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local_shard(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor that may be divided; changing it changes the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_like(value: Tensor, reference: Tensor) -> Tensor:
    """Return a whole tensor, moved to the device of `reference` and divided as it is."""
    moved = value.to(reference.device)
    if not isinstance(reference, DTensor):
        return moved
    return distribute_tensor(moved, reference.device_mesh, reference.placements)

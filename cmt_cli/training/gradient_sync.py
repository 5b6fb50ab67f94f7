"""Synchronization of gradients over ranks: summed where each rank has its share of the batch, else those of rank 0.

Written by hand instead of torch's DistributedDataParallel, whose hooks belong to one forward pass of one wrapped module
per step: methods run the model several times (a teacher's values swapped in, reference gradients), with parts that get
no gradient, and micro-batches of which a rank may have none. What that costs: communication begins when the backward
pass has ended. A parameter without a gradient on every rank keeps none, as AdamW would move it for a gradient of 0.
Sharded weights (FSDP2) have gradients that torch has averaged over the ranks and sharded like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from cmt_cli.core.process_group import ProcessGroup
from cmt_cli.core.sharded import is_sharded, local_shard

Collective = Callable[[Sequence[Tensor]], None]  # changes tensors in place
CLIP_EPSILON = 1e-6  # as torch's clip_grad_norm_
BUCKET_ELEMENTS = 2**24  # numbers sent at once; bounds the memory of the flat copy to 64 MiB in float32


def sync_gradients(
    parameters: Sequence[nn.Parameter],
    has_gradient: Sequence[bool],
    process_group: ProcessGroup,
    *,
    is_data_parallel: bool,
) -> None:
    """Give all ranks the gradient of the whole batch; `has_gradient` tells which parameters have one on any rank.

    `is_data_parallel`: each rank has the gradient of its share of the batch, rather than of the whole batch.
    """
    if process_group.world_size == 1:
        return
    gradients = []
    for parameter, is_there in zip(parameters, has_gradient, strict=True):
        if is_there and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None and is_sharded(parameter):
            # torch takes the mean: of shares, or of equals
            parameter.grad.mul_(process_group.world_size if is_data_parallel else 1)
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    in_buckets(gradients, process_group.all_reduce if is_data_parallel else process_group.broadcast)


def broadcast_parameters(parameters: Sequence[nn.Parameter], process_group: ProcessGroup) -> None:
    """Give all ranks the parameters of rank 0: sums on a GPU may differ in their last bits."""
    if process_group.world_size > 1:
        replicated = [parameter.data for parameter in parameters if not is_sharded(parameter)]
        in_buckets(replicated, process_group.broadcast)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float, process_group: ProcessGroup) -> Tensor:
    """Scale the gradients down to an L2 norm of at most `max_norm`; return the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(is_sharded(gradient) for gradient in gradients):
        return nn.utils.clip_grad_norm_(parameters, max_norm).detach()
    counted = [local_shard(gradient) for gradient in gradients if is_sharded(gradient) or process_group.rank == 0]
    squares = torch.stack([part.float().square().sum() for part in counted]).sum()
    process_group.all_reduce([squares])
    norm = squares.sqrt()
    for gradient in gradients:
        local_shard(gradient).mul_((max_norm / (norm + CLIP_EPSILON)).clamp(max=1.0))
    return norm


def in_buckets(tensors: Sequence[Tensor], collective: Collective) -> None:
    """Apply a collective to tensors in place, many small ones at once."""
    for bucket in _buckets(tensors):
        if len(bucket) == 1 and bucket[0].is_contiguous():
            collective(bucket)
            continue
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        collective([flat])
        for tensor, values in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(values.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield runs of neighbors of one type and device, none beyond the limit unless it is a single tensor."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        fits = bool(bucket) and (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (fits and size + tensor.numel() <= BUCKET_ELEMENTS):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket

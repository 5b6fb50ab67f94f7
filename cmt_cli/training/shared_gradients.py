"""The gradients of several processes become one: summed where each has its share of the batch, else process 0's.

Written by hand instead of torch's DistributedDataParallel, whose hooks belong to one forward pass of one wrapped module
per step: methods run the model several times (a teacher's values swapped in, reference gradients), with parts that get
no gradient, and micro-batches of which a process may have none. What that costs: the exchange begins when the backward
pass has ended. A parameter without a gradient in every process keeps none, as AdamW would move it for a gradient of 0.
Weights that are divided (FSDP2) have gradients that torch has averaged over the processes and divided like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from cmt_cli.core.process_group import ProcessGroup
from cmt_cli.core.sharded import is_sharded, local_shard

Exchange = Callable[[Sequence[Tensor]], None]  # changes tensors in place
CLIP_EPSILON = 1e-6  # as torch's clip_grad_norm_
BUCKET_ELEMENTS = 2**24  # numbers exchanged at once; bounds the memory of the joined copy to 64 MiB in float32


def share_gradients(
    parameters: Sequence[nn.Parameter], has_gradient: Sequence[bool], processes: ProcessGroup, *, is_divided: bool
) -> None:
    """Give all processes the gradient of the whole batch; `has_gradient` tells which parameters have one anywhere."""
    if processes.world_size == 1:
        return
    gradients = []
    for parameter, is_there in zip(parameters, has_gradient, strict=True):
        if is_there and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None and is_sharded(parameter):
            parameter.grad.mul_(
                processes.world_size if is_divided else 1
            )  # torch takes the mean: of shares, or of equals
        elif parameter.grad is not None:
            gradients.append(parameter.grad)
    in_buckets(gradients, processes.all_reduce if is_divided else processes.broadcast)


def same_values(parameters: Sequence[nn.Parameter], processes: ProcessGroup) -> None:
    """Give all processes the parameters of process 0: sums on a GPU may differ in their last bits."""
    if processes.world_size > 1:
        whole = [parameter.data for parameter in parameters if not is_sharded(parameter)]
        in_buckets(whole, processes.broadcast)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float, processes: ProcessGroup) -> Tensor:
    """Scale the gradients down to an L2 norm of at most `max_norm`; return the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(is_sharded(gradient) for gradient in gradients):
        return nn.utils.clip_grad_norm_(parameters, max_norm).detach()
    counted = [local_shard(gradient) for gradient in gradients if is_sharded(gradient) or processes.rank == 0]
    squares = torch.stack([part.float().square().sum() for part in counted]).sum()
    processes.all_reduce([squares])
    norm = squares.sqrt()
    for gradient in gradients:
        local_shard(gradient).mul_((max_norm / (norm + CLIP_EPSILON)).clamp(max=1.0))
    return norm


def in_buckets(tensors: Sequence[Tensor], exchange: Exchange) -> None:
    """Exchange tensors in place, many small ones at once."""
    for bucket in _buckets(tensors):
        if len(bucket) == 1 and bucket[0].is_contiguous():
            exchange(bucket)
            continue
        joined = torch.cat([tensor.reshape(-1) for tensor in bucket])
        exchange([joined])
        for tensor, values in zip(bucket, joined.split([tensor.numel() for tensor in bucket]), strict=True):
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

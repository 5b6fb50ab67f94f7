"""Lloyd's k-means for codebooks: deterministic from a generator, on any device.

Lloyd 1982 (IEEE Trans. Inf. Theory 28(2)). Starts from distinct random vectors; an emptied cluster takes over the
vector that is farthest from its centroid, so that no centroid stays unused while vectors are left to serve.
"""

from __future__ import annotations

import torch
from torch import Tensor

ASSIGN_CHUNK = 16384  # vectors per block of the distance matrix, to bound memory; no effect on the result


def nearest(vectors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of each vector's nearest centroid and the squared distance to it, both `[n]`.

    `vectors` are `[n, width]`, `centroids` `[num_centroids, width]`; of equally near centroids the first is taken.
    """
    half_norms = centroids.square().sum(dim=1) / 2
    indices, distances = [], []
    for block in torch.split(vectors, ASSIGN_CHUNK):
        half, index = (half_norms - block @ centroids.T).min(dim=1)
        indices.append(index)
        distances.append((2 * half + block.square().sum(dim=1)).clamp(min=0))
    return torch.cat(indices), torch.cat(distances)


def kmeans(vectors: Tensor, num_centroids: int, *, num_iterations: int, generator: torch.Generator) -> Tensor:
    """Return centroids `[num_centroids, width]` of vectors `[n, width]`: the vectors themselves if they are too few.

    `generator` must be a CPU generator, so that every device starts from the same vectors.
    """
    if len(vectors) <= num_centroids:
        filler = vectors[:1].expand(num_centroids - len(vectors), -1)
        return torch.cat([vectors, filler]).clone()
    start = torch.randperm(len(vectors), generator=generator)[:num_centroids]
    centroids = vectors[start.to(vectors.device)].clone()
    previous = None
    for _ in range(num_iterations):
        index, distances = nearest(vectors, centroids)
        if previous is not None and torch.equal(index, previous):
            break
        previous = index
        centroids = _means(vectors, index, centroids, distances)
    return centroids


def _means(vectors: Tensor, index: Tensor, centroids: Tensor, distances: Tensor) -> Tensor:
    counts = torch.bincount(index, minlength=len(centroids))
    sums = torch.zeros_like(centroids)
    if vectors.is_cuda:
        # index_add_ adds in any order on CUDA; a matrix product of fixed shape always in the same one
        for block, part in zip(torch.split(vectors, ASSIGN_CHUNK), torch.split(index, ASSIGN_CHUNK), strict=True):
            sums += torch.nn.functional.one_hot(part, len(centroids)).to(block.dtype).T @ block
    else:
        sums.index_add_(0, index, vectors)
    means = sums / counts.clamp(min=1).to(sums.dtype)[:, None]
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        means[empty] = vectors[distances.topk(len(empty)).indices]
    return means

"""Gradients that do no harm to old examples, to first order: projections for A-GEM and GEM.

    A-GEM (Chaudhry et al. 2019, arXiv 1812.00420)      g~ = g - (g . r) / (r . r) r   where g . r < 0, else g
    GEM (Lopez-Paz and Ranzato 2017, arXiv 1706.08840)  g~ = argmin |g~ - g|^2  with  g~ . r_k >= 0 for every k

GEM's program is solved in its dual, which has one unknown per old task: with R the references as rows,
    v = argmin 1/2 v' R R' v + (R g)' v  with  v_k >= margin,   g~ = g + R' v.
`margin` is the paper's memory strength; 0 is the program itself. The dual is a non-negative least-squares problem and
is solved exactly by the active-set method of Lawson and Hanson (1974) in float64, on vectors scaled to length 1.
Deviation from the released code (facebookresearch/GradientEpisodicMemory, which calls quadprog): linearly dependent
references are no error. A product that is not a number makes the gradient one, too, so that the loop stops there.

A gradient is a list with one tensor per parameter; it is never flattened to one vector, which would be a second copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from cmt_cli.core.batch import Batch, Row
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import num_labelled
from cmt_cli.training.gradient_sync import in_buckets
from cmt_cli.training.supervised import local_micro_batches, rows_of

TOLERANCE = 1e-6  # relative; a smaller violation is rounding, because gradients are float32
PASSES_PER_REFERENCE = 10  # of the active-set method, which takes one or two unless rounding makes it go in circles

Gradient = Sequence[Tensor]


def reference_gradient(
    learner: Learner, rows: Sequence[Row], *, micro_batch_size: int, parts: MemoryParts | None = None
) -> list[Tensor]:
    """Return the gradient of the mean nll per labelled token of `rows` for each trainable parameter.

    The parameters' `grad` stays as it is. Rows are read in parts of `micro_batch_size`, or smaller ones where memory
    runs out, which does not change the mean; `parts` remembers what fits from one call to the next. Each rank reads
    some rows and an all-reduce sums them, so that all have the same gradient to the last bit.
    """
    parts = parts or MemoryParts()
    batch = learner.collate(rows)
    parameters = learner.trainable()
    num_tokens = num_labelled(batch.labels).clamp(min=1)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part, weight in local_micro_batches(batch, micro_batch_size, learner.processes):
        work = partial(_nll_gradient, learner, part, parameters, weight, num_tokens)
        for found in parts.run(work, range(len(part.ids)), in_step=learner.processes.is_sharded):
            for sums, own in zip(total, found, strict=True):
                if own is not None:
                    sums += own
    if learner.processes.world_size > 1:
        in_buckets(total, learner.processes.all_reduce)
    return total


def _nll_gradient(
    learner: Learner,
    batch: Batch,
    parameters: Sequence[Tensor],
    weight: float,
    num_tokens: Tensor,
    numbers: Sequence[int],
) -> Sequence[Tensor | None]:
    part = batch if len(numbers) == len(batch.ids) else rows_of(batch, numbers)
    loss = weight * learner.forward(part).token_nll.sum() / num_tokens
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def dot(one: Gradient, other: Gradient) -> Tensor:
    """Return the inner product over all parameters as a scalar.

    Summed in float64 where the device has it: where references nearly cancel, a Gram matrix rounded to float32 is none.
    """
    dtype = torch.float32 if one[0].device.type == "mps" else torch.float64
    return torch.stack([torch.sum(a * b, dtype=dtype) for a, b in zip(one, other, strict=True)]).sum()


def project_on_half_space(gradient: Gradient, reference: Gradient) -> None:
    """Change `gradient` in place to the nearest one whose inner product with `reference` is not negative (A-GEM).

    Reads nothing from the device.
    """
    product = dot(gradient, reference)
    factor = torch.where(product < 0, product / dot(reference, reference), 0 * product)  # 0 times nan is nan
    for part, other in zip(gradient, reference, strict=True):
        part -= factor * other


def project_on_cone(gradient: Gradient, references: Sequence[Gradient], *, margin: float) -> None:
    """Change `gradient` in place to the nearest one with no negative product with any of `references` (GEM).

    Left as it is where no product is negative. Otherwise each reference is added at least `margin` times.
    """
    products = torch.stack([dot(gradient, reference) for reference in references]).cpu().double()
    if bool(((products >= 0) & products.isfinite()).all()):
        return
    gram = gram_matrix(references)
    if not bool(gram.isfinite().all() and products.isfinite().all()):
        gradient[0].fill_(torch.nan)
        return
    shift = gram.new_full((len(references),), margin)
    factors = (nonnegative_minimum(gram, products + gram @ shift) + shift).tolist()
    for factor, reference in zip(factors, references, strict=True):
        for part, other in zip(gradient, reference, strict=True):
            part += factor * other


def gram_matrix(references: Sequence[Gradient]) -> Tensor:
    """Return all inner products of `references`, `[k, k]`, in float64 on the CPU."""
    matrix = torch.zeros(len(references), len(references), dtype=torch.float64)
    for i, reference in enumerate(references):
        row = torch.stack([dot(reference, other) for other in references[: i + 1]]).cpu()
        matrix[i, : i + 1] = matrix[: i + 1, i] = row.to(matrix)
    return matrix


def nonnegative_minimum(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return argmin 1/2 u' matrix u + vector' u over u >= 0, `[k]`, float64.

    `matrix` `[k, k]` is a Gram matrix R R' and `vector` `[k]` lies in the range of R, so that a minimum exists.
    """
    scale = matrix.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    gram, slope = matrix / scale[:, None] / scale, vector / scale
    threshold = TOLERANCE * float(slope.abs().max())
    solution = torch.zeros_like(slope)
    free: list[int] = []  # the unknowns that are not held at 0
    refused: list[int] = []  # those that rounding sends back to 0 at once
    for _ in range(PASSES_PER_REFERENCE * len(slope)):
        descent = -(gram @ solution + slope)
        descent[[*free, *refused]] = -torch.inf
        best = int(descent.argmax())
        if float(descent[best]) <= threshold:
            break
        solution, free = _feasible(gram, slope, solution, [*free, best])
        refused = [] if best in free else [*refused, best]
    return solution / scale


def _feasible(gram: Tensor, slope: Tensor, solution: Tensor, free: list[int]) -> tuple[Tensor, list[int]]:
    """Move to the minimum over the free unknowns; an unknown that would turn negative on the way is held at 0."""
    while free:
        target = torch.zeros_like(solution)
        target[free] = torch.linalg.lstsq(gram[free][:, free], -slope[free, None], driver="gelsd").solution[:, 0]
        blocked = [i for i in free if float(target[i]) <= 0]
        if not blocked:
            return target, free
        steps = {i: float(solution[i] / (solution[i] - target[i])) if float(solution[i]) > 0 else 0.0 for i in blocked}
        length = min(steps.values())
        solution = solution + length * (target - solution)
        free = [i for i in free if i not in steps or steps[i] > length]
        held = torch.ones_like(solution)
        held[free] = 0.0
        solution = torch.where(held > 0, 0.0, solution)
    return torch.zeros_like(solution), free

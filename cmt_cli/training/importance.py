"""How much each parameter matters for examples: a mean over examples of a function of the example's own gradient.

    importance_i = 1/N sum_n magnitude(d score_n / d theta_i)

One backward pass per example: the gradient of a batch is a mean in which examples cancel, so that a function of it, as
many public implementations take it, is too small. Gradients are taken aside: the parameters' `grad` stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs, Row
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import mean_over_tokens, num_labelled
from cmt_cli.core.parameter_values import Values, trainable_parameters
from cmt_cli.core.stream import Example
from cmt_cli.training.tokenized import tokenized

Score = Callable[[Batch, Outputs], Tensor]  # of a batch of one row; returns a scalar
Gradients = Sequence[Tensor | None]  # of the parameters in order; None where a parameter was not used


def mean_of_gradients(
    scores: Iterable[Tensor], parameters: Mapping[str, Tensor], magnitude: Callable[[Tensor], Tensor]
) -> Values:
    """Return the mean of `magnitude(gradient)` over `scores`, float32, 0 where there are none; scores are scalars."""
    total = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    count = 0
    for score in scores:
        add_magnitudes(total, torch.autograd.grad(score, list(parameters.values()), allow_unused=True), magnitude)
        count += 1
    return {name: value / max(count, 1) for name, value in total.items()}


def add_magnitudes(total: Values, gradients: Gradients, magnitude: Callable[[Tensor], Tensor]) -> None:
    """Add `magnitude` of one example's gradients, in the order of `total`, in place; None counts as 0."""
    for name, gradient in zip(total, gradients, strict=True):
        if gradient is not None:
            total[name] += magnitude(gradient.float())


def importance(learner: Learner, rows: Sequence[Row], score: Score, magnitude: Callable[[Tensor], Tensor]) -> Values:
    """Return the mean of `magnitude(gradient of score)` over rows, for each trainable parameter of the learner."""
    parameters = trainable_parameters(learner)
    total = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    parts = MemoryParts()

    def gradients(part: Sequence[Row]) -> Gradients:
        batch = learner.collate(part)
        return torch.autograd.grad(score(batch, learner.forward(batch)), list(parameters.values()), allow_unused=True)

    for row in rows:
        for found in parts.run(gradients, [row]):  # a single row, which is not cut: an error that names the settings
            add_magnitudes(total, found, magnitude)
    return {name: value / max(len(rows), 1) for name, value in total.items()}


def sampled_rows(learner: Learner, examples: Sequence[Example], *, num_samples: int, seed: int) -> list[Row]:
    """Return at most `num_samples` of the examples' rows, drawn without replacement, in the examples' order."""
    rows = tokenized(learner, examples)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [rows[i] for i in sorted(order[:num_samples].tolist())]


def mean_nll(batch: Batch, outputs: Outputs) -> Tensor:
    """Return the mean negative log-likelihood per labelled token: the loss of training on this row alone."""
    return mean_over_tokens(outputs.token_nll, batch.labels)


def mean_squared_norm(batch: Batch, outputs: Outputs) -> Tensor:
    """Return the mean over the labelled tokens of the squared norm of the logits that predict them."""
    return outputs.logits.float().square().sum() / num_labelled(batch.labels).clamp(min=1)


def sampled_nll(generator: torch.Generator) -> Score:
    """Return `mean_nll` with labels drawn from the model's own distribution, each given the text's true tokens."""

    def score(batch: Batch, outputs: Outputs) -> Tensor:
        logs = outputs.logits[0].float().log_softmax(dim=-1)
        drawn = torch.multinomial(logs.detach().exp(), 1, generator=generator)
        return -logs.gather(1, drawn).sum() / num_labelled(batch.labels).clamp(min=1)

    return score

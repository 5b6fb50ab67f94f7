"""The outer loss of CaMeLS: a run of weighted inner updates, and what the updated model then answers.

The equations are in `camels.py` beside this file. The learner's own weights are never changed: the updates happen on
tensors that stand in for them (`torch.func.functional_call`), so that the outer gradient can pass through each update.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import kept_positions, kl_divergence, mean_over_tokens, token_nll
from cmt_cli.core.objectives import Objective, ParamGroup
from cmt_cli.core.prefix import model_inputs
from cmt_cli.core.stream import Document, Episode

Parameters = dict[str, Tensor]


class CamelsObjective(Objective):
    """The outer loss; an item is an episode, and every `num_inner_documents` items share one run of inner updates."""

    is_data_parallel = False  # one inner update follows from the one before
    has_collectives = False

    def __init__(
        self,
        learner: Learner,
        weight_model: nn.Module,
        episodes: Sequence[Episode],
        *,
        inner_learning_rate: float,
        num_inner_documents: int,
        max_inner_tokens: int,
        locality_weight: float,
        seed: int,
    ) -> None:
        """Tokenize documents and questions once; `weight_model` maps a batch to token weights `[batch, seq]`."""
        self._learner = learner
        self._weight_model = weight_model
        self._documents = [[self._windows(d, max_inner_tokens) for d in episode.support] for episode in episodes]
        self._answers = [[row for e in episode.query for row in learner.rows(e)] for episode in episodes]
        self._inner_learning_rate = inner_learning_rate
        self._num_inner_documents = num_inner_documents
        self._locality_weight = locality_weight
        self._seed = seed

    def _windows(self, document: Document, max_tokens: int) -> list[Row]:
        return [window for row in self._learner.rows(document.as_example()) for window in windows(row, max_tokens)]

    def _drawn(self, item: int, step: int) -> list[Row]:
        """Return one window of each document of an item, drawn by step and item, so that grouping changes nothing."""
        draw = random.Random(f"window {self._seed} {step} {item}")
        return [draw.choice(found) for found in self._documents[item]]

    @property
    @override
    def num_items(self) -> int:
        """Return the number of episodes."""
        return len(self._documents)

    @override
    def lengths(self) -> Sequence[int] | None:
        """Return the lengths in tokens of what is read of each item: the documents' longest windows."""
        return [sum(max(len(row.input_ids) for row in found) for found in item) for item in self._documents]

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        """Return the weight model's LoRA and head."""
        return [ParamGroup(list(self._weight_model.parameters()))]

    @override
    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Add the gradient of one outer batch; return "loss", "answers" and "locality", detached.

        Documents are learned one after the other, so `micro_batch_size` has nothing to cut; memory is bounded by
        `num_inner_documents` and `max_inner_tokens`.
        """
        size = self._num_inner_documents
        groups = [list(items[start : start + size]) for start in range(0, len(items), size)]
        num_targets = sum(_num_targets(row) for i in items for row in self._answers[i])
        terms: dict[str, Tensor] = {}
        for number, group in enumerate(groups):
            draw = random.Random(f"locality {self._seed} {step} {number}")
            with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
                losses = self._outer_losses(group, step=step, draw=draw)
                share = sum(_num_targets(row) for i in group for row in self._answers[i]) / max(1, num_targets)
                losses = {"answers": share * losses["answers"], "locality": losses["locality"] / len(groups)}
                loss = losses["answers"] + losses["locality"]
                loss.backward()
            for name, value in {"loss": loss, **losses}.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + value.detach()
        return terms

    def _outer_losses(self, group: Sequence[int], *, step: int, draw: random.Random) -> dict[str, Tensor]:
        base = {n: p.detach().float().requires_grad_(True) for n, p in self._learner.model.named_parameters()}
        adapted = self._adapt(base, [row for i in group for row in self._drawn(i, step)])
        answers = self._learner.collate([row for i in group for row in self._answers[i]])
        nll = functional_forward(self._learner, adapted, answers).token_nll
        others = sorted(set(range(self.num_items)) - set(group))
        locality = nll.new_zeros(())
        if others and self._locality_weight > 0:
            text = self._learner.collate(self._drawn(draw.choice(others), step)[:1])
            student = functional_forward(self._learner, adapted, text).logits
            with torch.no_grad():
                teacher = self._learner.forward(text).logits
            locality = self._locality_weight * kl_divergence(teacher, student).mean()
        return {"answers": mean_over_tokens(nll, answers.labels), "locality": locality}

    def _adapt(self, parameters: Parameters, documents: Sequence[Row]) -> Parameters:
        """Return the parameters after one weighted SGD step per document, differentiable in the weights."""
        weights = self._weight_model(self._learner.collate(documents))
        for i, row in enumerate(documents):
            batch = self._learner.collate([row])
            nll = functional_forward(self._learner, parameters, batch).token_nll
            loss = mean_over_tokens(nll, batch.labels, weights[i : i + 1, : len(row.input_ids)])
            parameters = sgd_step(parameters, loss, self._inner_learning_rate)
        return parameters


def windows(row: Row, max_tokens: int) -> list[Row]:
    """Cut a row into windows of at most `max_tokens` >= 2; a later one begins with the token before it, as context."""
    cut = [replace(row, input_ids=row.input_ids[:max_tokens])]
    for first in range(max_tokens, len(row.input_ids), max_tokens - 1):
        cut.append(replace(row, input_ids=row.input_ids[first - 1 : first - 1 + max_tokens], num_prompt_tokens=1))
    return cut


def sgd_step(parameters: Parameters, loss: Tensor, learning_rate: float) -> Parameters:
    """Return theta - learning_rate * grad loss, kept differentiable."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
    return {
        name: value if gradient is None else value - learning_rate * gradient
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
    }


def functional_forward(learner: Learner, parameters: Parameters, batch: Batch) -> Outputs:
    """Run the model with other parameters in place of its own; see `Learner.forward` for the shapes."""
    kept = kept_positions(batch.labels)
    inputs = model_inputs(learner.model, batch.input_ids, batch.attention_mask, None)
    with learner.precision():
        out = torch.func.functional_call(
            learner.model, parameters, args=(), kwargs={**inputs, "logits_to_keep": kept, "use_cache": False}
        )
    return Outputs(token_nll(out.logits, batch.labels, kept), out.logits, kept)


def _num_targets(row: Row) -> int:
    return len(row.input_ids) - row.num_prompt_tokens

"""Feature regularization: the hidden states on the new task's inputs have to stay near the previous model's.

    loss = nll + weight * 1/|layers| sum_l sum_r (n_r / N) * 1/|r| sum_{t in r} d(h_l,r,t , h_old,l,r,t)
    d = mean over the hidden units of the squared difference ("mse"), or 1 - cosine similarity ("cosine")

Less-forgetting learning (Jung et al. 2016, arXiv 1607.00122) for decoders. The distance is a mean over all tokens of a
row, its prompt included; a row counts by its share n_r / N of the batch's labelled tokens, as in the loss itself, so
that the sum does not depend on how a batch is cut. Deviations: the paper takes the Euclidean loss of the last hidden
layer and freezes the output layer, which `trainable` decides here. Nothing is added in the first task.
The teacher is the previous task's values of the trainable parameters, swapped in for a forward pass without logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import Fit
from cmt_cli.core.parameter_values import swapped_in
from cmt_cli.core.setting_checks import not_negative, one_of
from cmt_cli.core.stream import Episodes
from cmt_cli.methods.distillation.previous_teacher import PreviousTeacher

MSE, COSINE = "mse", "cosine"


class FeatureRegularization(PreviousTeacher):
    """Fine-tuning that keeps hidden states on new inputs near those of the previous model."""

    needs_hidden_states = True

    def __init__(self, *, trainable: Trainable, weight: float, layers: Sequence[int], distance: str) -> None:
        """`layers` count decoder blocks from 1, 0 is the embeddings and -1 the last; `distance` is mse or cosine."""
        super().__init__(trainable=trainable)
        self._weight = not_negative(weight, "method.weight")
        self._layers = tuple(layers)
        self._distance = one_of(distance, (MSE, COSINE), "method.distance")

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable; raise UserError for layers that the model does not have."""
        super().before_stream(learner, episodes, fit)
        num_blocks = learner.model.config.get_text_config().num_hidden_layers
        if not self._layers or not all(-num_blocks - 1 <= layer <= num_blocks for layer in self._layers):
            raise UserError(
                f"method.layers={list(self._layers)} does not fit a model of {counted(num_blocks, 'decoder block')}; "
                f"give a list of numbers from 0 (embeddings) to {num_blocks}, or negative ones from the end (-1: the "
                "last block)."
            )

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if self.teacher:
            unlabelled = replace(batch, labels=torch.full_like(batch.labels, IGNORED))  # no logits are computed
            with swapped_in(learner, self.teacher):
                old = learner.forward(unlabelled, hidden_states=True).hidden_states
            labelled = (batch.labels[:, 1:] != IGNORED).sum(dim=1)
            distances = [
                mean_distance(
                    token_distance(old[layer], outputs.hidden_states[layer], self._distance),
                    batch.attention_mask,
                    labelled,
                )
                for layer in self._layers
            ]
            terms["features"] = self._weight * torch.stack(distances).mean()
        return terms


def token_distance(old: Tensor, latest: Tensor, kind: str) -> Tensor:
    """Return the distance of hidden states `[..., hidden]` at each position, `[...]`, in float32."""
    old, latest = old.float(), latest.float()
    if kind == MSE:
        return (latest - old).square().mean(dim=-1)
    return 1 - F.cosine_similarity(old, latest, dim=-1)


def mean_distance(distances: Tensor, attention_mask: Tensor, num_labelled: Tensor) -> Tensor:
    """Return the mean of each row's mean, rows weighted by their labelled tokens.

    `distances` and `attention_mask` are `[batch, seq]`, `num_labelled` is `[batch]`.
    """
    per_row = (distances * attention_mask).sum(dim=1) / attention_mask.sum(dim=1)
    return (per_row * num_labelled).sum() / num_labelled.sum().clamp(min=1)

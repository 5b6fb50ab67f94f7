"""CaMeLS: meta-learned token weights for online fine-tuning (Hu, Mitchell, Manning and Finn 2023, arXiv 2305.15076).

    w_t = softplus_{beta=3}(fc2(gelu(fc1(h_t))))          h_t: last hidden state of a weight model at token t
    inner, for d = 1..K in sequence:  theta <- theta - eta * grad 1/N_d sum_t w_t * nll_t(theta)        (plain SGD)
    outer: mean nll of the K documents' answers under theta_K + 0.1 * KL(p_theta_0 || p_theta_K) on an unrelated text
The outer gradient reaches the weight model through the K updates (second order). Adapting to the stream is
`methods/sequential/uniform.py` with these weights: one Adam step per document.

Deviations from the released code: the weight model is a frozen copy of the base model with LoRA instead of a jointly
trained distilgpt2, so that it has the encoder and the trained parameters of the other amortized methods; theta returns
to the base after every K documents (there after 24, in 4 batches of 6); the unrelated text is a document of another
episode, because OpenWebText is not shipped; means are per token without padding; meta-training reads documents in
windows of `max_inner_tokens` and draws one of them at each step, where the released code cuts a document off.
Deviations in adapting: see `methods/sequential/uniform.py`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget, Fit, State
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.layers.aggregation import seeded_linear
from cmt_cli.layers.lora import LoraLayers
from cmt_cli.methods.amortized.camels_objective import CamelsObjective
from cmt_cli.training.schedules import check_budget


class WeightModel(nn.Module):
    """A frozen encoder with LoRA and a two-layer head: a positive weight for each token."""

    def __init__(self, encoder: Learner, *, rank: int, alpha: float, targets: str, head_width: int, seed: int) -> None:
        """Hook LoRA into `encoder`, which must be this module's own copy."""
        super().__init__()
        self._encoder = encoder
        self.lora = LoraLayers(encoder.model, rank=rank, alpha=alpha, targets=targets, seed=seed)
        generator = torch.Generator().manual_seed(seed + 1)
        self.fc1 = seeded_linear(encoder.hidden_size, head_width, generator)
        self.fc2 = seeded_linear(head_width, 1, generator, zero=True)
        self.to(encoder.device)

    @override
    def forward(self, batch: Batch) -> Tensor:
        """Return weights `[batch, seq]`; padding has some value that no loss counts."""
        unscored = replace(batch, labels=torch.full_like(batch.labels, IGNORED))  # no logits are needed
        with self.lora.active():
            states = self._encoder.forward(unscored, hidden_states=True).hidden_states[-1]
        return token_weights(self.fc1(states.to(self.fc1.weight.dtype)), self.fc2)


def token_weights(hidden: Tensor, fc2: nn.Linear) -> Tensor:
    """Return softplus_3(fc2(gelu(hidden))) in float32, `[batch, seq]`, for hidden `[batch, seq, width]`."""
    return F.softplus(fc2(F.gelu(hidden)).squeeze(-1).float(), beta=3.0)


class Camels(Method):
    """Fine-tunes all weights on each document with meta-learned token weights."""

    needs_documents = True
    needs_episodes = True

    def __init__(
        self,
        *,
        budget: Budget,
        meta_budget: Budget,
        rank: int,
        alpha: float,
        targets: str,
        head_width: int,
        inner_learning_rate: float,
        num_inner_documents: int,
        max_inner_tokens: int,
        locality_weight: float,
        seed: int,
    ) -> None:
        """`budget` is spent on each task's documents; `meta_budget.batch_size` counts episodes per outer step."""
        self._budget = check_budget(budget, "method.budget")
        self._meta_budget = check_budget(meta_budget, "method.meta_budget")
        self._rank, self._alpha, self._targets, self._head_width = rank, alpha, targets, head_width
        self._inner_learning_rate = inner_learning_rate
        self._num_inner_documents = num_inner_documents
        if max_inner_tokens < 2:
            raise UserError(f"method.max_inner_tokens={max_inner_tokens} leaves no token to score; give 2 or more.")
        self._max_inner_tokens = max_inner_tokens
        self._locality_weight = locality_weight
        self._seed = seed

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Build the weight model on a copy of the base model and meta-train it; the learner's weights stay."""
        if not any(episode.query for episode in episodes.train):
            raise UserError("camels meta-trains on documents with questions, and the stream's training split has none.")
        self._weight_model = WeightModel(
            learner.frozen_copy(),
            rank=self._rank,
            alpha=self._alpha,
            targets=self._targets,
            head_width=self._head_width,
            seed=self._seed,
        )
        learner.unfreeze()
        objective = CamelsObjective(
            learner,
            self._weight_model,
            episodes.train,
            inner_learning_rate=self._inner_learning_rate,
            num_inner_documents=self._num_inner_documents,
            max_inner_tokens=self._max_inner_tokens,
            locality_weight=self._locality_weight,
            seed=self._seed,
        )
        fit.on_objective(objective, self._meta_budget)

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        fit.on_examples(task.train, self._budget)

    @override
    @torch.no_grad()
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor:
        return self._weight_model(batch)

    @override
    def state_dict(self) -> State:
        return {name: value.detach().clone() for name, value in self._weight_model.named_parameters()}

    @override
    def load_state_dict(self, state: State) -> None:
        self._weight_model.load_state_dict(state)

"""L2P: a pool of soft prompts that all tasks share; every question chooses its own by the keys nearest to it.

    loss = nll - lambda sum over the N chosen keys of cos(q, k),    a mean over rows, weighted by their labelled tokens

Wang et al. 2022, "Learning to Prompt for Continual Learning" (arXiv 2112.08654); the choice is in
`layers/pooled_prompts.py`. The second term pulls chosen keys to the questions that chose them; questions alike share
prompts, unlike ones do not overwrite each other's, and no task is told at test. As in the authors' code it is a
similarity; the paper writes the distance 1 - cos, which differs by a constant. A row counts as often as it has labelled
tokens, because that is how the nll is averaged.

Optional, after the paper: in training a choice is held against the prompts that earlier tasks used. The paper leaves
open how the frequency is counted and normalized, and the released code does not have it. Here each example of a task
counts once, at the task's end, and the shares are (count + 1) / (sum of all counts + pool): a prompt that was never
used would otherwise have distance 0 to everything. In the first task all shares are equal, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import PREFIX_SOURCE, SCORING_TOKENS, Learner
from cmt_cli.core.losses import IGNORED, num_labelled
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.setting_checks import not_negative
from cmt_cli.core.stream import Episodes, Example, Task
from cmt_cli.core.tokens import length_batches
from cmt_cli.layers import pooled_prompts
from cmt_cli.layers.pooled_prompts import Pool
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.tokenized import tokenized


class PromptPool(FineTune):
    """Trains a pool of prompts and their keys."""

    needs_labels = True

    def __init__(self, *, trainable: Pool, pull: float, diversify: bool) -> None:
        """`pull` multiplies the summed cosines; `diversify` holds earlier tasks' use against a prompt in training.

        Raises UserError for anything but a pool.
        """
        super().__init__(trainable=trainable)
        if not isinstance(trainable, Pool):
            raise UserError(f"prompt_pool trains a pool of prompts, but was given {type(trainable).__name__}.")
        self._pull = not_negative(pull, "method.pull")
        self._diversify = diversify
        self._counts = torch.zeros(trainable.num_prompts, dtype=torch.int64)

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        super().before_stream(learner, episodes, fit)
        self.pool: pooled_prompts.PromptPool = learner.model.get_submodule(PREFIX_SOURCE)

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Hold the earlier tasks' choices against the prompts, where that is on."""
        super().before_task(learner, task)
        if self._diversify:
            self.pool.usage = shares(self._counts).to(learner.device)

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return minus the weighted cosines of the rows with their chosen keys."""
        found = super().penalties(learner, batch, outputs)
        if self._pull:
            tokens = (batch.labels[:, 1:] != IGNORED).sum(dim=1)
            cosines = self.pool.pull(batch.input_ids, batch.is_prompt)
            found["pull"] = -self._pull * (tokens * cosines).sum() / num_labelled(batch.labels).clamp(min=1)
        return found

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Count which prompts the task's examples choose; answers are given without regard to it."""
        super().after_task(learner, task)
        if self._diversify:
            self._counts += chosen_counts(learner, self.pool, task.train)
            self.pool.usage = None

    @override
    def state_dict(self) -> State:
        """Return how often each prompt was chosen; the learner saves the pool."""
        return {**super().state_dict(), "counts": self._counts.clone()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._counts = state["counts"].to("cpu", copy=True)

    @override
    def storage_bytes(self) -> int:
        counts = self._counts.numel() * self._counts.element_size() if self._diversify else 0
        return super().storage_bytes() + counts


def shares(counts: Tensor) -> Tensor:
    """Return the share of each prompt in all choices so far, one added to each count, `[pool]`."""
    return (counts + 1) / (counts.sum() + len(counts))


@torch.no_grad()
def chosen_counts(learner: Learner, pool: pooled_prompts.PromptPool, examples: Sequence[Example]) -> Tensor:
    """Return how often each prompt is chosen by the examples' rows, `[pool]`."""
    rows = tokenized(learner, examples)
    counts = torch.zeros(len(pool.keys), dtype=torch.int64)
    for part in length_batches(rows.lengths(), max_tokens=SCORING_TOKENS):
        batch = learner.collate([rows[i] for i in part])
        chosen = pool.choice(batch.input_ids, batch.is_prompt).flatten().cpu()
        counts += torch.bincount(chosen, minlength=len(counts))
    return counts

"""Dark experience replay: on old examples the model has to give the outputs that it gave when they were new.

    loss = mean_new nll + alpha * mean_old d(z_stored, z) + beta * mean_old nll          means per labelled token
    d = mean over the stored entries of (z - z_stored)^2 ("mse"), or KL( softmax(z_stored) || softmax(z) ) ("kl")

Buzzega et al. 2020 (arXiv 2004.07211): DER is mse with beta 0, DER++ has beta > 0; kl with beta 0 is plain distillation
from old data. Of a vocabulary only the `top_k` largest logits and the mass of the rest are stored (`memory/
stored_logits.py`); with top_k >= vocab this is the paper's. Other deviations: outputs are stored at the end of the task
that an example came with, not at the step in which it was drawn; both terms on old examples use the same rows, where
DER++ draws two batches; no teacher is kept, so that an old row costs one forward pass and no more.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED, kl_divergence
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.setting_checks import not_negative, one_of, positive
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.memory.stored_logits import TopLogits, comparable, from_state, joined, to_state, top_logits
from cmt_cli.methods.replay import replay
from cmt_cli.methods.replay.rehearsal import Rehearsal, drawn

MSE, KL = "mse", "kl"
_PREFIX = "stored."


class DER(Rehearsal):
    """Replays old examples together with the outputs that the model gave on them."""

    trains_sharded = (Lora,)

    def __init__(
        self,
        *,
        trainable: Trainable,
        buffer: ExampleBuffer,
        alpha: float,
        beta: float,
        distance: str,
        top_k: int,
        old_rows_per_row: float,
        seed: int,
    ) -> None:
        """`old_rows_per_row` old rows are drawn for each new row of a batch, rounded per batch."""
        super().__init__(trainable=trainable, buffer=buffer, seed=seed)
        self._alpha = not_negative(alpha, "method.alpha")
        self._beta = not_negative(beta, "method.beta")
        self._distance = one_of(distance, (MSE, KL), "method.distance")
        self._top_k = int(positive(top_k, "method.top_k"))
        self._old_rows_per_row = not_negative(old_rows_per_row, "method.old_rows_per_row")
        self._stored: dict[str, TopLogits] = {}  # by the name of a row, on the CPU
        self._rows: list[Row] | None = None  # of the buffer; None until they are needed
        self._num_batches = 0  # of the current task; names the draw of a step
        # tokens of the new and of the old rows of the effective batch; None where no old row was added
        self._num_labelled: tuple[Tensor, Tensor] | None = None

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        super().before_task(learner, task)
        self._num_batches = 0

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Offer the task's examples to the buffer and store the outputs on those that it took."""
        super().after_task(learner, task)
        rows = self._named_rows(learner)
        kept = {row.id: self._stored[row.id] for row in rows if row.id in self._stored}
        self._stored = kept | {row.id: self._outputs_on(learner, row) for row in rows if row.id not in kept}
        self._rows = rows

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        batch = super().mix_batch(learner, batch)
        if self._rows is None:
            self._rows = self._named_rows(learner)
        num_old = replay.rounded(self._old_rows_per_row * len(batch.ids))
        old = drawn(self._rows, num_old, self.generator("der", self._num_batches))
        self._num_batches += 1
        self._num_labelled = None
        if not old:
            return batch
        added = learner.collate(old)
        self._num_labelled = (_labelled(batch).sum(), _labelled(added).sum())
        return replay.joined(batch, added, pad_id=learner.pad_id)

    @override
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Return the weights that make new and old rows a mean each, the latter times beta."""
        weights = super().token_weights(learner, batch, outputs)
        if self._num_labelled is None:
            return weights
        num_new, num_old = self._num_labelled
        total = num_new + num_old
        of_old, of_new = self._beta * total / num_old.clamp(min=1), total / num_new.clamp(min=1)
        scale = torch.where(self._is_old(batch), of_old, of_new)[:, None].expand(batch.labels.shape)
        return scale if weights is None else scale * weights

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return the distance from the stored outputs; its share of the loop makes it a mean over the old tokens."""
        terms = super().penalties(learner, batch, outputs)
        if self._num_labelled is None:
            return terms
        num_new, num_old = self._num_labelled
        scale = (num_new + num_old) / num_old.clamp(min=1) / _labelled(batch).sum().clamp(min=1)
        found = [self._stored[name] for name in batch.ids if name in self._stored]
        distance = outputs.token_nll.new_zeros(())
        if found:
            labelled = batch.labels[:, outputs.kept + 1] != IGNORED
            logits = outputs.logits[labelled & self._is_old(batch)[:, None]]
            distance = output_distance(joined(found).to(logits.device), logits, self._distance).sum()
        terms["stored_outputs"] = self._alpha * scale * distance
        return terms

    @override
    def state_dict(self) -> State:
        stored = {_PREFIX + key: value for key, value in to_state(self._stored).items()}
        return {**super().state_dict(), **stored, "num_batches": self._num_batches}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._stored = from_state({k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)})
        self._num_batches = state["num_batches"]
        self._rows = None

    @override
    def storage_bytes(self) -> int:
        return super().storage_bytes() + sum(stored.storage_bytes() for stored in self._stored.values())

    def _named_rows(self, learner: Learner) -> list[Row]:
        return [
            replace(row, id=f"stored/{entry.task}/{entry.example.id}/{i}", replayed=True)
            for entry in self.buffer.entries
            for i, row in enumerate(learner.rows(entry.example))
        ]

    def _is_old(self, batch: Batch) -> Tensor:
        """Return which rows this method has added, `[batch]`; known by name, as other methods may replay, too."""
        return torch.tensor([name in self._stored for name in batch.ids], device=batch.labels.device)

    @torch.no_grad()
    def _outputs_on(self, learner: Learner, row: Row) -> TopLogits:
        return top_logits(learner.forward(learner.collate([row])).logits[0], self._top_k).to(torch.device("cpu"))


def output_distance(stored: TopLogits, logits: Tensor, kind: str) -> Tensor:
    """Return the distance of `logits` `[tokens, vocab]` from stored outputs for each token, `[tokens]`."""
    old, latest = comparable(stored, logits)
    return (latest - old).square().mean(dim=-1) if kind == MSE else kl_divergence(old, latest)


def _labelled(batch: Batch) -> Tensor:
    return batch.labels[:, 1:] != IGNORED

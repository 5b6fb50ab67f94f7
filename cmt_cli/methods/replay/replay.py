"""Experience replay: old examples from a buffer are mixed into every batch of the new task.

A share r of the rows of each batch is old (Rolnick et al. 2019, arXiv 1811.11682; Chaudhry et al. 2019, arXiv
1902.10486), r = `ratio`, by one of two budgets:

    additive            the n new rows stay and round(r / (1 - r) n) old ones are appended: the steps are as many as in
                        fine-tuning, each 1 / (1 - r) times as long
    compute_equivalent  round(r n) of the n rows give way to old ones: steps and rows per step are those of fine-tuning.
                        An epoch still passes over the whole task, but a share r of its rows, drawn anew in each epoch,
                        is not trained on: the replay is paid for with new data. Rows are counted, not tokens.

Rounding is cumulative: after x new rows of a task round(q x) old ones have been drawn. A share of 1 % in batches of 16
is then one old row in every sixth batch or so and not, as with rounding per batch, none ever.
Rows are drawn without replacement within a step, in proportion to an example's number of rows. The loss is the mean
over all labelled tokens of the mixed batch, so an old token counts as much as a new one.
`repeats_new_task` is the padding control: rows of the current task are drawn in the place of the old ones, in the same
number (none in the first task). It tells the effect of old data from that of more gradient per step; it stores nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from typing_extensions import override

from cmt_cli.core.batch import Batch, Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.methods.replay.rehearsal import Rehearsal, drawn, replayed_rows

BUDGETS = ("additive", "compute_equivalent")


class Replay(Rehearsal):
    """Mixes old rows into each batch."""

    trains_sharded = (Full, Lora)

    def __init__(
        self,
        *,
        trainable: Trainable,
        buffer: ExampleBuffer,
        ratio: float,
        budget: str,
        repeats_new_task: bool,
        seed: int,
    ) -> None:
        """`ratio` is the old rows' share of a mixed batch, in [0, 1); `budget` is one of `BUDGETS`."""
        super().__init__(trainable=trainable, buffer=buffer, seed=seed)
        if not 0 <= ratio < 1:
            raise UserError(f"method.ratio={ratio}, but the share of old rows in a batch must lie in [0, 1).")
        self._ratio = ratio
        self._takes_places = one_of(budget, BUDGETS, "method.budget") == "compute_equivalent"
        self._repeats_new_task = repeats_new_task
        self._num_new = 0  # rows of the current task so far; names the draw of a step
        self._rows: list[Row] | None = None

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        super().before_task(learner, task)
        self._num_new = 0
        self._rows = None
        self._task = task

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch with old rows appended, or in the place of some of its own."""
        batch = super().mix_batch(learner, batch)
        num_rows, seen = len(batch.ids), self._num_new
        self._num_new += num_rows
        share = self._ratio if self._takes_places else self._ratio / (1 - self._ratio)
        num_old = rounded(share * (seen + num_rows)) - rounded(share * seen)
        generator = self.generator("replay", seen)
        old = drawn(self._source(learner), num_old, generator) if num_old else []
        if not old:
            return batch
        if self._takes_places:
            batch = kept_rows(batch, sorted(generator.sample(range(num_rows), num_rows - num_old)))
        return joined(batch, learner.collate(old), pad_id=learner.pad_id)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Offer the task's examples to the buffer; the control keeps none."""
        if not self._repeats_new_task:
            super().after_task(learner, task)

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "num_new": self._num_new}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._num_new = state["num_new"]
        self._rows = None

    def _source(self, learner: Learner) -> list[Row]:
        if self._rows is None:
            if self._repeats_new_task:
                examples = self._task.train if self._task.index else []
                self._rows = [row for example in examples for row in learner.rows(example)]
            else:
                self._rows = replayed_rows(learner, (entry.example for entry in self.buffer.entries))
        return self._rows


def rounded(value: float) -> int:
    """Return the nearest whole number, halves up."""
    return math.floor(value + 0.5)


def kept_rows(batch: Batch, indices: list[int]) -> Batch:
    """Return some rows of a batch, its width unchanged."""
    chosen = torch.tensor(indices, dtype=torch.long, device=batch.input_ids.device)
    tensors = (batch.input_ids, batch.attention_mask, batch.labels, batch.replayed)
    return Batch(tuple(batch.ids[i] for i in indices), *(tensor[chosen] for tensor in tensors))


def joined(first: Batch, second: Batch, *, pad_id: int) -> Batch:
    """Return the rows of both batches, padded on the right to the wider one."""
    width = max(first.input_ids.shape[1], second.input_ids.shape[1])
    tensors = [
        torch.cat([F.pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
        for fill, parts in (
            (pad_id, (first.input_ids, second.input_ids)),
            (0, (first.attention_mask, second.attention_mask)),
            (IGNORED, (first.labels, second.labels)),
        )
    ]
    tensors.append(torch.cat([first.replayed, second.replayed]))
    return Batch((*first.ids, *second.ids), *tensors)

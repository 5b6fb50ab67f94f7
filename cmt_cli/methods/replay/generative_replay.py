"""Generative replay: before each task the model writes examples of the old tasks, which are learned with the new ones.

    loss = mean_QA nll + lambda * mean_LM nll                          means per labelled token of the effective batch

LAMOL (Sun et al. 2020, arXiv 1909.03329). QA are the rows of the new examples and of the pseudo-examples, with the
targets as labels. For each of them the LM part has the whole example behind the marker of its task, so that the model
learns to write it (`pseudo_examples.py`). Before task t > 1 gamma * |D_t| pseudo-examples are sampled from the model,
top-k, evenly over the past tasks; nothing is kept between tasks but their markers.

Deviations: marker and separator are plain text in the place of new tokens, so no embedding is added (the authors also
weight those tokens 5 times). Pseudo-examples are spread over the batches of the new examples, so that each is learned
once per epoch: the steps are as many as in fine-tuning and longer. A text in several windows has one LM row, its
beginning, which is learned with every window. In a combination this belongs behind members that add rows, whose tokens
then count in the mean; they get no LM row.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs, Row
from cmt_cli.core.exceptions import CmtWarning, counted
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.setting_checks import not_negative
from cmt_cli.core.stream import Task
from cmt_cli.methods.replay import replay
from cmt_cli.methods.replay.pseudo_examples import (
    Generation,
    Learned,
    PseudoExample,
    kinds_of,
    marked_row,
    sampled_texts,
)
from cmt_cli.methods.sequential.finetune import FineTune

PSEUDO = "pseudo-"  # begins the ids of generated examples
MARKED = "marked-text/"  # begins the ids of LM rows; the example's id follows
QA_GROUP, LM_GROUP = 0, 1


@dataclass(frozen=True, slots=True)
class _TaskRows:
    """Rows of one task's examples and pseudo-examples."""

    num_new: int
    pseudo: list[Row]
    marked: dict[str, Row]  # LM rows by the id of the example


class GenerativeReplay(FineTune):
    """Fine-tuning that also learns to write the examples, and replays what it writes."""

    def __init__(self, *, trainable: Trainable, generation: Generation, lm_weight: float, seed: int) -> None:
        """`lm_weight` multiplies the LM part's mean nll per token; `seed` draws samples and their order."""
        super().__init__(trainable=trainable)
        self.lm_weight = not_negative(lm_weight, "method.lm_weight")
        self.pseudo: list[PseudoExample] = []  # of the current task
        self.num_malformed = 0  # samples dropped so far
        self._generation = generation
        self._seed = seed
        self._learned: dict[str, Learned] = {}  # by marker
        self._longest_text = 0  # tokens of the longest text learned so far, without its marker
        self._num_new = 0  # rows of the current task's examples so far
        self._rows: _TaskRows | None = None  # None until they are needed
        self._order: tuple[int, list[int]] = (-1, [])  # a pass over the pseudo-rows and the order of the rows in it
        self.num_tokens: Tensor | None = None  # labelled tokens of the effective batch by group; None: nothing added

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Write the pseudo-examples of the tasks before."""
        super().before_task(learner, task)
        if self._generation.ratio:
            self._now_learned(task)
        self._task = task
        self._num_new = 0
        self.pseudo = self._generated(learner, task)
        self._forget_rows()

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch with pseudo-rows and all LM rows appended."""
        batch = super().mix_batch(learner, batch)
        rows = self._task_rows(learner)
        seen = self._num_new
        self._num_new += sum(name in rows.marked for name in batch.ids)
        share = len(rows.pseudo) / max(rows.num_new, 1)
        numbers = range(replay.rounded(share * seen), replay.rounded(share * self._num_new))
        pseudo = [self._pseudo_row(rows.pseudo, number) for number in numbers]
        names = [*batch.ids, *(row.id for row in pseudo)] if self.lm_weight else []
        added = [*pseudo, *(rows.marked[name] for name in names if name in rows.marked)]
        self.num_tokens = None
        if added:
            batch = replay.joined(batch, learner.collate(added), pad_id=learner.pad_id)
            labelled = (batch.labels[:, 1:] != IGNORED).sum(dim=1)
            empty = labelled.new_zeros(len(self.coefficients()))
            self.num_tokens = empty.index_add(0, self.groups(batch), labelled)
        return batch

    @override
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Return the weights that make each group of rows a mean of its own, times its coefficient."""
        weights = super().token_weights(learner, batch, outputs)
        if self.num_tokens is None:
            return weights
        coefficients = torch.tensor(self.coefficients(), device=batch.labels.device)
        scale = (coefficients * self.num_tokens.sum() / self.num_tokens.clamp(min=1))[self.groups(batch)]
        per_token = scale[:, None].expand(batch.labels.shape)
        return per_token if weights is None else per_token * weights

    def coefficients(self) -> tuple[float, ...]:
        """Return what multiplies the mean nll of each group of rows."""
        return 1.0, self.lm_weight

    def group(self, name: str) -> int:
        """Return the group of the row with this id."""
        return LM_GROUP if name.startswith(MARKED) else QA_GROUP

    def groups(self, batch: Batch) -> Tensor:
        """Return the group of each row, `[batch]`."""
        return torch.tensor([self.group(name) for name in batch.ids], device=batch.labels.device)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Keep the marker of the task, and drop the pseudo-examples."""
        super().after_task(learner, task)
        if self._generation.ratio:
            learned = self._now_learned(task)
            self._learned[learned.marker] = learned
        for row in (self._task_rows(learner).marked[example.id] for example in task.train):
            self._longest_text = max(self._longest_text, len(row.input_ids) - row.num_prompt_tokens)
        self.pseudo = []
        self._forget_rows()

    @override
    def state_dict(self) -> State:
        own = {
            "learned": [asdict(learned) for learned in self._learned.values()],
            "longest_text": self._longest_text,
            "pseudo": [asdict(example) for example in self.pseudo],
            "num_malformed": self.num_malformed,
            "num_new": self._num_new,
        }
        return {**super().state_dict(), **own}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        known = [Learned(**{**values, "kinds": tuple(values["kinds"])}) for values in state["learned"]]
        self._learned = {learned.marker: learned for learned in known}
        self._longest_text = state["longest_text"]
        self.pseudo = [PseudoExample(**values) for values in state["pseudo"]]
        self.num_malformed = state["num_malformed"]
        self._num_new = state["num_new"]
        self._forget_rows()

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the markers, and of the pseudo-examples while there are any, in UTF-8."""
        texts = [*self._learned, *(example.prompt + example.target for example in self.pseudo)]
        return super().storage_bytes() + sum(len(text.encode()) for text in texts)

    def _generated(self, learner: Learner, task: Task) -> list[PseudoExample]:
        num = replay.rounded(self._generation.ratio * len(task.train)) if self._learned else 0
        found = []
        for marker, part in _shares(num, self._learned).items():
            seeds = [f"pseudo-example {self._seed} {task.index} {marker} {i}" for i in range(part)]
            texts = sampled_texts(
                learner, marker, seeds, max_new_tokens=self._longest_text, generation=self._generation
            )
            for text, ended in texts:
                found.append(self._generation.parsed(text, ended=ended, learned=self._learned[marker]))
        kept = [example for example in found if example is not None]
        if len(kept) < len(found):
            self.num_malformed += len(found) - len(kept)
            warnings.warn(
                f"{len(found) - len(kept)} of the {counted(len(found), 'example')} that the model wrote before task "
                f"'{task.name}' {'is' if len(found) - len(kept) == 1 else 'are'} malformed and left out.",
                CmtWarning,
                stacklevel=2,
            )
        return kept

    def _now_learned(self, task: Task) -> Learned:
        """Return what stands behind a task's marker once it is learned."""
        marker = self._generation.marker_of(task)
        known = self._learned.get(marker, Learned(marker, (), ""))
        separator = self._generation.separator_of(task.train, known.separator)
        counts = [example.prompt.count(separator) for example in task.train if separator]
        kinds = tuple(sorted({*known.kinds, *kinds_of(task.train)}))
        return Learned(marker, kinds, separator, max([known.num_separators, *counts]))

    def _forget_rows(self) -> None:
        self._rows = None
        self._order = (-1, [])
        self.num_tokens = None

    def _task_rows(self, learner: Learner) -> _TaskRows:
        if self._rows is None:
            marker, examples = self._generation.marker_of(self._task), self._task.train
            marked = {example.id: _renamed(marked_row(learner, marker, example)) for example in examples}
            pseudo = []
            for number, generated in enumerate(self.pseudo):
                name = f"{PSEUDO}{self._task.index}-{number}"
                pseudo += generated.rows(learner, name)
                marked[name] = _renamed(generated.marked_row(learner, name))
            self._rows = _TaskRows(sum(len(learner.rows(example)) for example in examples), pseudo, marked)
        return self._rows

    def _pseudo_row(self, rows: list[Row], number: int) -> Row:
        """Return the row that comes at a place in the passes over all pseudo-rows, each pass in an order of its own."""
        lap, place = divmod(number, len(rows))
        if self._order[0] != lap:
            generator = random.Random(f"pseudo-rows {self._seed} {self._task.index} {lap}")
            self._order = (lap, generator.sample(range(len(rows)), len(rows)))
        return rows[self._order[1][place]]


def _shares(num: int, markers: Mapping[str, object]) -> dict[str, int]:
    """Return how many of `num` examples each marker gets, as evenly as whole numbers allow."""
    bounds = [num * i // max(len(markers), 1) for i in range(len(markers) + 1)]
    return {marker: bounds[i + 1] - bounds[i] for i, marker in enumerate(markers)}


def _renamed(row: Row) -> Row:
    return Row(MARKED + row.id, row.input_ids, row.num_prompt_tokens, row.replayed)

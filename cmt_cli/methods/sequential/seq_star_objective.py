"""What SEQ* minimizes: at first the backbone's loss, then the cross-entropy of a head over features; `seq_star.py`.

    warm-up steps   mean nll per labelled token of question and answer, or the cross-entropy below through the backbone
    other steps     mean over the batch of -log softmax(head(x))_label;   x is the last layer's state at the last token
                    of the question

Where the backbone is frozen, all features are computed once, at the first step that needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import SCORING_TOKENS, Learner
from cmt_cli.core.losses import num_labelled
from cmt_cli.core.objectives import Objective, ParamGroup
from cmt_cli.core.stream import Example
from cmt_cli.core.tokens import length_batches
from cmt_cli.layers.label_head import LabelHead
from cmt_cli.training.supervised import micro_batches


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """The steps in which the backbone is trained: this share of all, the first ones."""

    share: float
    uses_language_model: bool


def label_of(text: str) -> str:
    """Return the label that a target or a choice names."""
    return text.strip()


def prompt_rows(learner: Learner, texts: Sequence[str]) -> list[Row]:
    """Return one row of tokens per question, none of them a target."""
    encoded = [tuple(learner.prompt_ids(text)) for text in texts]
    return [Row(str(i), ids, len(ids)) for i, ids in enumerate(encoded)]


def last_token_features(learner: Learner, rows: Sequence[Row]) -> Tensor:
    """Return the last hidden state at the last token of each row, `[rows, hidden]`."""
    batch = learner.collate(rows)
    hidden = learner.forward(batch, hidden_states=True).hidden_states[-1]
    last = batch.attention_mask.sum(dim=1) - 1
    return hidden[torch.arange(len(rows), device=hidden.device), last].float()


@torch.no_grad()
def frozen_features(learner: Learner, rows: Sequence[Row]) -> Tensor:
    """Return the features of all rows `[rows, hidden]`, in batches and at the learner's own precision."""
    features = torch.zeros(len(rows), learner.hidden_size, device=learner.device)
    parts = MemoryParts()

    def read(chosen: Sequence[int]) -> tuple[Sequence[int], Tensor]:
        return chosen, last_token_features(learner, [rows[i] for i in chosen])

    with learner.mixed_precision.using(None):
        for batch in length_batches([len(row.input_ids) for row in rows], max_tokens=SCORING_TOKENS):
            for chosen, found in parts.run(read, batch, in_step=learner.processes.is_sharded):
                features[list(chosen)] = found
    return features


class LabelObjective(Objective):
    """The loss of one task; an item is one example."""

    is_data_parallel = False
    has_collectives = False

    def __init__(
        self,
        learner: Learner,
        head: LabelHead,
        examples: Sequence[Example],
        *,
        backbone: Sequence[nn.Parameter],
        head_lr_multiplier: float,
        warm_up: WarmUp,
    ) -> None:
        """Tokenize `examples`; `backbone` are the parameters that are trained besides the head's."""
        self._learner = learner
        self._head = head
        self._examples = examples
        self._backbone = backbone
        self._head_lr_multiplier = head_lr_multiplier
        self._warm_up = warm_up
        self._rows = prompt_rows(learner, [example.prompt for example in examples])
        index = {label: i for i, label in enumerate(head.labels)}
        self._labels = torch.tensor([index[label_of(example.target)] for example in examples], device=learner.device)
        self._features: Tensor | None = None

    @property
    @override
    def num_items(self) -> int:
        """Return the number of examples."""
        return len(self._examples)

    @override
    def lengths(self) -> Sequence[int]:
        """Return each question's number of tokens."""
        return [len(row.input_ids) for row in self._rows]

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        """Return the backbone's parameters and the head's rows that are not frozen."""
        head = [parameter for parameter in self._head.parameters() if parameter.requires_grad]
        return [ParamGroup(self._backbone), ParamGroup(head, self._head_lr_multiplier)]

    @override
    def backward(self, items: Sequence[int], *, micro_batch_size: int, step: int, num_steps: int) -> dict[str, Tensor]:
        """Add the gradient of one batch; return "loss" and "nll" or "cross_entropy", detached."""
        warms_up = step < round(self._warm_up.share * num_steps)
        if warms_up and self._warm_up.uses_language_model:
            loss = self._language_model(items, micro_batch_size)
            return {"loss": loss, "nll": loss}
        loss = self._cross_entropy(items, micro_batch_size, through_backbone=warms_up)
        return {"loss": loss, "cross_entropy": loss}

    def _language_model(self, items: Sequence[int], micro_batch_size: int) -> Tensor:
        rows = [row for i in items for row in self._learner.rows(self._examples[i])]
        batch = self._learner.collate(rows)
        num_tokens = num_labelled(batch.labels).clamp(min=1)
        total = torch.zeros((), device=self._learner.device)
        for part in micro_batches(batch, micro_batch_size):
            loss = self._learner.forward(part).token_nll.sum() / num_tokens
            loss.backward()
            total += loss.detach()
        return total

    def _cross_entropy(self, items: Sequence[int], micro_batch_size: int, *, through_backbone: bool) -> Tensor:
        total = torch.zeros((), device=self._learner.device)
        for start in range(0, len(items), micro_batch_size):
            part = list(items[start : start + micro_batch_size])
            if through_backbone:
                features = last_token_features(self._learner, [self._rows[i] for i in part])
            else:
                features = self._all_features()[part]
            logits = self._head(features, with_reserved=True)
            loss = F.cross_entropy(logits, self._labels[part], reduction="sum") / len(items)
            loss.backward()
            total += loss.detach()
        return total

    def _all_features(self) -> Tensor:
        if self._features is None:
            self._features = frozen_features(self._learner, self._rows)
        return self._features

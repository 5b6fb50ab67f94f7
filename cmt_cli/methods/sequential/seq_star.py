"""SEQ*: warm the backbone up on the first task, freeze it, and learn a classifier whose old rows are frozen.

    first task      train the backbone for some epochs, then freeze it
    each task       rows of its new labels learn by cross-entropy over all rows: old (frozen), new, reserved
    answer          the label whose row is best, among the labels seen so far, or among the question's choices

Zheng et al. 2024, "Learn or Recall?" (arXiv 2312.07887): pre-allocated future classifiers (P), warm-up (W), frozen
backbone and old classifiers (FixBC), linear or cosine head. Every part is a switch; without any it is their SEQ with a
head. Features and losses are in `seq_star_objective.py`, the head is in `layers/label_head.py`.

Limits: a classifier, not a generator. It is for labelled streams with few distinct answers: the labels are the texts of
the training targets, an answer that was no target is never given, and a task with more than `max_labels` of them is
refused. Before the first task, where there are no labels, the language model answers. A label that comes again keeps
its frozen row; a task without new labels trains nothing but the reserved rows. The task that a stream tells is not used
(class-incremental learning). Deviations: the authors know the number of all labels in advance, here it is a setting; no
dropout; a new optimizer for each task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.objectives import Budget, Fit, State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.setting_checks import not_negative, one_of, positive
from cmt_cli.core.stream import Answer, Episodes, Prompt, Task
from cmt_cli.layers.label_head import LabelHead
from cmt_cli.methods.sequential.seq_star_objective import LabelObjective, WarmUp, frozen_features, label_of, prompt_rows
from cmt_cli.training.schedules import check_budget

HEADS = ("linear", "cosine")
WARM_UP_LOSSES = ("language_model", "labels")
MODULE = "label_head"  # name of the head in the model


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSettings:
    """How the language model is trained: in a warm-up on the first task and then never again, or in every task."""

    warm_up_epochs: float  # in the first task, on top of the budget's; none where the backbone is not frozen
    warm_up_loss: str  # one of WARM_UP_LOSSES
    freezes: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadSettings:
    """The classifier."""

    kind: str  # one of HEADS
    freezes_old_rows: bool
    num_reserved_labels: int  # rows for labels to come
    max_labels: int  # of one task
    lr_multiplier: float  # on the budget's learning rate


class SeqStar(Method):
    """A growing classifier on a backbone that is frozen after the first task."""

    trainable: Trainable
    needs_labels = True
    answers_with = "a classifier on the model's hidden states"

    def __init__(
        self, *, trainable: Trainable, backbone: BackboneSettings, head: HeadSettings, budget: Budget, seed: int
    ) -> None:
        """`trainable` is what is trained of the backbone; `budget` is of each task, after a warm-up."""
        self.trainable = trainable
        self._settings = backbone
        self._warm_up_epochs = not_negative(backbone.warm_up_epochs, "method.backbone.warm_up_epochs")
        one_of(backbone.warm_up_loss, WARM_UP_LOSSES, "method.backbone.warm_up_loss")
        self._head_settings = head
        one_of(head.kind, HEADS, "method.head.kind")
        not_negative(head.num_reserved_labels, "method.head.num_reserved_labels")
        positive(head.lr_multiplier, "method.head.lr_multiplier")
        self._budget = check_budget(budget, "method.budget")
        self._seed = seed
        self._is_warm = False  # the first task has been learned
        self._backbone: list[nn.Parameter] = []
        self._learner: Learner | None = None

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Choose what is trained of the backbone and add a head without labels."""
        self._learner = learner
        if self._warm_up_epochs > 0 or not self._settings.freezes:
            self._backbone = self.trainable.apply(learner)
        head = LabelHead(
            learner.hidden_size,
            is_cosine=self._head_settings.kind == "cosine",
            num_reserved=self._head_settings.num_reserved_labels,
            seed=self._seed,
        )
        learner.model.add_module(MODULE, head.to(learner.device))

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Give the task's new labels rows. Raises UserError where the task is no classification."""
        targets = labels_of(task, self._head_settings.max_labels)
        known = set(self._head(learner).labels)
        self._grow(learner, [label for label in targets if label not in known])

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Warm the backbone up if this is the first task, then train the rows that are not frozen."""
        budget = self._longer(len(task.train)) if self._settings.freezes and not self._is_warm else self._budget
        objective = LabelObjective(
            learner,
            self._head(learner),
            task.train,
            backbone=[parameter for parameter in self._backbone if parameter.requires_grad],
            head_lr_multiplier=self._head_settings.lr_multiplier,
            warm_up=self._warm_up(budget),
        )
        if any(group.parameters for group in objective.param_groups()):
            fit.on_objective(objective, budget)

    def _longer(self, num_examples: int) -> Budget:
        """Return the budget with the warm-up's passes over a task on top, in steps where the budget counts those."""
        if self._budget.num_epochs is not None:
            return replace(self._budget, num_epochs=self._budget.num_epochs + self._warm_up_epochs)
        steps = math.ceil(self._warm_up_epochs * math.ceil(num_examples / self._budget.batch_size))
        return replace(self._budget, num_steps=(self._budget.num_steps or 0) + steps)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        self._set_warm(True)

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        """Return the classifier, or the language model while there are no labels."""
        head = self._head(learner)
        return LabelPredictor(learner, head) if head.labels else learner

    @override
    def state_dict(self) -> State:
        """Return the labels of each growth, and whether the backbone is warm; the learner saves the values."""
        growths = self._head(self._learner).growths if self._learner is not None else []
        return {"labels": [list(labels) for labels in growths], "is_warm": self._is_warm}

    @override
    def load_state_dict(self, state: State) -> None:
        """Give the labels their rows, or take newer ones away."""
        assert self._learner is not None, "before_stream comes first"
        head = self._head(self._learner)
        while head.growths != state["labels"][: len(head.growths)]:
            head.shrink()
        for labels in state["labels"][len(head.growths) :]:
            self._grow(self._learner, labels)
        self._set_warm(state["is_warm"])

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of all labels' texts and of the rows of past tasks."""
        if self._learner is None:
            return 0
        head = self._head(self._learner)
        rows = num_bytes(list(head.rows)[:-1])
        return rows + sum(len(label.encode()) for label in head.labels)

    def _warm_up(self, budget: Budget) -> WarmUp:
        """Return the steps that train the backbone: those by which a task's budget is longer than without a warm-up."""
        if not self._settings.freezes:
            return WarmUp(share=1.0, uses_language_model=False)
        added = _length(budget) - _length(self._budget)
        share = added / _length(budget) if added else 0.0
        return WarmUp(share=share, uses_language_model=self._settings.warm_up_loss == "language_model")

    def _head(self, learner: Learner) -> LabelHead:
        head: LabelHead = learner.model.get_submodule(MODULE)
        return head

    def _grow(self, learner: Learner, labels: Sequence[str]) -> None:
        head = self._head(learner)
        if labels:
            head.grow(labels, learner.device)
        head.requires_grad_(False)
        newest = str(len(head.rows) - 1) if labels else ""
        trained = [
            f"{MODULE}.{name}"
            for name, parameter in head.named_parameters()
            if parameter.numel()
            and (not self._head_settings.freezes_old_rows or name in ("reserved", f"rows.{newest}"))
        ]
        learner.unfreeze(trained)

    def _set_warm(self, is_warm: bool) -> None:
        self._is_warm = is_warm
        for parameter in self._backbone:
            parameter.requires_grad_(not (is_warm and self._settings.freezes))


class LabelPredictor(Predictor):
    """Answers with the text of the best label."""

    def __init__(self, learner: Learner, head: LabelHead) -> None:
        """`head` has at least one label."""
        self._learner = learner
        self._head = head
        self._index = {label: i for i, label in enumerate(head.labels)}

    @override
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt with a label, one of its choices where any of them is known."""
        best = self._log_probabilities(prompts).argmax(dim=1).tolist()
        return [Answer(self._head.labels[i]) for i in best]

    @override
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(label | prompt) in nats among the labels seen or the known choices; -inf for other texts."""
        scores = self._log_probabilities(prompts)
        indices = [self._index.get(label_of(target)) for target in targets]
        return [-float("inf") if i is None else float(row[i]) for row, i in zip(scores, indices, strict=True)]

    @torch.no_grad()
    def _log_probabilities(self, prompts: Sequence[Prompt]) -> Tensor:
        """Return `[prompts, labels]` on the CPU; -inf for labels that are not among a prompt's choices."""
        texts = list(dict.fromkeys(prompt.text for prompt in prompts))
        places = {text: i for i, text in enumerate(texts)}
        features = frozen_features(self._learner, prompt_rows(self._learner, texts))
        logits = self._head(features, with_reserved=False).cpu()[[places[prompt.text] for prompt in prompts]]
        for row, prompt in zip(logits, prompts, strict=True):
            known = [self._index[label] for choice in prompt.choices if (label := label_of(choice)) in self._index]
            if known:
                others = torch.ones(len(row), dtype=torch.bool)
                others[known] = False
                row.masked_fill_(others, -torch.inf)
        return logits.log_softmax(dim=1)


def labels_of(task: Task, max_labels: int) -> list[str]:
    """Return the distinct targets of a task in their order; raise UserError where they are not a few labels."""
    without = next((example.id for example in task.train if not example.prompt), None)
    if without is not None:
        raise UserError(
            f"seq_star is a classifier of questions, but the example '{without}' of task '{task.name}' has no question."
        )
    labels = list(dict.fromkeys(label_of(example.target) for example in task.train))
    if len(labels) > max_labels:
        raise UserError(
            f"Task '{task.name}' has {counted(len(labels), 'distinct answer')}, more than "
            f"method.head.max_labels={max_labels}: seq_star has one row per answer and is for tasks with few of them. "
            "Raise that number if they are classes, or use a method that generates, e.g. method=inc_lora."
        )
    return labels


def _length(budget: Budget) -> float:
    """Return how long a budget is in epochs or in steps, whichever it counts."""
    return budget.num_epochs if budget.num_epochs is not None else budget.num_steps or 0

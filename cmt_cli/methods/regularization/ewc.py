"""Elastic weight consolidation: pull each parameter back as strongly as the old tasks' likelihood depends on it.

    loss = nll + weight/2 * sum_k mean_i F_k,i (theta_i - theta*_k,i)^2   or, with normalize=sum, the paper's sum over i
    F_i = 1/N sum_n (d nll_n / d theta_i)^2                               per example, not the squared mean of a batch

Kirkpatrick et al. 2017 (arXiv 1612.00796), with three ways to keep several tasks (`accumulation`):
    per_task        one F_k and theta*_k for each task, as in the paper
    running_mean    F <- (F_new + F_old * t) / (t + 1) after t earlier tasks; theta* of the last task
    online          F <- gamma * F_old + F_new; theta* of the last task (Schwarz et al. 2018, arXiv 1805.06370)
nll_n is the mean per labelled token of row n (an over-long text is several rows), as in training, so that rows of
different lengths count alike. Public values of `weight` are of the sum, and often of code that squares the gradient of
a batch, in which examples cancel: this F is 2.8 to 6.7 times that at batches of 4 to 16, so that the same `weight` is
as many times stronger here. `labels: sampled` draws each label from the model given the text's true tokens, which makes
F the diagonal of the Fisher information, up to 1 over the squared number of labelled tokens; `empirical` takes the
text's own labels.
In `mean` the F of each task has mean one before it is accumulated (`anchored.py`); Schwarz et al. normalize it, too.
Deviation from them: gamma does not multiply F_old a second time in the penalty.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.parameter_values import Values, trainable_parameters, trainable_values
from cmt_cli.core.setting_checks import not_negative, one_of, positive
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.regularization.anchored import Anchored, anchored_distance, scaled_importance
from cmt_cli.training.importance import importance, mean_nll, sampled_nll, sampled_rows

PER_TASK, RUNNING_MEAN, ONLINE = "per_task", "running_mean", "online"
EMPIRICAL, SAMPLED = "empirical", "sampled"


class EWC(Anchored):
    """Fine-tuning with a quadratic penalty that is weighted by the diagonal Fisher information of past tasks."""

    trains_sharded = (Lora,)

    def __init__(
        self,
        *,
        trainable: Trainable,
        weight: float,
        normalize: str,
        accumulation: str,
        gamma: float,
        labels: str,
        num_samples: int,
        seed: int,
    ) -> None:
        """`num_samples` caps the rows of a task that F is estimated on; `gamma` only counts in `online`."""
        super().__init__(trainable=trainable, weight=weight, normalize=normalize)
        self._accumulation = one_of(accumulation, (PER_TASK, RUNNING_MEAN, ONLINE), "method.accumulation")
        self._gamma = not_negative(gamma, "method.gamma")
        self._labels = one_of(labels, (EMPIRICAL, SAMPLED), "method.labels")
        self._num_samples = int(positive(num_samples, "method.num_samples"))
        self._seed = seed
        self._num_tasks = 0
        self.kept = {}  # Fisher and anchor of each term k of the sum, as fisher.k and anchor.k

    @property
    @override
    def anchored(self) -> Collection[str]:
        return self._terms[-1][1] if self._terms else ()

    @property
    def _terms(self) -> list[tuple[Values, Values]]:
        return [(self.kept[f"fisher.{k}"], self.kept[f"anchor.{k}"]) for k in range(len(self.kept) // 2)]

    def _set_term(self, k: int, fisher: Values, anchor: Values) -> None:
        self.kept |= {f"fisher.{k}": fisher, f"anchor.{k}": anchor}

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Estimate the task's Fisher information at the parameters it ended with."""
        super().after_task(learner, task)
        fisher, anchor = self._estimate(learner, task), trainable_values(learner)
        terms = self._terms
        if self._accumulation == PER_TASK or not terms:
            self._set_term(len(terms), fisher, anchor)
        elif self._accumulation == RUNNING_MEAN:
            self._set_term(0, running_mean(terms[0][0], fisher, self._num_tasks), anchor)
        else:
            self._set_term(0, decayed_sum(terms[0][0], fisher, self._gamma), anchor)
        self._num_tasks += 1

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if self.kept:
            parameters = trainable_parameters(learner)
            distances = [
                anchored_distance(parameters, anchor, fisher, normalize=self._normalize)
                for fisher, anchor in self._terms
            ]
            terms["ewc"] = 0.5 * self._weight * torch.stack(distances).sum()
        return terms

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "num_tasks": self._num_tasks, "num_terms": len(self._terms)}

    @override
    def load_state_dict(self, state: State) -> None:
        self._num_tasks = state["num_tasks"]
        self.kept = {f"{what}.{k}": {} for k in range(state["num_terms"]) for what in ("fisher", "anchor")}
        super().load_state_dict(state)

    def _estimate(self, learner: Learner, task: Task) -> Values:
        seed = self._seed * 1_000_003 + task.index
        rows = sampled_rows(learner, task.train, num_samples=self._num_samples, seed=seed)
        generator = torch.Generator(learner.device).manual_seed(seed)
        score = mean_nll if self._labels == EMPIRICAL else sampled_nll(generator)
        return scaled_importance(importance(learner, rows, score, torch.square), normalize=self._normalize)


def running_mean(old: Values, latest: Values, num_tasks: int) -> Values:
    """Return (latest + old * num_tasks) / (num_tasks + 1); a parameter without an old value had 0."""
    return {
        name: (value + old.get(name, torch.zeros_like(value)) * num_tasks) / (num_tasks + 1)
        for name, value in latest.items()
    }


def decayed_sum(old: Values, latest: Values, gamma: float) -> Values:
    """Return gamma * old + latest; a parameter without an old value had 0."""
    return {name: gamma * old.get(name, torch.zeros_like(value)) + value for name, value in latest.items()}

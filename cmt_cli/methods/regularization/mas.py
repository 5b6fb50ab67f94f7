"""Memory aware synapses: pull each parameter back as strongly as the outputs on past inputs depend on it.

    loss = nll + weight * mean_i Omega_i (theta_i - theta*_i)^2         or, with normalize=sum, the paper's sum over i
    Omega_i <- Omega_i + 1/N sum_n | d (1/L_n sum_t ||z_n,t||^2) / d theta_i |       theta* of the last task

Aljundi et al. 2018 (arXiv 1711.09601). z_n,t are the logits that predict labelled token t of row n, the outputs before
the softmax as in the paper; no label is used. Choices for language models: the squared norm is a mean over the L_n
predicted tokens, so that long rows do not outweigh short ones. Public code often takes the absolute value of a
batch's gradient; here it is that of each example's, as in the paper's equation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.parameter_values import trainable_parameters, trainable_values
from cmt_cli.core.setting_checks import positive
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.regularization.anchored import Anchored, anchored_distance, scaled_importance
from cmt_cli.training.importance import importance, mean_squared_norm, sampled_rows


class MAS(Anchored):
    """Fine-tuning with a quadratic penalty that is weighted by the outputs' sensitivity to each parameter."""

    trains_sharded = (Lora,)

    def __init__(self, *, trainable: Trainable, weight: float, normalize: str, num_samples: int, seed: int) -> None:
        """`num_samples` caps the rows of a task that Omega is estimated on; `seed` draws them."""
        super().__init__(trainable=trainable, weight=weight, normalize=normalize)
        self._num_samples = int(positive(num_samples, "method.num_samples"))
        self._seed = seed
        self.kept = {"omega": {}, "anchor": {}}

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Add the task's sensitivities to those of the tasks before, and keep the parameters."""
        super().after_task(learner, task)
        seed = self._seed * 1_000_003 + task.index
        rows = sampled_rows(learner, task.train, num_samples=self._num_samples, seed=seed)
        latest = importance(learner, rows, mean_squared_norm, torch.abs)
        latest = scaled_importance(latest, normalize=self._normalize)
        omega = {name: value + self.kept["omega"].get(name, 0.0) for name, value in latest.items()}
        self.kept = {"omega": omega, "anchor": trainable_values(learner)}

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if anchor := self.kept["anchor"]:
            distance = anchored_distance(
                trainable_parameters(learner), anchor, self.kept["omega"], normalize=self._normalize
            )
            terms["mas"] = self._weight * distance
        return terms

"""L2: pull the parameters towards their values after the previous task, all of them alike.

    loss = nll + weight * mean_i (theta_i - theta_prev_i)^2            or, with normalize=sum, the sum over i

The baseline "L2" of Kirkpatrick et al. 2017 (arXiv 1612.00796), without the factor 1/2 of their
penalty. Nothing is added in the first task: there is no previous one.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.parameter_values import trainable_parameters, trainable_values
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.regularization.anchored import Anchored, anchored_distance


class L2(Anchored):
    """Fine-tuning with a quadratic penalty on the distance from the previous task's parameters."""

    trains_sharded = (Lora,)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        super().after_task(learner, task)
        self.kept["anchor"] = trainable_values(learner)

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if anchor := self.kept["anchor"]:
            distance = anchored_distance(trainable_parameters(learner), anchor, None, normalize=self._normalize)
            terms["l2"] = self._weight * distance
        return terms

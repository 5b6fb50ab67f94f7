"""L2: pull the parameters towards their values after the previous task, all of them alike.

    loss = nll + weight * mean_i (theta_i - theta_prev_i)^2            or, with normalize=sum, the sum over i

The baseline "L2" of Kirkpatrick et al. 2017 (arXiv 1612.00796), without the factor 1/2 of their
penalty. Nothing is added in the first task: there is no previous one.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.parameter_values import (
    Values,
    from_state,
    num_bytes,
    to_state,
    trainable_parameters,
    trainable_values,
)
from cmt_cli.core.setting_checks import not_negative, one_of
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.methods.regularization.anchored import NORMALIZATIONS, Anchored, anchored_distance


class L2(Anchored):
    """Fine-tuning with a quadratic penalty on the distance from the previous task's parameters."""

    trains_sharded = (Lora,)

    def __init__(self, *, trainable: Trainable, weight: float, normalize: str) -> None:
        """`weight` multiplies the mean or sum of squares over all trainable parameters, as `normalize` says."""
        super().__init__(trainable=trainable)
        self._weight = not_negative(weight, "method.weight")
        self._normalize = one_of(normalize, NORMALIZATIONS, "method.normalize")
        self._anchor: Values = {}

    @property
    @override
    def anchored(self) -> Collection[str]:
        return self._anchor

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        super().after_task(learner, task)
        self._anchor = trainable_values(learner)

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = super().penalties(learner, batch, outputs)
        if self._anchor:
            distance = anchored_distance(trainable_parameters(learner), self._anchor, None, normalize=self._normalize)
            terms["l2"] = self._weight * distance
        return terms

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), **to_state(self._anchor, "anchor.")}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._anchor = from_state(state, "anchor.", self.device)

    @override
    def storage_bytes(self) -> int:
        return super().storage_bytes() + num_bytes(self._anchor.values())

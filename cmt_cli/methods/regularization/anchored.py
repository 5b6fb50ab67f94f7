"""Fine-tuning that pulls parameters towards earlier values: what `l2`, `ewc` and `mas` share.

    mean   weight / P * sum_i w_i (theta_i - theta*_i)^2         over the P parameters that have an earlier value
    sum    weight * sum_i w_i (theta_i - theta*_i)^2             the papers' scale

In `mean` each task's importance w is divided by its own mean, so that it has mean one. A training step moves each
parameter about as far in a large model as in a small one; a sum over them then grows with the model, and importances
shrink or grow with it in ways of their own, while the nll stays where it is: the mean makes one weight hold.

Such a penalty needs parameters that are trained in one task and again in the next. Where a method adds parameters for
each task and freezes those of the tasks before, none is left to pull: that is refused and not left without effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import Fit
from cmt_cli.core.parameter_values import Values, squared_distance, trainable_parameters
from cmt_cli.core.setting_checks import not_negative, one_of
from cmt_cli.core.sharded import full_tensor
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.methods.sequential.kept_values import KeepsValues

MEAN, SUM = "mean", "sum"
NORMALIZATIONS = (MEAN, SUM)


def anchored_distance(
    parameters: Mapping[str, Tensor], anchor: Values, importance: Values | None, *, normalize: str
) -> Tensor:
    """Return the weighted squared distance of parameters from `anchor`, a scalar, summed or as a mean over them."""
    distance = squared_distance(parameters, anchor, importance)
    if normalize == SUM:
        return distance
    return distance / sum(parameters[name].numel() for name in anchor if name in parameters)


def scaled_importance(importance: Values, *, normalize: str) -> Values:
    """Return importances with mean one over all elements, or as they are for "sum" or where all are 0."""
    total = sum(full_tensor(value).sum(dtype=torch.float32).item() for value in importance.values())
    if normalize == SUM or total == 0:
        return importance
    count = sum(value.numel() for value in importance.values())
    return {name: value * (count / total) for name, value in importance.items()}


class Anchored(KeepsValues):
    """Keeps earlier values of what is trained, `kept["anchor"]`; its children say how strongly they pull."""

    def __init__(self, *, trainable: Trainable, weight: float, normalize: str) -> None:
        """`weight` multiplies the mean or sum over all trainable parameters, as `normalize` says."""
        super().__init__(trainable=trainable)
        self._weight = not_negative(weight, "method.weight")
        self._normalize = one_of(normalize, NORMALIZATIONS, "method.normalize")
        self.kept = {"anchor": {}}

    @property
    def anchored(self) -> Collection[str]:
        """Return the names of the parameters that have an earlier value; none before the end of the first task."""
        return self.kept["anchor"]

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable; raise UserError where there are none before the first task."""
        super().before_stream(learner, episodes, fit)
        if not learner.trainable():
            raise UserError(
                f"{type(self).__name__} pulls parameters towards their earlier values, but nothing is trainable before "
                "the first task: each task gets parameters of its own, and those of earlier tasks stay as they are "
                "without a penalty. Leave it out, or join it with a method that trains the same parameters in every "
                "task, such as lora."
            )

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Raise UserError where no parameter with an earlier value is trained any more."""
        super().before_task(learner, task)
        if self.anchored and not trainable_parameters(learner).keys() & set(self.anchored):
            raise UserError(
                f"{type(self).__name__} pulls parameters towards their earlier values, but none of those trained in "
                f"task '{task.name}' was trained before, so it would do nothing. Leave it out, or join it with a "
                "method that trains the same parameters in every task."
            )

"""Fine-tuning beside the previous task's model: what `distillation` and `feature_regularization` share.

The teacher is the previous task's values of the trainable parameters, which `core/parameter_values.py` swaps in for a
forward pass; in the first task there is none.
"""

from __future__ import annotations

import torch
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.parameter_values import Values, trainable_parameters, trainable_values
from cmt_cli.core.stream import Task
from cmt_cli.methods.sequential.kept_values import KeepsValues


class PreviousTeacher(KeepsValues):
    """Keeps the previous task's parameters in `teacher`; its children say what is learned from them."""

    def __init__(self, *, trainable: Trainable) -> None:
        super().__init__(trainable=trainable)
        self.kept = {"teacher": {}}

    @property
    def teacher(self) -> Values:
        """Return the previous task's values; none in the first task."""
        return self.kept["teacher"]

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Let layers that were added for the task belong to the teacher as well, and those frozen since no longer.

        What was there keeps its values: another member of a combination may have moved the student's.
        """
        super().before_task(learner, task)
        if self.teacher:
            self.kept["teacher"] = {
                name: self.teacher[name] if name in self.teacher else parameter.detach().to(torch.float32, copy=True)
                for name, parameter in trainable_parameters(learner).items()
            }

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        super().after_task(learner, task)
        self.kept["teacher"] = trainable_values(learner)

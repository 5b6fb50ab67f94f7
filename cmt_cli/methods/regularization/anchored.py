"""Fine-tuning that pulls parameters towards earlier values: what `l2`, `ewc` and `mas` share.

Such a penalty needs parameters that are trained in one task and again in the next. Where a method adds parameters for
each task and freezes those of the tasks before, none is left to pull: that is refused and not left without effect.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection

from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit
from cmt_cli.core.parameter_values import trainable_parameters
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.methods.sequential.finetune import FineTune


class Anchored(FineTune):
    """Keeps earlier values of what is trained; its children say how strongly they pull."""

    keeps_values_by_name = True

    @property
    @abstractmethod
    def anchored(self) -> Collection[str]:
        """Return the names of the parameters that have an earlier value; none before the end of the first task."""

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

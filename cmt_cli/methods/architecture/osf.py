"""OSF: fine-tuning in the directions of small singular values; those of large ones are frozen, more with each task.

    task t:   W = W_high + U_low S_low V_low,   rank(W_high) = preserved_shares[t] * min(inputs, outputs), frozen
              gradients of U_low, V_low orthogonal to W_high's left and right directions
    then      W <- W_high + U_low S_low V_low,  split anew for the next task

Nayak et al. 2025, "Sculpting Subspaces" (arXiv 2504.07097), through peft (`layers/orthogonal_subspace.py`). What
large singular values carry is taken for what the earlier tasks need. With a share of 0 it is fine-tuning of the
target layers.

projection=parameters, the default, projects gradients and, after each step, the parameters. projection=gradients is
peft's: gradients alone, which is enough under SGD (1e-6 of the change lies in the frozen directions). AdamW divides
each element by its own scale, which leads back into them: 3 to 4 % of the squared change within three steps, in the
tests, and more later.
Deviations: the paper adapts the rank to each layer's importance, this has one share for all layers, as peft's example;
that example drops the learned part between tasks (`unload`), this merges it. Only the target layers' weights are
trained.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from cmt_cli.core.batch import Batch
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Task
from cmt_cli.layers.orthogonal_subspace import SingularSubspace
from cmt_cli.methods.sequential.finetune import FineTune

PROJECTIONS = ("gradients", "parameters")


class Osf(FineTune):
    """Splits the weights before each task and merges them after it."""

    def __init__(
        self,
        *,
        targets: str | Sequence[str],
        learning_rate: float | None = None,
        preserved_shares: Sequence[float],
        projection: str,
    ) -> None:
        """`preserved_shares` are of the tasks in turn, in [0, 1), the last one of all later tasks, too.

        `learning_rate` is the peak of budgets that leave theirs open.
        """
        self._subspace = SingularSubspace(targets=targets, learning_rate=learning_rate)
        super().__init__(trainable=self._subspace)
        if not preserved_shares or not all(0 <= share < 1 for share in preserved_shares):
            raise UserError(
                f"method.preserved_shares={list(preserved_shares)}, but it must name at least one share, each of them "
                "at least 0 and below 1: with 1 nothing would be trained."
            )
        self._shares = tuple(preserved_shares)
        self._projects_parameters = one_of(projection, PROJECTIONS, "method.projection") == "parameters"

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Split the weights as they are."""
        super().before_task(learner, task)
        self._subspace.split(learner, self._shares[min(task.index, len(self._shares) - 1)])

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Leave the batch as it is; between two steps, put the parameters back where they may be."""
        if self._projects_parameters:
            self._subspace.project(learner)
        return super().mix_batch(learner, batch)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Merge the parts."""
        if self._projects_parameters:
            self._subspace.project(learner)
        self._subspace.merge(learner)
        super().after_task(learner, task)

"""Online fine-tuning: one gradient step per document, in stream order, every token weighted alike.

The baseline of Hu et al. 2023 (CaMeLS, arXiv 2305.15076) and of MAC (arXiv 2403.04317):
    theta <- Adam(theta, 1/N sum over the document's N tokens of nll_t).
Deviations from the released code: the mean is taken over the document's own tokens (there it includes the padding to
1,024, so a short text had a smaller gradient); a document longer than the model's context becomes several steps
instead of being cut; dropout is off, so that a result does not depend on how a batch is cut; the optimizer starts anew
with each task of the stream.
"""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget, Fit
from cmt_cli.core.stream import Task
from cmt_cli.training.schedules import check_budget


class Uniform(Method):
    """Fine-tunes all weights on each document."""

    needs_documents = True

    def __init__(self, *, budget: Budget) -> None:
        """`budget` is spent on each task's documents."""
        self._budget = check_budget(budget, "method.budget")

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        fit.on_examples(task.train, self._budget)

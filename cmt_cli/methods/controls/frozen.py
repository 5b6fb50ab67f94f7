"""No adaptation: the base model answers with what it knew before the stream. The floor of every comparison."""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit
from cmt_cli.core.stream import Episodes, Task


class Frozen(Method):
    """Learns nothing."""

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Leave the weights frozen."""

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Learn nothing."""

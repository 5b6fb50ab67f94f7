"""Fine-tuning of something that is added before each task: what `inc_lora` and `moe` share."""

from __future__ import annotations

from abc import abstractmethod

from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.methods.sequential.finetune import FineTune


class Growing(FineTune):
    """Grows the model by one part before each task; a state is restored by growing or shrinking it."""

    _learner: Learner | None = None

    @abstractmethod
    def num_parts(self, learner: Learner) -> int:
        """Return how many parts the model has, one per task so far."""

    @abstractmethod
    def grow(self, learner: Learner) -> None:
        """Add a part and freeze the older ones."""

    @abstractmethod
    def shrink(self, learner: Learner) -> None:
        """Take the newest part away."""

    @property
    def grown(self) -> Learner:
        """Return the learner that grows."""
        assert self._learner is not None, "before_stream comes first"
        return self._learner

    def resize(self, num_parts: int) -> None:
        """Add parts, or take newer ones away, until there are `num_parts`."""
        while self.num_parts(self.grown) < num_parts:
            self.grow(self.grown)
        while self.num_parts(self.grown) > num_parts:
            self.shrink(self.grown)

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Keep the learner: no part belongs to no task."""
        self._learner = learner

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Add the task's part and freeze the older ones."""
        super().before_task(learner, task)
        self.grow(learner)

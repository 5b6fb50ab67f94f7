"""Sequential fine-tuning: train on one task after the other and do nothing against forgetting.

theta <- AdamW on mean nll per labelled token of the task's examples. Optimizer and schedule start anew with each task.
The floor that every continual method has to beat; `trainable` says what is trained (all weights, or LoRA).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import ADDED, BASE, Method
from cmt_cli.core.objectives import Fit
from cmt_cli.core.stream import Episodes
from cmt_cli.layers.trainable import Trainable, TrainsSharded


class FineTune(Method):
    """Trains the chosen parameters on each task; methods that add something to this derive from it."""

    family = "sequential"
    trains_sharded: ClassVar[tuple[str, ...]] = (BASE, ADDED)

    def __init__(self, *, trainable: Trainable) -> None:
        """`trainable` is applied once, before the stream."""
        self.trainable = trainable
        self.device = torch.device("cpu")

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable; what a state restores goes to their device."""
        self.device = learner.device
        self.trainable.apply(learner)

    @override
    def why_not_sharded(self) -> str | None:
        """Return why the method, or what it trains, cannot work on divided weights, or None."""
        reason = super().why_not_sharded()
        if reason is not None:
            return reason
        chosen = self.trainable
        if isinstance(chosen, TrainsSharded) and chosen.sharded_kind in self.trains_sharded:
            return None
        return f"{type(self).__name__} can train {' or '.join(self.trains_sharded)} then, not {type(chosen).__name__}"

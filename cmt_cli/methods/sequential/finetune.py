"""Sequential fine-tuning: train on one task after the other and do nothing against forgetting.

theta <- AdamW on mean nll per labelled token of the task's examples. Optimizer and schedule start anew with each task.
The floor that every continual method has to beat; `trainable` says what is trained (all weights, or LoRA).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from typing_extensions import override

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.objectives import Fit
from cmt_cli.core.stream import Episodes
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full


class FineTune(Method):
    """Trains the chosen parameters on each task; methods that add something to this derive from it."""

    trainable: Trainable
    trains_sharded: ClassVar[tuple[type[Trainable], ...]] = (Full, Lora)

    def __init__(self, *, trainable: Trainable) -> None:
        """`trainable` is applied once, before the stream."""
        self.trainable = trainable
        self.device = torch.device("cpu")

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the chosen parameters trainable; what a state restores goes to their device."""
        self.device = learner.device
        self.trainable.apply(learner)

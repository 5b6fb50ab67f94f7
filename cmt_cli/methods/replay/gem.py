"""GEM: a step may not increase the loss on the old examples of any past task, to first order.

Lopez-Paz and Ranzato 2017 (arXiv 1706.08840). In each step r_k is the gradient of the mean nll per labelled token of
rows drawn from the memory of task k, and g the gradient of the new batch:
    g~ = argmin |g~ - g|^2  with  g~ . r_k >= 0 for every past task k
The program and `margin` (the paper's memory strength) are those of `training/gradient_projection.py`. With one past
task and margin 0 this is A-GEM.
Deviations: `reference_rows` of each task's memory are drawn per step (in the paper all of it, which a larger number
gives); AdamW follows the projection; the memory holds a random sample of a task instead of its last examples. A step
takes one gradient of the trained parameters for each past task, in memory as well as in time.
"""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.setting_checks import not_negative
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.training.gradient_projection import Gradient, project_on_cone


class Gem(AGem):
    """Projects the gradient so that no past task's loss grows."""

    trains_sharded = (Lora,)

    def __init__(
        self,
        *,
        trainable: Trainable,
        buffer: ExampleBuffer,
        reference_rows: int,
        micro_batch_size: int,
        margin: float,
        seed: int,
    ) -> None:
        """`reference_rows` are drawn from each past task in each step; `margin` is at least 0."""
        super().__init__(
            trainable=trainable,
            buffer=buffer,
            reference_rows=reference_rows,
            micro_batch_size=micro_batch_size,
            seed=seed,
        )
        self._margin = not_negative(margin, "method.margin")

    @override
    def project(self, gradient: Gradient, learner: Learner, rows: dict[int, list[Row]]) -> None:
        """Change `gradient` in place to the nearest one in the cone that the past tasks leave open."""
        references = [self.reference(learner, old, str(task)) for task, old in rows.items()]
        project_on_cone(gradient, references, margin=self._margin)

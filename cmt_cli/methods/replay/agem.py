"""A-GEM: a step may not increase the average loss on old examples, to first order.

Chaudhry et al. 2019 (arXiv 1812.00420). In each step r is the gradient of the mean nll per labelled token of rows drawn
from the memory of all past tasks, and g the gradient of the new batch:
    g~ = g - (g . r) / (r . r) r   where g . r < 0, else g
Nothing is changed in the first task. Deviations: AdamW follows the projection (plain SGD in the paper), so what is
bounded is the gradient that enters its moments and not the step itself; the memory is any buffer of
`memory/example_buffer.py`. The references take one more gradient of the trained parameters, for the length of a step.
"""

from __future__ import annotations

import torch
from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import State
from cmt_cli.core.setting_checks import positive
from cmt_cli.core.stream import Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.methods.replay.rehearsal import Rehearsal, drawn, replayed_rows
from cmt_cli.training.gradient_projection import Gradient, project_on_half_space, reference_gradient


class AGem(Rehearsal):
    """Projects the gradient so that the old examples' average loss does not grow."""

    trains_sharded = (Lora,)

    def __init__(
        self, *, trainable: Trainable, buffer: ExampleBuffer, reference_rows: int, micro_batch_size: int, seed: int
    ) -> None:
        """`reference_rows` are drawn in each step and read in parts of `micro_batch_size`."""
        super().__init__(trainable=trainable, buffer=buffer, seed=seed)
        self._reference_rows = int(positive(reference_rows, "method.reference_rows"))
        self._micro_batch_size = int(positive(micro_batch_size, "method.micro_batch_size"))
        self._step = 0
        self._rows: dict[int, list[Row]] | None = None
        self._parts = MemoryParts()

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        super().before_task(learner, task)
        self._step = 0
        self._rows = None

    @override
    def adjust_gradients(self, learner: Learner) -> None:
        """Project the gradient, once there are old examples."""
        super().adjust_gradients(learner)
        rows = self.rows_of_tasks(learner)
        if rows:
            for parameter in learner.trainable():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.project([p.grad for p in learner.trainable() if p.grad is not None], learner, rows)
        self._step += 1

    def project(self, gradient: Gradient, learner: Learner, rows: dict[int, list[Row]]) -> None:
        """Change `gradient` in place; `rows` are the old ones by task."""
        project_on_half_space(gradient, self.reference(learner, [row for old in rows.values() for row in old], "all"))

    def reference(self, learner: Learner, rows: list[Row], name: str) -> Gradient:
        """Return the gradient of this step's draw from `rows`; `name` tells the draws of a step apart."""
        chosen = drawn(rows, min(self._reference_rows, len(rows)), self.generator(f"reference {name}", self._step))
        return reference_gradient(learner, chosen, micro_batch_size=self._micro_batch_size, parts=self._parts)

    def rows_of_tasks(self, learner: Learner) -> dict[int, list[Row]]:
        """Return the old rows by the index of their task."""
        if self._rows is None:
            entries = self.buffer.entries
            self._rows = {
                task: replayed_rows(learner, (entry.example for entry in entries if entry.task == task))
                for task in sorted({entry.task for entry in entries})
            }
        return self._rows

    @override
    def state_dict(self) -> State:
        return {**super().state_dict(), "step": self._step}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._step = state["step"]
        self._rows = None

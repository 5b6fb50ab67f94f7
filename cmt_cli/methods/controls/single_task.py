"""One model per task, each started from the base model: what a task gives where it neither helps nor hurts another.

    theta_t = fine-tuning of theta_0 on task t alone;    a question is answered with the theta_t of its task

The control without transfer and without forgetting ("SingleFT" in TRACE, Wang et al. 2023, arXiv 2310.06762). Before
each task the trained parameters are set back to theta_0, exactly; a task's values are kept on the CPU when the next one
begins, and put in place of the newest for its questions (`core/parameter_values.py`). A question's task is told, or the
one under which the question has the lowest perplexity (`per_task.py`). Before the first task the base model
answers. `NewestTask` is the same without the past models: the newest one answers every question.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.parameter_values import Values, from_state, num_bytes, swapped_in, to_state, trainable_parameters
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.methods.controls.per_task import PerTaskPredictor
from cmt_cli.methods.sequential.finetune import FineTune

CPU = torch.device("cpu")


class NewestTask(FineTune):
    """Trains the chosen parameters anew for each task and keeps the newest version alone."""

    keeps_values_by_name = True

    def __init__(self, *, trainable: Trainable) -> None:
        """`trainable` says which parameters every task has of its own."""
        super().__init__(trainable=trainable)
        self._start: Values = {}

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make the parameters trainable and keep where they start."""
        super().before_stream(learner, episodes, fit)
        self._start = values_on_cpu(learner)

    @override
    @torch.no_grad()
    def before_task(self, learner: Learner, task: Task) -> None:
        """Set the parameters back to the start.

        Raises UserError where other parameters are trained than before the stream.
        """
        super().before_task(learner, task)
        parameters = trainable_parameters(learner)
        if parameters.keys() != self._start.keys():
            raise UserError(
                "One model per task needs the same trained parameters in every task, but something adds or freezes "
                "some from task to task. Leave out the method that grows the model."
            )
        for name, parameter in parameters.items():
            parameter.copy_(self._start[name])


class SingleTask(NewestTask):
    """Trains the chosen parameters anew for each task and keeps all versions."""

    answers_with = "the values of one task after the other, of which each question gets those of its task"

    def __init__(self, *, trainable: Trainable) -> None:
        """`trainable` says which parameters every task has of its own."""
        super().__init__(trainable=trainable)
        self._past: list[Values] = []  # of all tasks before the one whose values the model holds
        self._num_tasks = 0

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Keep the last task's parameters and set them back to the start."""
        if self._num_tasks > len(self._past):
            self._past.append(values_on_cpu(learner))
        super().before_task(learner, task)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        super().after_task(learner, task)
        self._num_tasks += 1

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        """Return the base model before the first task, then what answers with the parameters of a question's task."""
        if self._num_tasks == 0:
            return learner

        def select(task: int) -> AbstractContextManager[None]:
            is_newest = task == len(self._past)
            return contextlib.nullcontext() if is_newest else swapped_in(learner, self._past[task])

        return PerTaskPredictor(learner, select, self._num_tasks)

    @override
    def model_alone(self, learner: Learner, task_index: int) -> Learner:
        """Return the learner while there is one task: every question is one of it then."""
        return learner if self._num_tasks == 1 else super().model_alone(learner, task_index)

    @override
    def state_dict(self) -> State:
        """Return the past tasks' parameters; the newest are the learner's, the start follows from the settings."""
        kept: State = {**super().state_dict(), "num_tasks": self._num_tasks, "num_past": len(self._past)}
        for task, values in enumerate(self._past):
            kept |= to_state(values, f"past.{task}.")
        return kept

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._num_tasks = state["num_tasks"]
        self._past = [from_state(state, f"past.{task}.", CPU) for task in range(state["num_past"])]

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the parameters of past tasks: all but the newest."""
        return super().storage_bytes() + sum(num_bytes(values.values()) for values in self._past)


def values_on_cpu(learner: Learner) -> Values:
    """Return copies of the trainable parameters in float32, without a second copy on the learner's device."""
    return {n: p.detach().to(CPU, torch.float32, copy=True) for n, p in trainable_parameters(learner).items()}

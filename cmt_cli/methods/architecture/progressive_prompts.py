"""Progressive prompts: a new soft prompt for each task, in front of the frozen ones of the tasks before.

    input of task t: [P_t; P_{t-1}; ...; P_1; x];    only P_t is trained

Razdaibiedina et al. 2023, "Progressive Prompts: Continual Learning for Language Models" (arXiv 2301.12314). Later
prompts never change what earlier ones do to their own task, and later tasks can use the earlier prompts. Optional, as
in the authors' code for T5: P_t + W_2 tanh(W_1 P_t + b_1) + b_2 stands for P_t while it is learned, with a network of
the task's own; afterwards the sum is kept and the network dropped.

At test a question of task k gets [P_k; ...; P_1], where the stream tells the task. Where it does not, all prompts
learned so far are used, which is what the newest task was learned with; so earlier tasks may be forgotten then. Before
the first task the base model answers. The virtual tokens grow with the tasks and take that much of each sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.stream import Answer, Episodes, Prompt, Task
from cmt_cli.layers.prompts import SoftPrompt, SoftPrompts
from cmt_cli.methods.controls.per_task import PerTaskPredictor
from cmt_cli.methods.sequential.finetune import FineTune


class ProgressivePrompts(FineTune):
    """Trains one soft prompt per task and keeps the older ones as they are."""

    def __init__(self, *, trainable: SoftPrompt, reparametrization: int | None) -> None:
        """`trainable` is the prompt that each task adds; `reparametrization` is the network's width, None for none.

        Raises UserError for anything but a soft prompt.
        """
        super().__init__(trainable=trainable)
        if not isinstance(trainable, SoftPrompt):
            raise UserError(
                f"Progressive prompts are soft prompts, but what is trained is {type(trainable).__name__}. "
                "Use trainable@method.trainable=prompt."
            )
        self._prompt = trainable
        self._reparametrization = reparametrization
        self._learner: Learner | None = None
        self.prompts = SoftPrompts()

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Make room for prompts in the model: none belongs to no task."""
        self.device = learner.device
        self._learner = learner
        learner.add_prefix(self.prompts)

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Add the task's prompt and freeze the older ones."""
        super().before_task(learner, task)
        self._grow(learner)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        """Keep of the network what it made of the prompt."""
        super().after_task(learner, task)
        self.prompts.fold()

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        """Return the base model before the first task, then what answers with the prompts up to a question's task."""
        num_tasks = len(self.prompts.prompts)
        if num_tasks == 0:
            return learner
        per_task = PerTaskPredictor(learner, lambda task: self.prompts.using(task + 1), num_tasks)
        return UntoldIsNewest(per_task, num_tasks)

    @override
    def model_alone(self, learner: Learner, task_index: int) -> Learner:
        """Return the learner: a question without a task gets all prompts, which the model holds."""
        return learner

    @override
    def state_dict(self) -> State:
        """Return the number of prompts and whether the newest has its network; the learner saves their values."""
        return {
            **super().state_dict(),
            "num_prompts": len(self.prompts.prompts),
            "has_network": self.prompts.network is not None,
        }

    @override
    def load_state_dict(self, state: State) -> None:
        """Add prompts, or take newer ones away, until there are as many as were saved."""
        assert self._learner is not None, "before_stream comes first"
        super().load_state_dict(state)
        while len(self.prompts.prompts) < state["num_prompts"]:
            self._grow(self._learner)
        while len(self.prompts.prompts) > state["num_prompts"]:
            self.prompts.remove()
        if not state["has_network"]:
            self.prompts.network = None

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the prompts of past tasks: all but the newest."""
        return super().storage_bytes() + num_bytes(list(self.prompts.prompts.values())[:-1])

    def _grow(self, learner: Learner) -> None:
        self._prompt.grow(learner, self.prompts, width=self._reparametrization)


class UntoldIsNewest(Predictor):
    """Answers a question without a task as one of the newest."""

    def __init__(self, per_task: PerTaskPredictor, num_tasks: int) -> None:
        """`per_task` answers for tasks 0 to `num_tasks` - 1."""
        self._per_task = per_task
        self._newest = num_tasks - 1

    @override
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        return self._per_task.generate(self._told(prompts), decoding)

    @override
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        return self._per_task.loglikelihood(self._told(prompts), targets)

    def _told(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        return [prompt if prompt.task is not None else replace(prompt, task=self._newest) for prompt in prompts]

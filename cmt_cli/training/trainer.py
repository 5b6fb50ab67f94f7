"""The gradient loop of a run: what a method's `fit` does, how it is saved, resumed and stopped.

`Trainer.bind` ties the loop to the outermost method and to one phase of the run, so that a composed method keeps every
member's hooks. The loop itself is in `training/loop.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget, Fit, Objective, ParamGroup, State
from cmt_cli.core.process_group import DISTRIBUTED
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Example
from cmt_cli.training.loop import GradientLoop, LoopSettings
from cmt_cli.training.precision import check_precision, refuse_float16_weights
from cmt_cli.training.schedules import check_budget
from cmt_cli.training.supervised import SupervisedObjective


class FitSession(Protocol):
    """One phase of a run as the loop sees it: where it saves, reports, and learns that it should stop."""

    def load(self) -> State | None:
        """Return the state that an interrupted fit of this phase saved last, or None."""

    def save(self, state: State) -> None:
        """Keep a state so that it survives the process."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Record the means of the loss terms since the last call, after `step` steps."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps are done."""

    def note_trained(self, groups: Sequence[ParamGroup]) -> None:
        """Record how many parameters a fit trains."""

    def stop_requested(self) -> bool:
        """Return whether the loop should save and raise Interrupted; a collective, on which all ranks agree."""


class Trainer:
    """Settings of every gradient fit of a run."""

    def __init__(
        self,
        *,
        task: Budget,
        meta: Budget,
        micro_batch_size: int | None,
        precision: str,
        max_steps: int | None,
        log_every_steps: int,
        checkpoint_every_seconds: float,
        seed: int,
        distributed: str = "none",
        checkpoint_layers: bool | None = None,
    ) -> None:
        """Keep the budgets of tasks and of meta-training; raise UserError for values that cannot work.

        `micro_batch_size` None takes the effective batch at once; `max_steps` caps every fit. `distributed` says how a
        run is distributed, one of `DISTRIBUTED`; the process group is the learner's `processes`. With
        `checkpoint_layers` the backward pass runs decoder layers again instead of keeping their activations; None, as
        in records of older runs, is no.
        """
        self._task = check_budget(task, "trainer.task")
        self._meta = check_budget(meta, "trainer.meta")
        for name, value in (("micro_batch_size", micro_batch_size), ("log_every_steps", log_every_steps)):
            if value is not None and value < 1:
                raise UserError(f"trainer.{name}={value}, but it must be at least 1.")
        self.distributed = one_of(distributed, DISTRIBUTED, "trainer.distributed")
        if max_steps is not None and max_steps < 0:
            raise UserError(f"trainer.max_steps={max_steps}, but it must be at least 0, or null for no cap.")
        self._settings = LoopSettings(
            micro_batch_size=micro_batch_size,
            precision=check_precision(precision),
            max_steps=max_steps,
            log_every_steps=log_every_steps,
            checkpoint_every_seconds=checkpoint_every_seconds,
            checkpoint_layers=bool(checkpoint_layers),
            seed=seed,
        )

    def bind(
        self,
        learner: Learner,
        method: Method,
        session: FitSession,
        *,
        between_steps: Callable[[int], None] | None = None,
    ) -> Fit:
        """Return the loop for one hook of `method`, the outermost one; a second fit through it raises RuntimeError.

        `between_steps` may look at the model, see `GradientLoop.run`, and leaves it and the generators as they are.
        """
        budgets = (self._task, self._meta)
        return BoundFit(self._settings, budgets, learner=learner, method=method, session=session, watch=between_steps)


class BoundFit:
    """A gradient loop that one hook may use once: a resumed phase could not tell two fits apart."""

    def __init__(
        self,
        settings: LoopSettings,
        budgets: tuple[Budget, Budget],
        *,
        learner: Learner,
        method: Method,
        session: FitSession,
        watch: Callable[[int], None] | None,
    ) -> None:
        """Bind the loop with the budgets of a task and of meta-training; see `Trainer.bind`."""
        self._settings = settings
        self._task, self._meta = budgets
        self._learner = learner
        self._method = method
        self._session = session
        self._watch = watch
        self._is_used = False

    def on_examples(self, examples: Sequence[Example], budget: Budget | None = None) -> None:
        """Train on examples with the method's hooks, for the task budget unless one is given."""
        self._claim()
        objective = SupervisedObjective(
            self._learner,
            self._method,
            examples,
            progress=lambda done, total: self._session.progress("Tokenizing", done, total),
        )
        loop = self._loop(objective, budget or self._task)
        loop.run(
            "Learning",
            adjust_gradients=self._adjust_gradients,
            lr_scale=self._method.lr_scale,
            between_steps=self._watch,
        )

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        """Minimize a method's own objective, for the meta-training budget unless one is given."""
        self._claim()
        world_size = self._learner.processes.world_size
        if world_size > 1 and not objective.is_data_parallel:
            warnings.warn(
                f"{type(self._method).__name__} trains on steps that cannot be divided: each of the {world_size} "
                "processes computes them whole. The result is the same, and no sooner.",
                CmtWarning,
                stacklevel=2,
            )
        loop = self._loop(objective, budget or self._meta)
        loop.run(
            "Meta-training" if budget is None else "Learning",
            adjust_gradients=lambda: None,
            lr_scale=lambda step, num_steps: 1.0,
            between_steps=self._watch,
        )

    def _claim(self) -> None:
        if self._is_used:
            raise RuntimeError(
                "A hook may call fit once; split the work over before_stream and learn, or join the items."
            )
        refuse_float16_weights(self._learner.dtype)
        self._is_used = True

    def _adjust_gradients(self) -> None:
        self._method.adjust_gradients(self._learner)

    def _loop(self, objective: Objective, budget: Budget) -> GradientLoop:
        self._session.note_trained(objective.param_groups())
        return GradientLoop(
            objective,
            check_budget(budget, "budget"),
            settings=self._settings,
            method=self._method,
            session=self._session,
            learner=self._learner,
        )

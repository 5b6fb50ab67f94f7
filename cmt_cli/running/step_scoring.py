"""Scores inside a task: every n optimizer steps of its fit, the tests of the tasks so far are evaluated.

The method answers as it would at the end of the task (`Method.predictor` with the task's index), but before
`after_task`: what a method merges or freezes there is not done yet, and a method that keeps parts for each task may
answer the task's own questions with older parts. Old tasks' scores, which the metrics use, are what they are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cmt_cli.running.session import Session
from cmt_cli.training.seeding import generator_state, restore_generators

if TYPE_CHECKING:
    from cmt_cli.evaluation.evaluator import Evaluator


class StepScoring:
    """Asks between the steps of one task's fit; the generators are afterwards as they were."""

    def __init__(self, session: Session, evaluator: Evaluator, *, task_index: int, every_steps: int) -> None:
        """Ask the tests of tasks 0 to `task_index` after each `every_steps` steps."""
        self._session = session
        self._evaluator = evaluator
        self._task_index = task_index
        self._every_steps = every_steps
        tests = session.stream.tests
        self._tests = [test for test in tests if test.learned_at is not None and test.learned_at <= task_index]

    def __call__(self, step: int) -> None:
        """Evaluate, where it is time; raise Interrupted where a stop was requested."""
        if step % self._every_steps or not self._tests:
            return
        session, started = self._session, time.monotonic()
        generators = generator_state()
        try:
            scores = self._evaluator.evaluate(
                session.method.predictor(session.learner, self._task_index),
                self._tests,
                row=self._task_index + 1,
                progress=session.progress,
                stop_requested=session.stop_requested,
                processes=session.processes,
            )
        finally:
            restore_generators(generators)
        session.add_step(self._task_index, step, scores, seconds=time.monotonic() - started)

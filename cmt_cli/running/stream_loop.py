"""The one loop over tasks: what happens before the stream, then learn and evaluate task after task.

    row 0 of the score matrix:      the method before the stream, on every test
    row i of the score matrix:      after task i (counted from 1), on every test

A run can be killed anywhere and called again: what is saved is loaded, the phase that was cut short is repeated or, in
a gradient fit, continued from its last checkpoint. On a CPU the result is the uninterrupted run's, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cmt_cli.core.prompt_format import collected_cuts
from cmt_cli.data.files.stream_content import identified
from cmt_cli.evaluation.changing_facts import with_false_updates
from cmt_cli.evaluation.probes import NoProbes, Probes, with_columns
from cmt_cli.running.baselines import BaselineRun
from cmt_cli.running.inputs import refuse_other_inputs, refuse_other_probes, tell_other_numbers
from cmt_cli.running.ledger import evaluate_phase, learn_phase
from cmt_cli.running.loggers import Logger
from cmt_cli.running.session import Session
from cmt_cli.running.step_scoring import StepScoring
from cmt_cli.running.store import RunStore

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.core.result import RunResult
    from cmt_cli.core.stream import Stream, Task, TestSet
    from cmt_cli.evaluation.evaluator import Evaluator
    from cmt_cli.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked in each row of the matrix: the stream's own tests by the evaluator, and the probes."""

    evaluator: Evaluator
    tests: Sequence[TestSet]
    probes: Probes


def run_stream(
    *,
    learner: Learner,
    method: Method,
    stream: Stream,
    trainer: Trainer,
    evaluator: Evaluator,
    store: RunStore,
    loggers: Sequence[Logger],
    baselines: Mapping[str, BaselineRun] | None = None,
    probes: Probes | None = None,
) -> RunResult:
    """Run a method over a stream, continuing where the folder stops; return the complete run's record.

    `store` must be entered. `baselines` are the runs, by method, that some metrics compare with. `probes` are asked in
    each row of the matrix, besides the stream's own tests.
    Raises StoppedBySignal when a signal requested a stop; the state is saved then.
    """
    finished = store.result()
    if finished is not None:
        refuse_other_inputs(finished, store.folder, stream=stream)
        if finished.status == "complete":
            return finished
        refuse_other_inputs(finished, store.folder, models=learner.files or None)
        tell_other_numbers(finished, learner)
    probes = probes or NoProbes()
    facts = probes.prepare()
    refuse_other_probes(finished, facts, store.folder)
    own_tests, stream = stream.tests, with_columns(identified(stream), facts)
    session = Session(learner, method, stream=stream, store=store, loggers=loggers, baselines=baselines or {})
    session.facts = replace(session.facts, probes=facts)
    asking = Asking(evaluator, own_tests, probes)
    with session:
        learned = session.begin()
        if learned is None:
            meta_train(session, trainer)
            learned = -1
        if learned == -1:
            evaluate(session, asking, -1)
        for task in stream.tasks:
            if task.index > learned:
                learn(session, trainer, task, evaluator)
            if task.index >= learned:
                evaluate(session, asking, task.index)
    assert session.result is not None
    return session.result


def meta_train(session: Session, trainer: Trainer) -> None:
    """Let the method prepare itself on the episodes, before any task."""
    with session.phase(learn_phase(-1)):
        fit = trainer.bind(session.learner, session.method, session)
        session.method.before_stream(session.learner, session.stream.episodes, fit)
    session.end_learning(-1)


def learn(session: Session, trainer: Trainer, task: Task, evaluator: Evaluator) -> None:
    """Let the method absorb one task; the evaluator may score between the steps of its fit."""
    learner, method, every = session.learner, session.method, evaluator.every_steps
    scoring = None if every is None else StepScoring(session, evaluator, task_index=task.index, every_steps=every)
    with session.phase(learn_phase(task.index)) as record:
        fit = trainer.bind(learner, method, session, between_steps=scoring)
        method.before_task(learner, task)
        method.learn(learner, task, fit)
        method.after_task(learner, task)
        record.documents = len(task.documents)
    session.end_learning(task.index)


def evaluate(session: Session, asking: Asking, task_index: int) -> None:
    """Fill the row of the score matrix after one task, unless the folder has it."""
    if task_index + 1 in session.store.cells():
        return
    with session.phase(evaluate_phase(task_index)) as record:
        predictor = session.method.predictor(session.learner, task_index)
        with collected_cuts() as own_cut:
            scores = asking.evaluator.evaluate(
                predictor,
                asking.tests,
                row=task_index + 1,
                progress=session.progress,
                stop_requested=session.stop_requested,
                processes=session.processes,
            )
            started = time.monotonic()
            probed = asking.probes.evaluate(
                predictor,
                session.learner,
                row=task_index + 1,
                num_rows=len(session.stream.tasks) + 1,
                progress=session.progress,
                stop_requested=session.stop_requested,
                processes=session.processes,
            )
            record.probe_seconds = time.monotonic() - started if probed else 0.0
            record.probe_questions = sum(len(score.predictions) for score in probed)
            scores += probed
        cut = set().union(*session.processes.gather(own_cut))
        record.truncated = {score.test: sum(p["id"] in cut for p in score.predictions) for score in scores}
        record.questions = sum(len(score.predictions) for score in scores)
    session.add_row(
        task_index, with_false_updates(scores, session.stream.tests, task_index + 1, session.store.predictions)
    )

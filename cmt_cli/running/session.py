"""One attempt at a run: its phases with their seeds, times and checkpoints, and what the gradient loop needs of it.

Each phase starts from generators seeded by the run's seed and the phase's name, so that a phase that is repeated or
reached after a resume draws the same numbers. Evaluation changes nothing that is learned, so only `before_stream` and
`learn` end with a saved state; a row of the matrix is its own record. Every rank has a session; only what rank 0's
store and loggers receive is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING

from cmt_cli.config import references
from cmt_cli.core.exceptions import Interrupted, told, writing
from cmt_cli.core.objectives import ParamGroup, State
from cmt_cli.core.result import RunResult
from cmt_cli.core.stream import Stream
from cmt_cli.running.baselines import BaselineRun
from cmt_cli.running.checkpoint import Checkpoint
from cmt_cli.running.ledger import Ledger, PhaseRecord, evaluate_phase, learn_phase, peak_memory_bytes
from cmt_cli.running.loggers import Logger
from cmt_cli.running.record import Facts, Measured, make_result, row_values
from cmt_cli.running.restore import joined_state, restore
from cmt_cli.running.scores import rows_told
from cmt_cli.running.signals import StoppedBySignal, StopSignals
from cmt_cli.running.store import RunStore, ScoredTest
from cmt_cli.training.seeding import seed_generators

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method


class Session:
    """Everything about a run that is neither learning nor answering. Enter it for the time of `run_stream`."""

    def __init__(
        self,
        learner: Learner,
        method: Method,
        *,
        stream: Stream,
        store: RunStore,
        loggers: Sequence[Logger],
        baselines: Mapping[str, BaselineRun],
    ) -> None:
        """Count the model's parameters, which must be the untouched base model's."""
        self.learner = learner
        self.method = method
        self.stream = stream
        self.store = store
        self.loggers = loggers
        self.processes = learner.processes
        self._baselines = baselines
        self.facts = Facts.of(learner, stream, store.identity, store.result())
        self.ledger = Ledger(store.folder / "timings.json")
        self.result: RunResult | None = None
        self.phase_name = ""
        self._signals = StopSignals()
        self._record = PhaseRecord()
        self._started = 0.0
        self._steps_before = 0
        self._saved_fit: Checkpoint | None = None
        self._is_restored = False  # whether the method holds state, whose bytes count

    def __enter__(self) -> Session:
        """Catch signals."""
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write how the run ended and close the loggers; raise an interruption on, with what to do next."""
        try:
            result = self._end(error)
        finally:
            self._signals.__exit__(None, None, None)
        for logger in self.loggers:
            logger.finish(result, self.store)
        if isinstance(error, Interrupted):
            message = f"Stopped {self._place()}, {error}. Repeat the command or `cmt resume {self.store.folder}`."
            received = [number for number in self.processes.gather(self._signals.received) if number]
            raise StoppedBySignal(message, received[0] if received else 0) from error

    def _end(self, error: BaseException | None) -> RunResult:
        status = "complete"
        if error is not None:
            status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt | SystemExit) else "failed"
        line = None if error is None else told(error) or str(error).strip().split("\n")[0] or type(error).__name__
        line = line and references.hidden(line, self.store.config)
        result = self.result = self._record_of(status)
        # What ended the run is what its user has to read, not that a full disk had no room for the record either.
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self.event(status, {"error": line} if line else {})
            self.store.write_result(result, error=line if status == "failed" else None)  # last: a complete run is left
        return result

    def begin(self) -> int | None:
        """Start the loggers and load what the folder holds; return the last task learned, see `restore`.

        Rows and records of phases that will be repeated are forgotten.
        """
        self.event("start", {"is_resumed": self.store.num_events > 0, "num_processes": self.processes.world_size})
        identity, data = self.store.identity, self.stream.provenance
        for logger in self.loggers:
            logger.start(
                self.store.folder.name,
                group=f"{identity.method}-{identity.data}-{identity.model}",
                tags=[identity.method, identity.data, identity.model, data.source, data.split],
                config={
                    **self.store.config,
                    "data_source": data.source,
                    "data_split": data.split,
                    "config_hash": identity.config_hash,
                },
                folder=self.store.folder,
            )
        learned = restore(self.learner, self.method, episodes=self.stream.episodes, store=self.store)
        last = -2 if learned is None else learned
        self.processes.run_on_rank_zero(lambda: self.store.restore_rows(last))
        self.store.drop_rows_after(last + 1)
        kept = range(-1, last + 1)
        self.ledger.keep({learn_phase(i) for i in kept} | {evaluate_phase(i) for i in kept})
        self._is_restored = learned is not None
        result = self.write("running")
        if self.processes.rank == 0:
            self.store.state.forget_old()
            for row in sorted({*self.store.cells()} - rows_told(self.store.folder)):  # killed before it was told
                self._tell_row(row, result)
        return learned

    @contextmanager
    def phase(self, name: str) -> Iterator[PhaseRecord]:
        """Seed, time and record one phase; raise Interrupted before it where a stop was requested."""
        if self.stop_requested():
            raise Interrupted("between two phases")
        self.phase_name = name
        self._saved_fit = self.store.load_fit(name)
        self.processes.any()  # process 0 may write anew only when all have read
        if self._saved_fit is None and self.processes.rank == 0:
            self.store.fit.clear()  # of a phase that has ended, whose process died before it could
        self._record = PhaseRecord(**self._saved_fit.notes) if self._saved_fit is not None else PhaseRecord()
        self._steps_before = sum(r.steps for other, r in self.ledger.phases.items() if other != name)
        self._started = time.monotonic() - self._record.seconds
        seed_generators(_phase_seed(self.store.identity.seed, name))
        self.event("phase", {"phase": name, "seconds_before": round(self._record.seconds, 3)})
        self.progress("learning" if name.startswith("learn:") else "starting", 0, 0)
        with writing(self.store.folder / "memory"):  # a method's own files, which it writes as it likes
            yield self._record
        self._measure()
        self.ledger.phases[name] = self._record
        if self.processes.rank == 0:
            self.ledger.save()

    def end_learning(self, task_index: int) -> None:
        """Save the state after a task; -1 is the state after meta-training."""
        self.store.save_state(learn_phase(task_index), joined_state(self.learner, self.method))
        self._is_restored = True
        self.write("running")

    def add_row(self, task_index: int, scores: Sequence[ScoredTest]) -> None:
        """Keep and log one row of the matrix."""
        row, scored = task_index + 1, {score.test for score in scores}
        missing = {test.name: test.metric for test in self.stream.tests if test.name not in scored}
        self.store.add_row(row, scores, missing)
        self._tell_row(row, self.write("running"))

    def _tell_row(self, row: int, result: RunResult) -> None:
        values = row_values(result, row, self.stream.tests)
        values |= {f"truncated/{test}": float(n) for test, n in result.truncated.items()}
        self.event("row", {"row": row, "values": values})
        for logger in self.loggers:
            logger.row(row, values)

    def add_step(self, task_index: int, step: int, scores: Sequence[ScoredTest], *, seconds: float) -> None:
        """Keep and log the scores after some steps inside a task; `seconds` went into them."""
        self._record.eval_seconds += seconds
        self._record.questions += sum(len(score.predictions) for score in scores)
        self.store.add_step(task_index, step, scores)
        own = {score.test: score.scores for score in scores}
        found = {test.name: own.get(test.name, {}).get(test.metric) for test in self.stream.tests}
        values = {test: value for test, value in found.items() if value is not None}
        self.event("step_scores", {"phase": self.phase_name, "step": step, "values": values})
        for logger in self.loggers:
            logged = {f"inside_task/{test}": value for test, value in values.items()}
            logger.log(logged, self._steps_before + step)

    def write(self, status: str, *, error: str | None = None) -> RunResult:
        """Write `result.json` from what the folder holds; return the record."""
        self.result = self._record_of(status)
        self.store.write_result(self.result, error=error)
        return self.result

    def _record_of(self, status: str) -> RunResult:
        cost = self.ledger.cost(storage_bytes=self.method.storage_bytes() if self._is_restored else 0)
        measured = Measured(
            self.store.cells(), self.store.steps(), self._baselines, self.store.signatures(), self.ledger.truncated()
        )
        return make_result(self.facts, self.stream, measured, cost=cost, status=status)

    def event(self, kind: str, values: Mapping[str, object]) -> None:
        """Append to the run's event log."""
        self.store.event(kind, values)

    def load(self) -> State | None:
        """Return the state that an interrupted fit of this phase saved last, or None."""
        saved, self._saved_fit = self._saved_fit, None  # it may be large; the fit reads it once
        return saved.state if saved is not None else None

    def save(self, state: State) -> None:
        """Keep a fit's state, with what the phase has used so far."""
        self._measure()
        self.store.save_fit(self.phase_name, state, asdict(self._record))

    def log(self, values: dict[str, float], step: int) -> None:
        """Record the gradient loop's values after `step` steps of this phase."""
        self._record.steps = step
        self._record.tokens = int(values.get("tokens", self._record.tokens))
        self.event("train", {"phase": self.phase_name, "step": step, "values": values})
        for logger in self.loggers:
            logger.log({f"train/{name}": value for name, value in values.items()}, self._steps_before + step)

    def progress(self, description: str, done: int, total: int) -> None:
        """Show how far the phase is."""
        for logger in self.loggers:
            logger.progress(f"{self._heading()}: {description}", done, total)

    def stop_requested(self) -> bool:
        """Return whether any rank received a stop signal; a collective call, made by all ranks."""
        return any(self.processes.any(self._signals.requested))

    def note_trained(self, groups: Sequence[ParamGroup]) -> None:
        """Count what a fit trains."""
        count = sum(p.numel() for p in {p for group in groups for p in group.parameters})
        self._record.trainable_parameters = max(self._record.trainable_parameters, count)

    def _measure(self) -> None:
        self._record.seconds = time.monotonic() - self._started
        self._record.peak_memory_bytes = max(self._record.peak_memory_bytes, peak_memory_bytes(self.learner.device))

    def _place(self) -> str:
        """Return where the run is, as the middle of a sentence."""
        kind, _, index = self.phase_name.partition(":")
        if index in ("", "-1"):
            return "before the first task"
        task = f"task {int(index) + 1} of {len(self.stream.tasks)}"
        return f"in {task}" if kind == "learn" else f"in the evaluation after {task}"

    def _heading(self) -> str:
        _, _, index = self.phase_name.partition(":")
        return f"Task {int(index) + 1}/{len(self.stream.tasks)}" if index not in ("", "-1") else "Before the stream"


def _phase_seed(seed: int, phase: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{phase}".encode()).digest()[:7], "big")

"""A run's folder, the contract that other tools read.

    config.yaml        resolved config             result.json   final record, schema-versioned
    scores.csv         every cell of the matrix    predictions/  row_000.jsonl is the row before the stream
    steps/             task_001.csv holds scores inside the first task, where `evaluator.every_steps` is set
    events.jsonl       everything logged           timings.json  what each phase used
    signatures.json    what scores must be quoted with, where a metric has settings of its own (BLEU)
    checkpoint/        state/ and fit/, see checkpoint.py         memory/ the method's own files

Each file is written whole or not at all; a folder has one writer at a time. A row is in the matrix when `scores.csv`
holds it, a task is learned when the state after it is saved.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from cmt_cli.core.atomic import append_line, remove_leftovers, temporary, write_json, write_text
from cmt_cli.core.exceptions import CmtWarning, UserError, counted, writing
from cmt_cli.core.objectives import State
from cmt_cli.running.checkpoint import Checkpoint, DamagedCheckpointError, Slot
from cmt_cli.running.identity import Identity
from cmt_cli.running.lock import RunLock
from cmt_cli.running.run_files import predictions_path, read_predictions, read_result, reading, refuse_links
from cmt_cli.running.scores import Cells, cells_of, read_cells, read_steps, write_cells

if TYPE_CHECKING:
    from cmt_cli.core.result import RunResult

_LEVELS = 3  # of folders in a run's folder that are written to: checkpoint/state/1


class ScoredTest(Protocol):
    """What an evaluator reports of one test: its scores by metric and its predictions, ready for JSON."""

    @property
    def test(self) -> str:
        """Return the test's name."""

    @property
    def scores(self) -> Mapping[str, float | None]:
        """Return the test's scores by metric."""

    @property
    def predictions(self) -> Sequence[Mapping[str, Any]]:
        """Return one record per question."""

    @property
    def signatures(self) -> Mapping[str, str]:
        """Return what scores must be quoted with, by metric."""


class RunStore:
    """One run folder. Writing needs the lock: `with RunStore(...) as store`; reading does not."""

    def __init__(self, folder: Path, identity: Identity, config: Mapping[str, Any]) -> None:
        """Name the folder, which is made when the store is entered; `config` is the resolved config.

        Raises UserError where a link in the folder leads out of it.
        """
        refuse_links(folder)
        self.folder = folder
        self.identity = identity
        self.config = config
        self.state = Slot(folder / "checkpoint" / "state")
        self.fit = Slot(folder / "checkpoint" / "fit")
        self._lock = RunLock(folder)
        self.num_events = 0

    def __enter__(self) -> RunStore:
        """Take the folder's lock, write the config and mend the event log's end."""
        refuse_links(self.folder)
        (self.folder / "predictions").mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            if not (self.folder / "config.yaml").exists():
                text = yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)
                write_text(self.folder / "config.yaml", text)
            remove_leftovers(self.folder, levels=_LEVELS, is_ours=True)
            _own(self.folder / "events.jsonl", self.folder / "memory")
            self.num_events = _trim_events(self.folder / "events.jsonl")
        except BaseException:
            self._lock.release()  # __exit__ is not called when entering fails
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self._lock.release()

    def method_folder(self, *, empty: bool) -> Path:
        """Return the folder for the method's own files, emptied when nothing of the run is to be kept."""
        folder = self.folder / "memory"
        if empty and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        return folder

    def result(self) -> RunResult | None:
        """Return the record as last written, or None for a new run."""
        return read_result(self.folder)

    def write_result(self, result: RunResult, *, error: str | None = None) -> None:
        """Write `result.json`; `error` is the first line of what ended a failed run."""
        record = result.to_json()
        write_json(self.folder / "result.json", record if error is None else {**record, "error": error})

    def save_state(self, phase: str, state: State) -> None:
        """Save what is carried across tasks at the end of a phase, and drop the state of the fit inside it."""
        self._lock.verify()
        self.state.save(state, tag=phase)
        self.fit.clear()

    def load_state(self, phase: str | None = None) -> Checkpoint | None:
        """Return the newest whole state, of `phase` if given, with the phase that it ends; None where none was saved.

        Raises UserError where rows of the matrix say that there was a state which is gone or damaged.
        """
        try:
            saved = self.state.load(phase)
            if saved is None and self.cells():
                raise DamagedCheckpointError(f"'{self.folder / 'checkpoint' / 'state'}' holds no saved state.")
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(
                f"The run '{self.folder}' has scores, but the state that they are of cannot be loaded: {error} Nothing "
                "was changed. Put the files back, or move the folder away and repeat the command to make the run again."
            ) from error
        return saved

    def save_fit(self, phase: str, state: State, notes: dict[str, Any]) -> None:
        """Save the state inside a phase's fit."""
        self._lock.verify()
        self.fit.save(state, tag=phase, notes=notes)

    def load_fit(self, phase: str) -> Checkpoint | None:
        """Return the newest whole state inside this phase's fit."""
        try:
            return self.fit.load(tag=phase)
        except DamagedCheckpointError as error:
            warnings.warn(f"{error} The fit starts again at the state before it.", CmtWarning, stacklevel=2)
            return None

    def cells(self) -> Cells:
        """Return the rows of the matrix that are complete."""
        return read_cells(self.folder / "scores.csv")

    def add_row(self, row: int, scores: Sequence[ScoredTest], missing: Mapping[str, str]) -> None:
        """Add a complete row: predictions, then cells. `missing` maps tests without a score to their metric."""
        self._lock.verify()
        lines = [json.dumps(p, ensure_ascii=False, allow_nan=False) for score in scores for p in score.predictions]
        write_text(predictions_path(self.folder, row), "".join(f"{line}\n" for line in lines))
        cells = self.cells()
        cells[row] = {score.test: dict(score.scores) for score in scores}
        cells[row] |= {test: {metric: None} for test, metric in missing.items()}
        found = self.signatures()
        for metric, text in (item for score in scores for item in score.signatures.items()):
            known = found[metric].split("; ") if metric in found else []
            found[metric] = "; ".join(dict.fromkeys([*known, text]))  # tests of other languages have other tokens
        if found:
            write_json(self.folder / "signatures.json", found)
        write_cells(self.folder / "scores.csv", cells)

    def signatures(self) -> dict[str, str]:
        """Return what scores must be quoted with, e.g. sacrebleu's settings, by metric."""
        path = self.folder / "signatures.json"
        if not path.is_file():
            return {}
        with reading(path, "Remove it: then scores have none until they are computed again."):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {name: str(text) for name, text in found.items()}

    def restore_rows(self, last: int) -> None:
        """Take rows that scores.csv lacks, up to `last`, from the record; raise UserError where it lacks them, too."""
        cells, record = self.cells(), self.result()
        kept = {} if record is None else cells_of(record)
        lost = [row for row in range(last + 1) if row not in cells]
        if unknown := [str(row) for row in lost if row not in kept]:
            raise UserError(
                f"'{self.folder / 'scores.csv'}' lacks rows from before the saved state ({', '.join(unknown)}), and "
                "result.json has none of them. Their answers cannot be given again: put the file back, or move the "
                "folder away and repeat the command to make the run again."
            )
        if lost:
            write_cells(self.folder / "scores.csv", {**{row: kept[row] for row in lost}, **cells})
            warnings.warn(
                f"'{self.folder / 'scores.csv'}' lacked {counted(len(lost), 'row')}; result.json had them, and "
                "they were put back.",
                CmtWarning,
                stacklevel=2,
            )

    def drop_rows_after(self, last: int) -> None:
        """Remove the rows above `last`: the state that they belong to is to be learned again."""
        cells = self.cells()
        if any(row > last for row in cells):
            write_cells(self.folder / "scores.csv", {row: cell for row, cell in cells.items() if row <= last})
        for path in (self.folder / "predictions").glob("row_*.jsonl"):
            if int(path.stem.removeprefix("row_")) > last:
                path.unlink()
        for path in (self.folder / "steps").glob("task_*.csv"):
            if int(path.stem.removeprefix("task_")) > last + 1:  # the task after the last row may be half learned
                path.unlink()

    def steps(self) -> dict[int, Cells]:
        """Return the scores inside tasks, by task (index from 0) and number of steps."""
        return read_steps(self.folder)

    def add_step(self, task_index: int, step: int, scores: Sequence[ScoredTest]) -> None:
        """Keep the scores after some steps of a task; a step that is scored again after a resume is written over."""
        path = self.folder / "steps" / f"task_{task_index + 1:03d}.csv"
        path.parent.mkdir(exist_ok=True)
        cells = read_cells(path, time="step")
        cells[step] = {score.test: dict(score.scores) for score in scores}
        write_cells(path, cells, time="step")

    def predictions(self, row: int) -> list[dict[str, Any]]:
        """Return one row's predictions."""
        return read_predictions(self.folder, row)

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one line to `events.jsonl`; non-finite numbers become null."""
        record = {"time": round(time.time(), 3), "event": kind, **{k: _finite(v) for k, v in values.items()}}
        append_line(self.folder / "events.jsonl", json.dumps(record, ensure_ascii=False))
        self.num_events += 1


def _own(*places: Path) -> None:
    """Let files that are written in place, at places and below, be no hard links: `cp -l` may have made a backup."""
    for path in (file for place in places for file in (place, *place.rglob("*"))):
        if path.is_file() and path.stat().st_nlink > 1:
            with writing(path):
                shutil.copyfile(path, temporary(path))
                os.replace(temporary(path), path)


def _trim_events(path: Path) -> int:
    """Cut a torn last line off; return the number of whole lines."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return content.count(b"\n")


def _finite(value: Any) -> Any:
    """Return JSON-safe values: NaN and infinities are no JSON."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return value

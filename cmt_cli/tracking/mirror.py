"""One open W&B run that shows what a run folder holds: the logger's while it runs, the upload's later.

The client's step of a row is the number of its line in `events.jsonl`. A server that knows a run tells its last step,
so that what comes behind it is sent, and nothing twice, whatever was lost before.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wandb

from cmt_cli.core.atomic import write_json
from cmt_cli.core.result import RunResult
from cmt_cli.running.run_files import read_predictions
from cmt_cli.tracking.connection import Mode
from cmt_cli.tracking.figures import draw_curves, draw_matrix
from cmt_cli.tracking.history import EventHistory

DESCRIPTION = "run.json"  # in the run's wandb/: what an upload needs to know
_NUM_PREDICTIONS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What W&B calls a run, and whether its checkpoint is kept there."""

    project: str
    entity: str | None
    name: str
    group: str
    tags: list[str]
    config: dict[str, Any]
    log_artifacts: bool

    def write(self, folder: Path) -> None:
        """Keep it in a run folder."""
        write_json(folder / "wandb" / DESCRIPTION, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read what `write` kept; raise OSError, ValueError or TypeError for anything else."""
        return cls(**json.loads((folder / "wandb" / DESCRIPTION).read_text(encoding="utf-8")))


class Mirror:
    """A W&B run that is open, and what it was not told yet."""

    def __init__(self, run: Any, folder: Path, *, shows_past: bool) -> None:
        """Show `folder` in `run`; with `shows_past` also what was logged before and the server does not have."""
        self.run = run
        self.history = EventHistory(folder)
        self._folder = folder
        self._waiting = deque(self.history.new_rows() if shows_past else ())
        # A run goes on behind its last step, which is where the server has come to; a new one begins at 0.
        self._first = int(run.starting_step)
        if not shows_past:
            self.history.new_rows()

    def has_all(self, result: RunResult) -> bool:
        """Say whether the server held all that is shown of a run when it was opened here."""
        last = self.history.num_lines + 1 if _has_end(result) else self.history.last_shown
        return self._first > last

    def catch_up(self) -> None:
        """Log what the event log has got since the last call."""
        self._waiting += self.history.new_rows()
        while self._waiting:
            line, row = self._waiting.popleft()
            if line >= self._first:
                self.run.log(row, step=line, commit=True)

    def show_end(self, result: RunResult) -> None:
        """Log the matrix, its pictures and the last answers behind the last line, where a resumed run has no row."""
        step = self.history.num_lines + 1
        if step >= self._first and _has_end(result):
            media = {**_matrix(result, self._folder), **_predictions(result, self._folder)}
            self.run.log(media, step=step, commit=True)

    def summarize(self, result: RunResult) -> None:
        """Set the values that tables of runs are sorted by."""
        self.run.summary.update(_summary(result))

    def log_checkpoint(self) -> None:
        """Keep the run's state and record as an artifact."""
        artifact = wandb.Artifact(f"{self._folder.name}-checkpoint", type="model")
        artifact.add_dir(str(self._folder / "checkpoint"), name="checkpoint")
        artifact.add_dir(str(self._folder / "memory"), name="memory")
        for name in ("config.yaml", "result.json", "scores.csv"):
            artifact.add_file(str(self._folder / name))
        self.run.log_artifact(artifact)

    def finish(self, result: RunResult) -> None:
        """End the run, which waits for what is on its way for as long as it was opened with."""
        self.run.finish(exit_code=0 if result.status == "complete" else 1)


def open_run(
    description: Description,
    *,
    mode: Mode,
    address: str,
    identity: Mapping[str, Any],
    client_folder: Path,
    init_seconds: float,
    finish_seconds: float,
) -> Any:
    """Open a run on the server at `address`, or a file for one below `client_folder`; the client's errors travel."""
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_job_creation=True,
        base_url=address,
        init_timeout=init_seconds,
        finish_timeout=finish_seconds,
    )
    named = {key: value for key, value in asdict(description).items() if key != "log_artifacts"}
    run = wandb.init(**named, **identity, mode=mode, dir=str(client_folder), job_type="train", settings=settings)
    run.define_metric("task_index", hidden=True)
    run.define_metric("cl/*", step_metric="task_index")
    run.define_metric("train/step", hidden=True)
    run.define_metric("train/*", step_metric="train/step")
    return run


def _has_end(result: RunResult) -> bool:
    return result.status != "running" and result.primary_metric in result.matrices


def _matrix(result: RunResult, folder: Path) -> dict[str, Any]:
    matrix = result.matrices[result.primary_metric]
    cells = [
        [row, test, at, result.primary_metric, value]
        for row, scores in enumerate(matrix.rows)
        for test, at, value in zip(matrix.tests, matrix.learned_at, scores, strict=True)
    ]
    figures = folder / "figures"
    draw_matrix(matrix, figures / "score_matrix.png", title=folder.name)
    curves = {
        test: [(float(row), v, 0.0) for row, scores in enumerate(matrix.rows) if (v := scores[j]) is not None]
        for j, test in enumerate(matrix.tests)
    }
    draw_curves(curves, figures / "tests.png", x_label="tasks learned", y_label=matrix.metric)
    return {
        "tables/score_matrix": wandb.Table(["row", "test", "learned_at", "metric", "value"], cells),
        "plots/score_matrix": wandb.Image(str(figures / "score_matrix.png")),
        "plots/tests": wandb.Image(str(figures / "tests.png")),
    }


def _predictions(result: RunResult, folder: Path) -> dict[str, Any]:
    last = len(result.matrices[result.primary_metric].rows) - 1
    columns = ["test", "id", "prompt", "target", "prediction", "scores", "documents"]
    records = read_predictions(folder, last)[:_NUM_PREDICTIONS]
    rows = [[_cell(record.get(name)) for name in columns] for record in records]
    return {"tables/predictions": wandb.Table(columns, rows)}


def _summary(result: RunResult) -> dict[str, Any]:
    """Return flat summary keys, which run tables can sort by."""
    final = {f"final/{name}": metric.value for name, metric in result.metrics.items() if metric.value is not None}
    cost = {f"cost/{name}": value for name, value in result.to_json()["cost"].items() if value is not None}
    data = {"data_source": result.data["source"], "data_split": result.split}
    return {**final, **cost, **data, "status": result.status}


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) or value is None else str(value)

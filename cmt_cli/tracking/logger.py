"""Mirror a run to Weights & Biases: online when logged in and reachable, else to a local file for `wandb sync`.

The run folder is the source of truth, so nothing here may stop or delay a run: connecting and finishing have time
limits, and an error of the client is reported once, after which the run goes on without the mirror. The client's
own step is the number of lines in `events.jsonl`, which only grows, so that a resumed run continues behind its past;
curves have their own axes, `task_index` for `cl/*` and `train/step` for `train/*`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from typing_extensions import override

from cmt_cli.core.atomic import write_text
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.result import RunResult
from cmt_cli.running.loggers import NullLogger
from cmt_cli.running.store import RunStore
from cmt_cli.running.terminal import say
from cmt_cli.tracking.connection import Mode, answers, choose_mode
from cmt_cli.tracking.figures import draw_curves, draw_matrix
from cmt_cli.tracking.sync import note_unsent

MODES = ("auto", "online", "offline")
_NUM_PREDICTIONS = 500


class WandbLogger(NullLogger):
    """A W&B run beside the run folder, kept in its `wandb/` and continued under the same id after a resume."""

    def __init__(
        self,
        *,
        project: str,
        entity: str | None,
        mode: str,
        log_artifacts: bool,
        connect_seconds: float,
        finish_seconds: float,
    ) -> None:
        """Keep the settings; raise UserError for an unknown mode.

        `mode` "auto" is online when logged in, else offline. `log_artifacts` uploads the checkpoint at the end.
        """
        if mode not in MODES:
            raise UserError(f"logger.mode={mode} is not one of {', '.join(MODES)}.{nearest(mode, MODES)}")
        self._project = project
        self._entity = entity
        self._mode = mode
        self._log_artifacts = log_artifacts
        self._connect_seconds = connect_seconds
        self._finish_seconds = finish_seconds
        self._server = os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)
        self._run: Any = None
        self._step = 0
        self._is_online = False
        self._has_warned = False

    @override
    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        """Open the W&B run, or continue it under the id that the folder keeps."""
        events = folder / "events.jsonl"
        self._step = events.read_bytes().count(b"\n") if events.exists() else 0
        # The client's reports about itself would keep the process from ending while a server does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        mode, reason = choose_mode(self._mode, self._server, self._connect_seconds)
        settings = {
            "project": self._project,
            "entity": self._entity,
            "name": run_name,
            "group": group,
            "tags": list(dict.fromkeys(tags)),
            "config": dict(config),
            "dir": str(folder),
            "job_type": "train",
            **_identity(folder),
        }
        self._attempt(lambda: self._open(mode, settings))
        if self._run is None and mode == "online":
            # The client's service holds the id of a run that it could not open, so it is ended first.
            self._attempt(wandb.teardown)
            mode, reason = "offline", f"{self._server} did not open the run"
            self._attempt(lambda: self._open(mode, settings))
        self._is_online = mode == "online"
        if self._run is not None and mode != "disabled":
            local = f"offline ({reason}); to upload: `cmt wandb sync {folder}`"
            say(f"W&B: {self._run.url if self._is_online else local}", sys.stderr)

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        self._log({**values, "train/step": step})

    @override
    def row(self, index: int, scores: Mapping[str, float]) -> None:
        self._log({**{f"cl/{name}": value for name, value in scores.items()}, "task_index": index})

    @override
    def finish(self, result: RunResult, store: RunStore) -> None:
        if self._run is None:
            return
        # Online, the client asks the server before it takes a table, and waits long where none answers.
        takes_tables = not self._is_online or answers(self._server, self._connect_seconds)
        if result.primary_metric in result.matrices and takes_tables:
            self._attempt(lambda: self._log_matrix(result, store))
            self._attempt(lambda: self._log_predictions(store))
        self._attempt(lambda: self._run.summary.update(_summary(result)))
        if self._log_artifacts:
            self._attempt(lambda: self._log_checkpoint(store))
        is_sent = self._attempt(lambda: self._run.finish(exit_code=0 if result.status == "complete" else 1))
        # The client leaves what it could not send in its file and does not mark it.
        if self._is_online and not (is_sent and answers(self._server, self._connect_seconds)):
            note_unsent(store.folder)
        self._run = None

    def _open(self, mode: Mode, settings: Mapping[str, Any]) -> None:
        limits = {
            "init_timeout": self._connect_seconds if mode == "online" else 30.0,
            "finish_timeout": self._finish_seconds,
        }
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_job_creation=True, **limits)
        run = wandb.init(**settings, mode=mode, settings=quiet)
        run.define_metric("task_index", hidden=True)
        run.define_metric("cl/*", step_metric="task_index")
        run.define_metric("train/step", hidden=True)
        run.define_metric("train/*", step_metric="train/step")
        self._run = run

    def _log(self, values: Mapping[str, Any]) -> None:
        if self._run is not None:
            self._step += 1
            self._attempt(lambda: self._run.log(dict(values), step=self._step))

    def _log_matrix(self, result: RunResult, store: RunStore) -> None:
        matrix = result.matrices[result.primary_metric]
        cells = [
            [row, test, at, result.primary_metric, value]
            for row, scores in enumerate(matrix.rows)
            for test, at, value in zip(matrix.tests, matrix.learned_at, scores, strict=True)
        ]
        folder = store.folder / "figures"
        draw_matrix(matrix, folder / "score_matrix.png", title=store.folder.name)
        curves = {
            test: [(float(row), v, 0.0) for row, scores in enumerate(matrix.rows) if (v := scores[j]) is not None]
            for j, test in enumerate(matrix.tests)
        }
        draw_curves(curves, folder / "tests.png", x_label="tasks learned", y_label=matrix.metric)
        self._log(
            {
                "tables/score_matrix": wandb.Table(["row", "test", "learned_at", "metric", "value"], cells),
                "plots/score_matrix": wandb.Image(str(folder / "score_matrix.png")),
                "plots/tests": wandb.Image(str(folder / "tests.png")),
            }
        )

    def _log_predictions(self, store: RunStore) -> None:
        records = store.predictions(max(store.cells()))[:_NUM_PREDICTIONS]
        columns = ["test", "id", "prompt", "target", "prediction", "scores", "documents"]
        rows = [[_cell(record.get(column)) for column in columns] for record in records]
        self._log({"tables/predictions": wandb.Table(columns, rows)})

    def _log_checkpoint(self, store: RunStore) -> None:
        artifact = wandb.Artifact(f"{store.folder.name}-checkpoint", type="model")
        artifact.add_dir(str(store.folder / "checkpoint"), name="checkpoint")
        artifact.add_dir(str(store.folder / "memory"), name="memory")
        for name in ("config.yaml", "result.json", "scores.csv"):
            artifact.add_file(str(store.folder / name))
        self._run.log_artifact(artifact)

    def _attempt(self, call: Callable[[], Any]) -> bool:
        """Call the client and return whether that worked; on an error say so once and go on without it."""
        try:
            call()
            return True
        except Exception as error:  # the client raises direct subclasses of Exception from its private modules
            if not self._has_warned:
                line = str(error).strip().split("\n")[0]
                say(f"W&B: {type(error).__name__}: {line}. The run goes on, its folder has it all.", sys.stderr)
            self._has_warned = True
            return False


def _identity(folder: Path) -> dict[str, str]:
    """Return the id that the folder keeps, made on first use; a W&B sweep's agent gives the id itself."""
    if "WANDB_SWEEP_ID" in os.environ:
        return {}
    path = folder / "wandb" / "run_id.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_text(path, secrets.token_hex(4) + "\n")
    return {"id": path.read_text().strip(), "resume": "allow"}


def _summary(result: RunResult) -> dict[str, Any]:
    """Return flat summary keys, which run tables can sort by."""
    final = {f"final/{name}": metric.value for name, metric in result.metrics.items() if metric.value is not None}
    cost = {f"cost/{name}": value for name, value in result.to_json()["cost"].items() if value is not None}
    data = {"data_source": result.data["source"], "data_split": result.split}
    return {**final, **cost, **data, "status": result.status}


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) or value is None else str(value)

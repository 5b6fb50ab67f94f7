"""Mirror a run to Weights & Biases: online when logged in and reachable, else to a local file for `cmt wandb sync`.

The run folder is the source of truth, so nothing here may stop or delay a run: connecting and finishing have time
limits, and an error of the client is reported once, after which the run goes on without the mirror. What is shown is
read from `events.jsonl` (history.py), so that a run that is continued online first sends what the server lacks. Curves
have their own axes, `task_index` for `cl/*` and `train/step` for `train/*`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from typing_extensions import override

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.result import RunResult
from cmt_cli.running.loggers import NullLogger
from cmt_cli.running.store import RunStore
from cmt_cli.terminal.text import say
from cmt_cli.tracking import parts
from cmt_cli.tracking.connection import Mode, answers, choose_mode, server
from cmt_cli.tracking.mirror import Description, Mirror, open_run

MODES = ("auto", "online", "offline")
_OFFLINE_SECONDS = 30.0  # longest wait for the client to begin a file


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
        self._server = server()
        self._mirror: Mirror | None = None
        self._is_online = False
        self._has_warned = False

    @override
    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        """Open the W&B run, or continue it under the id that the folder keeps."""
        # The client's reports about itself would keep the process from ending while a server does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        mode, reason = choose_mode(self._mode, self._server, self._connect_seconds)
        description = Description(
            project=self._project,
            entity=self._entity,
            name=run_name,
            group=group,
            tags=list(dict.fromkeys(tags)),
            config=dict(config),
            log_artifacts=self._log_artifacts,
        )
        self._attempt(lambda: self._open(mode, description, folder))
        if self._mirror is None and mode == "online":
            # The client's service holds the id of a run that it could not open, so it is ended first.
            self._attempt(wandb.teardown)
            mode, reason = "offline", f"{self._server} did not open the run"
            self._attempt(lambda: self._open(mode, description, folder))
        self._is_online = mode == "online"
        if self._mirror is not None and mode != "disabled":
            local = f"offline ({reason}); to upload: `cmt wandb sync {folder}`"
            say(f"W&B: {self._mirror.run.url if self._is_online else local}", sys.stderr)
            self._catch_up()

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        self._catch_up()

    @override
    def row(self, index: int, scores: Mapping[str, float]) -> None:
        self._catch_up()

    @override
    def finish(self, result: RunResult, store: RunStore) -> None:
        mirror, self._mirror = self._mirror, None
        if mirror is None:
            return
        # Online, the client asks the server before it takes a table, and waits long where none answers.
        takes_tables = not self._is_online or answers(self._server, self._connect_seconds)
        calls: list[Callable[[], Any]] = [mirror.catch_up]
        calls += [lambda: mirror.show_end(result)] if takes_tables else []
        calls += [lambda: mirror.summarize(result)]
        calls += [mirror.log_checkpoint] if self._log_artifacts else []
        calls += [lambda: mirror.finish(result)]
        for call in calls:
            self._attempt(call)
        if self._is_online and not self._has_warned and answers(self._server, self._connect_seconds):
            self._attempt(lambda: self._note_sent(str(mirror.run.id), result, store.folder))

    def _open(self, mode: Mode, description: Description, folder: Path) -> None:
        empty = [part for part in parts.all_parts(folder) if parts.is_empty(part)]
        run = self._client_run(mode, description, parts.identity(folder), folder)
        self._mirror = Mirror(run, folder, shows_past=mode == "online")
        if mode != "disabled":
            description.write(folder)
            for part in empty:  # of killed starts; one would stop the client's own `wandb sync` of all others
                if part != Path(run.dir).parent:  # which has the same name when begun within the same second
                    parts.mark_sent(part)
        if mode == "online":
            parts.note_unsent(folder)  # until the end has shown that the server has everything

    def _client_run(self, mode: Mode, description: Description, identity: Mapping[str, str], place: Path) -> Any:
        return open_run(
            description,
            mode=mode,
            address=self._server,
            identity=identity,
            client_folder=place,
            init_seconds=self._connect_seconds if mode == "online" else _OFFLINE_SECONDS,
            finish_seconds=self._finish_seconds,
        )

    def _note_sent(self, name: str, result: RunResult, folder: Path) -> None:
        """Mark the client's files as sent where the server has everything: the client does not say what it lost."""
        with tempfile.TemporaryDirectory() as scratch:
            run = self._client_run("online", Description.read(folder), parts.continued(name), Path(scratch))
            mirror = Mirror(run, folder, shows_past=True)
            mirror.finish(result)
        if mirror.has_all(result):
            parts.note_sent(folder)

    def _catch_up(self) -> None:
        if self._mirror is not None:
            self._attempt(self._mirror.catch_up)

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

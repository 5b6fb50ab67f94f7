"""Upload what runs have left in their folders for Weights & Biases, one run at a time, resumable at any point.

A run is sent from its own event log (upload.py), whatever became of the client's files when it was killed. A run of an
older version, whose folder does not say what W&B calls it, is sent by the client's `wandb sync`, file by file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.running.lock import HEARTBEAT_SECONDS
from cmt_cli.running.run_files import read_result, refuse_links
from cmt_cli.tracking import parts
from cmt_cli.tracking.connection import unreachable
from cmt_cli.tracking.history import EVENTS

_DESCRIPTION = "run.json"  # written by mirror.py, which imports the client
_CONNECT_SECONDS = 10.0
_START_SECONDS = 10.0  # of Python and the client, besides an upload
# They would choose another run to be sent, or the client's service of a process that still holds this one.
_OF_A_RUN = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SERVICE")


@dataclass(frozen=True, slots=True)
class Unsent:
    """A run folder and the client's folders in it that are not uploaded, the earliest first.

    `fault` says why a folder cannot be looked at, "" where it can.
    """

    folder: Path
    parts: tuple[Path, ...]
    is_running: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """A run that is not uploaded whole, and why."""

    folder: Path
    reason: str


def find_unsent(folders: Sequence[Path]) -> list[Unsent]:
    """Return the runs in or below `folders` that have something to upload, sorted by path.

    Raises UserError or OSError where one that is named itself cannot be looked at; others come with their fault.
    """
    found = {}
    for folder in folders:
        for path, names, _ in os.walk(folder):
            names.sort()
            if "wandb" in names:
                names.clear()  # no runs inside runs
                try:
                    one = _unsent(Path(path))
                except (UserError, OSError) as error:
                    if Path(path) == folder:
                        raise
                    one = Unsent(Path(path), (), is_running=False, fault=str(error))
                if one.parts or one.fault:
                    found[Path(path).resolve()] = one
    return [found[run] for run in sorted(found)]


def _unsent(folder: Path) -> Unsent:
    run = folder.resolve()
    refuse_links(run)
    waiting, is_running = parts.unsent_parts(run), _is_running(run)
    if is_running:  # what is online now is no matter of an upload
        waiting = tuple(part for part in waiting if part.name.startswith("offline-"))
    return Unsent(folder, waiting, is_running)


def sync(
    runs: Sequence[Unsent],
    *,
    address: str,
    run_seconds: float,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> list[Left]:
    """Upload runs and return what is left; runs that are being written are left alone.

    `run_seconds` is the longest that one run's upload may take. Raises UserError where the server cannot be reached
    at all. A second call goes on with what is left.
    """
    reason = unreachable(address, _CONNECT_SECONDS)
    if reason is not None:
        raise UserError(
            f"Nothing was uploaded: {reason}. {counted(len(runs), 'run')} {'waits' if len(runs) == 1 else 'wait'}; "
            "repeat the command then."
        )
    left = []
    for done, run in enumerate(runs):
        progress(f"uploading {run.folder.name}", done, len(runs))
        if run.fault:
            left.append(Left(run.folder, run.fault))
        elif run.is_running:
            left.append(Left(run.folder, "it is still running"))
        elif reason is None and (problem := _upload(run, address, run_seconds)) is not None:
            left.append(Left(run.folder, problem))
            reason = unreachable(address, _CONNECT_SECONDS)
        elif reason is not None:
            left.append(Left(run.folder, reason))
    return left


def _is_running(run: Path) -> bool:
    try:
        result = read_result(run)
    except UserError:
        return False  # what cannot be read is not written by this version
    lock = run / ".lock"
    beats = lock.is_file() and time.time() - lock.stat().st_mtime < 2 * HEARTBEAT_SECONDS
    return result is not None and result.status == "running" and beats


def _upload(run: Unsent, address: str, seconds: float) -> str | None:
    """Upload one run; return why something of it is left, or None."""
    folder = run.folder.resolve()
    if not ((folder / "wandb" / _DESCRIPTION).is_file() and (folder / EVENTS).is_file()):
        return _upload_parts(run, address, seconds)
    arguments = ["-m", "cmt_cli.tracking.upload", str(folder), address, str(seconds)]
    status, output = _client(arguments, run, address, seconds + _START_SECONDS)
    if status is None:
        return f"no end after {seconds:g} s"
    return None if status == 0 else _reason(output)


def _upload_parts(run: Unsent, address: str, seconds: float) -> str | None:
    """Upload the client's files one by one, so that one that cannot be read leaves the others alone."""
    failures = []
    for part in run.parts:
        if parts.is_empty(part):
            parts.mark_sent(part)  # the client was killed before it had written anything
            continue
        arguments = ["-m", "wandb", "sync", "--include-online", str(part.resolve())]
        status, output = _client(arguments, run, address, seconds)
        if status is None:
            return f"no end after {seconds:g} s"
        if part in parts.unsent_parts(run.folder.resolve()):
            failures.append(f"{part.name}: {_reason(output)}")
    advice = "The other parts were uploaded. Remove a part's folder to give it up"
    return f"{'; '.join(failures)}. {advice}" if failures else None


def _client(arguments: Sequence[str], run: Unsent, address: str, seconds: float) -> tuple[int | None, list[str]]:
    """Run a program that speaks to the server; return its exit status, None where it took too long, and its lines."""
    # The client's own logs go beside what it uploads, not into the folder where the command was given.
    own = {"WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(run.folder.resolve()), "WANDB_BASE_URL": address}
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, **own},
        start_new_session=True,  # so that the client's service ends with it
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, []
    except BaseException:  # interrupted: nothing of it may go on in the background
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, [line.strip() for line in output.split("\n") if line.strip()]


def _reason(lines: Sequence[str]) -> str:
    """Return what a program said of its failure: upload.py its last line as JSON, the client anything."""
    if lines and lines[-1].startswith('"'):
        return str(json.loads(lines[-1]))
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "the client said nothing")

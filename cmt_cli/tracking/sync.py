"""Upload what runs have left in their folders for Weights & Biases, one run at a time, resumable at any point.

The client writes a file of its own per start of a run, `<run>/wandb/offline-run-<time>-<id>/run-<id>.wandb`, and marks
one that is uploaded by an empty `.wandb.synced` beside it. What an online run could not send any more is named in
`<run>/wandb/unsent.txt`. Both are uploaded by the client's own `wandb sync`, the files of one run in the order of
their start, so that a run that was continued becomes one run on the server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.atomic import write_text
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.running.lock import HEARTBEAT_SECONDS
from cmt_cli.running.run_files import read_result, refuse_links
from cmt_cli.tracking.connection import unreachable

_UNSENT = "unsent.txt"
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Unsent:
    """A run folder and the client's folders in it that are not uploaded, the earliest first."""

    folder: Path
    parts: tuple[Path, ...]
    is_running: bool


@dataclass(frozen=True, slots=True)
class Left:
    """A run that is not uploaded, and why."""

    folder: Path
    reason: str


def note_unsent(folder: Path) -> None:
    """Note that the latest online start of a run could not send everything that its client's folder holds."""
    starts = sorted(path.name for path in (folder / "wandb").glob("run-*") if path.is_dir())
    names = dict.fromkeys([*_noted(folder), *starts[-1:]])
    write_text(folder / "wandb" / _UNSENT, "".join(f"{name}\n" for name in names))


def find_unsent(folders: Sequence[Path]) -> list[Unsent]:
    """Return the runs in or below `folders` that have something to upload, sorted by path."""
    found = {}
    for folder in folders:
        for path, names, _ in os.walk(folder):
            names.sort()
            if "wandb" in names:
                names.clear()  # no runs inside runs
                run = Path(path).resolve()
                refuse_links(run)
                parts = _parts(run)
                if parts:
                    found[run] = Unsent(Path(path), parts, _is_running(run))
    return [found[run] for run in sorted(found)]


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
        if run.is_running:
            left.append(Left(run.folder, "it is still running"))
        elif reason is None and (problem := _upload(run, run_seconds)) is not None:
            left.append(Left(run.folder, problem))
            reason = unreachable(address, _CONNECT_SECONDS)
        elif reason is not None:
            left.append(Left(run.folder, reason))
    return left


def _parts(run: Path) -> tuple[Path, ...]:
    noted = [run / "wandb" / name for name in _noted(run)]
    offline = sorted((run / "wandb").glob("offline-run-*"))
    parts = [part for part in {*offline, *noted} if part.is_dir() and not _is_sent(part)]
    return tuple(sorted(parts, key=lambda part: part.name.removeprefix("offline-")))


def _noted(run: Path) -> list[str]:
    path = run / "wandb" / _UNSENT
    names = path.read_text(encoding="utf-8").split() if path.is_file() else []
    return [name for name in names if name == Path(name).name]  # of folders in wandb/, never a way out of it


def _is_sent(part: Path) -> bool:
    files = list(part.glob("*.wandb"))
    return all(file.with_suffix(".wandb.synced").exists() for file in files)


def _is_running(run: Path) -> bool:
    try:
        result = read_result(run)
    except UserError:
        return False  # what cannot be read is not written by this version
    lock = run / ".lock"
    beats = lock.is_file() and time.time() - lock.stat().st_mtime < 2 * HEARTBEAT_SECONDS
    return result is not None and result.status == "running" and beats


def _upload(run: Unsent, seconds: float) -> str | None:
    """Upload one run; return why something of it is left, or None."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *(str(part.resolve()) for part in run.parts)]
    # The client's own logs go beside what it uploads, not into the folder where the command was given.
    environment = {**os.environ, "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(run.folder.resolve())}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # so that the client's service ends with it
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no end after {seconds:g} s"
    except BaseException:  # interrupted: nothing of it may go on in the background
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if all(_is_sent(part) for part in run.parts):
        return None
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "the client said nothing")

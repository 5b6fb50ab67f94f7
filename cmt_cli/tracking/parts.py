"""What the W&B client has written in a run folder: a folder per start of the run, and which of them were sent.

<run>/wandb/run_id.txt                          the id of the W&B run, which every start continues
<run>/wandb/run.json                            what W&B calls the run, see mirror.py
<run>/wandb/unsent.txt                          names of online parts whose end the server may not have
<run>/wandb/[offline-]run-<time>-<id>/*.wandb   a part; an empty `.wandb.synced` beside the file marks what was sent
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from cmt_cli.core.atomic import write_text

_UNSENT = "unsent.txt"
_PART = re.compile(r"(offline-)?run-")
_STARTED = re.compile(r"(?:offline-)?run-\d+_\d+-(.+)")  # with the id of the W&B run
_HEADER_BYTES = 7  # what a file holds before its first record


def identity(folder: Path) -> dict[str, str]:
    """Return the id that the folder keeps, made on first use; a W&B sweep's agent gives the id itself."""
    if "WANDB_SWEEP_ID" in os.environ:
        return {}
    path = folder / "wandb" / "run_id.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_text(path, secrets.token_hex(4) + "\n")
    return continued(path.read_text(encoding="utf-8").strip())


def continued(name: str) -> dict[str, str]:
    """Return what the client is told to continue the run of that id, or to begin it."""
    return {"id": name, "resume": "allow"}


def known_id(folder: Path) -> str | None:
    """Return the id of the W&B run of a folder: the one that it keeps, else that of the latest part."""
    path = folder / "wandb" / "run_id.txt"
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    ids = [match[1] for part in all_parts(folder) if (match := _STARTED.fullmatch(part.name))]
    return ids[-1] if ids else None


def all_parts(folder: Path) -> list[Path]:
    """Return the client's folders of a run, the earliest start first."""
    found = [path for path in (folder / "wandb").glob("*run-*") if path.is_dir() and _PART.match(path.name)]
    return sorted(found, key=lambda part: part.name.removeprefix("offline-"))


def unsent_parts(folder: Path) -> tuple[Path, ...]:
    """Return the parts that may hold what no server has, the earliest start first."""
    noted = _noted(folder)
    return tuple(
        part
        for part in all_parts(folder)
        if (part.name.startswith("offline-") or part.name in noted) and not _is_sent(part)
    )


def note_unsent(folder: Path) -> None:
    """Note that the latest online part may hold what the server does not have."""
    starts = [part.name for part in all_parts(folder) if not part.name.startswith("offline-")]
    names = dict.fromkeys([*_noted(folder), *starts[-1:]])
    write_text(folder / "wandb" / _UNSENT, "".join(f"{name}\n" for name in names))


def note_sent(folder: Path) -> None:
    """Mark every part as sent: the server has all that the run folder holds."""
    for part in unsent_parts(folder):
        mark_sent(part)
    (folder / "wandb" / _UNSENT).unlink(missing_ok=True)


def mark_sent(part: Path) -> None:
    """Mark the files of one part as the client does."""
    for file in part.glob("*.wandb"):
        file.with_suffix(".wandb.synced").touch()


def is_empty(part: Path) -> bool:
    """Say whether nothing was written yet when the client was killed: no file, or files with no more than a header."""
    return all(file.stat().st_size <= _HEADER_BYTES for file in part.glob("*.wandb"))


def _noted(folder: Path) -> list[str]:
    path = folder / "wandb" / _UNSENT
    return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []


def _is_sent(part: Path) -> bool:
    return all(file.with_suffix(".wandb.synced").exists() for file in part.glob("*.wandb"))

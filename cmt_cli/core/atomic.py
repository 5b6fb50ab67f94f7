"""Files that are written whole or not at all: a temporary file in the same folder, fsync, then `os.replace`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk, so that a power cut cannot undo a rename that was reported as done.

    Does nothing where the system cannot sync a folder.
    """
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content atomically; the folder must exist."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


def write_text(path: Path, content: str) -> None:
    """Replace a text file atomically, in UTF-8 with unix line ends."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; NaN and infinity raise ValueError, for other readers refuse them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

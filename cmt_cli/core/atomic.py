"""Files and folders that appear whole or not at all, and folders of a cache that go when nobody has used them for long.

A file is written under a temporary name in the same folder, synced, then moved by `os.replace`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Replace a JSON file of a cache atomically by a record with its own sha256; lists come back for tuples."""
    write_text(path, json.dumps({"sha256": _record_sha256(record), "record": record}))


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the record of a file that `write_sealed` wrote; raise ValueError where it is not what was written."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("sha256") != _record_sha256(content.get("record")):
        raise ValueError(f"{path} is not what was written")
    record: dict[str, Any] = content["record"]
    return record


def _record_sha256(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


UNUSED_DAYS = 30  # a folder that is made again costs minutes; one that is never used again costs room for ever


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files into and move it to `folder` in the end, its files on disk first.

    A faster process with the same content wins. What lies beside `folder` and was not used for long is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    forget_unused(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as temporary:
        inner = Path(temporary) / "files"
        inner.mkdir()
        yield inner
        for file in inner.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        try:
            os.replace(inner, folder)
        except OSError:
            if not folder.is_dir():
                raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into and move it to `folder`, which is absent or empty, in the end: whole or not at all.

    Raises OSError where something has come into `folder` meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as temporary:
        inner = Path(temporary) / "files"
        inner.mkdir()
        yield inner
        for path in sorted(inner.rglob("*"), reverse=True):
            sync(path)
        os.replace(inner, folder)
    sync(folder.parent)


def note_use(folder: Path) -> None:
    """Let a folder count as used today."""
    with contextlib.suppress(OSError):  # of another user, perhaps
        os.utime(folder)


def forget_unused(parent: Path, days: float = UNUSED_DAYS) -> None:
    """Remove the folders in `parent`, unfinished ones too, whose last use is longer ago than `days`."""
    for folder in parent.iterdir():
        with contextlib.suppress(OSError):
            if folder.is_dir() and folder.stat().st_mtime < time.time() - days * 86_400:
                shutil.rmtree(folder)

"""Files and folders that appear whole or not at all, and folders of a cache that go when nobody has used them for long.

A file is written under a temporary name in the same folder, synced, then moved by `os.replace`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmt_cli.core.leftovers import owner, remove_leftovers, temporary
from cmt_cli.core.system_errors import writing


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
    """Replace a file's content atomically; the folder must exist. Where that fails, nothing is left beside it."""
    beside = temporary(path)
    try:
        with writing(path):
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_text(path: Path, content: str) -> None:
    """Replace a text file atomically, in UTF-8 with unix line ends."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; NaN and infinity raise ValueError, for other readers refuse them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append a whole line to a text file or, where that fails, nothing; this process must be its only writer."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with writing(path), path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
    except BaseException:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


UNUSED_DAYS = 30  # a folder that is made again costs minutes; one that is never used again costs room for ever


@contextmanager
def folder_beside(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write the files of `folder` into; it lies beside it and is gone in the end."""
    remove_leftovers(folder.parent)
    prefix = f".writing-{owner()}-"
    made = tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix, ignore_cleanup_errors=True)
    with writing(folder), made as name:
        inner = Path(name) / "files"
        inner.mkdir()
        yield inner


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files into and move it to `folder` in the end, its files on disk first.

    A faster process with the same content wins. What lies beside `folder` and was not used for long is removed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    forget_unused(folder.parent)
    with folder_beside(folder) as inner:
        yield inner
        for file in inner.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        try:
            os.replace(inner, folder)
        except OSError:
            if not folder.is_dir():
                raise


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

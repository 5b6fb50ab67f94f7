"""Files and folders that appear whole or not at all, and folders of a cache that go when nobody has used them for long.

A file is written under a temporary name in the same folder, synced, then moved by `os.replace`. The name tells whose it
is, so that it can be removed once its process is gone:

    .NAME.PID@HOST.tmp          a file, before it takes its place
    .writing-PID@HOST-XXXXXXXX  a folder, before it takes its place
    .clock.PID@HOST.THREAD      an empty file whose time is read

A process of this host is asked whether it lives; of another host, or where the name tells none, an hour without a
write means that nobody will finish the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError, writing

_SILENT_SECONDS = 3600.0
_TEMPORARY = re.compile(r"\.(?:.+\.tmp|(?:writing|unpacking)-.+|clock\..+|lock\.claim\..+)")
_OWNER = re.compile(r"[.-](\d+)@([^@/]+?)(?:\.tmp|-\w{8}|\.\d+)$")
_OLD_OWNER = re.compile(r"\.(\d+)\.tmp$")  # of older versions, which named no host


def owner() -> str:
    """Return what names this process in a temporary name."""
    return f"{os.getpid()}@{socket.gethostname()}"


def temporary(path: Path) -> Path:
    """Return the name beside `path` under which this process writes it."""
    return path.with_name(f".{path.name}.{owner()}.tmp")


def is_alive(pid: int) -> bool:
    """Return whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def remove_leftovers(folder: Path, *, levels: int = 0, is_ours: bool = False) -> None:
    """Remove what processes that are gone have left in a folder, and in the folders of so many `levels` below.

    `is_ours` says that only processes of this host may have written here lately, as the holder of a lock knows.
    What may not be looked at or removed stays.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                _remove_if_left(Path(entry.path), is_ours)
            elif levels > 0 and entry.is_dir(follow_symlinks=False):
                remove_leftovers(Path(entry.path), levels=levels - 1, is_ours=is_ours)


def _remove_if_left(path: Path, is_ours: bool) -> None:
    with contextlib.suppress(OSError):  # another process may be removing it, too
        if not _is_left(path, is_ours):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_left(path: Path, is_ours: bool) -> bool:
    found, old = _OWNER.search(path.name), _OLD_OWNER.search(path.name)
    if found is not None and found[2] == socket.gethostname():
        return not is_alive(int(found[1]))
    if found is None and old is not None and is_ours:
        return not is_alive(int(old[1]))
    return time.time() - _last_write(path) > _SILENT_SECONDS


def _last_write(path: Path) -> float:
    """Return the latest time in a file or in the tree below a folder, in seconds since the epoch."""
    latest = path.lstat().st_mtime
    if path.is_symlink() or not path.is_dir():
        return latest
    for place, _, names in os.walk(path):
        latest = max(latest, *(os.lstat(inner).st_mtime for inner in (place, *(os.path.join(place, n) for n in names))))
    return latest


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
    """Replace a file's content atomically; the folder must exist. Where that fails, nothing is left beside it.

    Raises UserError for a pipe, a socket or a device: a file in its place would take it from all others.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"'{path}' is a pipe, a socket or a device, which a file would replace. Name another place.")
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
    """Give an empty folder to write the files of `folder` into; it lies beside it and is gone in the end.

    What processes that are gone have left there is removed: `folder` lies in a cache.
    """
    remove_leftovers(folder.parent)
    with _empty_folder(folder) as inner:
        yield inner


@contextmanager
def _empty_folder(folder: Path) -> Iterator[Path]:
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
        _sync_below(inner)
        try:
            os.replace(inner, folder)
        except OSError:
            if not folder.is_dir():
                raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into and move it to `folder`, which is absent or empty, in the end: whole or not at all.

    Nothing else beside it is touched: the place is the user's. Raises OSError where something has come into `folder`
    meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _empty_folder(folder) as inner:
        yield inner
        _sync_below(inner)
        os.replace(inner, folder)
    sync(folder.parent)


def _sync_below(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)


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

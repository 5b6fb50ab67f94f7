"""Names of temporary files that tell whose they are, and their removal once their process is gone.

    .NAME.PID@HOST.tmp          a file, before it takes its place
    .writing-PID@HOST-XXXXXXXX  a folder, before it takes its place
    .clock.PID@HOST.THREAD      an empty file whose time is read

A process of this host is asked whether it lives; of another host, or where the name tells none, an hour without a
write means that nobody will finish the file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from pathlib import Path

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

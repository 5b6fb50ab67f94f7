"""Opens regular files and nothing else: a pipe or a socket would hang whoever reads it, a device never ends."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cmt_cli.core.exceptions import UserError


class SpecialFileError(UserError):
    """What is to be read is no regular file."""

    def __init__(self, path: Path, mode: int) -> None:
        """Say of a path what it is, by its mode."""
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        super().__init__(f"'{path}' is {kind}, and regular files only are read. Put a file in its place, or remove it.")

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        """Pickle the message: process 0 of a run sends its errors to the others."""
        return UserError, (str(self),)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. Raises SpecialFileError for anything else, OSError where there is nothing."""
    mode = os.stat(path).st_mode  # before it is opened: opening a device can do something
    if stat.S_ISREG(mode):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe may stand there by now
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(handle, "rb")
        os.close(handle)
    raise SpecialFileError(path, mode)


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file; raises what `open_regular` raises."""
    with open_regular(path) as stream:
        return stream.read()


def refuse_special(path: Path) -> None:
    """Raise UserError where a pipe, a socket or a device lies at a path or in a folder."""
    for file in entries(path):
        if file.exists() and not file.is_file():
            raise SpecialFileError(file, file.stat().st_mode)


def entries(root: Path) -> Iterator[Path]:
    """Yield what lies at a path, itself or all below it, but for folders; links are followed, each folder once."""
    if not root.is_dir():
        yield root
        return
    entered: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    for folder, inner, names in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in entered:
            inner.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        yield from (Path(folder) / name for name in sorted(names))
        inner.sort()

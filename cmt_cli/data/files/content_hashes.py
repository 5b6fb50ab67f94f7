"""Hashes all files at a path (sha256) without reading again what has not changed since the last time.

A file counts as unchanged while its size, modification and change time, device and inode are those at which it was
hashed, as in git's index. What was written less than two seconds before it was hashed is hashed again the next time:
the clock of a file system may not tell a later change from that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from cmt_cli.core.atomic import read_sealed, write_sealed
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.files.regular_files import entries

FOLDER = "hashes"  # below the cache
MAX_FILES = 50_000  # a path with more is somebody's home, and listing it takes longer than reading a stream
_SETTLED_SECONDS = 2
_PATIENCE_SECONDS = 1  # before it is said that files are hashed

Stamp = list[int]  # of a file: size, modification time, change time, device, inode


@dataclass(frozen=True, slots=True)
class Listing:
    """The files at a path, itself or all below it, by their relative names."""

    root: Path
    stamps: dict[str, Stamp]

    @property
    def num_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(stamp[0] for stamp in self.stamps.values())

    def sha256(self, cache: Path, note: Callable[[str], None] | None = None) -> dict[str, str]:
        """Return each file's sha256; what is known of unchanged files is kept below `cache` where that can be written.

        `note` is told where it takes longer than a second.
        """
        name = hashlib.sha256(str(self.root.absolute()).encode()).hexdigest()[:32]
        index = cache / FOLDER / f"{name}.json"
        known, now = _read(index), time.time_ns()
        with self._noted(known, note):
            found = {
                file: known[file][1] if file in known and known[file][0] == stamp else sha256_of(self.root / file)
                for file, stamp in self.stamps.items()
            }
        settled = {
            file: (stamp, found[file])
            for file, stamp in self.stamps.items()
            if max(stamp[1], stamp[2]) < now - _SETTLED_SECONDS * 10**9
        }
        if settled != known:
            with contextlib.suppress(OSError):  # then it is hashed again the next time
                index.parent.mkdir(parents=True, exist_ok=True)
                write_sealed(index, settled)
        return found

    @contextlib.contextmanager
    def _noted(self, known: Mapping[str, tuple[Stamp, str]], note: Callable[[str], None] | None) -> Iterator[None]:
        """Tell `note` what is hashed if it is not done within a second."""
        size = sum(s[0] for file, s in self.stamps.items() if file not in known or known[file][0] != s)
        if note is None or size == 0:
            yield
            return
        text = f"Hashing {size / 2**20:,.0f} MiB at {self.root}; what is known of them is kept for the next time."
        timer = Timer(_PATIENCE_SECONDS, note, (text,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def listing(root: Path) -> Listing | None:
    """Return the files at a path; None where there are none, more than `MAX_FILES`, or some that cannot be listed."""
    try:
        return listing_of(root, filter(Path.is_file, entries(root)), MAX_FILES)
    except OSError:
        return None


def listing_of(root: Path, files: Iterable[Path], max_files: float = math.inf) -> Listing | None:
    """Return some of the files below a path; None where there are none or more than `max_files`."""
    stamps: dict[str, Stamp] = {}
    for file in files:
        state = file.stat()
        name = str(file.relative_to(root))
        stamps[name] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_dev, state.st_ino]
        if len(stamps) > max_files:
            return None
    return Listing(root, stamps) if stamps else None


def _read(index: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        found = read_sealed(index)
        return {str(file): (list(stamp), str(digest)) for file, (stamp, digest) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # then all files are hashed

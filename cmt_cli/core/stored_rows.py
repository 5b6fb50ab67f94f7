"""Rows that lie in a file and are decoded as they are read, so that memory does not grow with their number.

A `RowFile` is one json value per row, one after the other, and `offsets[i]` is where row i begins. Bytes are read at
their place (`pread`) and not through a memory map: pages of a map count as memory of the process. An open file stays
readable when the folder around it is deleted. `StoredRows` is a stretch of such a file as a sequence of objects.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, overload

import numpy as np
from typing_extensions import override

T = TypeVar("T", covariant=True)
ROWS_FILE, OFFSETS_FILE = "rows.json", "offsets.npy"
BLOCK_ROWS = 1024  # rows that iteration reads at once


class DamagedFile(ValueError):
    """Stored rows are not what was written."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows `start` to `stop` of a file, and the sha256 of their bytes."""

    start: int
    stop: int
    sha256: str


class RowWriter:
    """Writes rows stretch by stretch into a folder; use it as a context, the offsets are written at its end."""

    def __init__(self, folder: Path) -> None:
        """Open the file of rows in an existing folder."""
        self._folder = folder
        self._file = (folder / ROWS_FILE).open("wb")
        self._offsets = array("q", [0])

    def __enter__(self) -> RowWriter:
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file and write the offsets."""
        self._file.close()
        np.save(self._folder / OFFSETS_FILE, np.asarray(self._offsets), allow_pickle=False)

    def write(self, values: Iterable[Any]) -> Span:
        """Append one row for each json value; return where they lie."""
        digest, start, end = hashlib.sha256(), len(self._offsets) - 1, self._offsets[-1]
        for value in values:
            row = json.dumps(value, separators=(",", ":")).encode() + b"\n"
            self._file.write(row)
            digest.update(row)
            end += len(row)
            self._offsets.append(end)
        return Span(start, len(self._offsets) - 1, digest.hexdigest())


class RowFile:
    """The rows of a folder, open for reading."""

    def __init__(self, folder: Path) -> None:
        """Open the files that a `RowWriter` wrote; raise DamagedFile where they do not fit together."""
        self._folder = folder
        self._file: BinaryIO = (folder / ROWS_FILE).open("rb", buffering=0)
        self.offsets = load_array(folder / OFFSETS_FILE)
        size = os.fstat(self._file.fileno()).st_size
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or int(self.offsets[-1]) != size:
            raise DamagedFile(f"{folder / ROWS_FILE} has {size} bytes, which is not where its last row ends")

    @override
    def __reduce__(self) -> tuple[type[RowFile], tuple[Path]]:
        """Let a copy open the files again."""
        return RowFile, (self._folder,)

    def blocks(self, start: int, stop: int) -> Iterator[list[bytes]]:
        """Yield the bytes of rows `start` to `stop` in blocks."""
        for first in range(start, stop, BLOCK_ROWS):
            bounds = self.offsets[first : min(first + BLOCK_ROWS, stop) + 1].tolist()
            block = read_at(self._file, bounds[0], bounds[-1] - bounds[0])
            yield [block[a - bounds[0] : b - bounds[0]] for a, b in itertools.pairwise(bounds)]

    def row(self, index: int) -> bytes:
        """Return the bytes of one row."""
        start, stop = self.offsets[index : index + 2].tolist()
        return read_at(self._file, start, stop - start)


class StoredRows(Sequence[T]):
    """A stretch of a `RowFile` as objects that are made anew at each access.

    `sha256` is that of all rows' bytes; `cache` is the folder below which what follows from them may be kept.
    """

    def __init__(self, file: RowFile, span: Span, decode: Callable[[Any], T], *, cache: Path) -> None:
        """`decode` makes an object of a row's json value."""
        self._file = file
        self._span = span
        self._decode = decode
        self.sha256 = span.sha256
        self.cache = cache

    @override
    def __len__(self) -> int:
        return self._span.stop - self._span.start

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    @override
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._decode(json.loads(self._file.row(self._span.start + index % len(self))))

    @override
    def __iter__(self) -> Iterator[T]:
        """Yield all objects, a block of them in memory at a time."""
        for block in self._file.blocks(self._span.start, self._span.stop):
            for row in block:
                yield self._decode(json.loads(row))


def read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """Return `size` bytes from `start`, whatever other readers of the same file do; raise DamagedFile at its end."""
    found = os.pread(file.fileno(), size, start)
    if len(found) < size:  # a read of more than 2 GiB, or of a file that was cut off
        parts = [found]
        while parts[-1] and sum(map(len, parts)) < size:
            done = sum(map(len, parts))
            parts.append(os.pread(file.fileno(), size - done, start + done))
        found = b"".join(parts)
    if len(found) < size:
        raise DamagedFile(f"{file.name} ends at {start + len(found)}, before {start + size}")
    return found


def load_array(path: Path) -> Any:
    """Return a memory-mapped array; raise DamagedFile where a file holds none."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DamagedFile(f"{path} holds no array ({error})") from error


def file_sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

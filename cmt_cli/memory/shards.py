"""Rows of bytes of one fixed size, in memory-mapped files of a fixed number of rows, or in RAM.

A file is created whole but sparse, so the store grows without copying and takes disk space only as rows are written.
Rows are written through the file and read through the map: a full disk then raises an error, where a write into a map
kills the process. Files are numpy's .npy (uint8, two-dimensional), readable with `numpy.load(path, mmap_mode="r")`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cmt_cli.core.atomic import sync
from cmt_cli.core.exceptions import UserError, counted

SHARD_BYTES = 256 * 2**20
MAX_SHARD_ROWS = 65536
MAX_OPEN_MAPS = 64  # each holds a file descriptor

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


def _opened(path: Path, row_bytes: int) -> Bytes:
    """Return a file's rows, mapped into memory; raise UserError where it is no file of such rows."""
    with _understood(path, row_bytes):
        rows: Bytes = np.load(path, mmap_mode="r", allow_pickle=False)
        _check(rows.shape, rows.dtype, row_bytes)
    return rows


def _declared_rows(path: Path, row_bytes: int) -> int:
    """Return how many rows a file's header declares, whether it is whole or not; raise UserError as `_opened` does."""
    with _understood(path, row_bytes), path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it is of another format version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        _check(shape, dtype, row_bytes)
    return int(shape[0])


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], row_bytes: int) -> None:
    if dtype != np.uint8 or len(shape) != 2 or shape[1] != row_bytes or not shape[0]:
        raise ValueError(f"it holds {dtype} of the shape {shape}")


@contextmanager
def _understood(path: Path, row_bytes: int) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, SyntaxError) as error:
        raise UserError(
            f"'{path}' holds no rows of a memory bank of {row_bytes} bytes ({error}). It is damaged: put it back, "
            "or delete the whole folder and store the documents again."
        ) from error


class ShardedRows:
    """Numbered rows of `row_bytes` bytes; rows never written read as zeros."""

    def __init__(self, name: str, row_bytes: int, folder: Path | None) -> None:
        """Use the files `<name>_<number>.npy` in `folder`, or RAM if it is None. Nothing is written by opening."""
        self.row_bytes = row_bytes
        self._name, self._folder = name, folder
        fitting = max(1, SHARD_BYTES // row_bytes)
        self._shard_rows = min(MAX_SHARD_ROWS, 2 ** (fitting.bit_length() - 1))
        self._maps: OrderedDict[int, Bytes] = OrderedDict()
        self._writer: tuple[int, BinaryIO] | None = None
        if folder is not None and self._path(0).exists():
            # the first file decides, so that a bank outlives a change of the constants above
            self._shard_rows = _declared_rows(self._path(0), row_bytes)

    def write(self, start: int, rows: Bytes) -> None:
        """Write rows `[n, row_bytes]` at the numbers from `start` on."""
        while len(rows):
            shard, first = divmod(start, self._shard_rows)
            part = rows[: self._shard_rows - first]
            self._write_part(shard, first, part)
            start, rows = start + len(part), rows[len(part) :]

    def read(self, rows: Rows) -> Bytes:
        """Return a copy `[n, row_bytes]` of the rows with these numbers, which may repeat."""
        out = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        shards, within = np.divmod(rows, self._shard_rows)
        for shard in np.unique(shards):
            chosen = shards == shard
            out[chosen] = self._map(int(shard))[within[chosen]]
        return out

    def erase(self, rows: Rows) -> None:
        """Overwrite rows with zeros, on disk before it returns."""
        zeros = np.zeros((1, self.row_bytes), dtype=np.uint8)
        for row in np.sort(rows):
            self.write(int(row), zeros)
        self.sync()

    def sync(self) -> None:
        """Return when everything written is on disk."""
        if self._writer is not None:
            os.fsync(self._writer[1].fileno())

    def discard_from(self, num_rows: int) -> None:
        """Set all rows from number `num_rows` on to zeros, whatever an interrupted process left in them.

        Raises UserError where a file ends before the rows that are kept.
        """
        self.close()
        kept_shards, rest = divmod(num_rows, self._shard_rows)
        self._refuse_cut(kept_shards, rest)
        if self._folder is None:
            self._maps = OrderedDict((i, rows) for i, rows in self._maps.items() if i <= kept_shards)
            if kept_shards in self._maps:
                self._maps[kept_shards][rest:] = 0
            return
        self._maps.clear()
        shard = kept_shards
        while self._path(shard).exists():
            if shard == kept_shards and rest:
                # cutting and extending leaves a hole, which reads as zeros
                os.truncate(self._path(shard), self._header_bytes() + rest * self.row_bytes)
                self._extend(shard)
            else:
                self._path(shard).unlink()
            shard += 1
        sync(self._folder)

    def _refuse_cut(self, kept_shards: int, rest: int) -> None:
        """Raise UserError where a file lacks rows: what is missing would read as zeros."""
        for shard in range(kept_shards + 1) if self._folder is not None else ():
            num_kept, path = rest if shard == kept_shards else self._shard_rows, self._path(shard)
            if num_kept and path.exists() and path.stat().st_size < self._header_bytes() + num_kept * self.row_bytes:
                raise UserError(
                    f"'{path}' ends before the last of its {counted(num_kept, 'row')}: it is cut off. Put it back, or "
                    "delete the whole folder and store the documents again."
                )

    def close(self) -> None:
        """Sync and close the file being written."""
        if self._writer is not None:
            self.sync()
            self._writer[1].close()
            self._writer = None

    def _path(self, shard: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}_{shard:05d}.npy"

    def _header_bytes(self) -> int:
        return len(self._header())

    def _header(self) -> bytes:
        fields = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({self._shard_rows}, {self.row_bytes}), }}"
        # format 1.0: magic, version, little-endian length, text padded with spaces to a multiple of 64, newline
        padded = fields.ljust(-(-(len(fields) + 11) // 64) * 64 - 11) + "\n"
        return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1")

    def _extend(self, shard: int) -> None:
        os.truncate(self._path(shard), self._header_bytes() + self._shard_rows * self.row_bytes)

    def _create(self, shard: int) -> None:
        temporary = self._path(shard).with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(self._header())
            file.truncate(self._header_bytes() + self._shard_rows * self.row_bytes)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(shard))
        sync(temporary.parent)

    def _write_part(self, shard: int, first: int, rows: Bytes) -> None:
        if self._folder is None:
            if shard not in self._maps:
                self._maps[shard] = np.zeros((self._shard_rows, self.row_bytes), dtype=np.uint8)
            self._maps[shard][first : first + len(rows)] = rows
            return
        if self._writer is None or self._writer[0] != shard:
            self.close()
            if not self._path(shard).exists():
                self._create(shard)
            self._writer = shard, self._path(shard).open("r+b")
        file = self._writer[1]
        file.seek(self._header_bytes() + first * self.row_bytes)
        file.write(np.ascontiguousarray(rows).tobytes())
        file.flush()

    def _map(self, shard: int) -> Bytes:
        if self._folder is None or shard in self._maps:
            return self._maps[shard]
        path = self._path(shard)
        if path.stat().st_size < self._header_bytes() + self._shard_rows * self.row_bytes:
            self._extend(shard)  # a crash came between cutting and extending
        self._maps[shard] = _opened(path, self.row_bytes)
        if len(self._maps) > MAX_OPEN_MAPS:
            self._maps.popitem(last=False)
        return self._maps[shard]

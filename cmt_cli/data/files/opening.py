"""Opens files of data: regular ones, through gzip, bzip2, xz or zstd where they are packed, never more than `limits`.

What packs a file is told by its first bytes. Lines come one by one, and each is held in memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from typing_extensions import override

from cmt_cli.data.files.limits import Limits, limits
from cmt_cli.data.files.regular_files import open_regular

PACKED_ENDINGS = (".gz", ".gzip", ".bz2", ".xz", ".zst")
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)  # what reading a damaged packed file raises
_CHUNK = 2**20
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_FORMATS = {
    b"PK\x03\x04": "a zip archive, or a document that is one",
    b"PK\x05\x06": "an empty zip archive",
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF-": "a PDF document",
    b"PAR1": "a parquet file",
    b"ARROW1": "an arrow file",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"\x93NUMPY": "an array of numpy",
    b"\x1f\x8b": "packed twice",
    b"\x80\x02": "a pickled file, which is never read",
    b"\x80\x03": "a pickled file, which is never read",
    b"\x80\x04": "a pickled file, which is never read",
    b"\x80\x05": "a pickled file, which is never read",
}


class _Source(Protocol):
    """What unpacks a file as it is read."""

    def read1(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


class _Bounded(io.RawIOBase):
    """An unpacked stream that raises LimitError before more comes out of it than is allowed."""

    def __init__(self, source: _Source, packed: IO[bytes], allowed: Limits) -> None:
        self._source, self._packed, self._allowed = source, packed, allowed
        self._num_packed = os.fstat(packed.fileno()).st_size

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        found = self._source.read1(min(len(buffer), _CHUNK))  # what comes before damage is read
        buffer[: len(found)] = found
        self._allowed.check_bytes(self._source.tell(), self._num_packed)
        return len(found)

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    @override
    def tell(self) -> int:
        return self._source.tell()

    @override
    def close(self) -> None:
        if not self.closed:
            self._source.close()
            self._packed.close()
        super().close()


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a regular file for reading, unpacked if it is packed.

    Reading a packed one raises one of `DAMAGE`, or OSError, where it is damaged, and LimitError for too much.
    """
    stream = open_regular(path)
    head = stream.read(16)
    stream.seek(0)
    unpack = next((unpack for _, magic, unpack in _UNPACKING if magic.match(head)), None)
    return stream if unpack is None else io.BufferedReader(_Bounded(unpack(stream), stream, limits()), _CHUNK)


class _Zstd:
    """Unpacks zstd from its begin to its end, by the library that reads parquet."""

    def __init__(self, stream: IO[bytes]) -> None:
        import pyarrow

        self._faults = (pyarrow.ArrowException, OSError)
        self._inner = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")
        self._place = 0

    def read1(self, size: int, /) -> bytes:
        try:
            found = cast(bytes, self._inner.read(size))
        except self._faults as error:
            raise EOFError(str(error)) from error
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("zstd is read from its begin to its end")

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._inner.close()


_UNPACKING: tuple[tuple[str, re.Pattern[bytes], Callable[[IO[bytes]], _Source]], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b"), lambda stream: gzip.GzipFile(fileobj=stream)),
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.BZ2File),
    ("xz", re.compile(rb"\xfd7zXZ\x00"), lzma.LZMAFile),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), _Zstd),
)


def packing_of(path: Path) -> str:
    """Return what packs a file, an empty text for a file as it is."""
    with open_regular(path) as stream:
        head = stream.read(16)
    return next((name for name, magic, _ in _UNPACKING if magic.match(head)), "")


def raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream with their endings; raise LimitError for one that is too long to be held."""
    allowed = limits()
    for line in iter(lambda: stream.readline(allowed.line_bytes + 1), b""):
        allowed.check_line(len(line))
        yield line


def foreign(head: bytes) -> str | None:
    """Return what a file is that begins with these bytes and is no text, as a predicate; None for anything else."""
    if head.startswith(_POINTER):
        return "is a Git LFS pointer, not the file that it stands for; `git lfs pull` in its repository gets that"
    if _PAGE.match(head):
        return "is a web page, such as a server's message in the place of the file; download the file again"
    if head[257:262] == b"ustar":
        return "is a tar archive, and not what is read here"
    found = next((name for magic, name in _FORMATS.items() if head.startswith(magic)), None)
    return None if found is None else f"is {found}, and not what is read here"

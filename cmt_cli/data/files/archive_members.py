"""The members of zip and tar archives, one by one, so that whoever lists them can stop."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from cmt_cli.data.files.opening import open_bytes
from cmt_cli.data.files.regular_files import open_regular

_TAR_BLOCK = 512  # bytes; one of zeros ends a tar archive
_MAX_HEADER = 2**20  # bytes that tarfile may read at once; the largest are headers with long names


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of an archive; `kind` is "file", "folder" or "other" (links, devices)."""

    name: str
    num_bytes: int
    kind: str
    open: Callable[[], IO[bytes] | None]


@contextmanager
def members_of(path: Path) -> Iterator[Iterator[Member]]:
    """Open an archive and give its members as they are found; raises what zipfile and tarfile raise."""
    with open_regular(path) as stream:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                infos = archive.infolist()
                yield (Member(i.filename, i.file_size, _zip_kind(i), partial(archive.open, i)) for i in infos)
            return
    with open_bytes(path) as unpacked, tarfile.open(fileobj=cast(IO[bytes], TarSource(unpacked)), mode="r:") as tar:
        yield _tar_members(tar, unpacked)


def _tar_members(tar: tarfile.TarFile, stream: IO[bytes]) -> Iterator[Member]:
    for entry in tar:
        yield Member(entry.name, entry.size, _tar_kind(entry), partial(tar.extractfile, entry))
    stream.seek(tar.offset)
    if stream.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):  # tarfile takes the end of the file and damage for the mark too
        raise tarfile.ReadError("no mark of its end follows its last member: it is cut off or damaged")


class TarSource:
    """What tarfile reads from; no header can make it hold more than a little at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read from `stream`."""
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes."""
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header has more than {_MAX_HEADER:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._stream.tell()


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.is_dir():
        return "folder"
    unix_type = (info.external_attr >> 16) & 0o170000
    return "file" if unix_type in (0, 0o100000) else "other"


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.isdir():
        return "folder"
    return "file" if entry.isreg() else "other"

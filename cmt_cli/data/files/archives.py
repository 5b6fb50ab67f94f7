"""Unpacks zip and tar archives and trusts nothing in them: plain files inside the target folder, or nothing.

Nothing is unpacked before all members are known to be safe and within `limits`. An archive in an archive stays packed.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from cmt_cli.core.atomic import owner
from cmt_cli.data.files.archive_members import Member, TarSource, members_of
from cmt_cli.data.files.kept_folders import is_whole, seal
from cmt_cli.data.files.limits import LimitError, limits
from cmt_cli.data.files.opening import DAMAGE, foreign, open_bytes
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.files.regular_files import open_regular

FAULTS = (
    *DAMAGE,
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    NotImplementedError,  # of a compression that zipfile does not know
    RuntimeError,  # of an encrypted member
    ValueError,  # of names and numbers that cannot be decoded
    struct.error,
    OverflowError,
)
MAX_DEPTH = 32  # folders
_MAX_NAME, _MAX_PATH = 255, 1024  # bytes; file systems allow so many for a name, and more for a path with the cache's
_SHOWN = 120  # letters of a member's name
_ENDINGS = re.compile(r"\.(?:zip|tar|tgz|tbz2?|txz|tar\.\w+)", re.IGNORECASE)


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip or tar file, whatever its name."""
    if not path.is_file():
        return False
    if zipfile.is_zipfile(path):
        return True
    try:
        # Not is_tarfile, which unpacks whatever it is given in search of a tar, and takes zeros for an empty one.
        with open_bytes(path) as stream, tarfile.open(fileobj=cast(IO[bytes], TarSource(stream)), mode="r:") as tar:
            return tar.next() is not None
    except FAULTS:
        return False


def damaged_archive(path: Path) -> Problem | None:
    """Return what is wrong with a file that was an archive, by its name or its first bytes; None for other files."""
    if not path.is_file() or is_archive(path):
        return None
    with open_regular(path) as stream:
        head = stream.read(512)
    if head.startswith(b"PK\x03\x04"):
        return Problem(path, None, "is a zip archive without its end: it is cut off or damaged; get the whole file")
    if not _ENDINGS.search(path.name):
        return None
    is_tar = head[257:262] == b"ustar"
    named = "is empty" if not head else None if is_tar else foreign(head)
    fault = named or "is no zip or tar archive: it is cut off or damaged"
    return Problem(path, None, fault)


def unpacked(archive: Path, cache: Path, problems: list[Problem]) -> Path:
    """Unpack an archive below `cache`, once for each content, and return the folder that holds its files.

    Unsafe members and damage are appended to `problems`; the folder does not exist then.
    """
    folder = cache / "unpacked" / sha256_of(archive)[:16]
    if not is_whole(folder, cache):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".unpacking-{owner()}-") as temporary:
            inner = Path(temporary) / "files"
            faults = extract(archive, inner)
            if faults:
                problems.extend(faults)
                return folder
            seal(inner, folder, cache)
            rename_folder(inner, folder)
    return folder_of_files(folder)


def extract(archive: Path, into: Path) -> list[Problem]:
    """Unpack a zip or tar archive into a new folder; if any member is unsafe, return why and write nothing."""
    try:
        with members_of(archive) as found:
            members = list(_allowed(found, archive.stat().st_size))
            problems = [Problem(archive, None, fault) for fault in _faults(members)]
            total, free = sum(member.num_bytes for member in members), _free_bytes(into)
            if total > free:
                problems.append(Problem(archive, None, f"needs {total} bytes unpacked; {free} are free"))
            if problems:
                return problems
            into.mkdir(parents=True)
            for member in members:
                _write(member, into)
    except LimitError as error:
        return [Problem(archive, None, str(error))]
    except FAULTS as error:
        return [Problem(archive, None, f"cannot be unpacked ({str(error) or type(error).__name__})")]
    return []


def _allowed(members: Iterable[Member], packed: int) -> Iterator[Member]:
    """Yield members as they are found; raise LimitError as soon as they are too many or too large together."""
    allowed, total = limits(), 0
    for number, member in enumerate(members, start=1):
        if member.num_bytes < 0:
            raise tarfile.ReadError(f"the member {member.name!r} has a negative size")
        total += member.num_bytes
        allowed.check_files(number)
        allowed.check_bytes(total, packed)
        yield member


def _faults(members: Sequence[Member]) -> Iterator[str]:
    known: set[PurePosixPath] = set()
    for member in members:
        path = PurePosixPath(member.name)
        shown = repr(member.name if len(member.name) <= _SHOWN else f"{member.name[:_SHOWN]}...")
        if fault := unsafe(member.name, member.kind):
            yield f"member {shown} {fault}"
        elif member.kind == "file" and path in known:
            yield f"member {shown} occurs twice"
        known.add(path)


def unsafe(name: str, kind: str) -> str:
    """Return why a member must not be unpacked, or an empty string."""
    windows = PureWindowsPath(name)
    if kind == "other":
        return "is a link or a device"
    if PurePosixPath(name).is_absolute() or windows.is_absolute() or windows.drive or windows.root:
        return "has an absolute path"
    if ".." in windows.parts:
        return "climbs out of the folder with '..'"
    if not name.strip() or "\0" in name or (kind == "file" and not windows.parts):
        return "has no usable name"
    *parts, whole = (len(part.encode(errors="surrogateescape")) for part in (*windows.parts, name))
    if max(parts, default=0) > _MAX_NAME or whole > _MAX_PATH:
        return "has a name that is too long"
    if len(windows.parts) > MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep"
    return ""


def folder_of_files(folder: Path) -> Path:
    """Descend while a folder holds nothing but one other folder, as archives of a folder do."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX" and not entry.name.startswith(".")]
    while len(entries) == 1 and entries[0].is_dir():
        folder = entries[0]
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return folder


def rename_folder(finished: Path, target: Path) -> None:
    """Move a finished folder into place, its files on disk first; a faster process with the same content wins."""
    for file in finished.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    try:
        os.replace(finished, target)
    except OSError:
        if not target.is_dir():
            raise


def _write(member: Member, into: Path) -> None:
    target = into / member.name
    try:
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        sink = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise tarfile.ReadError(f"the member {member.name!r} is in the place of another") from error
    source = member.open()
    assert source is not None  # None is for members that are not files
    with source, sink:
        shutil.copyfileobj(source, sink)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

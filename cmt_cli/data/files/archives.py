"""Unpacks zip and tar archives and trusts nothing in them: plain files inside the target folder, or nothing."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from cmt_cli.core.atomic import owner
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import sha256_of

FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of an archive; `kind` is "file", "folder" or "other" (links, devices)."""

    name: str
    num_bytes: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Return whether a path is a zip or tar file, whatever its name."""
    if not path.is_file():
        return False
    if zipfile.is_zipfile(path):
        return True
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError, OSError):
        return False


def unpacked(archive: Path, cache: Path, problems: list[Problem]) -> Path:
    """Unpack an archive below `cache`, once for each content, and return the folder that holds its files.

    Unsafe members and damage are appended to `problems`; the folder does not exist then.
    """
    folder = cache / "unpacked" / sha256_of(archive)[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".unpacking-{owner()}-") as temporary:
            inner = Path(temporary) / "files"
            faults = extract(archive, inner)
            if faults:
                problems.extend(faults)
                return folder
            rename_folder(inner, folder)
    return folder_of_files(folder)


def extract(archive: Path, into: Path) -> list[Problem]:
    """Unpack a zip or tar archive into a new folder; if any member is unsafe, return why and write nothing."""
    try:
        with _members(archive) as members:
            problems = [
                Problem(archive, None, f"member {member.name!r} {fault}")
                for member in members
                if (fault := unsafe(member.name, member.kind))
            ]
            total, free = sum(member.num_bytes for member in members), _free_bytes(into)
            if total > free:
                problems.append(Problem(archive, None, f"needs {total} bytes unpacked; {free} are free"))
            if problems:
                return problems
            into.mkdir(parents=True)
            for member in members:
                _write(member, into)
    except FAULTS as error:
        return [Problem(archive, None, f"cannot be unpacked ({error})")]
    except RuntimeError as error:  # what zipfile raises for an encrypted member
        return [Problem(archive, None, f"cannot be unpacked ({error})")]
    return []


def unsafe(name: str, kind: str) -> str:
    """Return why a member must not be unpacked, or an empty string."""
    windows = PureWindowsPath(name)
    if kind == "other":
        return "is a link or a device"
    if PurePosixPath(name).is_absolute() or windows.is_absolute() or windows.drive or windows.root:
        return "has an absolute path"
    if ".." in windows.parts:
        return "climbs out of the folder with '..'"
    if not name.strip() or "\0" in name:
        return "has no usable name"
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


@contextmanager
def _members(path: Path) -> Iterator[list[Member]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield [Member(i.filename, i.file_size, _zip_kind(i), partial(archive.open, i)) for i in archive.infolist()]
        return
    with tarfile.open(path) as tar:
        yield [Member(e.name, e.size, _tar_kind(e), partial(tar.extractfile, e)) for e in tar.getmembers()]


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.is_dir():
        return "folder"
    unix_type = (info.external_attr >> 16) & 0o170000
    return "file" if unix_type in (0, 0o100000) else "other"


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.isdir():
        return "folder"
    return "file" if entry.isreg() else "other"


def _write(member: Member, into: Path) -> None:
    target = into / member.name
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None  # None is for members that are not files
    with source, target.open("xb") as sink:
        shutil.copyfileobj(source, sink)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

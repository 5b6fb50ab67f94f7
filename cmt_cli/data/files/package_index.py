"""Single files of a package index, fetched by pip: a release by its exact version, compared with a sha256.

Package indexes are often reachable where the hub and other hosts are not, and releases stay there unchanged.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stored_rows import file_sha256

_CONNECT_SECONDS = 15
_DOWNLOAD_SECONDS = 3600
# A release and nothing else: an option, an address, a place or an archive is code that pip would execute.
_PINNED = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?==\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One file of a package index: `requirement` is `NAME==VERSION`, `sha256` that of its wheel or source archive.

    Raises UserError for any other requirement: of a place or a repository pip would execute the code.
    """

    requirement: str
    sha256: str

    def __post_init__(self) -> None:
        if not _PINNED.fullmatch(self.requirement):
            raise UserError(
                f"The requirement '{self.requirement}' is no release of a package index. Write NAME==VERSION: nothing "
                "else is fetched, since a place or a repository could execute code."
            )


def wheel_of(release: Release, into: Path) -> Path:
    """Fetch a release's wheel into a folder, without what it depends on; raise UserError where it is not the one."""
    file = _fetched(release, into, ["--only-binary=:all:", release.requirement], "*.whl")
    compare(file, release.sha256, f"The wheel {release.requirement}")
    return file


def source_archive_of(release: Release, into: Path) -> Path:
    """Fetch a release's source archive into a folder; raise UserError where it is not the one.

    pip executes a source archive's `setup.py` to learn its name, so it is given the sha256 and looks at no other file.
    """
    pinned = into / "requirements.txt"
    pinned.write_text(f"{release.requirement} --hash=sha256:{release.sha256}\n", encoding="utf-8")
    options = ["--no-binary=:all:", "--require-hashes", f"--requirement={pinned}"]
    file = _fetched(release, into, options, "*.tar.gz")
    compare(file, release.sha256, f"The source archive of {release.requirement}")
    return file


def _fetched(release: Release, into: Path, what: Sequence[str], pattern: str) -> Path:
    options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--retries=1", f"--timeout={_CONNECT_SECONDS}"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, f"--dest={into}", *what],
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable(release, f"it took longer than {_DOWNLOAD_SECONDS / 3600:g} hour") from error
    (file, *_) = [*into.glob(pattern), None]
    if done.returncode != 0 or file is None:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or done.stderr.split("\n")
        said = [line.strip() for line in said if line.strip()]
        raise _unavailable(release, said[-1] if said else f"pip left with {done.returncode}")
    return file


def _unavailable(release: Release, reason: str) -> UserError:
    return UserError(
        f"pip could not fetch {release.requirement} ({reason.removeprefix('ERROR: ')}). Run the command where a "
        "package index can be reached; PIP_INDEX_URL names another."
    )


def compare(file: Path, expected: str, what: str) -> None:
    """Raise UserError unless a file has the expected sha256; `what` begins the message."""
    if (found := file_sha256(file)) != expected:
        raise UserError(
            f"{what} has the sha256 {found}, expected was {expected}: it was cut on the way, or the index holds "
            "another file under this name. Nothing of it was read. Try again, or another index (PIP_INDEX_URL)."
        )

"""Folders of the cache whose files are compared with their sha256 before they are used again.

Generated files, unpacked archives and copies of hub data can be made again, so damage to them is no fault of the
user's: such a folder is made anew, with a line that says so. Its hashes lie in a folder of their own.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from cmt_cli.core.atomic import read_sealed, write_sealed
from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.data.files.content_hashes import listing_of
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.files.regular_files import entries

FOLDER = "seals"  # below the cache


def is_whole(folder: Path, cache: Path) -> bool:
    """Return whether a folder holds just the files that it was sealed with; warn where it has others.

    `cache` is where the hashes of unchanged files are kept.
    """
    if not (folder.exists() or folder.is_symlink()):
        return False
    try:
        if folder.is_dir() and read_sealed(_seal(folder, cache)) == _found(folder, cache):
            return True
    except FileNotFoundError:
        return False  # of a version that wrote none
    except (OSError, ValueError):
        pass
    warnings.warn(f"{folder} is not what was kept there; it is damaged and made anew.", CmtWarning, stacklevel=3)
    return False


def seal(finished: Path, folder: Path, cache: Path) -> None:
    """Note the hashes of a finished folder for the place that it will be moved to, and clear that place."""
    files = {str(file.relative_to(finished)): sha256_of(file) for file in entries(finished)}
    if folder.is_dir() and not folder.is_symlink():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".damaged-") as away:
            folder.rename(Path(away) / "files")
    else:
        folder.unlink(missing_ok=True)
    path = _seal(folder, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, files)  # before the folder is there: whoever finds it can compare it


def _found(folder: Path, cache: Path) -> dict[str, str]:
    try:
        files = list(entries(folder))
        found = listing_of(folder, files) if all(file.is_file() for file in files) else None
        return found.sha256(cache) if found is not None else {}
    except OSError:
        return {}


def _seal(folder: Path, cache: Path) -> Path:
    return cache / FOLDER / folder.parent.name / f"{folder.name}.json"

"""Lists every problem of a user's files, for `cmt data check`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cmt_cli.data.archives import extract, folder_of_files, is_archive
from cmt_cli.data.origin import Read, is_present
from cmt_cli.data.reading import Problem


def problems_of(read: Read, path: Path) -> list[Problem]:
    """Return all problems that a layout's `read` finds at a path: a folder, a file or an archive. Nothing is kept."""
    if not is_present(path):
        return [Problem(path, None, "is empty" if path.exists() else "does not exist")]
    if not is_archive(path):
        return read(path)[1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        unsafe = extract(path, folder)
        if unsafe:
            return unsafe
        inside = folder_of_files(folder)
        return [
            Problem(path / problem.file.relative_to(inside), problem.line, problem.message)
            for problem in read(inside)[1]
        ]

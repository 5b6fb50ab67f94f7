"""Find runs on disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.analysis.run_index import walk
from cmt_cli.core.exceptions import CmtWarning, UserError, counted, nearest
from cmt_cli.core.result import RunResult
from cmt_cli.running.run_files import read_result


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run folder and its record."""

    folder: Path
    result: RunResult


def find_runs(folder: Path) -> list[FoundRun]:
    """Return the runs in or anywhere below `folder`, sorted by path; unreadable ones are left out with a warning."""
    found = []
    for path, _ in walk(folder):
        try:
            result = read_result(path)
        except UserError as error:
            warnings.warn(str(error), CmtWarning, stacklevel=2)
            continue
        if result is not None:
            found.append(FoundRun(path, result))
    return found


def _is_run(folder: Path) -> bool:
    """Return whether a folder holds a run, be it one that was stopped before it had a record."""
    return (folder / "result.json").exists() or (folder / "config.yaml").exists()


def find_run(name: str, runs: Path) -> Path:
    """Return the folder of the run that a user names: a path, or the beginning or the hash of a folder in `runs`.

    Raises UserError where none or several fit.
    """
    path = Path(name)
    if _is_run(path):
        return path
    folders = sorted(p for p in runs.iterdir() if _is_run(p)) if runs.is_dir() else []
    fitting = [p for p in folders if p.name.startswith(name) or p.name.endswith(f"-{name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"'{name}' fits several runs: {', '.join(p.name for p in fitting)}. Give more of the name.")
    raise UserError(
        f"There is no run '{name}': it is neither a run folder nor the beginning of one in '{runs}', which has "
        f"{counted(len(folders), 'run')}.{nearest(name, [p.name for p in folders])} `cmt runs {runs}` lists them."
    )

"""What a complete run's folder lacks of its files: put back where its record has it, told where nothing has."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_cli.core.exceptions import CmtWarning, UserError, counted
from cmt_cli.running.lock import RunLock
from cmt_cli.running.run_files import inside, num_predictions, predictions_path
from cmt_cli.running.scores import Cells, cells_of, read_cells, write_cells

if TYPE_CHECKING:
    from cmt_cli.core.result import RunResult


def mend(folder: Path, result: RunResult) -> None:
    """Write scores.csv again where it is gone or damaged; warn of what is gone for good, and what that prevents."""
    kept = cells_of(result)
    if kept and not _has_rows(folder, kept):
        with RunLock(folder):
            write_cells(folder / "scores.csv", kept)
        _warn(f"'{folder / 'scores.csv'}' was missing or damaged; it was written again from result.json.")
    if cut := [row for row in kept if not _has_predictions(folder, row)]:
        rows = ", ".join(map(str, sorted(cut)))
        _warn(
            f"The predictions of {counted(len(cut), 'row')} in '{folder / 'predictions'}' are gone or cut ({rows}): no "
            "metrics can be added to the run, and reports lack its answers. Put the files back; or move the folder "
            "away and repeat the command to make the run again."
        )
    states = inside(folder, "checkpoint", "state")
    if not any(
        (state / "state.json").is_file() and (state / "state.safetensors").is_file() for state in _below(states)
    ):
        _warn(
            f"The run's saved state in '{states}' is gone: `cmt ask` cannot answer from it. Put it back; or move the "
            "folder away and repeat the command to make the run again."
        )


def _has_rows(folder: Path, kept: Cells) -> bool:
    try:
        return set(kept) <= set(read_cells(inside(folder, "scores.csv")))
    except UserError:
        return False


def _has_predictions(folder: Path, row: int) -> bool:
    path, expected = predictions_path(folder, row), num_predictions(folder, row)
    if not path.is_file():
        return False
    content = path.read_bytes()
    return content.endswith(b"\n") and expected in (None, content.count(b"\n"))


def _below(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _warn(text: str) -> None:
    warnings.warn(text, CmtWarning, stacklevel=3)

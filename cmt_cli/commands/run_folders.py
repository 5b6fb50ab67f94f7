"""The runs that a command names, found without loading torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmt_cli.terminal.progress import ProgressDisplay

RUNS = Path("runs")  # the default of paths.runs
_WORTH_A_BAR = 400  # runs to read; fewer take less than a second


def run_names(runs: Path = RUNS) -> list[str]:
    """Return the names of the runs in a folder, the latest first."""
    if not runs.is_dir():
        return []
    found = [folder for folder in runs.iterdir() if (folder / "result.json").is_file()]
    return [folder.name for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)]


def find(name: str) -> Path:
    """Return the folder of a run given by path, or by the beginning of its name in `runs/`."""
    from cmt_cli.analysis.find_runs import find_run

    return find_run(name, RUNS)


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Show on the error stream how far the reading of runs is; nothing is imported for it before there are any."""
    bars: list[ProgressDisplay] = []

    def show_progress(description: str, done: int, total: int) -> None:
        if total < _WORTH_A_BAR:
            return
        if not bars:
            from cmt_cli.terminal.console import open_console
            from cmt_cli.terminal.progress import ProgressDisplay

            bars.append(ProgressDisplay(open_console(stderr=True)))
        bars[0](description, done, total)

    try:
        yield show_progress
    finally:
        for bar in bars:
            bar.close()

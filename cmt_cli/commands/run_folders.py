"""The runs that a command names: found, shown, compared, without loading torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_cli.core.exceptions import UserError

if TYPE_CHECKING:
    from cmt_cli.running.progress import ProgressDisplay

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


def show(folder: Path) -> None:
    """Print a run's record; raise UserError where nothing has been recorded yet."""
    from rich.console import Console

    from cmt_cli.commands import show
    from cmt_cli.running.reading import read_result

    result = read_result(folder)
    if result is None:
        raise UserError(f"{folder} has no result.json yet.")
    show.show(result, folder, Console())


def list_runs(folder: Path, where: Sequence[str], sort: str | None, *, as_json: bool) -> None:
    """Print the runs in and below a folder that `where` leaves."""
    from cmt_cli.commands import runs

    with reading() as progress:
        entries = runs.chosen_runs(folder, where=where, sort=sort, progress=progress)
    extra = [sort.removeprefix("-")] if sort else []
    shown = [key for key in extra if key not in runs.SHOWN]
    print(runs.as_json(entries) if as_json else runs.as_text(entries, folder, shown))


def metrics(folder: Path, add: Sequence[str]) -> None:
    """Add metrics to a run, then print what it has and what could be added."""
    from cmt_cli.analysis import rescoring

    with reading() as progress:
        for name in add:
            value = rescoring.add_metric(folder, name, progress).metrics[f"{name}/aa"].value
            print(
                f"{name} was added to every row of {folder}; {name}/aa is {'-' if value is None else f'{value:.4f}'}."
            )
    if add:
        return
    offer = rescoring.offered(folder)
    print("There (mean over tests, last row):")
    print("".join(f"  {name:20} {'-' if value is None else value}\n" for name, value in offer.there.items()), end="")
    print(f"Possible from the stored predictions, with `cmt metrics {folder} --add NAME`:")
    print("".join(f"  {name:20} {text}\n" for name, text in offer.possible.items()), end="")
    print("Not possible:")
    print("".join(f"  {name:20} {text}\n" for name, text in offer.refused.items()), end="")


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Show on the error stream how far the reading of runs is; nothing is imported for it before there are any."""
    bars: list[ProgressDisplay] = []

    def show_progress(description: str, done: int, total: int) -> None:
        if total < _WORTH_A_BAR:
            return
        if not bars:
            from rich.console import Console

            from cmt_cli.running.progress import ProgressDisplay

            bars.append(ProgressDisplay(Console(stderr=True)))
        bars[0](description, done, total)

    try:
        yield show_progress
    finally:
        for bar in bars:
            bar.close()

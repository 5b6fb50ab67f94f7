"""The runs that a command names: found, shown, compared, without loading torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from cmt_cli.core.errors import UserError, nearest

RUNS = Path("runs")  # the default of paths.runs
FORMATS = ("table", "markdown", "csv", "json")


def run_names(runs: Path = RUNS) -> list[str]:
    """Return the names of the runs in a folder, the latest first."""
    if not runs.is_dir():
        return []
    found = [folder for folder in runs.iterdir() if (folder / "result.json").is_file()]
    return [folder.name for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)]


def find(name: str) -> Path:
    """Return the folder of a run given by path, or by the beginning of its name in `runs/`."""
    from cmt_cli.running.catalogue import find_run

    return find_run(name, RUNS)


def show(folder: Path) -> None:
    """Print a run's record; raise UserError where nothing has been recorded yet."""
    from rich.console import Console

    from cmt_cli.running import show
    from cmt_cli.running.reading import read_result

    result = read_result(folder)
    if result is None:
        raise UserError(f"{folder} has no result.json yet.")
    show.show(result, folder, Console())


def compare(names: Sequence[str], format_: str) -> None:
    """Print a comparison of runs, or of all runs below folders."""
    if format_ not in FORMATS:
        raise UserError(f"--format {format_}: allowed are {', '.join(FORMATS)}.{nearest(format_, FORMATS)}")
    from rich.console import Console

    from cmt_cli.running import compare, tables

    comparison = compare.compare([Path(name) if Path(name).is_dir() else find(name) for name in names])
    if format_ == "table":
        tables.print_comparison(comparison, Console())
    elif format_ == "json":
        print(json.dumps(dataclasses.asdict(comparison), indent=2, default=str))
    else:
        print(tables.to_markdown(comparison) if format_ == "markdown" else tables.to_csv(comparison), end="")

"""Published tables that this package means to reproduce: their cells, where each number is from, our number beside it.

A table is a list of cells. A cell has the numbers that were printed, as they were printed, and the jobs (lists of
overrides of `cmt run`, one for each order of the tasks) whose runs over all seeds give our number; a cell without jobs
says why there are none. Our number is looked up, never typed: it is the mean over the complete runs on the real test
split whose config is exactly that of the cell's jobs, seeds aside.

    python experiments/published_trace.py                            # the table, with what was run in runs/
    python experiments/published_trace.py --commands                 # the runs that are missing, as commands
    python experiments/published_trace.py --run --seeds 0 1 2        # run them
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

from cmt_cli.analysis.repetitions import experiment_of, order_of
from cmt_cli.analysis.run_index import RunEntry, list_runs
from cmt_cli.config import check

ROOT = Path(__file__).parent.parent
NOT_RUN = "not run"
UNKNOWN = "not checked"
Job = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where published numbers are from; `how` says how far they can be trusted.

    "read": in the paper's own text; "quoted": in somebody else's table or notes; "unchecked": the table has not been
    read, and no number of it is given.
    """

    text: str
    how: str

    @property
    def mark(self) -> str:
        """Return the mark beside a number."""
        return {"read": "", "unchecked": "", "quoted": "†"}[self.how]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row and column of a table. `published` maps printed metrics to printed numbers or words, None where unknown.

    `jobs` are the overrides of its runs; without any, `reason` says what is missing.
    """

    row: str
    column: str
    published: Mapping[str, float | str | None]
    source: Source
    jobs: tuple[Job, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A published table. `metrics` maps printed metrics to ours, `scale` is what a fraction is multiplied by.

    `notes` say in what our runs differ from the paper's.
    """

    name: str
    title: str
    metrics: Mapping[str, str]
    cells: tuple[Cell, ...]
    scale: float = 100.0
    digits: int = 2
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ours:
    """What was run of a cell: by printed metric one value per run, and how many of its jobs have a run."""

    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    num_runs: int = 0
    num_jobs_run: int = 0


def key_of(job: Job) -> tuple[str, str | None]:
    """Return what the runs of a job share over all seeds; raise UserError for overrides that do not compose."""
    resolved = check.check(check.Request(job)).config
    return experiment_of(resolved), order_of(resolved)


def complete_runs(runs: Path) -> list[RunEntry]:
    """Return the complete runs on real data and the test split, anywhere below `runs`."""
    entries = list_runs(runs) if runs.is_dir() else []
    wanted = {"status": "complete", "source": "real", "split": "test"}
    return [entry for entry in entries if all(entry.head[key] == value for key, value in wanted.items())]


def ours(table: Table, cell: Cell, runs: Sequence[RunEntry]) -> Ours:
    """Return what was run of a cell; nothing is composed where no run is of the cell's method and stream."""
    likely = [entry for entry in runs if any(_may_be(entry, job) for job in cell.jobs)]
    if not likely:
        return Ours()
    keys = {key_of(job) for job in cell.jobs}
    found = [entry for entry in likely if (entry.detail["experiment"], entry.detail["order"]) in keys]
    values = {
        printed: tuple(value for entry in found if (value := entry.detail["metrics"].get(metric)) is not None)
        for printed, metric in table.metrics.items()
    }
    jobs_run = {(entry.detail["experiment"], entry.detail["order"]) for entry in found}
    return Ours(values, len(found), len(jobs_run))


def _may_be(entry: RunEntry, job: Job) -> bool:
    chosen = dict(override.split("=", 1) for override in job)
    return all(entry.head[key] == chosen[key] for key in ("method", "data", "model") if key in chosen)


def markdown(table: Table, runs: Sequence[RunEntry]) -> str:
    """Return the table: published and ours for each metric, and what is missing."""
    head = ["", "", *(f"{name}, {who}" for name in table.metrics for who in ("published", "ours")), "runs"]
    rows = []
    for cell in table.cells:
        mine = ours(table, cell, runs)
        numbers = []
        for name in table.metrics:
            numbers += [_published(cell, name, table.digits), _mean(mine.values.get(name, ()), table)]
        rows.append([cell.column, cell.row, *numbers, _state(cell, mine)])
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    sources = dict.fromkeys(f"{cell.source.mark} {_HOW[cell.source.how]}: {cell.source.text}" for cell in table.cells)
    notes = [*(f"- {source.strip()}" for source in sources), *(f"- {note}" for note in table.notes)]
    return "\n".join([f"## {table.title}", "", *lines, "", *notes])


_HOW = {"read": "Read in", "unchecked": "Not checked", "quoted": "Quoted"}


def _published(cell: Cell, metric: str, digits: int) -> str:
    value = cell.published.get(metric)
    if isinstance(value, str):
        return f"{value}{cell.source.mark}"
    return UNKNOWN if value is None else f"{value:.{digits}f}{cell.source.mark}"


def _mean(values: Sequence[float], table: Table) -> str:
    if not values:
        return NOT_RUN
    scaled = [table.scale * value for value in values]
    return f"{fmean(scaled):.{table.digits}f}" + (f" ± {stdev(scaled):.{table.digits}f}" if len(scaled) > 1 else "")


def _state(cell: Cell, mine: Ours) -> str:
    if not cell.jobs:
        return cell.reason
    orders = f", {mine.num_jobs_run} of {len(cell.jobs)} orders" if len(cell.jobs) > 1 and mine.num_runs else ""
    return f"{mine.num_runs}{orders}"


def num_run(table: Table, runs: Sequence[RunEntry]) -> tuple[int, int, int]:
    """Return how many cells were run, how many could be, and how many there are."""
    possible = [cell for cell in table.cells if cell.jobs]
    return sum(ours(table, cell, runs).num_runs > 0 for cell in possible), len(possible), len(table.cells)


def commands(table: Table, seeds: Sequence[int], runs: Path) -> Iterable[list[str]]:
    """Yield `cmt run` for each job and seed; a run that is complete is only printed by it."""
    for cell in table.cells:
        for job in cell.jobs:
            for seed in seeds:
                yield ["cmt", "run", *job, f"seed={seed}", f"paths.runs={runs}"]


def main(table: Table) -> None:
    """Print the table, or the commands of its runs, or run them."""
    parser = argparse.ArgumentParser(description=table.title)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "published")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--commands", action="store_true", help="print the commands of all runs")
    parser.add_argument("--run", action="store_true", help="run them, one after the other, then print the table")
    given = parser.parse_args()
    for command in commands(table, given.seeds, given.runs) if given.commands or given.run else ():
        print(shlex.join(command), flush=True)
        if given.run:
            subprocess.run([Path(sys.executable).with_name("cmt"), *command[1:]], check=True, cwd=ROOT)
    if not given.commands:
        print(markdown(table, complete_runs(given.runs)))

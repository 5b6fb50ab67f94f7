"""What the experiments' tables are made with: run a cell, read finished runs, format, write into the pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from cmt_cli.analysis.find_runs import find_runs
from cmt_cli.core.result import RunResult

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")  # those with markers for tables
IMAGES = ROOT / "docs" / "images"


def run(runs: Path, overrides: Sequence[str], seed: int) -> None:
    """Run one cell in a process of its own; `cmt run` only prints one that is complete."""
    cmt = Path(sys.executable).with_name("cmt")
    subprocess.run([cmt, "run", "logger=none", f"paths.runs={runs}", f"seed={seed}", *overrides], check=True, cwd=ROOT)


def finished(runs: Path) -> dict[str, list[RunResult]]:
    """Return the complete runs below `runs` by their row."""
    rows: dict[str, list[RunResult]] = {}
    for found in find_runs(runs):
        if found.result.status == "complete":
            rows.setdefault(found.folder.parent.name, []).append(found.result)
    return rows


def last_row(result: RunResult, metric: str) -> float | None:
    """Return the mean over all tests after the last task."""
    matrix = result.matrices.get(metric)
    scores = [score for score in matrix.rows[-1] if score is not None] if matrix else []
    return fmean(scores) if scores else None


def average(results: Sequence[RunResult], metric: str = "aa") -> tuple[float, float]:
    """Return mean and deviation of a metric over runs; no deviation of one run."""
    values = [result.metrics[metric].value or 0.0 for result in results]
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def shown(values: Sequence[float | None], pattern: str) -> str:
    """Return mean and deviation of the values there are."""
    present = [value for value in values if value is not None]
    if not present:
        return "-"
    deviation = f" ± {pattern.format(stdev(present))}" if len(present) > 1 else ""
    return pattern.format(fmean(present)) + deviation


def slug(row: str) -> str:
    """Return a row's name as a folder's."""
    return row.replace(" ", "_")


def columns(table: str, names: Sequence[str]) -> str:
    """Return a markdown table with only these columns, in this order; raise ValueError for one that it lacks."""
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in table.splitlines()]
    places = [rows[0].index(name) for name in names]
    return "\n".join("| " + " | ".join(row[place] for place in places) + " |" for row in rows)


def with_rows(published: str, made: str) -> str:
    """Return a published table with the lines of another in the place of those with the same first cell."""
    new = {line.split("|")[1]: line for line in made.splitlines() if line.startswith("| ")}
    return "\n".join(
        new.get(line.split("|")[1], line) if line.startswith("| ") else line for line in published.splitlines()
    )


def publish(name: str, text: str) -> None:
    """Write a table to the results folder and between the markers of its name, in the pages that have them."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), flags=re.DOTALL)
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        page.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", content), encoding="utf-8")

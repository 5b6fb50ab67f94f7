"""Write a report of runs: one HTML file, and the same figures for papers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cmt_cli.analysis.compare_runs import compare
from cmt_cli.analysis.comparison import Comparison
from cmt_cli.core.atomic import write_text
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.reporting.content import build
from cmt_cli.reporting.examples import ROWS, pack
from cmt_cli.reporting.page import to_html


@dataclass(frozen=True, slots=True)
class Written:
    """What a report holds: its runs, predictions and size."""

    path: Path
    num_runs: int
    num_predictions: int
    num_bytes: int


def compared(folders: Sequence[Path]) -> Comparison:
    """Compare the runs in or below `folders`; raise UserError where none of them is complete."""
    comparison = compare(folders)
    if not comparison.sections:
        states = ", ".join(f"{folder.name} is {status}" for folder, status in comparison.left_out)
        raise UserError(f"A report needs a complete run, and there is none: {states}. `cmt resume RUN` continues one.")
    return comparison


def write_report(
    comparison: Comparison,
    path: Path,
    *,
    title: str | None = None,
    rows: str = "all",
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Written:
    """Write the HTML file; `rows` of predictions are "all", "final" or "none".

    Raises UserError for other rows, and where the file cannot be written.
    """
    if rows not in ROWS:
        raise UserError(f"--examples {rows}: allowed are {', '.join(ROWS)}.{nearest(rows, ROWS)}")
    if path.is_dir() or not path.parent.is_dir():
        problem = "it is a folder" if path.is_dir() else f"the folder '{path.parent}' does not exist"
        raise UserError(f"The report cannot be written to '{path}': {problem}. Name a file, e.g. -o report.html.")
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    content, keys = build(comparison, cmt=importlib.metadata.version("cmt-cli"), created=created)
    done = 0

    def tell(run_id: str) -> None:
        nonlocal done
        progress(f"reading predictions of {run_id}", done, len(keys))
        done += 1

    packed = {}
    for section in content["sections"]:
        runs = {key.id: key.folder for key in keys if key.section == section["id"]}
        packed[section["id"]] = pack(runs, rows, tell)
    page = to_html(content, packed, title=title or _title(comparison))
    write_text(path, page)
    return Written(path, len(keys), sum(found.num_predictions for found in packed.values()), len(page))


def _title(comparison: Comparison) -> str:
    names = dict.fromkeys(f"{section.data} ({section.label})" for section in comparison.sections)
    return "Continual learning on " + ", ".join(names)

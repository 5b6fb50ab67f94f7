"""The score matrix as a file: `scores.csv`, one line per cell and metric, and the matrices built from it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmt_cli.core.atomic import write_text
from cmt_cli.core.result import ScoreMatrix
from cmt_cli.core.stream import TestSet

_HEADER = ("row", "test", "metric", "value")
Cells = dict[int, dict[str, dict[str, float | None]]]  # row -> test -> metric -> value


def read_cells(path: Path) -> Cells:
    """Read `scores.csv`; an empty value is a missing cell. Returns no rows where there is no file."""
    cells: Cells = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                value = float(line["value"]) if line["value"] else None
                cells.setdefault(int(line["row"]), {}).setdefault(line["test"], {})[line["metric"]] = value
    return cells


def write_cells(path: Path, cells: Cells) -> None:
    """Write `scores.csv` atomically; numbers are written so that they read back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for row in sorted(cells):
        for test, scores in cells[row].items():
            writer.writerows((row, test, m, "" if v is None else repr(float(v))) for m, v in scores.items())
    write_text(path, text.getvalue())


def matrices(cells: Cells, tests: Sequence[TestSet], *, num_rows: int) -> dict[str, ScoreMatrix]:
    """Return one matrix `[num_rows, num_tests]` per metric; what was not evaluated is None."""
    names: dict[str, None] = {}
    for row in sorted(cells):
        for scores in cells[row].values():
            names |= dict.fromkeys(scores)
    columns = tuple(test.name for test in tests)
    learned_at = tuple(test.learned_at for test in tests)
    return {
        metric: ScoreMatrix(
            metric, columns, learned_at, tuple(_row(cells.get(i, {}), columns, metric) for i in range(num_rows))
        )
        for metric in names
    }


def _row(
    scores: Mapping[str, Mapping[str, float | None]], columns: Sequence[str], metric: str
) -> tuple[float | None, ...]:
    return tuple(scores.get(test, {}).get(metric) for test in columns)

"""Scores as files, one line per cell and metric: the matrix in `scores.csv`, the times inside tasks in `steps/`."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from cmt_cli.core.atomic import write_text
from cmt_cli.core.result import SEEN, RunResult, ScoreMatrix, StepRow
from cmt_cli.core.stream import TestSet
from cmt_cli.data.files import spreadsheet
from cmt_cli.running.run_files import inside, reading

_ADVICE = "Put the file back; of scores.csv alone, removing it is enough: result.json has its rows, too."
Cells = dict[int, dict[str, dict[str, float | None]]]  # row, or steps inside a task -> test -> metric -> value


def read_cells(path: Path, *, time: str = "row") -> Cells:
    """Read a file of scores by row (or another `time`); an empty value is a missing cell. No file has no rows."""
    cells: Cells = {}
    if not path.exists():
        return cells
    header = (time, "test", "metric", "value")
    with reading(path, _ADVICE), path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file, strict=True)
        if (found := tuple(next(lines, ()))) != header:
            raise ValueError(f"its first line is {','.join(found)!r} in the place of {','.join(header)!r}")
        for line in lines:
            with reading(Path(f"{path}:{lines.line_num}"), _ADVICE):
                at, test, metric, value = line
                if int(at) < 0 or (value and not isfinite(float(value))):
                    raise ValueError(f"{','.join(line)!r} is no score")
                at_time = cells.setdefault(int(at), {}).setdefault(spreadsheet.text_of(test), {})
                at_time[spreadsheet.text_of(metric)] = float(value) if value else None
    return cells


def cells_of(result: RunResult) -> Cells:
    """Return the cells that a record holds, which are those of `scores.csv` when it was written last."""
    cells: Cells = {}
    for name, matrix in result.matrices.items():
        # There, probes stand with scores of their own.
        lent = {test for test, fact in result.probes.items() if fact["metric"] != name == result.primary_metric}
        for row, values in enumerate(matrix.rows):
            for test, score in zip(matrix.tests, values, strict=True):
                if score is not None and test not in lent:
                    cells.setdefault(row, {}).setdefault(test, {})[name] = score
    for name, values in result.seen.items():
        for row, value in enumerate(values):
            if value is not None:
                cells.setdefault(row, {}).setdefault(SEEN, {})[name] = value
    primary = result.matrices.get(result.primary_metric)
    for test in primary.tests if primary else ():
        for scores in cells.values():
            scores.setdefault(test, {result.primary_metric: None})
    return cells


def read_steps(folder: Path) -> dict[int, Cells]:
    """Read a run folder's scores inside tasks, by task (index from 0) and number of steps."""
    names = sorted(path.name for path in inside(folder, "steps").glob("task_*.csv"))
    numbers = {name: name.removeprefix("task_").removesuffix(".csv") for name in names}
    files = {int(number) - 1: inside(folder, "steps", name) for name, number in numbers.items() if number.isdecimal()}
    return {task: read_cells(path, time="step") for task, path in files.items()}


def write_cells(path: Path, cells: Cells, *, time: str = "row") -> None:
    """Write what `read_cells` reads, atomically; numbers are written so that they read back exactly."""
    lines = [spreadsheet.row((time, "test", "metric", "value"))]
    for row in sorted(cells):
        for test, scores in cells[row].items():
            shown = ((metric, "" if value is None else repr(float(value))) for metric, value in scores.items())
            lines += [spreadsheet.row((str(row), test, metric, value)) for metric, value in shown]
    write_text(path, "".join(lines))


def matrices(cells: Cells, tests: Sequence[TestSet], *, num_rows: int) -> dict[str, ScoreMatrix]:
    """Return one matrix `[num_rows, num_tests]` per metric; what was not evaluated is None."""
    columns = tuple(test.name for test in tests)
    names: dict[str, None] = {}
    for row in sorted(cells):
        for test in columns:
            names |= dict.fromkeys(cells[row].get(test, {}))
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


def seen_rows(cells: Cells, *, num_rows: int) -> dict[str, tuple[float | None, ...]]:
    """Return for each metric of all learned tasks together its value in each row; None before the first task."""
    by_row = [cells.get(i, {}).get(SEEN, {}) for i in range(num_rows)]
    names = dict.fromkeys(name for scores in by_row for name in scores)
    return {name: tuple(scores.get(name) for scores in by_row) for name in names}


def step_rows(steps: Mapping[int, Cells], tests: Sequence[TestSet], metric: str | None) -> list[StepRow]:
    """Return the scores inside tasks by one metric, or by each test's own for None."""
    return [
        StepRow(task, step, tuple(cells[step].get(t.name, {}).get(metric or t.metric) for t in tests))
        for task, cells in sorted(steps.items())
        for step in sorted(cells)
    ]


def rows_told(folder: Path) -> set[int]:
    """Return the rows of the matrix that the event log has."""
    found: set[int] = set()
    for line in (folder / "events.jsonl").read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # damaged: whatever it was, the row is told again
            event = json.loads(line) if b'"row"' in line else None
            if isinstance(event, dict) and event.get("event") == "row" and isinstance(event.get("row"), int):
                found.add(event["row"])
    return found

"""Draw retention curves: the score on a batch's questions as later batches come in, averaged over batches and seeds.

At age d the curve of a run is mean_j a[j + d, j] over the tasks j that reach that age. Scores are drawn, not their
ratio to a[j, j]: a method that learns nothing would keep all of it. Over repetitions the mean is drawn, with the sample
standard deviation as a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from cmt_cli.analysis.compare_runs import compare
from cmt_cli.analysis.comparison import Comparison
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import RunResult
from cmt_cli.running.run_files import read_result
from cmt_cli.tracking.figures import draw_curves


def plot_retention(folders: Sequence[Path], path: Path, *, metric: str | None = None) -> None:
    """Save a picture (png) of the runs in or below `folders`; raise UserError where they are not comparable.

    `metric` is the runs' primary metric unless given. Means are over tasks and repetitions.
    """
    comparison = compare(folders)
    if len(comparison.sections) != 1:
        names = ", ".join(f"{s.data} ({s.label})" for s in comparison.sections) or "no complete run"
        raise UserError(f"One picture shows runs on the same tests from one source; these are {names}. Name the runs.")
    section = comparison.sections[0]
    chosen = metric or section.primary_metric
    curves = _curves(comparison, chosen)
    draw_curves(curves, path, x_label=f"batches learned since ({section.data}, {section.label})", y_label=chosen)


def _curves(comparison: Comparison, metric: str) -> dict[str, list[tuple[float, float, float]]]:
    curves = {}
    for line in comparison.sections[0].lines:
        name = " ".join(part for part in (line.method, line.settings) if part)
        results = [result for folder in line.folders if (result := read_result(folder)) is not None]
        curves[name] = _mean_curve([run_curve(result, metric) for result in results])
    return curves


def run_curve(result: RunResult, metric: str) -> list[float | None]:
    """Return a run's mean score at each age, `[num_tasks]`; None where no task of that age was scored."""
    matrix = result.matrices[metric]
    num_tasks = len(matrix.rows) - 1
    curve: list[float | None] = []
    for age in range(num_tasks):
        rows = [(j, at + 1 + age) for j, at in enumerate(matrix.learned_at) if at is not None]
        scores = [score for j, row in rows if row <= num_tasks and (score := matrix.rows[row][j]) is not None]
        curve.append(fmean(scores) if scores else None)
    return curve


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[tuple[float, float, float]]:
    points = []
    for age, values in enumerate(zip(*curves, strict=True)):
        known = [value for value in values if value is not None]
        if known:
            points.append((float(age), fmean(known), stdev(known) if len(known) > 1 else 0.0))
    return points

"""Figures of a run. Colors: cividis, made for colour-blind readers; Okabe and Ito's eight for lines.

Drawn on matplotlib's own canvas, without a display and without its global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cmt_cli.core.result import ScoreMatrix
from cmt_cli.terminal.text import visible

# Okabe & Ito 2008, "Color Universal Design"; yellow is left out, it is too light on white.
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
_MAX_NUMBERED = 15  # rows or columns up to which each cell shows its number


def draw_matrix(matrix: ScoreMatrix, path: Path, *, title: str) -> None:
    """Save the score matrix as a heat map (png): rows are times, columns tests; missing cells stay gray."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    num_rows, num_tests = len(matrix.rows), len(matrix.tests)
    figure = Figure(figsize=(1.8 + 0.45 * max(num_tests, 6), 1.6 + 0.35 * max(num_rows, 6)), layout="constrained")
    axes = figure.subplots()
    colors = colormaps["cividis"].with_extremes(bad="#d0d0d0")
    values = [[float("nan") if value is None else value for value in row] for row in matrix.rows]
    drawn = axes.imshow(values, cmap=colors, vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(num_tests), labels=[plain(test) for test in matrix.tests], rotation=60, ha="right")
    axes.set_yticks(range(num_rows), labels=["before", *(f"after {i}" for i in range(1, num_rows))])
    axes.set_xlabel("test")
    axes.set_title(plain(title))
    if max(num_rows, num_tests) <= _MAX_NUMBERED:
        for i, row in enumerate(matrix.rows):
            for j, value in enumerate(row):
                if value is not None:
                    ink = "black" if value > 0.5 else "white"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=7)
    figure.colorbar(drawn, label=plain(matrix.metric))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float]]], path: Path, *, x_label: str, y_label: str
) -> None:
    """Save named curves (png); a point is (x, mean, deviation), and a deviation above 0 is drawn as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(curves.items()):
        if not points:
            continue
        xs, means, deviations = ([point[k] for point in points] for k in range(3))
        color, marker = LINE_COLORS[i % len(LINE_COLORS)], MARKERS[i % len(MARKERS)]
        style = "-" if i < len(LINE_COLORS) else "--"
        axes.plot(xs, means, style, color=color, marker=marker, markersize=4, label=plain(name))
        if any(deviations):
            low = [m - d for m, d in zip(means, deviations, strict=True)]
            high = [m + d for m, d in zip(means, deviations, strict=True)]
            axes.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_xlabel(plain(x_label))
    axes.set_ylabel(plain(y_label))
    axes.set_ylim(0.0, 1.05)
    axes.grid(alpha=0.3)
    if any(curves.values()):
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def plain(text: str) -> str:
    """Return text in which matplotlib sees no formula, and control characters are spelled."""
    return visible(text).replace("$", r"\$")

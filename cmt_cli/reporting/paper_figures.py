"""A report's figures for papers, drawn by matplotlib: png, or pdf as vectors with embedded TrueType fonts.

Journals refuse Type 3 fonts, which matplotlib's default embeds, so fonts are Type 42. One file per figure, section
and matrix, named `<section>_<figure>[_<method>]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.analysis.comparison import Comparison
from cmt_cli.core.exceptions import UserError
from cmt_cli.reporting import colors
from cmt_cli.reporting.content import LEARNING, build
from cmt_cli.tracking.figures import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = dict(zip(colors.MARKERS, ("o", "s", "D", "^", "P", "v", "X"), strict=True))
DASHES = ("-", "--", ":", "-.")
_SINGLE, _DOUBLE = 3.4, 7.0  # inches; a column and a page of common two-column layouts
_MAX_NUMBERED = 16
_SETTINGS = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "font.size": 8.0, "axes.linewidth": 0.6}
_CURVES = {
    "so_far": ("tasks learned", "{metric} on the tasks learned so far"),
    "by_age": ("tasks learned since", "{metric} on a task"),
    "forgotten": ("tasks learned", "forgetting of {metric}"),
}
Method = Mapping[str, Any]


def draw(
    comparison: Comparison, folder: Path, *, kind: str, progress: Callable[[str, int, int], None] = lambda *_: None
) -> list[Path]:
    """Save all figures as `kind` ("png" or "pdf") and return their paths; raise UserError where `folder` is a file."""
    import matplotlib

    if folder.exists() and not folder.is_dir():
        raise UserError(f"The figures cannot be saved in '{folder}': it is a file. Name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    content, _ = build(comparison, cmt="", created="")
    figures = [(name, make) for section in content["sections"] for name, make in _figures(section)]
    paths = []
    with matplotlib.rc_context(_SETTINGS):
        for done, (name, make) in enumerate(figures):
            progress(f"drawing {kind} figures", done, len(figures))
            paths.append(folder / f"{name}.{kind}")
            # Without a date, so that the same runs give the same file.
            make().savefig(paths[-1], dpi=200, metadata={"CreationDate": None} if kind == "pdf" else None)
    return paths


def _figures(section: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Figure]]]:
    place = section["id"]
    for name in _CURVES:
        yield f"{place}_{name}", lambda name=name: _curves(section, name)  # type: ignore[misc]
    yield f"{place}_cost", lambda: _scatter(section, "train_seconds", "aa")
    yield f"{place}_stability_plasticity", lambda: _scatter(section, LEARNING, "fgt")
    for method in section["methods"]:
        if method["mean"][section["primary"]] is not None:
            yield f"{place}_matrix_{method['id']}", lambda method=method: _matrix(section, method)  # type: ignore[misc]


def _curves(section: Mapping[str, Any], name: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = _empty(_DOUBLE, 3.2)
    metric = section["primary"]
    for i, method in enumerate(section["methods"]):
        points: Sequence[Sequence[float]] = method["curves"][metric][name]
        if points:
            xs, means, deviations = ([point[k] for point in points] for k in range(3))
            axes.plot(xs, means, **_look(i), markersize=3.5, linewidth=1.1, label=method["name"])
            low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
            high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
            axes.fill_between(xs, low, high, color=_look(i)["color"], alpha=0.15, linewidth=0)
    x_label, y_label = _CURVES[name]
    _finish(axes, section, x_label, y_label.format(metric=metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _scatter(section: Mapping[str, Any], x: str, y: str) -> Figure:
    figure, axes = _empty(_DOUBLE, 3.2)
    metric = section["primary"]
    for i, method in enumerate(section["methods"]):
        values = {**method["scores"][metric], **method["cost"]}
        across, up = values[x]["mean"], values[y]["mean"]
        if across is not None and up is not None:
            look = {name: value for name, value in _look(i).items() if name != "linestyle"}
            axes.plot([across], [up], **look, linestyle="none", markersize=6, label=method["name"])
    if x in section["methods"][0]["cost"]:
        axes.set_xscale("symlog", linthresh=1.0)  # a method that trains nothing costs 0
    _finish(axes, section, x.replace("_", " "), f"{y.upper()} ({metric})")
    return figure


def _matrix(section: Mapping[str, Any], method: Method) -> Figure:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    rows = method["mean"][section["primary"]]
    num_rows, num_tests = len(rows), len(rows[0])
    figure, axes = _empty(max(_SINGLE, 1.2 + 0.3 * num_tests), max(2.2, 1.2 + 0.22 * num_rows))
    values = [[float("nan") if value is None else value for value in row] for row in rows]
    known = [value for row in rows for value in row if value is not None]
    low, high = min(0.0, *known, 0.0), max(1.0, *known, 1.0)
    map_ = ListedColormap(colors.sequential(256)).with_extremes(bad="#ffffff")
    drawn = axes.imshow(values, cmap=map_, vmin=low, vmax=high, aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is None:
                axes.add_patch(_hatched(j, i))
            elif max(num_rows, num_tests) <= _MAX_NUMBERED:
                color = "black" if (value - low) / (high - low) >= colors.dark_ink_from() else "white"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=5.5, color=color)
    axes.set_xticks(
        range(num_tests), labels=[plain(name) for name in section["tests"]], rotation=60, ha="right", fontsize=6
    )
    axes.set_yticks(range(num_rows), labels=[str(i) for i in range(num_rows)], fontsize=6)
    axes.set_ylabel("tasks learned")
    axes.set_title(plain(f"{method['name']}: {section['data']}, {section['label']}"), fontsize=7)
    if any(value is None for row in rows for value in row):
        axes.legend(handles=[Patch(facecolor="white", edgecolor="#888888", hatch="////", label="no score")], fontsize=5)
    figure.colorbar(drawn, label=plain(section["primary"]))
    return figure


def _hatched(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#888888", hatch="////", linewidth=0)


def _empty(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _look(i: int) -> dict[str, Any]:
    lines, markers = colors.LINES_ON_LIGHT, list(MARKERS.values())
    turn = i // len(lines)
    return {"color": lines[i % len(lines)], "marker": markers[(i + turn) % len(markers)], "linestyle": DASHES[turn % 4]}


def _finish(axes: Axes, section: Mapping[str, Any], x_label: str, y_label: str) -> None:
    axes.set_xlabel(plain(x_label))
    axes.set_ylabel(plain(y_label))
    axes.set_title(plain(f"{section['data']}, {section['label']}"), fontsize=7)
    axes.grid(alpha=0.3, linewidth=0.5)
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        for text in legend.get_texts():
            text.set_text(plain(text.get_text()))

"""Tables of a comparison: for a console, as Markdown, as csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cmt_cli.running.compare import COSTS, SCORES, Comparison, Section, Value

_MAIN_SCORES = ("aa", "fgt", "bwt", "retention")
_WIDE = 140
COLUMNS = (*SCORES, *COSTS)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a table of scores and one of cost for each section; a narrow console gets fewer scores."""
    scores = SCORES if console.width >= _WIDE else _MAIN_SCORES
    for section in comparison.sections:
        title = f"{section.data}, {section.label}, {section.num_tests} tests, scores by {section.primary_metric}"
        console.print(Text(title, style="bold"))
        _print_table(section, scores, console)
        _print_table(section, COSTS, console)
        console.print()
    for note in _notes(comparison):
        console.print(note, markup=False, highlight=False)


def _print_table(section: Section, columns: Sequence[str], console: Console) -> None:
    table = Table(box=None, padding=(0, 1))
    table.add_column("method", min_width=10)
    table.add_column("n", justify="right")
    used = _used(section, columns)
    for name in used:
        table.add_column(_SHORT.get(name, name), justify="right", no_wrap=True)
    for line in section.lines:
        label = " ".join(part for part in (line.method, line.model, line.settings) if part)
        table.add_row(Text(label), str(len(line.seeds)), *(_shown(line.values[c], c) for c in used))
    console.print(table, highlight=False)


def _used(section: Section, columns: Sequence[str]) -> list[str]:
    return [c for c in columns if any(line.values[c].mean is not None for line in section.lines)]


_SHORT = {
    "fwd_zero_shot": "fwd_zs",
    "recall_at_1/aa": "recall@1",
    "train_seconds": "train s",
    "adapt_seconds_per_document": "ms/doc",
    "answer_ms_per_question": "ms/ans",
    "trainable_parameters": "params",
    "storage_bytes": "stored B",
    "peak_memory_bytes": "MiB",
}
_SCALES: Mapping[str, float] = {"adapt_seconds_per_document": 1000.0, "peak_memory_bytes": 1 / 2**20}


def _shown(value: Value, column: str) -> str:
    if value.mean is None:
        return "-"
    scale = _SCALES.get(column, 1.0)
    form: Callable[[float], str] = (lambda v: f"{v:.3f}") if column in SCORES else (lambda v: _rounded(v * scale))
    deviation = f" ±{form(value.deviation)}" if value.deviation is not None and column in SCORES else ""
    return form(value.mean) + deviation


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _notes(comparison: Comparison) -> list[str]:
    notes = []
    if len({section.source for section in comparison.sections}) > 1:
        notes.append("Generated and real data stand in separate tables: their scores must not be compared.")
    if len({section.split for section in comparison.sections}) > 1:
        notes.append("Results on the validation split, where settings are chosen, are no test results.")
    if len(comparison.sections) > 1:
        notes.append("Runs on other tests, files or sizes stand in tables of their own.")
    notes += [f"Left out: {folder} is {status}." for folder, status in comparison.left_out]
    return notes


def to_markdown(comparison: Comparison) -> str:
    """Return the tables as Markdown, scores as mean ± deviation."""
    parts = []
    for section in comparison.sections:
        used = _used(section, COLUMNS)
        header = ["method", "model", "seeds", *(_SHORT.get(c, c) for c in used)]
        lines = [f"**{section.data}, {section.label}**, scores by {section.primary_metric}", ""]
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        for line in section.lines:
            name = f"{line.method} ({line.settings})" if line.settings else line.method
            cells = [name, line.model, str(len(line.seeds)), *(_shown(line.values[c], c) for c in used)]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *_notes(comparison)]) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return one line per experiment, with means and deviations in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{column}{suffix}" for column in COLUMNS for suffix in ("", "_deviation")]
    writer.writerow(["data", "source", "split", "metric", "method", "model", "settings", "seeds", *names])
    for section in comparison.sections:
        for line in section.lines:
            numbers = [n for c in COLUMNS for n in (line.values[c].mean, line.values[c].deviation)]
            seeds = " ".join(map(str, line.seeds))
            known = [
                section.data,
                section.source,
                section.split,
                section.primary_metric,
                line.method,
                line.model,
                line.settings,
                seeds,
            ]
            writer.writerow([*known, *("" if n is None else repr(n) for n in numbers)])
    return text.getvalue()

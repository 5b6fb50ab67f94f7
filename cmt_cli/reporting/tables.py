"""Tables of a comparison: for a console, as Markdown, as csv. LaTeX is in latex_tables.py."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cmt_cli.analysis.comparison import COSTS, SCORES, Comparison, Difference, Line, Ranking, Section
from cmt_cli.data.files import spreadsheet
from cmt_cli.reporting.table_text import SHORT, difference_cells, notes, section_title, shown, used
from cmt_cli.terminal.console import line as one_line
from cmt_cli.terminal.text import paragraph, visible

_MAIN_SCORES = ("aa", "fgt", "bwt", "retention")
_WIDE = 140
_UNBOUNDED = 10_000  # columns
_DIFFERENCE_HEADS = ("line", "metric", "difference", "pairs", "p", "p Holm", "questions", "difference", "p", "p Holm")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print a table of scores and one of cost for each section; a narrow console gets fewer of the usual scores."""
    for section in comparison.sections:
        wide = console.width >= _WIDE or section.scores != SCORES
        scores = section.scores if wide else _MAIN_SCORES
        costs = [cost for cost in COSTS if cost not in scores]
        console.print(one_line(section_title(section), "bold"))
        whole = _table(section, (*scores, *costs))
        # Measured without the console's width, to which a measure of a table is cut.
        fits = console.measure(whole, options=console.options.update_width(_UNBOUNDED)).maximum <= console.width
        for table in (whole,) if fits else (_table(section, scores), _table(section, costs)):
            console.print(table, highlight=False)
        if section.differences:
            console.print(one_line(f"against {section.differences[0].baseline}", "bold"))
            _print_differences(section.differences, console)
        console.print()
    for ranking in comparison.rankings:
        console.print(one_line(f"mean rank by {ranking.metric} over {', '.join(ranking.streams)}", "bold"))
        for label, rank, places in ranking.ranks:
            console.print(one_line(f"  {rank:.2f}  {label}  ({', '.join(f'{place:g}' for place in places)})"))
        console.print()
    for note in notes(comparison):
        paragraph(console, "", note)


def _table(section: Section, columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("method", min_width=10, overflow="fold")
    table.add_column("n", justify="right")
    names = used(section, columns)
    for name in names:
        table.add_column(one_line(SHORT.get(name, name)), justify="right", no_wrap=True)
    for line in section.lines:
        table.add_row(one_line(line.label), str(len(line.seeds)), *(shown(line.values[c], c) for c in names))
    return table


def _print_differences(differences: Sequence[Difference], console: Console) -> None:
    table = Table(box=None, padding=(0, 1))
    for i, name in enumerate(_DIFFERENCE_HEADS):
        table.add_column(name, justify="left" if i < 2 else "right", overflow="fold")
    for difference in differences:
        table.add_row(*map(one_line, (difference.line, difference.metric, *difference_cells(difference))))
    console.print(table, highlight=False)


def to_markdown(comparison: Comparison) -> str:
    """Return the tables as Markdown, scores as mean ± deviation or with their interval."""
    parts = []
    for section in comparison.sections:
        columns = used(section, dict.fromkeys((*section.scores, *COSTS)))
        head = ["method", "model", "seeds", *(SHORT.get(c, c) for c in columns)]
        rows = [
            [_name(line), line.model, str(len(line.seeds)), *(shown(line.values[c], c) for c in columns)]
            for line in section.lines
        ]
        parts.append(f"**{_safe(section_title(section))}**\n\n{_markdown_table(head, rows)}")
        if section.differences:
            cells = [[d.line, d.metric, *difference_cells(d)] for d in section.differences]
            base = _safe(section.differences[0].baseline)
            parts.append(f"Against {base}:\n\n{_markdown_table(_DIFFERENCE_HEADS, cells)}")
    parts += [_markdown_ranking(ranking) for ranking in comparison.rankings]
    return "\n\n".join([*parts, *map(_safe, notes(comparison))]) + "\n"


def _markdown_ranking(ranking: Ranking) -> str:
    rows = [[label, f"{rank:.2f}", *(f"{place:g}" for place in places)] for label, rank, places in ranking.ranks]
    return f"Mean rank by {ranking.metric}:\n\n{_markdown_table(['line', 'mean rank', *ranking.streams], rows)}"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_safe, head))} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(_safe, row))} |" for row in rows)])


def _safe(text: str) -> str:
    """Return text in which nothing is a mark of Markdown or HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = " ".join(visible(text).split("\n"))
    for mark in "\\`*_|[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _name(line: Line) -> str:
    return f"{line.method} ({line.settings})" if line.settings else line.method


def to_csv(comparison: Comparison) -> str:
    """Return one line per experiment, with means, deviations and bootstrap intervals in full precision."""
    columns = list(dict.fromkeys(c for s in comparison.sections for c in (*s.scores, *COSTS)))
    suffixes = ("", "_deviation", "_low", "_high") if _has_intervals(comparison) else ("", "_deviation")
    names = [f"{column}{suffix}" for column in columns for suffix in suffixes]
    heads = ["data", "source", "split", "metric", "method", "model", "settings", "seeds", *names]
    lines = [spreadsheet.row(heads)]
    for section in comparison.sections:
        for line in section.lines:
            names = [section.data, section.source, section.split, section.primary_metric]
            names += [line.method, line.model, line.settings, " ".join(map(str, line.seeds))]
            numbers = [number for column in columns for number in _numbers(line, column)[: len(suffixes)]]
            lines.append(spreadsheet.row([*names, *("" if n is None else repr(n) for n in numbers)]))
    return "".join(lines)


def _has_intervals(comparison: Comparison) -> bool:
    values = (value for section in comparison.sections for line in section.lines for value in line.values.values())
    return any(value.interval is not None for value in values)


def _numbers(line: Line, column: str) -> list[float | None]:
    value = line.values.get(column)
    if value is None:
        return [None] * 4
    interval = value.interval
    return [value.mean, value.deviation, interval.low if interval else None, interval.high if interval else None]

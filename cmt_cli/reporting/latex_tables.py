r"""Tables of a comparison in LaTeX with booktabs, to be `\input` into a paper; every text is escaped.

The best mean of each score column is bold, costs are not ranked. The preamble needs `\usepackage{booktabs}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cmt_cli.analysis.comparison import COSTS, Comparison, Ranking, Section, less_is_better
from cmt_cli.reporting.table_text import SHORT, difference_cells, notes, section_title, shown, used
from cmt_cli.terminal.text import visible

_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}
_JOINED = re.compile("(?<=([-,`']))(?=\\1)|(?<=[!?])(?=`)")  # where LaTeX makes one sign of two
_APART = "\0"
_DIFFERENCE_HEADS = ("line", "metric", "difference", "pairs", "p", "p Holm", "questions", "difference", "p", "p Holm")


def to_latex(comparison: Comparison) -> str:
    """Return a table for each section, the tests against a baseline and the ranks, with the notes as comments."""
    parts = []
    for section in comparison.sections:
        parts.append(_scores(section))
        if section.differences:
            rows = [[escape(cell) for cell in (d.line, d.metric, *difference_cells(d))] for d in section.differences]
            caption = f"{section_title(section)}: differences from {section.differences[0].baseline}"
            parts.append(_table(caption, _DIFFERENCE_HEADS, rows, num_names=2))
    parts += [_ranking(ranking) for ranking in comparison.rankings]
    said = "\n".join(f"% {' '.join(visible(note).split())}" for note in notes(comparison))
    return "\n\n".join([r"% needs \usepackage{booktabs}", *parts, *([said] if said else [])]) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, in one line; control characters are spelled."""
    words = " ".join(visible(text).split())
    return "".join(_ESCAPES.get(mark, mark) for mark in _JOINED.sub(_APART, words)).replace(_APART, "{}")


def _scores(section: Section) -> str:
    columns = used(section, dict.fromkeys((*section.scores, *COSTS)))
    best = {column: _best(section, column) for column in columns if column not in COSTS}
    rows = []
    for line in section.lines:
        cells = [escape(line.label), str(len(line.seeds))]
        for column in columns:
            cell = escape(shown(line.values[column], column))
            is_best = line.values[column].mean is not None and line.values[column].mean == best.get(column)
            cells.append(rf"\textbf{{{cell}}}" if is_best else cell)
        rows.append(cells)
    return _table(section_title(section), ["method", "n", *(SHORT.get(c, c) for c in columns)], rows)


def _best(section: Section, column: str) -> float | None:
    means = [value for line in section.lines if (value := line.values[column].mean) is not None]
    if len(means) < 2:
        return None
    return min(means) if less_is_better(column) else max(means)


def _ranking(ranking: Ranking) -> str:
    rows = [
        [escape(label), f"{rank:.2f}", *(f"{place:g}" for place in places)] for label, rank, places in ranking.ranks
    ]
    return _table(f"Mean rank by {ranking.metric}", ["line", "mean rank", *ranking.streams], rows)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, num_names: int = 1) -> str:
    """Return a table; the cells of `rows` are LaTeX, caption and head are escaped here."""
    columns = "l" * num_names + "r" * (len(head) - num_names)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            f"{' & '.join(map(escape, head))} \\\\",
            r"\midrule",
            *(f"{_begun(' & '.join(row))} \\\\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _begun(row: str) -> str:
    r"""Return a row whose begin is no argument of the `\\` or `\midrule` before it."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row

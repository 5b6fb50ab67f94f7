"""Lines of csv files that people open in spreadsheets, which would run a text that begins like a formula.

Such a text is written behind an apostrophe, as spreadsheets themselves mark text; a number stays a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|nan)")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last four are of full width

_QUOTED = frozenset(',"\r\n')


def row(texts: Iterable[str]) -> str:
    """Return a line of csv with its ending; `text_of` gives back the text of each of its cells."""
    cells = (f'"{text.replace(chr(34), 2 * chr(34))}"' if _QUOTED & set(text) else text for text in map(cell, texts))
    return f"{','.join(cells)}\n"


def cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula; apostrophes before a sign get one more."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def text_of(cell: str) -> str:
    """Return the text of a cell that `cell` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell

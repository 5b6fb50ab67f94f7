r"""Text for people: wrapped at words to a terminal's width; in a pipe, where programs read it, a paragraph is a line.

What is printed may come from a data file, a model or somebody else's folder, and a terminal obeys control characters.
So everything goes through this file, which shows them as `\x1b`, in a pipe too: most pipes end on a terminal. JSON
keeps every value exactly, since it can spell such characters itself.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from cmt_cli.core.exceptions import CmtWarning

if TYPE_CHECKING:
    from rich.console import Console

_MOST_INDENT = 10  # columns
_JOINED = re.compile(r"`[^`\n]*`|(?<!\w)'[^'\n]*'(?!\w)")  # commands, and paths or values between quotes: to be copied
_GLUE = "\0"  # a space that no line ends at
# C0 but for tab and newline, DEL, C1, other ends of lines, what turns the direction of text, halves of surrogate pairs
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a text whose control characters are spelled, `\x1b`; tabs and newlines lay it out and stay."""
    return _CONTROL.sub(_spelled, text)


def in_line(text: str) -> str:
    """Return a text as `visible` does, for a place in a line or a table: tabs and newlines are spelled too."""
    return visible(text).replace("\t", r"\x09").replace("\n", r"\x0a")


def json_text(value: Any, *, indent: int, default: Callable[[Any], Any] | None = None) -> str:
    """Return JSON in which the characters that a terminal would obey are spelled; it is read back as the same value."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def columns(stream: IO[str]) -> int | None:
    """Return the width to wrap at: COLUMNS, else that of the terminal behind `stream`; None in a pipe or a file."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return (os.get_terminal_size(stream.fileno()).columns or None) if stream.isatty() else None


def wrapped(text: str, width: int | None, *, indent: str = "") -> str:
    """Return a text with its lines wrapped at words, each with `indent` from its second line on.

    A command between backticks is one line however long it is, so that it can be copied; what stands between quotes
    is one where it fits on one; words are never broken. A `width` of None leaves the text as it is.
    """
    if width is None:
        return text

    def glued(match: re.Match[str]) -> str:
        whole = match[0].startswith("`") or len(indent) + len(match[0]) <= width
        return match[0].replace(" ", _GLUE) if whole else match[0]

    lines: list[str] = []
    for line in text.split("\n"):
        lines += textwrap.wrap(
            _JOINED.sub(glued, line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines).replace(_GLUE, " ")


def paragraph(console: Console, label: str, text: str, *, style: str | None = None) -> None:
    """Print a text behind a label, wrapped where people read it and indented below itself."""
    shown = _labelled(label, text, console.file)
    console.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)


def say(text: str, stream: IO[str] | None = None, *, label: str = "") -> None:
    """Print a text as `paragraph` does, without colors, on standard output or another stream."""
    stream = stream or sys.stdout
    print(_labelled(label, text, stream), file=stream)


def put(text: str, stream: IO[str] | None = None) -> None:
    """Print text that is laid out already: nothing is wrapped, and nothing is added at its end."""
    print(visible(text), end="", file=stream or sys.stdout)


def _labelled(label: str, text: str, stream: IO[str]) -> str:
    return wrapped(visible(label + text), columns(stream), indent=" " * min(len(label), _MOST_INDENT))


def leave_lost_terminal() -> None:
    """Write to nowhere from here on where the terminal has been closed, as every write to it is an error then."""
    for stream in (sys.stdout, sys.stderr):
        if _is_lost(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _is_lost(stream: IO[str]) -> bool:
    """Return whether a stream's terminal is gone: a character device that no longer answers as one."""
    try:
        number = stream.fileno()
        if not stat.S_ISCHR(os.fstat(number).st_mode) or os.isatty(number):
            return False
        os.write(number, b"")
    except (OSError, ValueError) as error:  # ValueError: no file is behind it, as in a notebook
        return isinstance(error, OSError) and error.errno == errno.EIO
    return False


def hide_library_bars() -> None:
    """Let Hugging Face's libraries draw progress bars on a terminal only; to be called before they are imported."""
    if not sys.stderr.isatty():
        for library in ("HF_HUB", "HF_DATASETS"):  # transformers goes by the hub's
            os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")


def print_own_warnings() -> None:
    """From here on print this package's warnings as messages, each text once; others stay as Python shows them."""
    if not isinstance(warnings.showwarning, _OwnWarnings):
        warnings.showwarning = _OwnWarnings(warnings.showwarning)


class _OwnWarnings:
    """What stands in the place of `warnings.showwarning`, which shows the warnings of others."""

    def __init__(self, others: Callable[..., None]) -> None:
        self._others = others
        self._printed: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: IO[str] | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, CmtWarning):
            self._others(visible(str(message)), category, filename, lineno, file, line)
        elif str(message) not in self._printed:
            self._printed.add(str(message))
            say(f"Warning: {message}", sys.stderr)


def spell_controls_in_logs() -> None:
    """From here on let what any library logs show control characters as `visible` does."""
    if not isinstance(make := logging.getLogRecordFactory(), _VisibleRecords):
        logging.setLogRecordFactory(_VisibleRecords(make))


class _VisibleRecords:
    """What makes the records of `logging`; their texts are as `visible` returns them."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        try:
            record.msg, record.args = visible(record.getMessage()), ()
        except (TypeError, ValueError):  # of a format that does not fit; logging reports it when it prints the record
            record.msg = visible(str(record.msg))
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = visible("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record

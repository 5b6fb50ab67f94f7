"""Text for people: wrapped at words to a terminal's width; in a pipe, where programs read it, a paragraph is a line."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from cmt_cli.core.exceptions import CmtWarning

if TYPE_CHECKING:
    from rich.console import Console

_MOST_INDENT = 10  # columns
_JOINED = re.compile(r"`[^`\n]*`|(?<!\w)'[^'\n]*'(?!\w)")  # commands, and paths or values between quotes: to be copied
_GLUE = "\0"  # a space that no line ends at


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


def _labelled(label: str, text: str, stream: IO[str]) -> str:
    return wrapped(label + text, columns(stream), indent=" " * min(len(label), _MOST_INDENT))


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
            self._others(message, category, filename, lineno, file, line)
        elif str(message) not in self._printed:
            self._printed.add(str(message))
            say(f"Warning: {message}", sys.stderr)

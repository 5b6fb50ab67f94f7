"""User-facing errors, and the words of their messages: nearest names, plurals, the end of a sentence.

An error is one readable paragraph, exit code 2, without a traceback unless --debug is given.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Say what was given, what is allowed and what to do; the command line prints it and exits with code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `allowed`, or an empty string where nothing is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


class CmtWarning(UserWarning):
    """Something of this package that a user should know and that stops nothing; the command line prints its text."""


class Interrupted(RuntimeError):
    """A signal requested a stop; the latest state has been saved and the run can be continued."""


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the last good checkpoint is kept."""


class ProcessLost(RuntimeError):
    """Another process of the same run has ended or does not answer, so that this one cannot go on."""


def counted(number: int, thing: str) -> str:
    """Return a number with a regular noun, in the plural unless it is one."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def ended(sentence: str) -> str:
    """Return a sentence with one mark at its end: its own, or a full stop."""
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."

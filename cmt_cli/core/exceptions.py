"""User-facing errors: one readable paragraph, exit code 2, no traceback unless one is requested."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Say what was given, what is allowed and what to do; the command line prints it and exits with code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `allowed`, or an empty string where nothing is close."""
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f" Did you mean '{matches[0]}'?" if matches else ""


class Interrupted(RuntimeError):
    """A signal asked the run to stop; the latest state has been saved and the run can be continued."""


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the last good checkpoint is kept."""


class ProcessLost(RuntimeError):
    """Another process of the same run has ended or does not answer, so that this one cannot go on."""

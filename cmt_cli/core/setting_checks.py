"""Checks of settings that come from a configuration file."""

from __future__ import annotations

from collections.abc import Sequence

from cmt_cli.core.exceptions import UserError, nearest


def not_negative(value: float, setting: str) -> float:
    """Return a weight, or raise UserError for a negative one."""
    if not value >= 0:
        raise UserError(f"{setting}={value}, but it must be 0 (off) or greater.")
    return value


def positive(value: float, setting: str) -> float:
    """Return a number above 0, or raise UserError."""
    if not value > 0:
        raise UserError(f"{setting}={value}, but it must be greater than 0.")
    return value


def one_of(value: str, allowed: Sequence[str], setting: str) -> str:
    """Return one of the allowed names, or raise UserError with the nearest of them."""
    if value not in allowed:
        raise UserError(f"{setting}='{value}' is not known; allowed: {', '.join(allowed)}.{nearest(value, allowed)}")
    return value

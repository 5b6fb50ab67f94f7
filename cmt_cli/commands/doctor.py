"""`cmt doctor`: what is on this machine, and what is missing."""

from __future__ import annotations


def doctor() -> None:
    """Report devices, versions, caches, login state and which data are here; no network is used."""
    from cmt_cli.commands import machine

    machine.report()

"""Quantities as people write them."""

from __future__ import annotations

from cmt_cli.terminal.progress import duration


def size(num_bytes: float) -> str:
    """Return a size in bytes with a binary unit, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.2f} GiB"


def seconds(number: float) -> str:
    """Return a measured time in the unit that people use for it: `340 ms`, `12.5 s`, `1 min 20 s`, `2 h 05 min`."""
    if number < 0.9995:
        return f"{1000 * number:.3g} ms" if number else "0 s"
    return f"{number:.3g} s" if number < 59.95 else duration(number)

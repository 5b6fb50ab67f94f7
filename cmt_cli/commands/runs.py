"""`cmt runs`: the runs of a folder, chosen, sorted, as aligned text or JSON."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_cli.commands import run_folders
from cmt_cli.commands.options import AsJson, Where
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.terminal.text import in_line, json_text, put

if TYPE_CHECKING:
    from cmt_cli.analysis.run_index import Progress, RunEntry

_COLUMNS = ("method", "data", "model", "seed", "status")
_WIDE = 120  # columns of a terminal that all fit into
_ONLY_WIDE = ("method", "data", "model", "metric", "last write")
SHOWN = (*_COLUMNS, "aa", "fgt", "primary_metric")


def runs(
    folder: Annotated[Path, typer.Argument(help="A folder with runs in or below it.")] = Path("runs"),
    where: Where = None,
    sort: Annotated[str | None, typer.Option(help="A name, metric, cost or config key; -KEY: largest first.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a folder, the latest first; thousands in a second or two."""
    with run_folders.reading() as progress:
        entries = chosen_runs(folder, where=where or (), sort=sort, progress=progress)
    extra = [sort.removeprefix("-")] if sort else []
    shown = [key for key in extra if key not in SHOWN]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # programs get every column
    put((to_json(entries) if as_json else to_text(entries, folder, shown, width=width)) + "\n")


def chosen_runs(
    folder: Path, *, where: Sequence[str] = (), sort: str | None = None, progress: Progress | None = None
) -> list[RunEntry]:
    """Return the runs in or below a folder that `where` leaves; the latest first unless `sort` names a key.

    `-KEY` sorts from the largest to the smallest; runs without a value come last. Raises UserError for a folder that
    is not there.
    """
    from cmt_cli.analysis.run_index import list_runs
    from cmt_cli.analysis.selection import check_key, parse, select, value_of

    if not folder.is_dir():
        raise UserError(f"There is no folder '{folder}'. `cmt runs FOLDER` lists the runs in and below a folder.")
    conditions = parse(where)
    entries = select(list_runs(folder, progress), conditions)
    if sort is None:
        return sorted(entries, key=lambda entry: -entry.stamp[0])
    key = sort.removeprefix("-")
    check_key(entries, key)
    known = [entry for entry in entries if value_of(entry, key) is not None]
    known.sort(key=lambda entry: _sortable(value_of(entry, key)), reverse=sort.startswith("-"))
    return [*known, *(entry for entry in entries if value_of(entry, key) is None)]


def _sortable(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, "" if is_number else str(value)


def to_text(entries: Sequence[RunEntry], folder: Path, extra: Sequence[str] = (), *, width: int | None = None) -> str:
    """Return one line per run: names, seed, status, the keys `extra`, AA and FGT with their metric, age, folder.

    In a `width` below 120 columns what the folder's name says is left out, and so are the metric and the age.
    """
    from cmt_cli.analysis.selection import value_of

    heads = [*_COLUMNS, *extra, "metric", "aa", "fgt", "last write", "folder"]
    rows = [heads]
    for entry in entries:
        head = entry.head
        names = [str(head[name]) for name in _COLUMNS]
        names[1] += "" if head["source"] == "real" else " (generated)"
        names[1] += "" if head["split"] == "test" else f" ({head['split']})"
        wanted = [_shown(value_of(entry, key)) for key in extra]
        scores = [str(head["primary_metric"]), _shown(head["aa"]), _shown(head["fgt"])]
        where = entry.folder.relative_to(folder) if entry.folder != folder else entry.folder
        rows.append([*map(in_line, (*names, *wanted, *scores)), _date(entry.stamp[0]), in_line(str(where))])
    if width is not None and width < _WIDE:
        rows = [[cell for head, cell in zip(heads, row, strict=True) if head not in _ONLY_WIDE] for row in rows]
        heads = rows[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*lines, counted(len(entries), "run")])


def to_json(entries: Sequence[RunEntry]) -> str:
    """Return a JSON list with every run's folder, names, data, metrics, cost and config (dotted keys)."""
    wanted = ("data", "model", "metrics", "cost", "commit", "config")
    found = [
        {"folder": str(e.folder), **{f"{k}_name" if k in wanted else k: v for k, v in e.head.items()}}
        | {key: e.detail[key] for key in wanted}
        for e in entries
    ]
    return json_text(found, indent=1)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _date(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(nanoseconds / 1e9))

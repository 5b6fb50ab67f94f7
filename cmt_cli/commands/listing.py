"""The tables of `cmt list`: what can be run, and which method goes with which stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cmt_cli.config import catalog
from cmt_cli.config.catalog import Option
from cmt_cli.core.exceptions import UserError, nearest

Row = Mapping[str, str]

KINDS = {"methods": "method", "data": "data", "models": "model", "experiments": "experiment"}
MATRIX = "matrix"
_COLUMNS = {
    "methods": ("family", "needs", "uses", "streams", "stores", "paper"),
    "data": ("kind", "license", "about"),
    "models": ("about",),
    "experiments": ("about",),
}


def rows(kind: str, dirs: Sequence[Path]) -> list[Row]:
    """Return one row of plain text for each option of a kind, or for each method of the matrix."""
    if kind == MATRIX:
        return matrix(dirs)
    if kind not in KINDS:
        allowed = [*KINDS, MATRIX]
        raise UserError(
            f"cmt list {kind}: there is no such list.{nearest(kind, allowed)} Allowed: {', '.join(allowed)}."
        )
    found = catalog.options(KINDS[kind], dirs)
    return [{"name": option.name, **option.facts, **_fitting(kind, option, dirs)} for option in found]


def _fitting(kind: str, option: Option, dirs: Sequence[Path]) -> Row:
    return {"streams": ", ".join(catalog.fitting_kinds(option, dirs)) or "none here"} if kind == "methods" else {}


def matrix(dirs: Sequence[Path]) -> list[Row]:
    """Return for each method what every stream says to it: "yes", or why the pair cannot run."""
    streams = catalog.options("data", dirs)
    table: list[Row] = []
    for method in catalog.options("method", dirs):
        cells = {stream.name: catalog.incompatibility(method, stream) or "yes" for stream in streams}
        table.append({"name": method.name, **cells})
    return table


def show(kind: str, dirs: Sequence[Path], *, as_json: bool) -> None:
    """Print a list as a table, or as JSON for programs."""
    found = rows(kind, dirs)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console()
    console.print(_matrix_table(found) if kind == MATRIX else _table(kind, found))
    reasons = (
        sorted({cell for row in found for cell in list(row.values())[1:] if cell != "yes"}) if kind == MATRIX else []
    )
    for reason in reasons:
        console.print(f"  no: {reason}", style="dim")


def _table(kind: str, found: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)  # what is typed is shown whole
    columns = [column for column in _COLUMNS[kind] if any(column in row for row in found)]
    for column in columns:
        table.add_column(column)
    for row in found:
        table.add_row(row["name"], *(row.get(column, "") for column in columns))
    return table


def _matrix_table(found: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in found[0] if found else ["name"]:
        table.add_column(column, no_wrap=column == "name")
    for row in found:
        name, *cells = row.values()
        table.add_row(name, *("[green]yes[/]" if cell == "yes" else "[dim]no[/]" for cell in cells))
    return table

"""The tables of `cmt list`: what can be run, all about one entry, and which method goes with which stream.

Every line fits the terminal; elsewhere 80 columns, or COLUMNS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cmt_cli.commands import option_page, option_text
from cmt_cli.config import catalog
from cmt_cli.config.catalog import KINDS, MATRIX, Option
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.terminal.console import line as one_line
from cmt_cli.terminal.console import open_console
from cmt_cli.terminal.text import json_text, paragraph, put

Row = Mapping[str, str]

_NO_KIND = "any"  # heading of streams that do not say what they give
_SCENARIOS = {"world": "generated world", "labelled": "files of your own"}  # other folders are named as people say it
_PACKAGE = "cmt_cli.data."
_MIN_TEXT = 20  # columns


def rows(kind: str, dirs: Sequence[Path]) -> list[Row]:
    """Return one row of plain text for each option of a kind, or for each method of the matrix."""
    if kind == MATRIX:
        return matrix(dirs)
    return [
        {"name": option.name, **option.facts, **_fitting(kind, option, dirs)}
        for option in catalog.options(_group(kind), dirs)
    ]


def _group(kind: str) -> str:
    if kind not in KINDS:
        allowed = [*KINDS, MATRIX]
        raise UserError(
            f"cmt list {kind}: there is no such list.{nearest(kind, allowed)} Allowed: {', '.join(allowed)}."
        )
    return KINDS[kind]


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


def show(kind: str, dirs: Sequence[Path], *, name: str | None = None, as_json: bool) -> None:
    """Print a list, or all about the entry `name` of it, for people or as JSON for programs."""
    console = open_console()
    if name is not None:
        _show_one(kind, name, dirs, console, as_json=as_json)
    elif as_json:
        put(json_text(rows(kind, dirs), indent=2) + "\n")
    elif kind == MATRIX:
        _print_matrix(dirs, console)
    else:
        _print_list(kind, dirs, console)


def _show_one(kind: str, name: str, dirs: Sequence[Path], console: Console, *, as_json: bool) -> None:
    if kind == MATRIX:
        raise UserError(f"cmt list matrix has no entries. `cmt list methods {name}` names the streams of a method.")
    option = catalog.find(_group(kind), name, dirs)
    if not as_json:
        option_page.show(option, _heading(kind, option), dirs, console)
        return
    (row,) = (row for row in rows(kind, dirs) if row["name"] == name)
    settings = [asdict(setting) for setting in option_text.settings(option.path)]
    found = {**row, "description": option_text.description(option), "file": str(option.path), "settings": settings}
    put(json_text(found, indent=2) + "\n")


def _print_list(kind: str, dirs: Sequence[Path], console: Console) -> None:
    """Print one line per option below the heading of its family or scenario."""
    found = catalog.options(_group(kind), dirs)
    if not found:
        return
    name_width = max(len(option.name) for option in found)
    groups: dict[str, list[Option]] = {}
    for option in found:
        groups.setdefault(_heading(kind, option), []).append(option)
    for heading, members in sorted(groups.items()):
        if heading:
            console.print(one_line(heading, "bold"))
        for option in members:
            text = option_text.first_sentence(option_text.description(option)) or option.facts.get("stores", "")
            line = option_text.shortened(text, max(_MIN_TEXT, console.width - name_width - 4))
            shown = f"  {option.name:{name_width}}  {line[:1].upper()}{line[1:]}".rstrip()
            console.print(one_line(shown), soft_wrap=True)
    more = "; `cmt list matrix`: what goes together" if kind in ("methods", "data") else ""
    console.print(Text(f"`cmt list {kind} NAME`: all about one{more}.", style="dim"), soft_wrap=True)


def _heading(kind: str, option: Option) -> str:
    """Return a method's family or a stream's scenario, the folder of what it builds; empty for other kinds."""
    if kind == "methods":
        return option.facts.get("family", "other")
    if kind != "data":
        return ""
    target = option_text.target(option.path)
    if not target.startswith(_PACKAGE):
        return target.split(".")[0] or "other"
    folder = target.removeprefix(_PACKAGE).split(".")[0]
    return _SCENARIOS.get(folder, folder)


def _print_matrix(dirs: Sequence[Path], console: Console) -> None:
    """Print a column for each kind of stream: streams of one kind take the same methods."""
    kinds: dict[str, list[Option]] = {}
    for stream in catalog.options("data", dirs):
        kinds.setdefault(stream.facts.get("kind", _NO_KIND), []).append(stream)
    methods = catalog.options("method", dirs)
    name_width = max((len(method.name) for method in methods), default=0)
    console.print(one_line(f"{'':{name_width}}  {'  '.join(kinds)}", "bold"), soft_wrap=True)
    lacking: dict[str, list[str]] = {}
    for method in methods:
        line = one_line(f"{method.name:{name_width}}")
        for kind, streams in kinds.items():
            missing = catalog.incompatibility(method, streams[0])
            line.append("  ").append(f"{'no' if missing else 'yes':{len(kind)}}", "dim" if missing else "green")
            if missing:
                lacking.setdefault(" and ".join(sorted(method.words("needs"))), []).append(method.name)
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.print()
    for kind, streams in kinds.items():
        paragraph(console, f"{kind}: ", ", ".join(stream.name for stream in streams))
    for needed, names in lacking.items():
        paragraph(console, f"need {needed}: ", ", ".join(dict.fromkeys(names)))

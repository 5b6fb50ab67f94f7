"""`cmt compare`: runs side by side in one table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands import completion, run_folders
from cmt_cli.commands.options import Where
from cmt_cli.core.exceptions import UserError, nearest

FORMATS = ("table", "markdown", "latex", "csv", "json")


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or folders of runs; runs/ if none.", autocompletion=completion.runs),
    ] = None,
    where: Where = None,
    by: Annotated[str, typer.Option(help="Keys that make a line, such as method; else equal settings do.")] = "",
    metric: Annotated[str, typer.Option(help="Score columns, such as aa,fgt,f1/aa.")] = "",
    baseline: Annotated[str | None, typer.Option(help="The line that the others are tested against.")] = None,
    interval: Annotated[str, typer.Option(help="Spread of the means: deviation or bootstrap.")] = "deviation",
    format_: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
) -> None:
    """Compare runs in one table: mean and spread over seeds and orders, cost, tests against a baseline, ranks."""
    if format_ not in FORMATS:
        raise UserError(f"--format {format_}: allowed are {', '.join(FORMATS)}.{nearest(format_, FORMATS)}")
    if not runs and not run_folders.RUNS.is_dir():
        raise UserError(
            f"There is no folder '{run_folders.RUNS}' here. Name runs, or folders of runs: `cmt compare FOLDER`."
        )
    from cmt_cli.analysis import compare_runs
    from cmt_cli.analysis.comparison import Options
    from cmt_cli.reporting import latex_tables, tables
    from cmt_cli.terminal.console import open_console
    from cmt_cli.terminal.text import json_text, put

    keys, metrics = (tuple(filter(None, map(str.strip, text.split(",")))) for text in (by, metric))
    options = Options(tuple(where or ()), keys, metrics, baseline, interval)
    names = runs or [str(run_folders.RUNS)]
    folders = [Path(name) if Path(name).is_dir() else run_folders.find(name) for name in names]
    with run_folders.reading() as progress:
        comparison = compare_runs.compare(folders, options, progress)
    if format_ == "table":
        tables.print_comparison(comparison, open_console())
    elif format_ == "json":
        put(json_text(dataclasses.asdict(comparison), indent=2, default=str) + "\n")
    else:
        written = {"markdown": tables.to_markdown, "csv": tables.to_csv, "latex": latex_tables.to_latex}
        put(written[format_](comparison))

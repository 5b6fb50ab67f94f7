"""`cmt metrics`: metrics that are computed later, from a run's stored predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from cmt_cli.commands import run_folders
from cmt_cli.commands.options import RunName
from cmt_cli.terminal.text import say


def metrics(
    run: RunName,
    add: Annotated[list[str] | None, typer.Option(help="A metric to compute from the stored predictions.")] = None,
) -> None:
    """List a run's metrics and what could be added from its stored predictions; --add computes one for every row."""
    from cmt_cli.analysis import rescoring

    folder = run_folders.find(run)
    with run_folders.reading() as progress:
        for name in add or ():
            value = rescoring.add_metric(folder, name, progress).metrics[f"{name}/aa"].value
            shown = "-" if value is None else f"{value:.4f}"
            say(f"{name} was added to every row of {folder}; {name}/aa is {shown}.")
    if add:
        return
    offer = rescoring.offered(folder)
    _print("There (mean over tests, last row):", {n: "-" if v is None else str(v) for n, v in offer.there.items()})
    _print(f"Possible from the stored predictions, with `cmt metrics {folder} --add NAME`:", offer.possible)
    _print("Not possible:", offer.refused)


def _print(heading: str, lines: Mapping[str, str]) -> None:
    say(heading)
    for name, text in lines.items():
        say(text, label=f"  {name:20} ")

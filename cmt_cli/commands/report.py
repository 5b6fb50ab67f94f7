"""`cmt report`: runs as one HTML page, and their figures for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands import completion, run_folders
from cmt_cli.core.exceptions import counted
from cmt_cli.terminal.text import say


def report(
    runs: Annotated[
        list[str], typer.Argument(help="Runs, or folders of runs, e.g. a sweep's.", autocompletion=completion.runs)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="The report's title.")] = None,
    examples: Annotated[str, typer.Option(help="Rows of predictions to put in: all, final or none.")] = "all",
    png: Annotated[Path | None, typer.Option(help="Also save the figures as png in this folder.")] = None,
    pdf: Annotated[Path | None, typer.Option(help="Also save the figures as vector pdf in this folder.")] = None,
) -> None:
    """Write one HTML file with the figures, examples, settings and provenance of runs; it needs no network."""
    from cmt_cli.reporting import html_report, paper_figures
    from cmt_cli.sweeps.folder import with_sweeps
    from cmt_cli.terminal.console import open_console
    from cmt_cli.terminal.progress import ProgressDisplay

    folders = [Path(name) if Path(name).is_dir() else run_folders.find(name) for name in runs]
    comparison = html_report.compared(with_sweeps(folders))
    display = ProgressDisplay(open_console(stderr=True))
    try:
        written = html_report.write_report(comparison, output, title=title, rows=examples, progress=display)
        figures = [
            path
            for folder, kind in ((png, "png"), (pdf, "pdf"))
            if folder is not None
            for path in paper_figures.draw(comparison, folder, kind=kind, progress=display)
        ]
    finally:
        display.close()
    size = f"{written.num_bytes / 1e6:.1f} MB"
    say(
        f"{output}: {counted(written.num_runs, 'run')}, {written.num_predictions:,} predictions, {size}. Open it in "
        "any browser."
    )
    for path in figures:
        say(str(path))
    for folder, status in comparison.left_out:
        say(f"Left out: {folder} is {status}.")

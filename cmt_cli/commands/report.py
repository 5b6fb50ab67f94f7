"""`cmt report`: the runs that the command names, as a page and as figures, with progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmt_cli.commands import run_folders


def write(
    names: Sequence[str], output: Path, *, title: str | None, examples: str, png: Path | None, pdf: Path | None
) -> None:
    """Write the report of the runs in or below folders, or named by the beginning of their names in `runs/`."""
    from rich.console import Console

    from cmt_cli.reporting import html_report, paper_figures
    from cmt_cli.running.progress import ProgressDisplay

    comparison = html_report.compared([Path(name) if Path(name).is_dir() else run_folders.find(name) for name in names])
    display = ProgressDisplay(Console(stderr=True))
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
    print(
        f"{output}: {written.num_runs} runs, {written.num_predictions:,} predictions, {size}. Open it in any browser."
    )
    for path in figures:
        print(path)
    for folder, status in comparison.left_out:
        print(f"Left out: {folder} is {status}.")

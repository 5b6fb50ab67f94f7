"""`cmt show`: a run's score matrix, metrics and cost."""

from __future__ import annotations

from pathlib import Path

from cmt_cli.commands import run_folders
from cmt_cli.commands.options import RunName
from cmt_cli.core.exceptions import UserError


def show(run: RunName) -> None:
    """Show a run's score matrix, metrics and cost."""
    print_run(run_folders.find(run))


def print_run(folder: Path) -> None:
    """Print a run's record; raise UserError where nothing has been recorded yet."""
    from cmt_cli.commands import run_text
    from cmt_cli.running.run_files import read_result
    from cmt_cli.terminal.console import open_console

    result = read_result(folder)
    if result is None:
        raise UserError(f"{folder} has no result.json yet.")
    run_text.show(result, folder, open_console())

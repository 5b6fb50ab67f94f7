"""The command line `cmt`: parses, then calls. Nothing heavy is imported before a command needs it.

Exit codes: 0 done; 1 an internal error (a traceback with --debug); 2 a user-facing error, told in one paragraph; 130
and 143 interrupted by SIGINT and SIGTERM, with the state saved.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, NoReturn

import typer

from cmt_cli.commands import completion, data, sweep, wandb
from cmt_cli.commands.ask import ask
from cmt_cli.commands.compare import compare
from cmt_cli.commands.options import ConfigDir, RunName, Where
from cmt_cli.commands.report import report
from cmt_cli.commands.run import resume, run
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.signals import StoppedBySignal

app = typer.Typer(
    name="cmt",
    no_args_is_help=True,
    help="Continual learning of language models: compose a base model, a method and a task stream; run and compare.",
)
app.command()(run)
app.command()(resume)
app.command()(ask)
app.command()(compare)
app.command()(report)
app.add_typer(data.app, name="data")
app.add_typer(sweep.app, name="sweep")
app.add_typer(wandb.app, name="wandb")


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="methods, data, models, experiments or matrix.", autocompletion=completion.kinds)
    ],
    name: Annotated[str | None, typer.Argument(help="Show all of this one.", autocompletion=completion.names)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """List what can be run; `matrix` shows which method goes with which stream."""
    from cmt_cli.commands import listing
    from cmt_cli.config import catalog

    listing.show(kind, catalog.search_dirs(config_dir), name=name, as_json=as_json)


@app.command()
def show(run: RunName) -> None:
    """Show a run's score matrix, metrics and cost."""
    from cmt_cli.commands import run_folders

    run_folders.show(run_folders.find(run))


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="A folder with runs in or below it.")] = Path("runs"),
    where: Where = None,
    sort: Annotated[str | None, typer.Option(help="A name, metric, cost or config key; -KEY: largest first.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the runs of a folder, the latest first; thousands in a second or two."""
    from cmt_cli.commands import run_folders

    run_folders.list_runs(folder, where or (), sort, as_json=as_json)


@app.command()
def metrics(
    run: RunName,
    add: Annotated[list[str] | None, typer.Option(help="A metric to compute from the stored predictions.")] = None,
) -> None:
    """List a run's metrics and what could be added from its stored predictions; --add computes one for every row."""
    from cmt_cli.commands import run_folders

    run_folders.metrics(run_folders.find(run), add or ())


@app.command()
def doctor() -> None:
    """Report devices, versions, caches, login state and which data are here; no network is used."""
    from cmt_cli.commands import doctor as checks

    checks.report()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the console script."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in given
    if not debug:
        sys.excepthook = _one_line
    try:
        typer.main.get_command(app)(args=given, prog_name="cmt")
    except UserError as error:
        _leave(f"Error: {error}", 2, error if debug else None)
    except StoppedBySignal as error:
        _leave(str(error), error.exit_code, error if debug else None)


def _leave(message: str, code: int, shown: BaseException | None) -> NoReturn:
    if shown is not None:
        traceback.print_exception(shown)
    print(message, file=sys.stderr)
    raise SystemExit(code)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(f"{kind.__name__}: {error}\nRun the command again with --debug for the traceback.", file=sys.stderr)


if __name__ == "__main__":
    main()

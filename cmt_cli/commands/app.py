"""The command line `cmt`: parses, then calls. Nothing heavy is imported before a command needs it.

Exit codes: 0 done; 1 an internal error (a traceback with --debug); 2 what the user can mend, told in one paragraph, be
it a setting or a full disk; 128 + n stopped by signal n (130 SIGINT, 143 SIGTERM, 129 SIGHUP), with the state saved.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn

import typer

from cmt_cli.commands import data, model, sweep, wandb
from cmt_cli.commands.ask import ask
from cmt_cli.commands.compare import compare
from cmt_cli.commands.export import export
from cmt_cli.commands.list import list_
from cmt_cli.commands.machine import doctor
from cmt_cli.commands.metrics import metrics
from cmt_cli.commands.report import report
from cmt_cli.commands.run import resume, run
from cmt_cli.commands.runs import runs
from cmt_cli.commands.show import show
from cmt_cli.core.exceptions import UserError, told
from cmt_cli.running.signals import StopAtOnce, StoppedAtOnce, StoppedBySignal
from cmt_cli.terminal.text import hide_library_bars, print_own_warnings, put, say, spell_controls_in_logs

app = typer.Typer(
    name="cmt",
    no_args_is_help=True,
    help="Continual learning of language models: compose a base model, a method and a task stream; run and compare.",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "list": list_,
    "show": show,
    "compare": compare,
    "runs": runs,
    "report": report,
    "metrics": metrics,
    "resume": resume,
    "ask": ask,
    "export": export,
    "doctor": doctor,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(sweep.app, name="sweep")
app.add_typer(wandb.app, name="wandb")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the console script."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in given
    sys.excepthook = _whole if debug else _one_line
    print_own_warnings()
    spell_controls_in_logs()
    hide_library_bars()
    try:
        with StopAtOnce():
            typer.main.get_command(app)(args=given, prog_name="cmt")
    except UserError as error:
        _leave(f"Error: {error}", 2, error if debug else None)
    except StoppedAtOnce as stop:
        _leave(str(stop), 128 + stop.signal_number, stop if debug else None)
    except StoppedBySignal as error:
        _leave(str(error), error.exit_code, error if debug else None)
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        refusal = told(error)
        if refusal is None:
            raise
        _leave(f"Error: {refusal}", 2, error if debug else None)


def _leave(message: str, code: int, shown: BaseException | None) -> NoReturn:
    if shown is not None:
        put("".join(traceback.format_exception(shown)), sys.stderr)
    say(message, sys.stderr)
    raise SystemExit(code)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say(f"{kind.__name__}: {error}\nRun the command again with --debug for the traceback.", sys.stderr)


def _whole(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    put("".join(traceback.format_exception(kind, error, trace)), sys.stderr)


if __name__ == "__main__":
    main()

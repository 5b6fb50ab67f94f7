"""The command line `cmt`: parses, then calls. Nothing heavy is imported before a command needs it.

Exit codes: 0 done; 1 an error that is not the user's (a traceback with --debug); 2 an error to mend, told in one
paragraph; 130 and 143 interrupted by SIGINT and SIGTERM, with the state saved.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, NoReturn

import typer

from cmt_cli.commands import completion, wandb
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.signals import StoppedBySignal

app = typer.Typer(
    name="cmt",
    no_args_is_help=True,
    help="Continual learning of language models: compose a base model, a method and a task stream; run and compare.",
)
data_app = typer.Typer(no_args_is_help=True, help="Check the files of a stream, or get them.")
app.add_typer(data_app, name="data")
app.add_typer(wandb.app, name="wandb")
sweep_app = typer.Typer(no_args_is_help=True, help="Look after a sweep that `cmt run -m` started.")
app.add_typer(sweep_app, name="sweep")

ConfigDir = Annotated[Path | None, typer.Option(help="A folder with further method/, data/, ... files.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")]
Trust = Annotated[list[str] | None, typer.Option(help="A package whose classes the run's config.yaml may name.")]
RunName = Annotated[str, typer.Argument(help="A run folder, or its name in runs/.", autocompletion=completion.runs)]
NumProcesses = Annotated[
    int | None, typer.Option(help="Make the run in N processes of this machine, with trainer.distributed=ddp or fsdp2.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Only these runs: 'data=squad, method=cmt|mac, seed<3, trainer.task.num_epochs=1'."),
]
SweepName = Annotated[str, typer.Argument(help="A sweep's folder, its name in runs/.sweeps/, or latest.")]
StreamName = Annotated[str, typer.Argument(help="A stream, see `cmt list data`.", autocompletion=completion.streams)]


@app.command()
def run(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Any Hydra override: method=mac, trainer.task.learning_rate=1e-4, +new.key=1, ~gone.",
            autocompletion=completion.overrides,
        ),
    ] = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", help="Run every combination of KEY=A,B.")] = False,
    cfg: Annotated[str | None, typer.Option(help="Print the resolved config (job, hydra or all) and stop.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and stop; load no weights.")] = False,
    processes: NumProcesses = None,
    config_dir: ConfigDir = None,
    debug: Debug = False,
) -> None:
    """Run a method on a stream with a model; `cmt run method=cmt data=streamingqa` is the first thing to try."""
    from cmt_cli.config import check

    request = check.Request(tuple(overrides or ()), multirun, config_dir)
    if dry_run:
        from cmt_cli.commands import dry_run as checks

        checks.report(request)
    elif cfg is not None:
        check.show(request, cfg)
    elif multirun:
        from cmt_cli.commands import sweep as sweeps
        from cmt_cli.distributed import launch

        launch.refuse_sweep(processes)
        sweeps.start(request)
    elif processes is not None:
        from cmt_cli.distributed import launch

        launch.start(processes, check.check(request).distributed, sys.argv[1:])
    else:
        check.run(request)


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
    from cmt_cli.analysis.comparison import Options
    from cmt_cli.commands import run_folders

    keys, metrics = (tuple(filter(None, map(str.strip, text.split(",")))) for text in (by, metric))
    options = Options(tuple(where or ()), keys, metrics, baseline, interval)
    run_folders.compare(runs or (), format_, options)


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
    from cmt_cli.commands import report

    report.write(runs, output, title=title, examples=examples, png=png, pdf=pdf)


@app.command()
def metrics(
    run: RunName,
    add: Annotated[list[str] | None, typer.Option(help="A metric to compute from the stored predictions.")] = None,
) -> None:
    """List a run's metrics and what could be added from its stored predictions; --add computes one for every row."""
    from cmt_cli.commands import run_folders

    run_folders.metrics(run_folders.find(run), add or ())


@app.command()
def resume(run: RunName, processes: NumProcesses = None, trust: Trust = None, debug: Debug = False) -> None:
    """Continue an interrupted run from its folder alone."""
    from cmt_cli.commands import run_folders
    from cmt_cli.running import job, job_run

    folder, trusted = run_folders.find(run), tuple(trust or ())
    if processes is not None:
        from cmt_cli.distributed import launch

        launch.start(processes, job.load(folder, trusted).distributed, sys.argv[1:])
    job_run.resume(folder, trusted)


@app.command()
def ask(
    run: RunName,
    question: Annotated[str, typer.Argument(help="A question in plain words.")],
    trust: Trust = None,
    debug: Debug = False,
) -> None:
    """Answer a question from an adapted run, with the documents that it used and their weights."""
    from cmt_cli.commands import ask, run_folders

    ask.ask(run_folders.find(run), question, tuple(trust or ()))


@app.command()
def doctor() -> None:
    """Report devices, versions, caches, login state and which data are here; no network is used."""
    from cmt_cli.commands import doctor as checks

    checks.report()


@data_app.command("check")
def data_check(
    name: StreamName,
    path: Annotated[Path | None, typer.Option(help="The stream's files, instead of data.path.")] = None,
) -> None:
    """Report all problems of a stream's files at once."""
    from cmt_cli.commands import data

    data.check(name, path)


@data_app.command("prepare")
def data_prepare(name: StreamName) -> None:
    """Get a stream's files where their licence allows it, else say how."""
    from cmt_cli.commands import data

    data.prepare(name)


@sweep_app.command("status")
def sweep_status(
    sweep: SweepName,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show which jobs of a sweep are done, run, wait, failed (and why) or are missing."""
    from cmt_cli.commands import sweep as sweeps

    sweeps.status(sweep, as_json=as_json)


@sweep_app.command("repeat")
def sweep_repeat(
    sweep: SweepName,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="hydra.launcher.KEY=VALUE...", help="Other settings of the launcher.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Run only the jobs that a sweep lacks; those that were interrupted go on where they stopped."""
    from cmt_cli.commands import sweep as sweeps

    sweeps.repeat(sweep, overrides or ())


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

"""The commands `cmt wandb ...`: upload offline runs, build a project's dashboard, write a sweep file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands import completion
from cmt_cli.core.exceptions import counted
from cmt_cli.terminal.text import say

app = typer.Typer(no_args_is_help=True, help="Weights & Biases: upload offline runs, dashboards, sweeps.")

ConfigDir = Annotated[Path | None, typer.Option(help="A folder with further method/, data/, ... files.")]
Project = Annotated[str, typer.Option(help="The W&B project.")]
_SAVE_SECONDS = 60.0


@app.command()
def sync(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or folders of runs; runs/ if none is named.", autocompletion=completion.runs),
    ] = None,
    run_seconds: Annotated[float, typer.Option(help="Longest upload of one run in seconds.")] = 600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what waits.")] = False,
) -> None:
    """Upload what was not uploaded yet; a second call goes on where the first one stopped."""
    from cmt_cli.commands import run_folders
    from cmt_cli.terminal.console import open_console
    from cmt_cli.terminal.progress import ProgressDisplay
    from cmt_cli.tracking import connection, sync

    names = runs or [str(run_folders.RUNS)]
    found = sync.find_unsent([Path(name) if Path(name).is_dir() else run_folders.find(name) for name in names])
    if not found:
        say("Nothing waits for upload.")
        return
    if dry_run:
        for run in found:
            waits = f"{len(run.parts)} to upload{', still running' if run.is_running else ''}"
            say(f"{run.folder}: {run.fault or waits}")
        return
    display = ProgressDisplay(open_console(stderr=True))
    try:
        address = connection.server()
        left = sync.sync(found, address=address, run_seconds=run_seconds, progress=display)
    finally:
        display.close()
    say(f"Uploaded {len(found) - len(left)} of {counted(len(found), 'run')} to {address}.")
    for rest in left:
        say(f"Left: {rest.folder}: {rest.reason}")
    if left:
        say("Repeat the command to upload what is left.")
        raise typer.Exit(1)


@app.command()
def dashboard(
    project: Project = "cmt",
    entity: Annotated[str | None, typer.Option(help="User or team; the login's default where none is given.")] = None,
    metric: Annotated[str, typer.Option(help="The score of the curves, the runs' primary metric.")] = "em",
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the view without a server.")] = Path(
        "wandb-dashboard.json"
    ),
    offline: Annotated[bool, typer.Option("--offline", help="Write the file only.")] = False,
) -> None:
    """Build a project's dashboard: methods with bands over seeds, curves, cost, matrices, predictions."""
    from cmt_cli.tracking import connection, dashboard

    address = connection.server()
    reason = "--offline" if offline else connection.unreachable(address, 10.0)
    if reason is None:
        say(dashboard.save(project, entity, metric=metric, seconds=_SAVE_SECONDS))
        return
    view = dashboard.workspace(project, entity or "", metric=metric)
    dashboard.write_spec(view, output)
    say(f"Offline ({reason}): nothing was created. What would be created for project {project} is in {output}.")


@app.command()
def sweep(
    parameters: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUES|FILE...",
            help="method=cmt,mac seed=0,1 KEY=interval(1e-5,1e-3), or a yaml file of parameters.",
            autocompletion=completion.overrides,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The sweep file.")] = Path("sweep.yaml"),
    search: Annotated[str | None, typer.Option(help="grid, random or bayes; by the parameters if not given.")] = None,
    metric: Annotated[str, typer.Option(help="A summary key, see docs/wandb.md; scored on validation.")] = "final/aa",
    goal: Annotated[str, typer.Option(help="maximize or minimize.")] = "maximize",
    max_runs: Annotated[int | None, typer.Option(min=1, help="Stop after so many runs.")] = None,
    project: Project = "cmt",
    config_dir: ConfigDir = None,
) -> None:
    """Write a W&B sweep file whose agents call `cmt run`; settings are chosen on the validation split."""
    from cmt_cli.sweeps import wandb_file

    wish = wandb_file.Search(method=search, metric=metric, goal=goal, max_runs=max_runs)
    written = wandb_file.write(parameters, output, wish, project=project, config_dir=config_dir)
    say(f"{output}: {written['method']} over {', '.join(written['parameters'])}, for {metric} on validation.")
    say(f"Start it: `wandb sweep --project {project} {output}`")

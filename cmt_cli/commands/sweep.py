"""`cmt run -m` and `cmt sweep`: start a sweep, say what it has done, run what it lacks.

A sweep's folder is made before anything is launched, so that whatever happens to this process, `cmt sweep status`
knows every job and `cmt sweep repeat` runs those that are not done.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_cli.commands.options import AsJson, Debug, SweepName, TrustSweep
from cmt_cli.commands.run_folders import RUNS
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.terminal.text import json_text, paragraph, put, say

if TYPE_CHECKING:
    from cmt_cli.config.check import Request
    from cmt_cli.sweeps.status import JobState, SweepStatus

_NUM_SHOWN = 10
_COLORS = {"complete": "green", "running": "cyan", "failed": "red", "stale": "red", "missing": "yellow"}

app = typer.Typer(no_args_is_help=True, help="Look after a sweep that `cmt run -m` started.")


@app.command()
def status(sweep: SweepName, as_json: AsJson = False) -> None:
    """Show which jobs of a sweep are done, run, wait, failed (and why) or are missing."""
    from cmt_cli.sweeps.status import find_sweep, read_status

    found = read_status(find_sweep(sweep, RUNS))
    if as_json:
        put(json_text(found.to_json(), indent=2) + "\n")
    else:
        _print(found)


@app.command()
def repeat(
    sweep: SweepName,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="hydra.launcher.KEY=VALUE...", help="Other settings of the launcher.")
    ] = None,
    trust: TrustSweep = None,
    debug: Debug = False,
) -> None:
    """Run only the jobs that a sweep lacks; those that were interrupted go on where they stopped."""
    from cmt_cli.sweeps import plan
    from cmt_cli.sweeps.status import find_sweep, read_status

    path = find_sweep(sweep, RUNS).resolve()
    found = read_status(path)
    request = plan.repeated(found, overrides or (), trust or ())
    if found.plan.cwd != str(Path.cwd()):
        raise UserError(f"The sweep's paths count from another folder: `cd {found.plan.cwd}` first.")
    if not found.open and not found.plan.is_sampled:
        _print(found)
        return
    _launch(request, path)


def start(request: Request) -> None:
    """Check every job, make the sweep's folder and launch; leave with code 1 where a job did not complete."""
    from cmt_cli.sweeps import plan

    folder = plan.new_sweep(request)
    say(f"Sweep folder: {folder}", sys.stderr)
    _launch(request, folder)


def _launch(request: Request, folder: Path) -> None:
    """Hand the sweep to Hydra, hold its folder meanwhile, and say how it ended."""
    from cmt_cli.config.compose import quoted
    from cmt_cli.running.lock import RunLock
    from cmt_cli.running.signals import StoppedBySignal
    from cmt_cli.sweeps.launch import launch
    from cmt_cli.sweeps.status import read_status

    kept = tuple(line for line in request.overrides if not line.startswith("hydra.sweep.dir="))
    place = f"hydra.sweep.dir={quoted(str(folder))}"
    try:
        with RunLock(folder):
            launch(dataclasses.replace(request, overrides=(*kept, place)))
    except StoppedBySignal as stop:
        _print(read_status(folder), stderr=True)
        raise StoppedBySignal(f"{stop}.", stop.signal_number) from stop
    found = read_status(folder)
    _print(found, stderr=True)
    if found.open:
        raise SystemExit(1)


def _print(found: SweepStatus, *, stderr: bool = False) -> None:
    from cmt_cli.running.run_files import reading
    from cmt_cli.sweeps.status import DONE
    from cmt_cli.terminal.console import line, open_console

    console = open_console(stderr=stderr)
    counts = ", ".join(f"{number} {state}" for state, number in found.counts.items()) or "no jobs yet"
    paragraph(console, "", f"{counted(len(found.jobs), 'job')}: {counts}")
    shown = [job for job in found.jobs if job.state not in DONE]
    for job in shown[:_NUM_SHOWN]:
        state = line(f"{job.state:11} ", _COLORS.get(job.state, ""))
        console.print(state + line(found.varied(job) + _detail(job)), soft_wrap=True)
    if len(shown) > _NUM_SHOWN:
        paragraph(console, "", f"... and {len(shown) - _NUM_SHOWN} more; --json lists all.")
    study = found.path / "study.json"
    if study.exists():
        with reading(study, "Remove it: the study has what it tells, and `cmt sweep repeat` writes it again."):
            best = dict(json.loads(study.read_text(encoding="utf-8")))
            if "best_value" in best:
                found_best = " ".join(f"{key}={value}" for key, value in dict(best["best_params"]).items())
                paragraph(console, "", f"Best {best['metric']} on validation {best['best_value']:.4f}: {found_best}")
    if found.open and not found.is_launching:
        command = shlex.join(["cmt", "sweep", "repeat", str(found.path)])
        paragraph(console, "", f"Run the {counted(len(found.open), 'job')} not done: `{command}`")


def _detail(job: JobState) -> str:
    record = job.record
    if record is None:
        return ""
    if job.state in ("running", "stale"):
        return f"  (process {record.pid} on {record.host})"
    if job.state == "queued":
        return f"  (job {record.job_id})" if record.job_id else ""
    return f": {record.error}" if record.error else ""

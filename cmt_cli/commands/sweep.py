"""Sweeps on the command line: start one, say what it has done, run what it lacks.

A sweep's folder is made before anything is launched, so that whatever happens to this process, `cmt sweep status`
knows every job and `cmt sweep repeat` runs those that are not done.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from cmt_cli.commands.run_folders import RUNS
from cmt_cli.config import catalog, check, compose
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.lock import RunLock
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.sweeps.folder import Plan, SweepFolder, is_for_hydra
from cmt_cli.sweeps.status import DONE, JobState, SweepStatus, find_sweep, read_status

GRID = "hydra_plugins.cmt_sweeps.grid.GridSweeper"
_NUM_SHOWN = 10
_COLORS = {"complete": "green", "running": "cyan", "failed": "red", "stale": "red", "missing": "yellow"}


def start(request: check.Request) -> None:
    """Check every job, make the sweep's folder and launch; leave with code 1 where a job did not complete."""
    dirs = request.dirs()
    composed = check.composed(request)
    hydra = composed.hydra
    choices = hydra.runtime.choices
    launcher, sweeper = str(choices["hydra/launcher"]), str(choices["hydra/sweeper"])
    check_extras(launcher, sweeper, dirs)
    target = str(hydra.sweeper["_target_"])
    if not target.startswith(compose.OWN_PLUGINS):
        raise UserError(f"hydra/sweeper={sweeper} is {target}; here sweeps are run by hydra/sweeper=basic or optuna.")
    is_sampled = target != GRID
    params = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    own = [line for line in request.overrides if not is_for_hydra(line)]
    plan = Plan(
        overrides=request.overrides,
        hydra=tuple(line for line in request.overrides if is_for_hydra(line)),
        launcher=launcher,
        sweeper=sweeper,
        jobs=() if is_sampled else _jobs([*params, *own], dirs),
        cwd=str(Path.cwd()),
        config_dir=str(request.config_dir.resolve()) if request.config_dir else None,
        started=round(time.time(), 3),
        is_sampled=is_sampled,
    )
    _check_jobs(request, plan)
    if plan.is_sampled:
        _check_split(dataclasses.replace(request, overrides=(*params, *request.overrides)))
    folder = Path(str(hydra.sweep.dir)).absolute()
    SweepFolder(folder).create(plan)
    print(f"Sweep folder: {folder}", file=sys.stderr)
    _launch(request, folder)


def status(name: str, *, as_json: bool) -> None:
    """Print what a sweep has done, is doing and lacks."""
    found = read_status(find_sweep(name, RUNS))
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _print(found, Console(highlight=False))


def repeat(name: str, overrides: Sequence[str]) -> None:
    """Run the jobs that a sweep lacks, under the same launcher; `overrides` may change the launcher's settings."""
    path = find_sweep(name, RUNS).resolve()
    for line in overrides:
        if not is_for_hydra(line):
            raise UserError(
                f"{line} would change the runs, so they would be another sweep's: start it with `cmt run -m`. "
                "`cmt sweep repeat` takes hydra/launcher=... and hydra.launcher.KEY=VALUE."
            )
    found = read_status(path)
    if found.plan.cwd != str(Path.cwd()):
        raise UserError(f"The sweep's paths count from another folder: `cd {found.plan.cwd}` first.")
    if not found.open and not found.plan.is_sampled:
        _print(found, Console(highlight=False))
        return
    keys = {line.partition("=")[0] for line in overrides}
    kept = [line for line in found.plan.overrides if line.partition("=")[0] not in keys]
    config_dir = Path(found.plan.config_dir) if found.plan.config_dir else None
    request = check.Request((*kept, *overrides), True, config_dir)
    choices = check.composed(request).hydra.runtime.choices
    check_extras(str(choices["hydra/launcher"]), str(choices["hydra/sweeper"]), request.dirs())
    _launch(request, path)


def check_extras(launcher: str, sweeper: str, dirs: Sequence[Path]) -> None:
    """Raise UserError where the package that a launcher or a sweeper stands on is not installed."""
    for group, name in (("hydra/launcher", launcher), ("hydra/sweeper", sweeper)):
        facts = next((option.facts for option in catalog.options(group, dirs) if option.name == name), {})
        for module in facts.get("module", "").split():
            if importlib.util.find_spec(module) is None:
                raise UserError(
                    f"{group}={name} needs the package '{module}', which is not installed: "
                    f"pip install 'cmt-cli[{facts['extra']}]'"
                )


def _jobs(overrides: Sequence[str], dirs: Sequence[Path]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(tuple(job) for job in compose.jobs(overrides, dirs)))


def _check_jobs(request: check.Request, plan: Plan) -> None:
    """Check every value of every key and every combination of options, before anything is launched."""
    jobs = plan.jobs or (tuple(compose.first_values(request.overrides, request.dirs())),)
    groups = {f"{name}=" for name in catalog.group_names(request.dirs())}
    checked: set[Any] = set()
    for job in jobs:
        options = tuple(line for line in job if any(line.startswith(group) for group in groups))
        if options in checked and checked.issuperset(job):
            continue
        try:
            check.check(dataclasses.replace(request, overrides=(*job, *plan.hydra), multirun=False))
        except UserError as error:
            raise UserError(f"{' '.join(job)}: {error}") from error
        checked |= {options, *job}


def _check_split(request: check.Request) -> None:
    """Raise UserError where a search would choose settings by test scores."""
    first = compose.first_values(request.overrides, request.dirs())
    checked = check.check(dataclasses.replace(request, overrides=tuple(first), multirun=False))
    if checked.stream().provenance.split != "validation":
        key = next(
            (place for place in _places(checked.config["data"], "data") if place.endswith(".stream_split")), None
        )
        advice = f"Add {key}=validation" if key else "Choose a stream with a validation split"
        raise UserError(
            f"A search chooses settings, so it must not see the test split of data={checked.names['data']}. {advice}; "
            "then run the best settings once on the test split."
        )


def _places(node: Any, where: str) -> list[str]:
    """Return the dotted keys below a node."""
    if not isinstance(node, Mapping):
        return [where]
    return [place for key, value in node.items() for place in _places(value, f"{where}.{key}")]


def _launch(request: check.Request, folder: Path) -> None:
    """Hand the sweep to Hydra, hold its folder meanwhile, and say how it ended."""
    kept = tuple(line for line in request.overrides if not line.startswith("hydra.sweep.dir="))
    place = f"hydra.sweep.dir={compose.quoted(str(folder))}"
    try:
        with RunLock(folder):
            check.multirun(dataclasses.replace(request, overrides=(*kept, place)))
    except StoppedBySignal as stop:
        _print(read_status(folder), Console(highlight=False, stderr=True))
        raise StoppedBySignal(f"{stop}.", stop.signal_number) from stop
    found = read_status(folder)
    _print(found, Console(highlight=False, stderr=True))
    if found.open:
        _leave()


def _leave() -> NoReturn:
    raise SystemExit(1)


def _print(found: SweepStatus, console: Console) -> None:
    counts = ", ".join(f"{number} {state}" for state, number in found.counts.items()) or "no jobs yet"
    console.print(f"{len(found.jobs)} job{'s' * (len(found.jobs) != 1)}: {counts}", soft_wrap=True)
    shown = [job for job in found.jobs if job.state not in DONE]
    for job in shown[:_NUM_SHOWN]:
        line = Text.assemble((f"{job.state:11} ", _COLORS.get(job.state, "")), found.varied(job))
        console.print(line + Text(_detail(job)), soft_wrap=True)
    if len(shown) > _NUM_SHOWN:
        console.print(f"... and {len(shown) - _NUM_SHOWN} more; --json lists all.")
    study = found.path / "study.json"
    if study.exists() and "best_value" in (best := json.loads(study.read_text(encoding="utf-8"))):
        found_best = " ".join(f"{key}={value}" for key, value in best["best_params"].items())
        console.print(f"Best {best['metric']} on validation {best['best_value']:.4f}: {found_best}", soft_wrap=True)
    if found.open and not found.is_launching:
        command = shlex.join(["cmt", "sweep", "repeat", str(found.path)])
        console.print(f"Run the {len(found.open)} that are not done: {command}", soft_wrap=True, markup=False)


def _detail(job: JobState) -> str:
    record = job.record
    if record is None:
        return ""
    if job.state in ("running", "stale"):
        return f"  (process {record.pid} on {record.host})"
    if job.state == "queued":
        return f"  (job {record.job_id})" if record.job_id else ""
    return f": {record.error}" if record.error else ""

"""What a sweep will run: its plan, and the checks that every job passes before anything is launched."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.config import catalog, compose, references
from cmt_cli.config.check import Request, check, composed
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.job import Job
from cmt_cli.sweeps.consent import refuse_untrusted
from cmt_cli.sweeps.folder import Plan, SweepFolder, is_for_hydra
from cmt_cli.sweeps.status import SweepStatus

GRID = "hydra_plugins.cmt_sweeps.grid.GridSweeper"


def new_sweep(request: Request) -> Path:
    """Check every job of a sweep and make its folder; return it. Raises UserError at the first that could not run."""
    dirs = request.dirs()
    hydra = composed(request).hydra
    choices = hydra.runtime.choices
    launcher, sweeper = str(choices["hydra/launcher"]), str(choices["hydra/sweeper"])
    check_extras(launcher, sweeper, dirs)
    target = str(hydra.sweeper["_target_"])
    if not target.startswith(compose.OWN_PLUGINS):
        raise UserError(f"hydra/sweeper={sweeper} is {target}; here sweeps are run by hydra/sweeper=basic or optuna.")
    is_sampled = target != GRID
    with references.kept():  # what is read here is written into sweep.json
        params = [references.written(f"{key}={value}") for key, value in (hydra.sweeper.get("params") or {}).items()]
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
    return folder


def repeated(found: SweepStatus, overrides: Sequence[str], trusted: Sequence[str] = ()) -> Request:
    """Return the request that runs what a sweep lacks, with other settings of its launcher; UserError for any other.

    `trusted` are the entries of sweep.json that may execute code or choose where is written, see `refuse_untrusted`.
    """
    for line in overrides:
        if not is_for_hydra(line):
            raise UserError(
                f"{line} would change the runs, so they would be another sweep's: start it with `cmt run -m`. "
                "`cmt sweep repeat` takes hydra/launcher=... and hydra.launcher.KEY=VALUE."
            )
    keys = {line.partition("=")[0] for line in overrides}
    refuse_untrusted(found, [*overrides, *trusted])
    kept = [line for line in found.plan.overrides if line.partition("=")[0] not in keys]
    config_dir = Path(found.plan.config_dir) if found.plan.config_dir else None
    request = Request((*kept, *overrides), True, config_dir)
    choices = composed(request).hydra.runtime.choices
    check_extras(str(choices["hydra/launcher"]), str(choices["hydra/sweeper"]), request.dirs())
    return request


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


def _check_jobs(request: Request, plan: Plan) -> None:
    """Check every value of every key and every combination of options, before anything is launched."""
    jobs = plan.jobs or (request.first().overrides,)
    groups = {f"{name}=" for name in catalog.group_names(request.dirs())}
    checked: set[Any] = set()
    for job in jobs:
        options = tuple(line for line in job if any(line.startswith(group) for group in groups))
        if options in checked and checked.issuperset(job):
            continue
        try:
            check(dataclasses.replace(request, overrides=(*job, *plan.hydra), multirun=False))
        except UserError as error:
            raise UserError(f"{' '.join(job)}: {error}") from error
        checked |= {options, *job}


def _check_split(request: Request) -> None:
    """Raise UserError where a search would choose settings by test scores."""
    checked = Job.of(check(request.first()))
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

"""Compose a run's configuration with Hydra, check it before anything is loaded, and hand runs to `hydra.main`.

Runs and sweeps go through Hydra's public entry point, so that every launcher and sweeper works. The compose API only
validates: it composes the first job of a sweep, and turns what it refuses into one readable paragraph.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cmt_cli.commands import run_folders
from cmt_cli.config import catalog, compose, targets
from cmt_cli.config.errors import explain
from cmt_cli.core.exceptions import Interrupted, NonFiniteLoss, UserError
from cmt_cli.distributed.environment import is_rank_zero
from cmt_cli.running import job, job_run
from cmt_cli.sweeps import worker
from cmt_cli.sweeps.folder import SweepFolder

GROUPS = ("method", "data", "model")  # whose chosen names make up a run's name
SHOWN = ("job", "hydra", "all")  # what `--cfg` can print


class Stopped(BaseException):
    """Carries an error past Hydra's own reporting, which would print it twice; `cause` is the error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line: Hydra overrides, and where further configuration files lie."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dir: Path | None = None

    def dirs(self) -> list[Path]:
        """Return the folders of configuration files, first match first."""
        return catalog.search_dirs(self.config_dir)


def composed(request: Request) -> DictConfig:
    """Compose the (first) job's configuration with its `hydra` node; raise UserError for what cannot be composed."""
    dirs = request.dirs()
    try:
        single = compose.first_values(request.overrides, dirs) if request.multirun else request.overrides
        return compose.compose(single, dirs)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, request.overrides, dirs) from error


def job_of(config: DictConfig, choices: Any, overrides: Sequence[str] = ()) -> job.Job:
    """Return a plain, resolved job; raise UserError for missing values and interpolations that lead nowhere.

    `overrides` are what the user gave, for commands that are suggested later.
    """
    shown = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        missing = sorted(OmegaConf.missing_keys(shown))
        if missing:
            raise UserError(f"{missing[0]} has no value yet. Give it one: {missing[0]}=...")
        resolved: Any = OmegaConf.to_container(shown, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    names = {group: str(choices[group]).replace("/", "_") for group in GROUPS}
    return job.Job(resolved, names, tuple(overrides))


def check(request: Request) -> job.Job:
    """Compose and check all that can be checked without weights: names, keys, targets, types, method x stream."""
    config = composed(request)
    choices = config.hydra.runtime.choices
    checked = job_of(config, choices, config.hydra.overrides.task)
    targets.check_trust(checked.config, checked.trusted)
    dirs = request.dirs()
    stream = catalog.find("data", choices.data, dirs)
    for name in (choices[key] for key in choices if key.partition("@")[0] == "method"):  # members of a combination, too
        reason = catalog.incompatibility(catalog.find("method", name, dirs), stream)
        if reason:
            raise UserError(f"method={name} data={choices.data}: {reason}. `cmt list matrix` shows what fits.")
    targets.check_arguments(checked.config, checked.trusted)
    return checked


def run(request: Request) -> None:
    """Check the request, then hand its one job to `hydra.main`; sweeps.py has those of several."""
    check(request)
    _delegate(request, [])


def multirun(request: Request) -> None:
    """Hand a sweep, whose folder is made, to `hydra.main`."""
    node = composed(request).hydra
    compose.register([str(node.launcher["_target_"]), str(node.sweeper["_target_"])])
    _delegate(request, ["--multirun"])


def show(request: Request, kind: str) -> None:
    """Print the resolved configuration: `job`, `hydra` or `all`."""
    if kind not in SHOWN:
        raise UserError(f"--cfg {kind}: allowed are {', '.join(SHOWN)}.")
    current = composed(request)
    job_of(current, current.hydra.runtime.choices)
    dirs = request.dirs()
    first = compose.first_values(request.overrides, dirs) if request.multirun else request.overrides
    resolve = [] if kind == "hydra" else ["--resolve"]  # Hydra cuts its own node off from the values it points to
    _delegate(dataclasses.replace(request, overrides=tuple(first)), ["--cfg", kind, *resolve])


def _delegate(request: Request, flags: Sequence[str]) -> None:
    argv = [*request.overrides, *flags]
    if request.config_dir is not None:
        argv += ["--config-dir", str(request.config_dir)]
    compose.prefer_files(request.dirs())
    folder, name = str(catalog.conf_dir()), compose.CONFIG_NAME
    main = hydra.main(config_path=folder, config_name=name, version_base="1.3")(task)
    try:
        with _hydra_process(argv):
            main()
    except Stopped as stopped:
        raise stopped.cause from None
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, request.overrides, request.dirs()) from error


@contextmanager
def _hydra_process(argv: Sequence[str]) -> Iterator[None]:
    """Give Hydra the arguments it reads from `sys.argv`, and let exceptions travel instead of being printed by it."""
    saved_argv, saved_setting = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [saved_argv[0], *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = saved_argv
        if saved_setting is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = saved_setting


def task(config: DictConfig) -> None:
    """Run one job; the function that launchers pickle by name, so it repeats the checks of its own job."""
    state = HydraConfig.get()
    overrides = [str(line) for line in state.overrides.task]

    def make() -> job.Job:
        current = job_of(config, state.runtime.choices, overrides)
        targets.check_trust(current.config, current.trusted)
        targets.check_arguments(current.config, current.trusted)
        return current

    try:
        if state.mode is RunMode.RUN:
            folder = job_run.run(make())
            if is_rank_zero(os.environ):
                run_folders.show(folder)
        elif not is_rank_zero(os.environ):
            worker.accompany(make, Path(state.runtime.cwd))
        else:
            worker.run_job(
                make,
                overrides,
                SweepFolder(Path(state.sweep.dir)),
                cwd=Path(state.runtime.cwd),
                make_pruner=lambda: hydra.utils.instantiate(state.sweeper.get("pruner")),
            )
    except (Interrupted, UserError, NonFiniteLoss) as error:
        raise Stopped(error) from error

"""Launch a sweep through `hydra.main`, so that every launcher and sweeper works, and run each of its jobs.

`task` is what launchers pickle by name and call in their workers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cmt_cli.config import catalog, check, compose
from cmt_cli.config.errors import explain
from cmt_cli.config.settings import check_targets
from cmt_cli.core.exceptions import Interrupted, NonFiniteLoss, UserError
from cmt_cli.distributed.environment import is_rank_zero
from cmt_cli.running.job import Job
from cmt_cli.sweeps import worker
from cmt_cli.sweeps.folder import SweepFolder


class Stopped(BaseException):
    """Carries an error past Hydra's own reporting, which would print it twice; `cause` is the error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


def launch(request: check.Request) -> None:
    """Hand a sweep, whose folder is made, to `hydra.main`."""
    node = check.composed(request).hydra
    compose.register([str(node.launcher["_target_"]), str(node.sweeper["_target_"])])
    compose.prefer_files(request.dirs())
    argv = [*request.overrides, "--multirun"]
    if request.config_dir is not None:
        argv += ["--config-dir", str(request.config_dir)]
    main = hydra.main(config_path=str(catalog.conf_dir()), config_name=compose.CONFIG_NAME, version_base="1.3")(task)
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
    """Run one job of a sweep; a worker may be a process of its own, so its job is checked there."""
    state = HydraConfig.get()
    overrides = check.given(state)

    def make() -> Job:
        settings = check.settings_of(config, state.runtime.choices, overrides)
        check_targets(settings)
        return Job.of(settings)

    try:
        if not is_rank_zero(os.environ):
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

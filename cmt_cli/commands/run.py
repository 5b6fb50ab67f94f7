"""`cmt run` and `cmt resume`: make one run, start a sweep, or show what would be run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_cli.commands.options import ConfigDir, Debug, NumProcesses, Overrides, RunName, Trust
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.signals import NOTHING_STARTED, stop_means
from cmt_cli.terminal.text import put

if TYPE_CHECKING:
    from cmt_cli.config.check import Request
    from cmt_cli.running.job import Job

SHOWN = ("job", "hydra", "all")  # what `--cfg` can print


def run(
    overrides: Overrides = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", help="Run every combination of KEY=A,B.")] = False,
    cfg: Annotated[str | None, typer.Option(help="Print the resolved config (job, hydra or all) and stop.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and stop; load no weights.")] = False,
    processes: NumProcesses = None,
    config_dir: ConfigDir = None,
    debug: Debug = False,
) -> None:
    """Run a method on a stream with a model; `cmt run method=cmt data=streamingqa` is the first thing to try."""
    with stop_means(NOTHING_STARTED):
        from cmt_cli.config import check

    request = check.Request(tuple(overrides or ()), multirun, config_dir)
    if dry_run:
        from cmt_cli.commands import dry_run as checks

        checks.report(request)
    elif cfg is not None:
        put(shown_config(request, cfg))
    elif multirun:
        from cmt_cli.commands import sweep
        from cmt_cli.distributed import torchrun

        torchrun.refuse_sweep(processes)
        sweep.start(request)
    else:
        with stop_means(NOTHING_STARTED):
            from cmt_cli.running import job_run

            job = _job(request)
            _start_processes(job, processes)
        _show(job_run.run(job))


def resume(run: RunName, processes: NumProcesses = None, trust: Trust = None, debug: Debug = False) -> None:
    """Continue an interrupted run from its folder alone."""
    with stop_means(NOTHING_STARTED):
        from cmt_cli.commands import run_folders
        from cmt_cli.running import job, job_run

        folder = run_folders.find(run)
        loaded = job.load(folder, tuple(trust or ()))
        _start_processes(loaded, processes)
    _show(job_run.run(loaded, folder))


def shown_config(request: Request, kind: str) -> str:
    """Return the resolved configuration as yaml: of the `job`, of `hydra`, or `all`."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from cmt_cli.config import check, references

    if kind not in SHOWN:
        raise UserError(f"--cfg {kind}: allowed are {', '.join(SHOWN)}.")
    config = check.composed(request)
    check.settings_of(config, config.hydra.runtime.choices)  # raises for values that are missing
    if kind == "hydra":  # cut off from the values it points to, so its interpolations stay as they are
        return OmegaConf.to_yaml(OmegaConf.masked_copy(config, "hydra"))
    HydraConfig.instance().set_config(config)  # what `${hydra:...}` reads
    keys = [str(key) for key in config if kind == "all" or key != "hydra"]
    with references.kept():
        return str(references.written(OmegaConf.to_yaml(OmegaConf.masked_copy(config, keys), resolve=True)))


def _job(request: Request) -> Job:
    """Compose and check the one run, and apply what Hydra's own node says of its process."""
    from cmt_cli.config import check
    from cmt_cli.running.job import Job

    config = check.composed(request)
    settings = check.checked(config, request.dirs())
    _apply_hydra(config.hydra)
    return Job.of(settings)


def _apply_hydra(node: Any) -> None:
    """Set up the process as `hydra.main` would; raise UserError for settings that only a sweep can honor."""
    from hydra.core.utils import configure_log
    from omegaconf.errors import OmegaConfBaseException

    for key, is_set in {"callbacks": bool(node.callbacks), "job.chdir": bool(node.job.chdir)}.items():
        if is_set:
            raise UserError(f"hydra.{key} has no effect on a single run. Leave it out, or make a sweep of it: add -m.")
    os.environ.update({str(name): str(value) for name, value in node.job.env_set.items()})
    try:
        configure_log(node.job_logging, node.verbose)
    except OmegaConfBaseException as error:
        raise UserError(
            f"hydra.job_logging: {str(error).splitlines()[0]}. A single run has no output folder of Hydra's: take "
            "hydra/job_logging=stdout; the run folder keeps its own log in events.jsonl."
        ) from error


def _start_processes(job: Job, num: int | None) -> None:
    """Replace this process by `num` that make the run together, where `--processes` was given."""
    if num is not None:
        from cmt_cli.distributed import torchrun

        torchrun.start(num, job.distributed, sys.argv[1:])


def _show(folder: Path) -> None:
    """Print a run that has ended, from rank 0."""
    from cmt_cli.commands.show import print_run
    from cmt_cli.distributed.environment import is_rank_zero

    if is_rank_zero(os.environ):
        with stop_means(f"The run is complete: `cmt show {folder}` shows it."):
            print_run(folder)

"""Launchers on submitit, for Slurm and for processes of this machine.

They are Hydra's, except that nothing of one job can end the others: which jobs are done is read from the sweep's
folder, so a job that is killed, cancelled or lost with its node only ends the wait for itself.

Deviations from hydra-submitit-launcher 1.2: `python` (a container's interpreter), at most `num_parallel` local jobs at
a time, no exception for jobs without a result, squeue in place of sacct, which clusters without accounting lack.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from submitit.core.utils import FailedJobError

from cmt_cli.core.exceptions import UserError
from cmt_cli.sweeps.folder import SweepFolder
from cmt_cli.sweeps.status import live_jobs

_POLL_SECONDS = 0.5
_ASK_SECONDS = 10.0  # between two questions to the scheduler, which serves others, too
_OF_ALL = (
    "cpus_per_task",
    "gpus_per_node",
    "mem_gb",
    "name",
    "nodes",
    "stderr_to_stdout",
    "tasks_per_node",
    "timeout_min",
)  # parameters that submitit takes without the name of the executor in front


class SlurmLauncher(BaseSubmititLauncher):
    """Hand the jobs to Slurm as one array of jobs, and wait for them."""

    _EXECUTOR = "slurm"

    def __init__(self, *, python: str | None, **params: Any) -> None:
        """Keep the settings; `python` starts the interpreter on the node (None: this one)."""
        super().__init__(**params)
        self._python = python

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs and return when none waits or runs; the sweep's folder tells how they ended."""
        if shutil.which("sbatch") is None:
            raise UserError("There is no `sbatch` here: hydra/launcher=submitit_slurm is for a login node of Slurm.")
        further = {} if self._python is None else {"python": self._python}
        executor = _executor(self, ("max_num_timeout",), further)
        sweep = _folder(self)
        try:
            jobs = executor.map_array(self, *zip(*_arguments(job_overrides), strict=True))
        except FailedJobError as error:
            raise UserError(f"Slurm refused the jobs: {_told(error)}") from error
        for job, overrides in zip(jobs, job_overrides, strict=True):
            sweep.hand_out(overrides, job_id=job.job_id)
        _wait(jobs)
        return []


class LocalLauncher(BaseSubmititLauncher):
    """Run every job in a process of its own on this machine; the processes outlive this one."""

    _EXECUTOR = "local"

    def __init__(self, *, num_parallel: int, **params: Any) -> None:
        """Keep the settings; `num_parallel` jobs run at a time."""
        super().__init__(**params)
        self._num_parallel = num_parallel

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Start the jobs one after the other, and return when the last has ended."""
        executor = _executor(self, ("max_num_timeout",), {})
        running: list[Any] = []
        for arguments in _arguments(job_overrides):
            while len(running) >= self._num_parallel:
                time.sleep(_POLL_SECONDS)
                running = [job for job in running if not job.done()]
            running.append(executor.submit(self, *arguments))
        while not all(job.done() for job in running):
            time.sleep(_POLL_SECONDS)
        return []


def _folder(launcher: BaseSubmititLauncher) -> SweepFolder:
    assert launcher.config is not None
    return SweepFolder(Path(launcher.config.hydra.sweep.dir))


def _executor(launcher: BaseSubmititLauncher, of_executor: Sequence[str], further: dict[str, Any]) -> Any:
    """Return submitit's executor; what is null is left to submitit or the cluster."""
    name, params = launcher._EXECUTOR, {k: v for k, v in launcher.params.items() if v is not None}
    folder = params.pop("submitit_folder")
    made = {f"{name}_{key}": params.pop(key) for key in of_executor if key in params}
    executor = submitit.AutoExecutor(folder, cluster=name, **made, **{f"{name}_{k}": v for k, v in further.items()})
    try:
        executor.update_parameters(**{k if k in _OF_ALL else f"{name}_{k}": v for k, v in params.items()})
    except (AssertionError, NameError, ValueError) as error:  # what submitit raises for bad settings
        raise UserError(f"hydra.launcher: {_told(error)}") from error
    return executor


def _arguments(job_overrides: Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    """Return the arguments of the launcher's `__call__` for each job, as Hydra's launcher has them."""
    state = Singleton.get_state()
    return [(list(own), "hydra.sweep.dir", number, str(number), state) for number, own in enumerate(job_overrides)]


def _wait(jobs: Sequence[Any]) -> None:
    """Wait until every job has a result or Slurm has forgotten it, queried twice."""
    pending, absent = list(jobs), set[str]()
    queried = time.monotonic()
    while pending:
        time.sleep(_POLL_SECONDS)
        pending = [job for job in pending if not job.paths.result_pickle.exists()]
        if pending and time.monotonic() - queried > _ASK_SECONDS:
            queried = time.monotonic()
            live = live_jobs([job.job_id for job in pending])
            gone = set() if live is None else {job.job_id for job in pending} - live
            pending = [job for job in pending if job.job_id not in gone & absent]
            absent = gone


def _told(error: Exception) -> str:
    """Return what a command wrote, or the error, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join([line for line in lines if "error:" in line] or lines[:3])

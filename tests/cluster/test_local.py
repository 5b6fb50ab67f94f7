"""Launchers of one machine: whatever is killed, the other jobs complete, and what was cut off goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cmt_cli.sweeps.status import read_status
from tests.cluster.project import LONG, Project, num_steps, record, sweep_folder, wait_for
from tests.command_line import SMALL

pytestmark = pytest.mark.cluster


def starts(folder: Path) -> list[int]:
    return [job.record.num_starts for job in read_status(folder).jobs if job.record is not None]


def test_a_killed_joblib_worker_loses_no_job(project: Project) -> None:
    sweep = project.start("run", "-m", "seed=0,1,2,3", "hydra/launcher=joblib", *SMALL, *LONG)
    try:
        folder = sweep_folder(project)
        doomed = wait_for(lambda: (r := record(folder, "seed=1")) and num_steps(r.folder) > 2 and r)
        os.kill(doomed.pid, signal.SIGKILL)
        told, _ = sweep.communicate(timeout=200)
    finally:
        sweep.kill()
    assert sweep.returncode == 0 and "4 jobs: 4 complete" in told, told
    assert 2 in starts(folder)


def test_a_stopped_sweep_saves_its_jobs_and_can_continue(project: Project) -> None:
    sweep = project.start("run", "-m", "seed=0,1,2", "hydra/launcher=joblib", *SMALL, *LONG)
    try:
        folder = sweep_folder(project)
        wait_for(lambda: (r := record(folder, "seed=0")) and num_steps(r.folder) > 2)
        sweep.send_signal(signal.SIGTERM)
        told, _ = sweep.communicate(timeout=100)
    finally:
        sweep.kill()
    assert sweep.returncode == 143 and f"cmt sweep repeat {folder}" in told, told
    jobs = read_status(folder).jobs
    # A job that was still loading its model has nothing to save: it is stale.
    assert {job.state for job in jobs} <= {"interrupted", "missing", "stale"} and jobs[0].state == "interrupted"
    assert "3 jobs: 3 complete" in project.cmt("sweep", "repeat", "latest")


def test_a_stopped_local_job_is_requeued_and_goes_on(project: Project) -> None:
    sweep = project.start("run", "-m", "seed=0", "hydra/launcher=submitit_local", *SMALL, *LONG)
    try:
        folder = sweep_folder(project)
        told_off = wait_for(lambda: (r := record(folder, "seed=0")) and num_steps(r.folder) > 2 and r)
        os.kill(told_off.pid, signal.SIGUSR2)
        told, _ = sweep.communicate(timeout=200)
    finally:
        sweep.kill()
    assert sweep.returncode == 0 and "1 job: 1 complete" in told, told
    again = record(folder, "seed=0")
    assert again is not None and again.num_starts == 2 and again.folder == told_off.folder

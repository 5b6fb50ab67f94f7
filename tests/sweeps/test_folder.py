"""A sweep's folder tells what every job's state is, whatever happened to the processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.running import lock
from cmt_cli.running.lock import RunLock
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.sweeps import status
from cmt_cli.sweeps.folder import JobRecord, Plan, RunningJob, SweepFolder, job_key
from cmt_cli.sweeps.status import find_sweep, read_status
from cmt_cli.sweeps.stop import stopping

JOBS = (("seed=0", "method=ewc"), ("seed=1", "method=ewc"))


def plan(jobs: tuple[tuple[str, ...], ...] = JOBS) -> Plan:
    return Plan(("method=ewc", "seed=0,1"), (), "basic", "basic", jobs, "/somewhere", None, 0.0)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweep")
    folder.create(plan())
    return folder


def states(sweep: SweepFolder) -> list[str]:
    return [job.state for job in read_status(sweep.path).jobs]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_job_is_known_by_its_unordered_overrides() -> None:
    assert job_key(("seed=0", "method=ewc")) == job_key(("method=ewc", "seed=0", "hydra.launcher.mem_gb=4"))
    assert job_key(("seed=0",)) != job_key(("seed=1",))


def test_a_cell_goes_from_missing_over_running_to_complete(sweep: SweepFolder) -> None:
    assert states(sweep) == ["missing", "missing"]
    job = RunningJob(sweep, JOBS[0])
    job.begin()
    job.note_folder(Path("runs/x"))
    assert states(sweep) == ["running", "missing"]
    record = sweep.record(JOBS[0])
    assert record is not None and record.pid == os.getpid() and record.folder == str(Path("runs/x").absolute())
    job.end("complete")
    found = read_status(sweep.path)
    assert found.counts == {"complete": 1, "missing": 1}
    assert [job.overrides for job in found.open] == [JOBS[1]]
    assert found.varied(found.jobs[1]) == "seed=1"


def test_cells_wait_while_somebody_hands_them_out(sweep: SweepFolder) -> None:
    with RunLock(sweep.path):
        assert states(sweep) == ["queued", "queued"]
    assert states(sweep) == ["missing", "missing"]


def test_a_failed_job_keeps_its_errors_first_line(sweep: SweepFolder) -> None:
    job = RunningJob(sweep, JOBS[0])
    job.begin()
    job.end("failed", error=ValueError("no such file\nand more"))
    record = sweep.record(JOBS[0])
    assert states(sweep)[0] == "failed" and record is not None and record.error == "no such file"


def test_jobs_of_dead_or_silent_processes_are_stale(sweep: SweepFolder) -> None:
    here, there = (JobRecord(job, "running", host=socket.gethostname(), pid=dead_pid()) for job in JOBS)
    sweep.write(here)
    sweep.write(dataclasses.replace(there, host="elsewhere"))
    assert states(sweep) == ["stale", "running"]
    path = sweep.record_path(JOBS[1])
    long_ago = path.stat().st_mtime - lock.SILENT_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    assert states(sweep) == ["stale", "stale"]


def test_a_run_finished_before_its_processs_death_is_complete(
    sweep: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    sweep.write(JobRecord(JOBS[0], "running", host=socket.gethostname(), pid=dead_pid(), folder=str(folder)))
    assert states(sweep)[0] == "stale"
    finished = SimpleNamespace(status="complete")
    monkeypatch.setattr(status, "read_result", {folder: finished}.get)
    assert states(sweep)[0] == "complete"


def test_a_cell_in_the_schedulers_queue_is_not_missing(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.hand_out(JOBS[0], job_id="7_0")
    sweep.write(JobRecord(JOBS[1], "interrupted", job_id="7_1"))
    monkeypatch.setattr(status, "live_jobs", lambda ids: {"7_0", "7_1"})
    assert states(sweep) == ["queued", "queued"]  # the second was preempted and will go on
    monkeypatch.setattr(status, "live_jobs", lambda ids: set())
    assert states(sweep) == ["missing", "interrupted"]
    monkeypatch.setattr(status, "live_jobs", lambda ids: None)  # not queried from a node of the cluster
    assert states(sweep) == ["queued", "queued"]


def test_only_the_first_rank_of_a_job_writes(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    RunningJob(sweep, JOBS[0]).begin()
    assert sweep.record(JOBS[0]) is None
    monkeypatch.setenv("SLURM_PROCID", "0")
    RunningJob(sweep, JOBS[0]).begin()
    assert sweep.record(JOBS[0]) is not None


def test_a_folder_holds_one_sweep(sweep: SweepFolder) -> None:
    with pytest.raises(UserError, match="cmt sweep repeat"):
        sweep.create(plan())


def test_a_sampler_adds_cells_once(sweep: SweepFolder) -> None:
    sweep.add_jobs([("seed=1", "method=ewc"), ("seed=2", "method=ewc")])
    assert sweep.plan().jobs == (*JOBS, ("seed=2", "method=ewc"))


def test_the_latest_sweep_is_found_by_that_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 0"):
        find_sweep("latest", tmp_path)
    for name in ("20260101-1", "20260102-1"):
        SweepFolder(tmp_path / ".sweeps" / name).create(plan())
    assert find_sweep("latest", tmp_path).name == "20260102-1"
    assert find_sweep("20260101-1", tmp_path) == tmp_path / ".sweeps" / "20260101-1"
    with pytest.raises(UserError, match="20260101-1, 20260102-1"):
        find_sweep("20260103", tmp_path)


def test_the_status_is_plain_json(sweep: SweepFolder) -> None:
    RunningJob(sweep, JOBS[0]).begin()
    record = json.loads(json.dumps(read_status(sweep.path).to_json()))
    assert record["counts"] == {"running": 1, "missing": 1}
    assert record["jobs"][0]["record"]["num_starts"] == 1 and record["jobs"][1]["record"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("job_id", ["1"]), ("pid", "1"), ("status", "\x1b[2J"), ("host", 3), ("started", "now"), ("trial", {"number": 1})],
)
def test_a_record_of_other_types_is_refused(sweep: SweepFolder, name: str, value: object) -> None:
    sweep.write(JobRecord(JOBS[0], "running"))
    path = sweep.record_path(JOBS[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UserError, match="cannot be read"):
        read_status(sweep.path)


@pytest.mark.parametrize(("name", "value"), [("config_dir", 3), ("is_sampled", "yes"), ("cwd", None), ("started", [])])
def test_a_plan_of_other_types_is_refused(sweep: SweepFolder, name: str, value: object) -> None:
    path = sweep.path / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UserError, match=rf"sweep\.json' cannot be read \(TypeError: its {name} is"):
        sweep.plan()


def test_a_time_to_come_is_no_heartbeat(sweep: SweepFolder) -> None:
    sweep.write(JobRecord(JOBS[0], "running", host="elsewhere", pid=7))
    assert states(sweep)[0] == "running"
    os.utime(sweep.record_path(JOBS[0]), (4e9, 4e9))
    assert states(sweep)[0] == "stale"


@pytest.mark.parametrize("pid", [-1, 0, None])
def test_only_jobs_of_this_sweep_are_signalled(sweep: SweepFolder, pid: int | None) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        named = other.pid if pid is None else pid
        sweep.write(JobRecord(JOBS[0], "running", host=socket.gethostname(), pid=named, started=1.0))
        with pytest.raises(StoppedBySignal), stopping(sweep, is_detached=False, seconds=2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert other.poll() is None
        other.communicate(b"\n")

"""What a sweep has done, is doing and lacks, from its folder, the clock and, for jobs that wait, the scheduler."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import is_alive
from cmt_cli.core.exceptions import UserError
from cmt_cli.running import lock
from cmt_cli.running.run_files import read_result
from cmt_cli.sweeps.folder import JobRecord, Plan, SweepFolder

STATES = ("complete", "pruned", "running", "queued", "interrupted", "failed", "stale", "missing")
DONE = ("complete", "pruned")
UNDERWAY = ("running", "queued")


@dataclass(frozen=True, slots=True)
class JobState:
    """A job and its state: one of `STATES`.

    stale: it was running and its process is gone or silent. missing: nobody has begun it and nobody will.
    """

    overrides: tuple[str, ...]
    state: str
    record: JobRecord | None

    @property
    def is_open(self) -> bool:
        """Return whether the job has to be run again."""
        return self.state not in (*DONE, *UNDERWAY)


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """A sweep and the states of its jobs, in the order of the sweep."""

    path: Path
    plan: Plan
    jobs: tuple[JobState, ...]
    is_launching: bool  # whether the process that hands the jobs out is alive

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state, without states that none has."""
        found = Counter(job.state for job in self.jobs)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def open(self) -> list[JobState]:
        """Return the jobs that have to be run again."""
        return [job for job in self.jobs if job.is_open]

    def varied(self, job: JobState) -> str:
        """Return those of a job's overrides that tell it from other jobs."""
        common = set.intersection(*(set(other.overrides) for other in self.jobs))
        return " ".join(line for line in job.overrides if line not in common) or " ".join(job.overrides)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "path": str(self.path),
            "overrides": list(self.plan.overrides),
            "launcher": self.plan.launcher,
            "sweeper": self.plan.sweeper,
            "is_launching": self.is_launching,
            "counts": self.counts,
            "jobs": [
                {"overrides": list(c.overrides), "state": c.state, "record": c.record and dataclasses.asdict(c.record)}
                for c in self.jobs
            ],
        }


def read_status(path: Path, *, is_launching: bool | None = None) -> SweepStatus:
    """Read the state of every job of a sweep; raise UserError where the folder holds none.

    `is_launching` is what the caller knows; None looks whether the process that hands the jobs out is alive.
    """
    sweep = SweepFolder(path)
    plan = sweep.plan()
    launching = _is_launching(path) if is_launching is None else is_launching
    records = [sweep.record(job) for job in plan.jobs]
    waiting = [r.job_id for r in records if r is not None and r.job_id and r.status in (*UNDERWAY, "interrupted")]
    live = live_jobs(waiting) if waiting else set()
    jobs = [
        JobState(job, _state(record, sweep, is_launching=launching, live=live), record)
        for job, record in zip(plan.jobs, records, strict=True)
    ]
    return SweepStatus(path, plan, tuple(jobs), launching)


def _state(record: JobRecord | None, sweep: SweepFolder, *, is_launching: bool, live: set[str] | None) -> str:
    waits = "queued" if is_launching else "missing"
    if record is None:
        return waits
    if record.job_id is not None and (live is None or record.job_id in live):
        waits = "queued"  # the scheduler has it, or cannot be queried
    match record.status:
        case "queued":
            return waits
        case "running" if _has_result(record):
            return "complete"  # its process died between the run's last file and this record
        case "running" if _is_running(record, sweep):
            return "running"
        case "running" | "interrupted" if waits == "queued" and record.job_id is not None:
            return "queued"  # to be continued by the scheduler, after a preemption or the loss of a node
        case "running":
            return "stale"
    return record.status


def _has_result(record: JobRecord) -> bool:
    result = read_result(Path(record.folder)) if record.folder is not None else None
    return result is not None and result.status == "complete"


def _is_running(record: JobRecord, sweep: SweepFolder) -> bool:
    if record.host == socket.gethostname() and not is_alive(record.pid or 0):
        return False
    return abs(lock.silent_seconds(sweep.record_path(record.overrides))) < lock.SILENT_SECONDS


def _is_launching(path: Path) -> bool:
    holder = lock.read_holder(path / ".lock")
    if not holder:
        return False
    if holder.get("host") == socket.gethostname() and not is_alive(holder["pid"]):
        return False
    return abs(lock.silent_seconds(path / ".lock")) < lock.SILENT_SECONDS


def live_jobs(job_ids: Sequence[str]) -> set[str] | None:
    """Return which of Slurm's jobs (`123` or `123_4`) wait or run; None where Slurm cannot be queried."""
    if shutil.which("squeue") is None:
        return None
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    if answer.returncode != 0:  # one that is forgotten makes squeue fail, too
        return set() if "Invalid job id" in answer.stderr else None
    return {line.strip() for line in answer.stdout.splitlines()}


def find_sweep(name: str, runs: Path) -> Path:
    """Return the folder of a sweep given by path, by its name in `<runs>/.sweeps`, or as `latest`."""
    folder = runs / ".sweeps"
    found = sorted((path.parent for path in folder.glob("*/sweep.json")), key=lambda path: path.name)
    if name == "latest" and found:
        return found[-1]
    for path in (Path(name), folder / name):
        if (path / "sweep.json").is_file():
            return path
    raise UserError(
        f"There is no sweep '{name}': it is neither a sweep's folder nor one in '{folder}', which has {len(found)}"
        f"{': ' + ', '.join(path.name for path in found[-5:]) if found else ''}."
    )

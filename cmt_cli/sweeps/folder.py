"""A sweep's folder: which jobs it has and what became of each, readable while it runs and after any crash.

    sweep.json         the request, its launcher and the jobs: each a list of overrides
    jobs/<key>.json    one record per job that was handed out or begun; the key is a hash of the job's overrides
    stop               is there while the jobs that wait are not to be begun
    .lock              held by the process that hands the jobs out, see lock.py

Each record is written whole by one process at a time: first by the one that hands the job out, then by the one that
runs it, whose heartbeat is the record's modification time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from cmt_cli.config import references
from cmt_cli.core.atomic import write_json
from cmt_cli.core.exceptions import UserError, counted, told
from cmt_cli.running import lock
from cmt_cli.running.run_files import reading, refuse_links

JOBS = "jobs"  # the folder of records; Hydra is told to use it as every job's output folder
_STATUSES = ("queued", "running", "complete", "failed", "interrupted", "pruned")
_SCHEDULER_IDS = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")
_RANKS = ("RANK", "SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep is: the overrides as given, those for Hydra itself, and its jobs, as far as they are known."""

    overrides: tuple[str, ...]  # as given, sweeps included
    hydra: tuple[str, ...]  # those of them that choose and set up launcher and sweeper
    launcher: str
    sweeper: str
    jobs: tuple[tuple[str, ...], ...]  # a sampler's sweep adds its own as it goes
    cwd: str
    config_dir: str | None
    started: float  # seconds since the epoch
    is_sampled: bool = False  # whether a sampler chooses the jobs as it goes


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial of a study that a job is, and how it is judged; `metric` is one of result.json's."""

    storage: str
    study: str
    number: int
    id: int
    metric: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job. Times are seconds since the epoch.

    `status`: queued, running, complete, failed, interrupted (its state is saved) or pruned.
    """

    overrides: tuple[str, ...]
    status: str
    num_starts: int = 0
    folder: str | None = None
    error: str | None = None  # its first line
    host: str | None = None
    pid: int | None = None
    job_id: str | None = None  # the scheduler's
    started: float | None = None
    ended: float | None = None
    trial: Trial | None = None
    value: float | None = None  # a trial's objective


R = TypeVar("R", Plan, Trial, JobRecord)


def job_key(overrides: Sequence[str]) -> str:
    """Return the name of a job's record. Overrides for Hydra itself do not count."""
    own = sorted(line for line in overrides if not is_for_hydra(line))
    return hashlib.sha256("\n".join(own).encode()).hexdigest()[:16]


def is_for_hydra(override: str) -> bool:
    """Return whether an override sets up launcher, sweeper or another part of Hydra, not the run."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/", "hydra@"))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not a {type(value).__name__}")
    return value


def _checked(found: R) -> R:
    """Return a plan, a record or a trial; raise TypeError for a value that its field does not take."""
    for name, kind in get_type_hints(type(found)).items():
        value = getattr(found, name)
        if get_origin(kind) is not tuple and not isinstance(
            value, kind | int if kind in (float, float | None) else kind
        ):
            raise TypeError(f"its {name} is a {type(value).__name__}")
    return found


class SweepFolder:
    """Reads and writes a sweep's folder."""

    def __init__(self, path: Path) -> None:
        """Use `path`; `create` makes it."""
        self.path = path

    def create(self, plan: Plan) -> None:
        """Make the folder; raise UserError where a sweep lives there already."""
        (self.path / JOBS).mkdir(parents=True, exist_ok=True)
        if (self.path / "sweep.json").exists():
            raise UserError(
                f"{self.path} holds a sweep. `cmt sweep repeat {self.path}` runs what it lacks; for another sweep "
                "leave hydra.sweep.dir out or name a new folder."
            )
        write_json(self.path / "sweep.json", dataclasses.asdict(plan))

    def plan(self) -> Plan:
        """Read the plan; raise UserError where the folder holds no sweep, or a link leads out of it."""
        refuse_links(self.path)
        path = self.path / "sweep.json"
        if not path.is_file():
            raise UserError(f"{self.path} is no sweep's folder: it has no sweep.json.")
        with reading(path, "Put it back: without it nobody knows which jobs the sweep has."):
            record = json.loads(path.read_text(encoding="utf-8"))
            record["jobs"] = tuple(tuple(map(str, _listed(job))) for job in _listed(record["jobs"]))
            for name in ("overrides", "hydra"):
                record[name] = tuple(map(str, _listed(record[name])))
            return _checked(Plan(**record))

    def add_jobs(self, jobs: Sequence[Sequence[str]]) -> None:
        """Note the jobs that a sampler has chosen; known ones are not repeated."""
        plan = self.plan()
        known = {job_key(job) for job in plan.jobs}
        further = tuple(tuple(job) for job in jobs if job_key(job) not in known)
        write_json(self.path / "sweep.json", dataclasses.asdict(dataclasses.replace(plan, jobs=plan.jobs + further)))

    @property
    def is_stopping(self) -> bool:
        """Return whether no further job is to be begun."""
        return (self.path / "stop").exists()

    def stop(self, value: bool = True) -> None:
        """Let workers begin no further jobs, or again; those that were handed out stay open."""
        if value:
            (self.path / "stop").touch()
        else:
            (self.path / "stop").unlink(missing_ok=True)

    def record(self, overrides: Sequence[str]) -> JobRecord | None:
        """Return a job's record, or None for a job that was never handed out."""
        path = self.record_path(overrides)
        if not path.exists():
            return None
        with reading(path, "Remove it: then the job counts as one that was never begun; its run goes on where it was."):
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            record["overrides"] = tuple(map(str, _listed(record["overrides"])))
            record["trial"] = _checked(Trial(**record["trial"])) if record["trial"] else None
            if record["status"] not in _STATUSES:
                raise ValueError(f"{record['status']!r} is no status")
            return _checked(JobRecord(**record))

    def write(self, record: JobRecord) -> None:
        """Replace a job's record."""
        write_json(self.record_path(record.overrides), dataclasses.asdict(record))

    def record_path(self, overrides: Sequence[str]) -> Path:
        """Return where a job's record lies."""
        return self.path / JOBS / f"{job_key(overrides)}.json"

    def hand_out(self, overrides: Sequence[str], *, job_id: str | None = None, trial: Trial | None = None) -> None:
        """Note that a job waits to be begun; what is known of an earlier start is kept."""
        known = self.record(overrides) or JobRecord(tuple(overrides), "queued")
        if job_id is not None and known.job_id == job_id:
            return  # the scheduler was quicker than this note
        self.write(dataclasses.replace(known, status="queued", error=None, job_id=job_id, trial=trial or known.trial))


class RunningJob:
    """Keeps the record of the job that this process runs, from `begin` to `end`.

    Of several processes that run one job together only the first writes.
    """

    def __init__(self, sweep: SweepFolder, overrides: Sequence[str]) -> None:
        """Note nothing yet."""
        self._sweep = sweep
        self._record = sweep.record(overrides) or JobRecord(tuple(overrides), "queued")
        self._stop = threading.Event()
        self._writes = next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"

    @property
    def trial(self) -> Trial | None:
        """Return the trial of a study that the job is, if any."""
        return self._record.trial

    @property
    def status(self) -> str:
        """Return the status that was noted last."""
        return self._record.status

    def begin(self) -> None:
        """Write `running` with who runs it, and show every 20 s that it still does."""
        self._update(
            status="running",
            num_starts=self._record.num_starts + 1,
            error=None,
            host=socket.gethostname(),
            pid=os.getpid(),
            job_id=_scheduler_id() or self._record.job_id,
            started=round(time.time(), 3),
            ended=None,
        )
        threading.Thread(target=self._beat, daemon=True, name="sweep-job").start()

    def note_folder(self, folder: Path) -> None:
        """Note where the run is kept."""
        self._update(folder=str(folder.absolute()))

    def end(self, status: str, *, error: BaseException | None = None, value: float | None = None) -> None:
        """Write how the job ended; of an error its first line."""
        self._stop.set()
        line = None if error is None else told(error) or str(error).strip().split("\n")[0] or type(error).__name__
        line = line and references.hidden(line, self._record.overrides)
        self._update(status=status, error=line, value=value, ended=round(time.time(), 3))

    def _update(self, **changes: Any) -> None:
        self._record = dataclasses.replace(self._record, **changes)
        if self._writes:
            self._sweep.write(self._record)

    def _beat(self) -> None:
        path = self._sweep.record_path(self._record.overrides)
        while not self._stop.wait(lock.HEARTBEAT_SECONDS):
            if self._writes and path.exists():
                os.utime(path)


def _scheduler_id() -> str | None:
    array, task, job = (os.environ.get(name) for name in _SCHEDULER_IDS)
    return f"{array}_{task}" if array and task else job


def with_sweeps(folders: Sequence[Path]) -> list[Path]:
    """Replace the folders of sweeps by those of their runs; raise UserError for a sweep of which no run has begun."""
    found: list[Path] = []
    for folder in folders:
        if not (folder / "sweep.json").is_file():
            found.append(folder)
            continue
        sweep = SweepFolder(folder)
        jobs = [record for job in sweep.plan().jobs if (record := sweep.record(job)) is not None]
        runs = [Path(record.folder) for record in jobs if record.folder is not None]
        here = [run for run in runs if run.is_dir()]
        if not here:
            have = "has" if len(runs) == 1 else "have"
            gone = f"{len(runs)} {have} gone, e.g. '{runs[0]}'" if runs else "none has begun"
            raise UserError(f"'{folder}' is a sweep without runs: of {counted(len(sweep.plan().jobs), 'job')} {gone}.")
        found += here
    return list(dict.fromkeys(found))

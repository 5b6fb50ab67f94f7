"""Load test of sweeps: many tiny runs through a launcher, some killed without warning, then one repetition.

    python perf/sweep_load.py --jobs 200 --kills 20 --launcher joblib

Processes that run a job are killed by SIGKILL at random moments. Afterwards `cmt sweep status` must know every job,
one `cmt sweep repeat` must complete what is left, and the scores of runs that were cut must be those of runs that
were not. Writes results/sweep_load.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import is_alive, write_json, write_text
from cmt_cli.sweeps.folder import SweepFolder
from cmt_cli.sweeps.status import SweepStatus, read_status

RESULTS = Path(__file__).parent / "results"
TINY = (
    "method=finetune",
    "trainer=smoke",
    "trainer.max_steps=3",
    "logger=none",
    "model.device=cpu",
    "data.num_tasks=2",
    "data.generated.num_train_documents=6",
    "data.generated.num_validation_documents=2",
    "data.generated.num_test_documents=4",
    "evaluator.decoding.max_new_tokens=3",
)
PARALLEL = {"joblib": "hydra.launcher.n_jobs=2", "submitit_local": "hydra.launcher.num_parallel=2"}


def main() -> None:
    """Run the load test and write what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--launcher", choices=sorted(PARALLEL), default="joblib")
    parser.add_argument("--seconds-between", type=float, default=12.0, help="mean time between two kills")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given)
    write_json(RESULTS / "sweep_load.json", found)
    write_text(RESULTS / "sweep_load.md", markdown(found))
    print(markdown(found))


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Start the sweep, kill, repeat; return the figures."""
    launcher = [f"hydra/launcher={given.launcher}", PARALLEL[given.launcher]]
    seeds = f"seed=range(0,{given.jobs})"
    began = time.monotonic()
    process = cmt(folder, "run", "-m", seeds, *launcher, *TINY)
    killed = kill_at_random(folder, process, num_kills=given.kills, mean_seconds=given.seconds_between)
    process.wait()
    first_seconds = time.monotonic() - began
    (path,) = [found.parent for found in (folder / "runs" / ".sweeps").glob("*/sweep.json")]
    after_first = read_status(path)
    began = time.monotonic()
    code = cmt(folder, "sweep", "repeat", "latest").wait()
    after_repeat = read_status(path)
    return {
        "jobs": given.jobs,
        "launcher": given.launcher,
        "parallel": 2,
        "kills": len(killed),
        "killed_in_phase": dict(Counter(killed)),
        "after_the_sweep": after_first.counts,
        "sweep_seconds": round(first_seconds, 1),
        "after_one_repeat": after_repeat.counts,
        "repeat_seconds": round(time.monotonic() - began, 1),
        "repeat_exit_code": code,
        "jobs_begun_more_than_once": sum(starts(after_repeat)[n] for n in starts(after_repeat) if n > 1),
        "starts_of_a_job": {str(n): number for n, number in sorted(starts(after_repeat).items())},
        "run_folders": len(list((folder / "runs").glob("*/result.json"))),
        "same_scores_as_uncut_runs": compare_with_uncut(folder, after_repeat),
    }


def cmt(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `cmt` in a folder, its output in a file there."""
    own = {"OMP_NUM_THREADS": "1", "CMT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "cmt_cli", *arguments]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=output, stderr=output)


def kill_at_random(folder: Path, sweep: subprocess.Popen[bytes], *, num_kills: int, mean_seconds: float) -> list[str]:
    """Kill running jobs' processes at random moments while the sweep lasts; return what each was doing."""
    chance, phases = random.Random(0), list[str]()
    while len(phases) < num_kills and sweep.poll() is None:
        time.sleep(chance.expovariate(1 / mean_seconds))
        running = [r for r in records(folder) if r.status == "running" and r.pid is not None and is_alive(r.pid)]
        if running:
            victim = chance.choice(running)
            os.kill(victim.pid or 0, signal.SIGKILL)
            phases.append(phase(victim.folder))
    return phases


def records(folder: Path) -> list[Any]:
    """Return the records of the only sweep below a folder."""
    paths = [SweepFolder(path.parent) for path in (folder / "runs" / ".sweeps").glob("*/sweep.json")]
    return [r for sweep in paths for job in sweep.plan().jobs if (r := sweep.record(job)) is not None]


def phase(run: str | None) -> str:
    """Return what a run was doing, by its event log."""
    path = Path(run or "") / "events.jsonl"
    if run is None or not path.exists():
        return "starting"
    names = [line["phase"] for line in map(json.loads, whole_lines(path)) if line["event"] == "phase"]
    return str(names[-1]).partition(":")[0] if names else "loading"


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a log that may be cut."""
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def starts(status: SweepStatus) -> Counter[int]:
    """Return how many jobs were begun how often."""
    return Counter(job.record.num_starts for job in status.jobs if job.record is not None)


def compare_with_uncut(folder: Path, status: SweepStatus) -> str:
    """Run up to five jobs that were cut once more, elsewhere and in one go, and compare the matrices."""
    cut = [c for c in status.jobs if c.record is not None and c.record.num_starts > 1 and c.state == "complete"][:5]
    same = 0
    for job in cut:
        assert job.record is not None and job.record.folder is not None
        cmt(folder, "run", *job.overrides, "paths.runs=uncut").wait()
        name = Path(job.record.folder).name
        one, other = (
            json.loads((place / "result.json").read_text())
            for place in (Path(job.record.folder), folder / "uncut" / name)
        )
        same += one["scores"] == other["scores"]
    return f"{same} of {len(cut)}"


def markdown(found: dict[str, Any]) -> str:
    """Return the figures as a small table."""
    lines = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in found.items())
    return f"# {(__doc__ or '').splitlines()[0]}\n\n| | |\n|---|---|\n{lines}\n"


if __name__ == "__main__":
    main()

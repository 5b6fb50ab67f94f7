"""A sweep through a real Slurm: an array of runs, one of them preempted in the middle of a fit."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.sweeps.status import read_status
from tests.cluster.project import LONG, REPOSITORY, Project, num_steps, record, sweep_folder, wait_for
from tests.cluster.slurm import Slurm
from tests.command_line import SMALL

pytestmark = pytest.mark.cluster
ON_SLURM = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=3",
    "hydra.launcher.timeout_min=10",
)


@pytest.fixture
def on_slurm(tmp_path: Path, slurm: Slurm) -> Project:
    """Return a folder in which `cmt`, which this environment may not have installed, is called on the login node."""
    command = tmp_path / "bin" / "cmt"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cmt_cli "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{slurm.environment['PATH']}"
    return Project(tmp_path, {**slurm.environment, "PATH": path})


def page_blocks() -> list[str]:
    """Return the shell blocks of the page for users of Slurm."""
    text = (REPOSITORY / "docs" / "slurm.md").read_text()
    return [block.partition("```")[0].lstrip() for block in text.split("```bash")[1:]]


def page_command(beginning: str) -> list[str]:
    """Return a command of the page."""
    (line,) = [line for block in page_blocks() for line in block.splitlines() if line.startswith(beginning)]
    return shlex.split(line)


def outcome(run: Path) -> tuple[Any, str]:
    """Return a run's matrix and a hash of its last weights."""
    (latest,) = [run / "checkpoint" / "state" / (run / "checkpoint" / "state" / "latest").read_text().strip()]
    return json.loads((run / "result.json").read_text())["scores"], hashlib.sha256(
        (latest / "state.safetensors").read_bytes()
    ).hexdigest()


def test_a_preempted_array_job_ends_as_if_uninterrupted(slurm: Slurm, on_slurm: Project) -> None:
    sweep = on_slurm.start("run", "-m", "seed=0,1,2,3", *ON_SLURM, *SMALL, *LONG, "logger=wandb")
    try:
        folder = sweep_folder(on_slurm)
        preempted = wait_for(lambda: (r := record(folder, "seed=1")) and num_steps(r.folder) > 5 and r)
        run_id = (Path(preempted.folder) / "wandb" / "run_id.txt").read_text()
        slurm.call("scancel", "--signal=USR2", f"{preempted.job_id}.0")
        wait_for(lambda: (r := record(folder, "seed=1")) and r.status == "queued")
        saved = json.loads(next(Path(preempted.folder).glob("checkpoint/fit/*/state.json")).read_text())
        assert saved["values"]["step"] >= 5
        counts = json.loads(on_slurm.cmt("sweep", "status", folder.name, "--json"))["counts"]
        assert sum(counts.values()) == 4 and counts["queued"] >= 1 and "missing" not in counts
        slurm.start_requeued(preempted.job_id)
        told, _ = sweep.communicate(timeout=150)
    finally:
        sweep.kill()
    assert sweep.returncode == 0 and "4 jobs: 4 complete" in told
    again = record(folder, "seed=1")
    assert again is not None and again.num_starts == 2 and again.folder == preempted.folder
    assert (Path(preempted.folder) / "wandb" / "run_id.txt").read_text() == run_id
    on_slurm.cmt("run", "seed=1", *SMALL, *LONG, "paths.runs=straight")
    (straight,) = (on_slurm.folder / "straight").glob("finetune-*")
    assert outcome(straight) == outcome(Path(preempted.folder))


def test_a_killed_job_stops_no_other_and_is_repeated(on_slurm: Project) -> None:
    sweep = on_slurm.start("run", "-m", "seed=0,1", *ON_SLURM, *SMALL, *LONG)
    try:
        folder = sweep_folder(on_slurm)
        doomed = wait_for(lambda: (r := record(folder, "seed=0")) and num_steps(r.folder) and r)
        os.kill(doomed.pid, signal.SIGKILL)
        told, _ = sweep.communicate(timeout=150)
    finally:
        sweep.kill()
    assert sweep.returncode == 1 and "1 complete, 1 stale" in told
    assert f"cmt sweep repeat {folder}" in told
    assert "2 jobs: 2 complete" in on_slurm.cmt("sweep", "repeat", str(folder))
    assert {c.record.num_starts for c in read_status(folder).jobs if c.record} == {1, 2}


def test_slurms_refusal_is_told(on_slurm: Project) -> None:
    told = on_slurm.cmt("run", "-m", "method=frozen", *ON_SLURM, "hydra.launcher.partition=none", *SMALL, code=2)
    assert "Slurm refused the jobs" in told and "invalid partition" in told


def test_a_custom_script_saves_when_warned_and_is_requeued(slurm: Slurm, on_slurm: Project) -> None:
    (text,) = [block for block in page_blocks() if block.startswith("#!/bin/bash")]
    script = on_slurm.folder / "job.sh"
    script.write_text(text.replace("seed=1", shlex.join(["seed=1", *SMALL, *LONG])))
    command = ["sbatch", "--parsable", str(script)]
    done = subprocess.run(command, cwd=on_slurm.folder, env=on_slurm.environment, capture_output=True, text=True)
    job = done.stdout.strip()
    run = wait_for(lambda: next((on_slurm.folder / "runs").glob("finetune-*"), None))
    wait_for(lambda: num_steps(run) > 5)
    slurm.call("scancel", "--signal=USR1", f"{job}.0")
    wait_for(lambda: json.loads((run / "result.json").read_text())["status"] == "interrupted")
    slurm.start_requeued(job)
    wait_for(lambda: json.loads((run / "result.json").read_text())["status"] == "complete")
    starts = [line for line in (run / "events.jsonl").read_text().splitlines() if '"event": "start"' in line]
    assert [json.loads(line)["is_resumed"] for line in starts] == [False, True]
    assert "cmt resume" in (on_slurm.folder / "job.out").read_text()


def test_the_documented_commands_do_what_they_say(slurm: Slurm, on_slurm: Project) -> None:
    first = page_command("srun --")
    done = subprocess.run(
        [*first, *SMALL], cwd=on_slurm.folder, env=on_slurm.environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "Run folder: runs/finetune-streamingqa-" in done.stdout, done.stdout + done.stderr
    _, *sweep = page_command("cmt run -m")
    assert "4 jobs: 4 complete" in on_slurm.cmt(*sweep, *SMALL)
    assert "4 jobs: 4 complete" in on_slurm.cmt(*page_command("cmt sweep status")[1:])
    assert "4 jobs: 4 complete" in on_slurm.cmt(*page_command("cmt sweep repeat")[1:])
    assert len(list((on_slurm.folder / "runs").glob("replay-*/result.json"))) == 2

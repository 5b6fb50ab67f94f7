"""A folder in which the tests call `cmt`, and small settings for its runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cmt_cli.sweeps.folder import JobRecord, SweepFolder

REPOSITORY = Path(__file__).parents[2]
LONG = (
    "method=finetune",
    "trainer.max_steps=null",
    "trainer.task.num_epochs=100",
    "trainer.checkpoint_every_seconds=1e9",
)


class Project:
    """A folder in which `cmt` is called as a user does."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        # One thread: the runs are compared bit by bit, wherever they were cut.
        own = {"PYTHONPATH": str(REPOSITORY), "CMT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        inherited = {name: value for name, value in environment.items() if name != "COLUMNS"}  # whole lines
        self.environment = {**inherited, **own, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `cmt` and return its process."""
        command = [sys.executable, "-m", "cmt_cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def cmt(self, *arguments: str, code: int = 0) -> str:
        """Run `cmt` to its end, which must be with `code`; return what it prints."""
        process = self.start(*arguments)
        try:
            told, _ = process.communicate(timeout=240)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == code, told
        return told


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Return the condition's first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain")


def sweep_folder(project: Project) -> Path:
    return wait_for(lambda: next((project.folder / "runs" / ".sweeps").glob("*/sweep.json"), None)).parent


def record(folder: Path, override: str) -> JobRecord | None:
    sweep = SweepFolder(folder)
    (job,) = [job for job in sweep.plan().jobs if override in job]
    return sweep.record(job)


def num_steps(run: str | Path | None) -> int:
    """Return how many optimizer steps a run has taken in its first fit."""
    events = Path(run or "nowhere") / "events.jsonl"
    lines = events.read_text().splitlines() if events.exists() else []
    return sum('"event": "train"' in line for line in lines)

"""A run that is mirrored and killed at random until it comes to its end. Also a program: see `main`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cmt_cli.tracking.logger import WandbLogger
from tests.running.toy import ToyTrainer, run_toy


def make_logger(mode: str) -> WandbLogger:
    return WandbLogger(
        project="cmt", entity=None, mode=mode, log_artifacts=False, connect_seconds=10.0, finish_seconds=20.0
    )


def run_killed(folder: Path, mode: str, *, num_kills: int, seed: int, longest_seconds: float = 1.0) -> int:
    """Run to the end through SIGKILLs, which the client's service sees or dies of, too; return how many there were."""
    draws, killed = random.Random(seed), 0
    # So that the run is longer than what the killed starts make of it.
    seconds_per_step = 0.03 * num_kills * longest_seconds
    command = [sys.executable, "-m", "tests.tracking.killed_run", str(folder), mode, str(seconds_per_step)]
    # Not the service of this process, which would take a killed run for one that is still open.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    while True:
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        num_events = _num_events(folder)
        while process.poll() is None and _num_events(folder) == num_events:
            time.sleep(0.01)
        if killed < num_kills:
            time.sleep(draws.uniform(0.0, longest_seconds))
            if process.poll() is None:
                (os.killpg if draws.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
                killed += 1
        _, errors = process.communicate()
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, errors.decode()


def _num_events(folder: Path) -> int:
    path = folder / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def expected_history(folder: Path) -> list[dict[str, Any]]:
    """Return what `events.jsonl` says, each optimizer step and row of the matrix once, without the client's keys."""
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, int]] = set()
    for number, line in enumerate((folder / "events.jsonl").read_text().splitlines(), 1):
        event = json.loads(line)
        if event["event"] == "train":
            task = int(event["phase"].partition(":")[2] or -1)
            step = 6 * (task + 1) + event["step"]  # the toy's phases have six steps each
            key, row = ("train", step), {f"train/{k}": v for k, v in event["values"].items()} | {"train/step": step}
        elif event["event"] == "row":
            index = event["row"]
            key, row = ("row", index), {f"cl/{k}": v for k, v in event["values"].items()} | {"task_index": index}
        else:
            continue
        if key not in seen:
            seen.add(key)
            rows.append({**row, "_step": number})
    return rows


def main(folder: str, mode: str, seconds_per_step: str) -> int:
    result = run_toy(Path(folder), loggers=[make_logger(mode)], trainer=ToyTrainer(float(seconds_per_step)))
    return 0 if result.status == "complete" else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

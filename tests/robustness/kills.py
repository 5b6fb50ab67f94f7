"""Runs that are killed again and again, at random moments, and what is left of them in the end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.running.run_files import read_events
from tests.command_line import SMALL
from tests.robustness.forking import Forks

METHODS = ("finetune", "ewc", "replay", "cmt", "mac", "gem", "olora", "prompt_tuning", "osf", "model_expansion")
_OFTEN = ("trainer.checkpoint_every_seconds=0",)
_KILLS_OF_A_RUN = 5


@dataclass(frozen=True, slots=True)
class Killed:
    """A run that was killed: how often, whether it ended as an uninterrupted one, and else what differs."""

    method: str
    num_kills: int
    differs: tuple[str, ...]


def killed_runs(forks: Forks, folder: Path, *, num_kills: int, seed: int) -> Iterator[Killed]:
    """Kill runs of all methods in turn, up to five times each, until `num_kills` have hit; yield each when complete.

    Half of the kills hit before a drawn operation on the file system, half at a drawn time. What was interrupted goes
    on by `cmt resume` or by the same `cmt run`.
    """
    draw = random.Random(seed)
    wholes: dict[str, tuple[dict[str, Any], int, float]] = {}
    hit, number = 0, 0
    while hit < num_kills:
        method = METHODS[number % len(METHODS)]
        if method not in wholes:
            wholes[method] = _whole(forks, method, folder / f"whole-{method}")
        place = folder / f"killed-{number}"
        place.mkdir()
        kills = _kill(forks, method, place, draw, at_most=min(_KILLS_OF_A_RUN, num_kills - hit), like=wholes[method])
        hit, number = hit + kills, number + 1
        left = content(_run_folder(place))
        whole = wholes[method][0]
        yield Killed(method, kills, tuple(sorted(key for key in {*left, *whole} if left.get(key) != whole.get(key))))


def _whole(forks: Forks, method: str, place: Path) -> tuple[dict[str, Any], int, float]:
    """Return what an uninterrupted run leaves, how many operations it takes and how many seconds."""
    place.mkdir()
    started = time.monotonic()
    ended = forks.run(_words(method), place)
    assert ended.code == 0, ended.text
    return content(_run_folder(place)), ended.operations, time.monotonic() - started


def _kill(
    forks: Forks, method: str, place: Path, draw: random.Random, *, at_most: int, like: tuple[Any, int, float]
) -> int:
    """Kill a run up to `at_most` times, then let it end; return how many kills have hit."""
    _, operations, seconds = like
    hit = 0
    for _ in range(at_most):
        words = _words(method)
        if draw.random() < 0.5 and (folder := _run_folder(place, or_none=True)) and (folder / "result.json").exists():
            words = ["resume", str(folder)]
        if draw.random() < 0.5:
            ended = forks.run(words, place, fault=("kill", draw.randint(1, operations)))
        else:
            pid, moment = forks.start(words, place), draw.uniform(0, seconds)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
            ended = forks.ended()
        if ended.code == 0:
            return hit
        assert ended.code == -signal.SIGKILL, ended.text
        hit += 1
    ended = forks.run(_words(method), place)
    assert ended.code == 0, ended.text
    return hit


def _words(method: str) -> list[str]:
    return ["run", f"method={method}", *SMALL, *_OFTEN]


def _run_folder(place: Path, *, or_none: bool = False) -> Path:
    found = [path for path in (place / "runs").glob("*-*") if path.is_dir()]
    if or_none and not found:
        return None  # type: ignore[return-value]
    (folder,) = found
    return folder


def content(folder: Path) -> dict[str, Any]:
    """Return what a run's folder holds, by file or field, without times, places and repeated log lines."""
    result = json.loads((folder / "result.json").read_text())
    found: dict[str, Any] = {f"result.{key}": result[key] for key in ("status", "scores", "metrics", "data")}
    measured = ("seconds", "memory", "per_second", "_ms_")
    found |= {
        f"cost.{key}": value for key, value in result["cost"].items() if not any(word in key for word in measured)
    }
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in ("result.json", "events.jsonl", "timings.json", ".lock"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    steps: dict[tuple[str, int], Any] = {}
    for event in read_events(folder):
        if event["event"] == "train":
            steps[event["phase"], event["step"]] = {k: v for k, v in event["values"].items() if "second" not in k}
    return {**found, "steps": steps}

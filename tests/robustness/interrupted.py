"""Runs that are killed or meet a fault at random moments, and what is left of them when they have ended after all."""

from __future__ import annotations

import hashlib
import itertools
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
from tests.robustness.forking import Ended, Fault, Forks

METHODS = ("finetune", "ewc", "replay", "cmt", "mac", "gem", "olora", "prompt_tuning", "osf", "model_expansion")
# Files that hold times, or how often a fit was saved.
_UNLIKE = ("result.json", "events.jsonl", "timings.json", ".lock", "checkpoint/fit/latest")
_OFTEN = ("trainer.checkpoint_every_seconds=0",)
_KILLS_OF_A_RUN = 5
_ROUNDED = ("differs: checkpoint/", "differs: memory/", "differs: steps")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was interrupted: how often, and what is not as in an uninterrupted one, or was told badly."""

    method: str
    num_times: int
    faults: tuple[str, ...]


class Whole:
    """What uninterrupted runs leave, how many operations they take and how many seconds; each is made once."""

    def __init__(self, forks: Forks, place: Path) -> None:
        """Make nothing yet; runs will lie below `place`."""
        self._forks, self._place = forks, place
        self._made: dict[str, tuple[dict[str, Any], int, float]] = {}

    def __call__(self, method: str) -> tuple[dict[str, Any], int, float]:
        """Return a method's content, operations and seconds."""
        if method not in self._made:
            place = self._place / f"whole-{method}"
            place.mkdir()
            started = time.monotonic()
            ended = self._forks.run(_words(method), place)
            assert ended.code == 0, ended.text
            self._made[method] = content(_run_folder(place)), ended.operations, time.monotonic() - started
        return self._made[method]


def killed_runs(forks: Forks, whole: Whole, place: Path, *, num_kills: int, seed: int) -> Iterator[Interrupted]:
    """Kill runs of all methods in turn, up to five times each, until `num_kills` have hit; yield each when complete.

    Half of the kills hit before a drawn operation on the file system, half at a drawn time. What was interrupted goes
    on by `cmt resume` or by the same `cmt run`.
    """
    draw, hit = random.Random(seed), 0
    for number, method in enumerate(itertools.cycle(METHODS)):
        if hit >= num_kills:
            return
        folder = place / f"killed-{number}"
        folder.mkdir()
        at_most = min(_KILLS_OF_A_RUN, num_kills - hit)
        kills = sum(1 for _ in range(at_most) if _is_killed(forks, method, folder, draw, whole(method)))
        hit += kills
        yield Interrupted(method, kills, _ends_whole(forks, method, folder, whole(method)[0]))


def _is_killed(
    forks: Forks, method: str, place: Path, draw: random.Random, whole: tuple[dict[str, Any], int, float]
) -> bool:
    """Start or continue a run and try to kill it; return whether it died of that."""
    _, operations, seconds = whole
    words = _words(method)
    begun = next((place / "runs").glob("*-*/result.json"), None)
    if begun is not None and draw.random() < 0.5:
        words = ["resume", str(begun.parent)]
    if draw.random() < 0.5:
        ended = forks.run(words, place, fault=("kill", draw.randint(1, operations)))
    else:
        pid = forks.start(words, place)
        time.sleep(draw.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        ended = forks.ended()
    assert ended.code in (0, -signal.SIGKILL), ended.text
    return ended.code != 0


def faulty_runs(
    forks: Forks, whole: Whole, place: Path, *, fault: Fault, number: int, seed: int
) -> Iterator[Interrupted]:
    """Let a fault befall runs of all methods in turn at drawn moments; yield each when it has been repeated without."""
    draw = random.Random(f"{fault}{seed}")
    for index, method in zip(range(number), itertools.cycle(METHODS), strict=False):
        folder = place / f"{fault}-{index}"
        folder.mkdir()
        _, operations, _ = whole(method)
        at = draw.randint(20, 400) if fault == "memory" else draw.randint(1, operations)
        ended = forks.run(_words(method), folder, fault=(fault, at))
        told = () if _is_told(ended, fault) else (f"{fault} at {at}: {ended.code} {ended.text[-500:]}",)
        happened = int(ended.code != 0)
        left = _ends_whole(forks, method, folder, whole(method)[0])
        if "a batch is read in parts of" in ended.text:  # which sums in another order
            left = tuple(text for text in left if not text.startswith(_ROUNDED))
        yield Interrupted(method, happened, told + left)


def _is_told(ended: Ended, fault: Fault) -> bool:
    """Return whether a fault ended a command as it should: with code 2 and no traceback.

    Where memory is short, a library that is not written in Python may end the process on the spot.
    """
    if ended.code == 2:
        return "Traceback" not in ended.text and "Error: " in ended.text
    return ended.code == 0 or (fault == "memory" and ended.code in (-signal.SIGABRT, -signal.SIGSEGV))


def _ends_whole(forks: Forks, method: str, place: Path, whole: dict[str, Any]) -> tuple[str, ...]:
    """Let a run end; return what it lacks of an uninterrupted one or has more."""
    ended = forks.run(_words(method), place)
    if ended.code != 0:
        return (f"repeated: {ended.code} {ended.text[-500:]}",)
    left = content(_run_folder(place))
    return tuple(f"differs: {key}" for key in sorted({*left, *whole}) if left.get(key) != whole.get(key))


def _words(method: str) -> list[str]:
    return ["run", f"method={method}", *SMALL, *_OFTEN]


def _run_folder(place: Path) -> Path:
    (folder,) = (path for path in (place / "runs").glob("*-*") if path.is_dir())
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
        if path.is_file() and name not in _UNLIKE:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    steps: dict[tuple[str, int], Any] = {}
    for event in read_events(folder):
        if event["event"] == "train":
            steps[event["phase"], event["step"]] = {k: v for k, v in event["values"].items() if "second" not in k}
    return {**found, "steps": steps}

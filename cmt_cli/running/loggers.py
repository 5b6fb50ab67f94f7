"""Loggers: what is notified of a run's course. The run folder keeps everything itself; a logger only mirrors it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from typing_extensions import override

from cmt_cli.core.exceptions import counted
from cmt_cli.terminal.progress import ProgressDisplay
from cmt_cli.terminal.text import paragraph

if TYPE_CHECKING:
    from cmt_cli.core.result import RunResult
    from cmt_cli.running.store import RunStore

_ALSO_SHOWN = ("f1", "recall_at_1")  # printed beside the stream's first metric
_MOST_CUT = 0.05  # of the answers, above which it is printed


class Logger(Protocol):
    """A mirror of a run. None of its calls may stop the run."""

    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        """Begin, or continue after a resume; `config` is the resolved config, `folder` the run's."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take the gradient loop's values; `step` counts the run's optimizer steps."""

    def row(self, index: int, scores: Mapping[str, float]) -> None:
        """Take one row of the matrix: primary scores by test, and means by metric over what is learned so far."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Take how far the present phase is; a total of 0 means that the end is not known."""

    def finish(self, result: RunResult, store: RunStore) -> None:
        """End, also after a failure or an interruption; `result.status` tells. May be called without `start`."""


class NullLogger:
    """Mirror nothing: `logger=none`."""

    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        """Do nothing."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def row(self, index: int, scores: Mapping[str, float]) -> None:
        """Do nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Do nothing."""

    def finish(self, result: RunResult, store: RunStore) -> None:
        """Do nothing."""


class ConsoleLogger(NullLogger):
    """Progress and one line per row of the matrix."""

    def __init__(self, console: Console) -> None:
        """Print on `console`."""
        self._console = console
        self._display = ProgressDisplay(console)
        self._began = time.monotonic()

    @override
    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        self._print(f"Run folder: {folder}")
        if config.get("data_source") == "generated":
            # Only a stream that can read files has a `source`; a world_* stream is generated and nothing else.
            stands_in = "source" in (config.get("data") or {})
            self._print(f"Data: GENERATED{', not the real data set' if stands_in else ''}.")
        if config.get("data_split") == "validation":
            self._print("Data: the VALIDATION split, so this is no test result.")

    @override
    def row(self, index: int, scores: Mapping[str, float]) -> None:
        known = [name.removeprefix("aa/") for name in scores if name.startswith("aa/")]
        shown = [name for name in known if name in (known[0], *_ALSO_SHOWN)]
        means = [f"{name} {scores[f'aa/{name}']:.3f}" for name in shown]
        when = f"After task {index}" if index else "Before the stream"
        if means:
            self._print(f"{when}: {', '.join(means)} on what is learned so far")
        if num_cut := int(sum(number for name, number in scores.items() if name.startswith("truncated/"))):
            were, their = ("was", "its") if num_cut == 1 else ("were", "their")
            self._print(f"{counted(num_cut, 'prompt')} {were} longer than model.max_tokens and lost {their} middle")
        cut = 1 - scores.get("aa/eos_rate", 1.0)
        if index and cut > _MOST_CUT:
            self._print(
                f"{cut:.0%} of these answers were truncated at max_new_tokens "
                "(data.format.max_new_tokens or evaluator.decoding.max_new_tokens)"
            )

    @override
    def progress(self, description: str, done: int, total: int) -> None:
        self._display(description, done, total)

    @override
    def finish(self, result: RunResult, store: RunStore) -> None:
        self._display.close()

    def _print(self, text: str) -> None:
        paragraph(self._console, "", text)


class JsonLines(NullLogger):
    """Append every event to one file that all runs share, so that a sweep can be followed with `tail -f`."""

    def __init__(self, *, path: str) -> None:
        """Append to `path`, whose folder is made if need be."""
        self._path = Path(path)
        self._run_name = ""

    @override
    def start(self, run_name: str, *, group: str, tags: Sequence[str], config: Mapping[str, Any], folder: Path) -> None:
        self._run_name = run_name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._append("start", {"group": group, "tags": list(tags), "folder": str(folder)})

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        self._append("train", {"step": step, **values})

    @override
    def row(self, index: int, scores: Mapping[str, float]) -> None:
        self._append("row", {"task_index": index, **scores})

    @override
    def finish(self, result: RunResult, store: RunStore) -> None:
        metrics = {name: metric.value for name, metric in result.metrics.items()}
        self._append("finish", {"status": result.status, "metrics": metrics})

    def _append(self, kind: str, values: Mapping[str, Any]) -> None:
        # One write in append mode, so that lines of runs side by side do not mix.
        line = json.dumps({"time": round(time.time(), 3), "run": self._run_name, "event": kind, **values})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

"""A run's event log as the history of a W&B run: each line that is shown becomes one row, its number the row's step.

The log is the source of truth, so that a row that the client or the server has lost can be made again, at the same
step and with the same values. A run that was killed repeats some optimizer steps; the first time counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmt_cli.running.ledger import BEFORE_STREAM

EVENTS = "events.jsonl"
_AXES = {"train": ("train/step", "train/"), "step_scores": ("train/step", "inside_task/"), "row": ("task_index", "cl/")}


class EventHistory:
    """Follows `events.jsonl` while it grows; a line counts once it has its end."""

    def __init__(self, folder: Path) -> None:
        """Begin before the first line of a run folder's log, which need not be there yet."""
        self._path = folder / EVENTS
        self._offset = 0
        self._num_steps: dict[int, int] = {}  # optimizer steps of each phase, by the index of its task
        self._latest: dict[str, int] = {}  # the furthest optimizer step that was shown, by kind of event
        self._scores: dict[int, Any] = {}  # of the rows that were shown
        self.num_lines = 0
        self.last_shown = 0  # the latest line that became a row
        self.damaged: list[int] = []  # numbers of lines that cannot be read

    def new_rows(self) -> list[tuple[int, dict[str, float]]]:
        """Return the rows of the lines written since the last call, each with its line's number, counted from 1."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        rows = []
        for line in content[:whole].splitlines():
            self.num_lines += 1
            if row := self._row(line):
                self.last_shown = self.num_lines
                rows.append((self.num_lines, row))
        return rows

    def _row(self, line: bytes) -> dict[str, float]:
        """Return a line's row; empty for an event that is not shown, or was shown before."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.damaged.append(self.num_lines)
            return {}
        kind = str(event.get("event"))
        if kind not in _AXES or not isinstance(event.get("values"), dict):
            return {}
        place = self._place(event)
        if place is None or self._is_repeated(kind, place, event["values"]):
            return {}
        axis, prefix = _AXES[kind]
        return {**{f"{prefix}{name}": v for name, v in event["values"].items() if _is_number(v)}, axis: place}

    def _place(self, event: Mapping[str, Any]) -> int | None:
        """Return where an event lies on its axis: the row of the matrix, or the optimizer steps of the whole run."""
        number = event.get("row" if event["event"] == "row" else "step")
        if not isinstance(number, int):
            return None
        if event["event"] == "row":
            return number
        task = _task_index(str(event.get("phase")))
        if event["event"] == "train":
            self._num_steps[task] = number
        return sum(steps for index, steps in self._num_steps.items() if index < task) + number

    def _is_repeated(self, kind: str, place: int, values: Mapping[str, Any]) -> bool:
        """Say whether this was shown before; a row counts again where its scores have changed since."""
        if kind == "row":
            known, self._scores[place] = self._scores.get(place), dict(values)
            return bool(known == values)
        latest = self._latest.get(kind, 0)
        self._latest[kind] = max(latest, place)
        return place <= latest


def _task_index(phase: str) -> int:
    """Return the index of the task that a phase learns, -1 before the stream."""
    kind, _, index = phase.partition(":")
    return int(index) if kind != BEFORE_STREAM and index.lstrip("-").isdigit() else -1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""What `events.jsonl` shows: each optimizer step and each row of the matrix once, at its line's number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cmt_cli.tracking.history import EventHistory


def write(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def train(phase: str, step: int, loss: float = 0.5) -> dict[str, Any]:
    return {"event": "train", "phase": phase, "step": step, "values": {"loss": loss}}


def test_steps_count_through_the_phases(tmp_path: Path) -> None:
    write(tmp_path, {"event": "start"}, train("before_stream", 2), train("learn:0", 3), train("learn:1", 1, 0.25))
    assert EventHistory(tmp_path).new_rows() == [
        (2, {"train/loss": 0.5, "train/step": 2}),
        (3, {"train/loss": 0.5, "train/step": 5}),
        (4, {"train/loss": 0.25, "train/step": 6}),
    ]


def test_a_repeated_step_counts_once(tmp_path: Path) -> None:
    write(tmp_path, *(train("learn:0", step) for step in (1, 2, 3)), {"event": "start"})
    write(tmp_path, *(train("learn:0", step) for step in (2, 3, 4)))
    history = EventHistory(tmp_path)
    assert [(line, row["train/step"]) for line, row in history.new_rows()] == [(1, 1), (2, 2), (3, 3), (7, 4)]
    assert history.num_lines == history.last_shown == 7


def test_a_row_counts_again_with_other_scores(tmp_path: Path) -> None:
    rows = [{"event": "row", "row": 1, "values": {"em/a": score}} for score in (0.5, 0.5, 0.75)]
    write(tmp_path, *rows)
    assert [line for line, _ in EventHistory(tmp_path).new_rows()] == [1, 3]


def test_a_growing_log_is_followed(tmp_path: Path) -> None:
    history = EventHistory(tmp_path)
    assert history.new_rows() == []
    write(tmp_path, train("learn:0", 1))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "tra')
    assert [line for line, _ in history.new_rows()] == [1]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('in", "phase": "learn:0", "step": 2, "values": {"loss": null, "name": "x"}}\n')
    assert history.new_rows() == [(2, {"train/step": 2})]


def test_lines_that_are_no_events_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"\x00\x00\n[1]\n" + json.dumps(train("learn:0", 1)).encode() + b"\n")
    history = EventHistory(tmp_path)
    assert [line for line, _ in history.new_rows()] == [3] and history.damaged == [1, 2]

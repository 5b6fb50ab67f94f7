"""Asking inside a task: it is recorded beside the matrix, changes nothing that is learned, and survives a kill."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.running import record
from cmt_cli.running.checkpoint import Slot
from cmt_cli.running.run_files import read_events, read_result
from cmt_cli.running.scores import read_steps
from cmt_cli.running.signals import StoppedBySignal
from tests.present import present
from tests.running.test_run_with_real_parts import Bomb
from tests.running.test_run_with_real_parts import run as run_real
from tests.running.toy import ToyEvaluator, ToyScore, record_without_times, run_toy, toy_stream

INSIDE = ("min_acc", "worst_case_accuracy", "stability_gap")


class Drawing(ToyEvaluator):
    """Draws from the global generators, as a sampling decoder would."""

    def evaluate(self, *arguments: Any, **settings: Any) -> list[ToyScore]:
        torch.rand(3), random.random()
        return super().evaluate(*arguments, **settings)


def without_inside_metrics(folder: Path) -> dict[str, Any]:
    record = record_without_times(folder)
    for part in ("metrics", "reasons", "formulas"):
        record[part] = {k: v for k, v in record[part].items() if k.rpartition("/")[2] not in INSIDE}
    return record


def test_nothing_that_is_learned_or_scored_after_tasks_changes(tmp_path: Path) -> None:
    run_toy(tmp_path / "off", evaluator=Drawing())
    run_toy(tmp_path / "on", evaluator=Drawing(every_steps=2))
    assert without_inside_metrics(tmp_path / "on") == without_inside_metrics(tmp_path / "off")
    assert (tmp_path / "on" / "scores.csv").read_bytes() == (tmp_path / "off" / "scores.csv").read_bytes()
    assert not (tmp_path / "off" / "steps").exists()


def test_learned_tasks_tests_are_evaluated_every_n_steps(tmp_path: Path) -> None:
    run_toy(tmp_path, evaluator=ToyEvaluator(every_steps=2))
    steps = read_steps(tmp_path)
    scored = {task: {step: list(scores) for step, scores in cells.items()} for task, cells in steps.items()}
    tests = ["batch-0", "batch-1", "batch-2"]
    assert scored == {task: {2: tests[: task + 1], 4: tests[: task + 1]} for task in range(3)}
    result = read_result(tmp_path)
    assert result is not None
    rows = [[present(score) for score in row] for row in result.matrices["em"].rows]
    low = []
    for old in (0, 1):
        inside = [present(steps[task][step][f"batch-{old}"]["em"]) for task in range(old + 1, 3) for step in (2, 4)]
        low.append(min(*(rows[i][old] for i in range(old + 2, 4)), *inside))
    assert result.metrics["min_acc"].value == pytest.approx(sum(low) / 2)
    assert result.metrics["worst_case_accuracy"].value == pytest.approx((rows[3][2] + sum(low)) / 3)
    assert result.metrics["f1/min_acc"].value == pytest.approx(sum(low) / 4)  # the toy's f1 is half its em
    logged = [e for e in read_events(tmp_path) if e["event"] == "step_scores"]
    assert len(logged) == 6 and logged[0]["values"] == {"batch-0": steps[0][2]["batch-0"]["em"]}


def test_time_inside_tasks_counts_as_evaluation(tmp_path: Path) -> None:
    result = run_toy(tmp_path, evaluator=ToyEvaluator(every_steps=2))
    phases = json.loads((tmp_path / "timings.json").read_text())
    learning = [record for name, record in phases.items() if name.startswith("learn:")]
    assert [record["questions"] for record in learning] == [2 * 2, 2 * 4, 2 * 6]
    assert all(0 < record["eval_seconds"] < record["seconds"] for record in learning)
    total = sum(record["seconds"] for record in phases.values())
    assert result.cost.train_seconds + result.cost.eval_seconds == pytest.approx(total)


class PowerCut(BaseException):
    """The process is gone."""


def test_power_cuts_do_not_change_scores_inside_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.replace, [10**9]

    def replace(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise PowerCut
        real(source, target)

    def go(folder: Path) -> None:
        run_toy(folder, stream=toy_stream(2), evaluator=Drawing(every_steps=1))

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(record, "git_commit", lambda: None)
    go(tmp_path / "whole")
    expected, steps = record_without_times(tmp_path / "whole"), read_steps(tmp_path / "whole")
    for number in range(0, 200, 3):
        left[0] = number
        try:
            go(tmp_path / str(number))
        except PowerCut:
            left[0] = 10**9
            go(tmp_path / str(number))
        else:
            break
        assert record_without_times(tmp_path / str(number)) == expected, f"cut before write {number}"
        assert read_steps(tmp_path / str(number)) == steps
    assert number > 50


def test_a_signal_during_evaluation_inside_tasks_loses_no_step(
    make_learner: Callable[[str], Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_real(tmp_path / "whole", make_learner("llama"), every_steps=2)
    real, calls = Method.predictor, []

    def predictor(self: Method, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # row 0, two times inside the first task, row 1, and two steps into the second task
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *arguments)

    monkeypatch.setattr(Method, "predictor", predictor)
    with pytest.raises(StoppedBySignal, match="Stopped in task 2 of "):
        run_real(tmp_path / "cut", make_learner("llama"), every_steps=2)
    saved = Slot(tmp_path / "cut" / "checkpoint" / "fit").load("learn:1")
    assert saved is not None and saved.state["step"] == 2
    assert 1 not in read_steps(tmp_path / "cut")  # not scored yet, and scored first when the run is continued
    run_real(tmp_path / "cut", make_learner("llama"), every_steps=2)
    assert record_without_times(tmp_path / "cut") == record_without_times(tmp_path / "whole")
    assert read_steps(tmp_path / "cut") == read_steps(tmp_path / "whole")


@pytest.mark.parametrize("step", [2, 9])
def test_evaluation_between_steps_does_not_change_a_fit(
    make_learner: Callable[[str], Learner], tmp_path: Path, step: int
) -> None:
    run_real(tmp_path / "off", make_learner("llama"))
    run_real(tmp_path / "on", make_learner("llama"), every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        run_real(tmp_path / "killed", make_learner("llama"), Bomb(step), every_steps=1)
    run_real(tmp_path / "killed", make_learner("llama"), every_steps=1)
    weights = [tmp_path / name / "checkpoint" / "state" for name in ("off", "on", "killed")]
    saved = [(w / (w / "latest").read_text().strip() / "state.safetensors").read_bytes() for w in weights]
    assert saved[0] == saved[1] == saved[2]
    assert without_inside_metrics(tmp_path / "off") == without_inside_metrics(tmp_path / "on")
    assert record_without_times(tmp_path / "on") == record_without_times(tmp_path / "killed")
    assert read_steps(tmp_path / "on") == read_steps(tmp_path / "killed")
    assert [list(cells) for cells in read_steps(tmp_path / "on").values()] == [[1, 2, 3, 4, 5]] * 2

"""A run can be killed anywhere, and called again it ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cmt_cli.core.exceptions import Interrupted, NonFiniteLoss, UserError
from cmt_cli.running import checkpoint, record
from cmt_cli.running.run_files import read_events, read_predictions, read_result
from cmt_cli.running.signals import StoppedBySignal
from tests.running.toy import ToyLearner, ToyMethod, ToyTrainer, record_without_times, run_toy, toy_stream

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    run_toy(folder)
    return folder


def test_the_matrix_starts_with_a_row_before_the_stream(uninterrupted: Path) -> None:
    result = read_result(uninterrupted)
    assert result is not None and result.status == "complete"
    matrix = result.matrices["em"]
    assert matrix.tests == ("batch-0", "batch-1", "batch-2") and matrix.learned_at == (0, 1, 2)
    assert len(matrix.rows) == 4 and all(value is not None for row in matrix.rows for value in row)
    last = matrix.rows[3]
    assert result.metrics["aa"].value == pytest.approx(sum(v for v in last if v is not None) / 3)
    assert result.matrices["recall_at_1"].rows[0] == (None, None, None)
    assert read_predictions(uninterrupted, 3)[0]["prediction"] == f"{last[0]}"


def test_cost_is_counted(uninterrupted: Path) -> None:
    result = read_result(uninterrupted)
    assert result is not None
    cost = result.cost
    assert cost.tokens == 4 * 600  # meta-training and three tasks of six steps with 100 tokens each
    assert cost.trainable_parameters == 8
    assert cost.storage_bytes == (uninterrupted / "memory" / "notes.txt").stat().st_size > 0
    assert cost.peak_memory_bytes > 10**7 and cost.train_seconds > 0 and cost.eval_seconds > 0
    assert cost.answer_ms_per_question == pytest.approx(1000 * cost.eval_seconds / (4 * 6))


def test_the_seed_decides_the_record(uninterrupted: Path, tmp_path: Path) -> None:
    run_toy(tmp_path / "again")
    run_toy(tmp_path / "other", seed=1)
    assert record_without_times(tmp_path / "again") == record_without_times(uninterrupted)
    assert record_without_times(tmp_path / "other")["scores"] != record_without_times(uninterrupted)["scores"]


def test_a_complete_run_is_returned_without_any_work(uninterrupted: Path) -> None:
    before = (uninterrupted / "result.json").stat().st_mtime_ns
    result = run_toy(uninterrupted, learner=None, method=None, evaluator=None)
    assert result.status == "complete" and (uninterrupted / "result.json").stat().st_mtime_ns == before


class PowerCut(BaseException):
    """The process is gone: from now on no file changes."""


@pytest.fixture
def cut_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count atomic writes; cut the power before the write whose number is the list's only entry."""
    real, limit, count = os.replace, [10**9], [0]

    def replace(source: Path, target: Path) -> None:
        count[0] += 1
        if count[0] > limit[0]:
            raise PowerCut
        real(source, target)

    def start(number: int) -> None:
        limit[0], count[0] = number, 0

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # nothing but time depends on it here
    monkeypatch.setattr(record, "git_commit", lambda: None)
    limit.append(start)  # type: ignore[arg-type]
    yield limit


def test_a_power_cut_does_not_change_the_result(tmp_path: Path, cut_after: list[int]) -> None:
    run_toy(tmp_path / "whole", stream=toy_stream(2))
    expected, start = record_without_times(tmp_path / "whole"), cut_after[1]
    notes = (tmp_path / "whole" / "memory" / "notes.txt").read_text()
    for number in range(200):
        folder = tmp_path / str(number)
        start(number)  # type: ignore[operator]
        try:
            run_toy(folder, stream=toy_stream(2))
        except PowerCut:
            start(10**9)  # type: ignore[operator]
            run_toy(folder, stream=toy_stream(2))
        else:
            break
        assert record_without_times(folder) == expected, f"cut before write {number}"
        assert (folder / "memory" / "notes.txt").read_text() == notes
    assert number > 40  # so many places were tried


@pytest.mark.parametrize("hook", ["before_stream", "before_task", "learn", "after_task", "predictor", "state_dict"])
def test_a_run_continues_after_an_error_in_any_hook(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    real, calls = getattr(ToyMethod, hook), []

    def fail_the_second_time(self: ToyMethod, *arguments: object) -> object:
        calls.append(hook)
        if len(calls) == (1 if hook == "before_stream" else 2):
            raise RuntimeError("the cable was pulled\nfor the second time")
        return real(self, *arguments)

    monkeypatch.setattr(ToyMethod, hook, fail_the_second_time)
    with pytest.raises(RuntimeError, match="cable"):
        run_toy(tmp_path)
    failed = json.loads((tmp_path / "result.json").read_text())
    assert failed["status"] == "failed" and failed["error"] == "the cable was pulled"
    assert run_toy(tmp_path).status == "complete"
    assert record_without_times(tmp_path) == record_without_times(uninterrupted)


def test_a_nan_loss_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    learner = ToyLearner()

    def poison(step: int) -> None:
        if step == 5:
            learner.model.weight.data.fill_(float("nan"))

    with pytest.raises(NonFiniteLoss):
        run_toy(tmp_path, learner=learner, trainer=ToyTrainer(on_step=poison))
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"
    kept = checkpoint.Slot(tmp_path / "checkpoint" / "fit").load("before_stream")
    assert kept is not None and kept.state["step"] == 4 and torch.isfinite(kept.state["weight"]).all()


def test_a_damaged_checkpoint_falls_back_to_the_one_before(uninterrupted: Path, tmp_path: Path) -> None:
    def stop_in_the_last_task(step: int) -> None:
        if len(list((tmp_path / "predictions").glob("row_*.jsonl"))) == 3 and step == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run_toy(tmp_path, trainer=ToyTrainer(on_step=stop_in_the_last_task))
    states = tmp_path / "checkpoint" / "state"
    newest = states / (states / "latest").read_text().strip() / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        run_toy(tmp_path)
    assert record_without_times(tmp_path) == record_without_times(uninterrupted)


def test_a_run_is_not_continued_on_other_data(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        run_toy(tmp_path, stream=toy_stream(source="real", sha256="a" * 64), trainer=ToyTrainer(on_step=stop))
    with pytest.raises(UserError, match=r"train\.csv changed since"):
        run_toy(tmp_path, stream=toy_stream(source="real", sha256="b" * 64))


def test_a_signal_saves_and_says_how_to_continue(uninterrupted: Path, tmp_path: Path) -> None:
    def on_step(step: int) -> None:
        if step == 2 and (tmp_path / "predictions" / "row_001.jsonl").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedBySignal, match="cmt resume") as stopped:
        run_toy(tmp_path, trainer=ToyTrainer(on_step=on_step))
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"
    before = [e for e in read_events(tmp_path) if e["event"] == "train"]
    run_toy(tmp_path)
    after = [e for e in read_events(tmp_path) if e["event"] == "train"][len(before) :]
    assert (before[-1]["phase"], before[-1]["step"]) == ("learn:1", 3)
    assert (after[0]["phase"], after[0]["step"]) == ("learn:1", 4)  # continued inside the fit, not begun again
    assert record_without_times(tmp_path) == record_without_times(uninterrupted)


def test_what_a_kill_left_of_a_fit_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(slot: checkpoint.Slot) -> None:
        if (tmp_path / "predictions" / "row_002.jsonl").exists():
            raise RuntimeError("stop")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stop"):
        patch.setattr(checkpoint.Slot, "clear", die)
        run_toy(tmp_path)
    fits = tmp_path / "checkpoint" / "fit"
    assert [path for path in fits.iterdir() if path.is_dir()]
    run_toy(tmp_path)
    assert [path for path in fits.iterdir() if path.is_dir()] == []


def start_process(folder: Path, seconds_per_step: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.running.toy", str(folder), str(seconds_per_step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def num_events(folder: Path) -> int:
    path = folder / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_a_process_ends_the_same(uninterrupted: Path, tmp_path: Path, seed: int) -> None:
    draw, folder = random.Random(seed), tmp_path / "run"
    for _ in range(5):
        target = num_events(folder) + draw.randint(1, 6)  # of about forty that a run writes
        process = start_process(folder, 0.02)
        while num_events(folder) < target and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.03))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start_process(folder, 0.0)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, out + error
    assert record_without_times(folder) == record_without_times(uninterrupted)
    assert (folder / "memory" / "notes.txt").read_text() == (uninterrupted / "memory" / "notes.txt").read_text()


@pytest.mark.slow
def test_sigterm_and_a_second_writer(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start_process(folder, 0.1)
    wait_for(folder / "predictions" / "row_000.jsonl", process)
    with pytest.raises(UserError, match=rf"Process {process.pid} on host .* is writing the run folder"):
        run_toy(folder)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 143 and "cmt resume" in out
    assert run_toy(folder).status == "complete"
    assert record_without_times(folder) == record_without_times(uninterrupted)


def test_a_row_that_was_not_told_is_told_later(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 1 and (tmp_path / "predictions" / "row_001.jsonl").exists():
            raise Interrupted("here")

    with pytest.raises(Interrupted):
        run_toy(tmp_path, trainer=ToyTrainer(on_step=stop))
    events = tmp_path / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join(line for line in lines if '"row": 1' not in line) + '{"event": "row", damaged\n')
    run_toy(tmp_path)
    told = [json.loads(line) for line in events.read_text().splitlines() if "damaged" not in line]
    assert [event["row"] for event in told if event["event"] == "row"] == [0, 1, 2, 3]

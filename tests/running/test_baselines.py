"""Baseline runs: made before the run that needs them or only found, by the hash of their own settings."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import Metric
from cmt_cli.core.stream import Stream, TestSet
from cmt_cli.running import job_run
from cmt_cli.running.baselines import find_baseline, methods_of, work
from cmt_cli.running.job import Job
from cmt_cli.running.lock import FolderInUseError
from cmt_cli.running.record import Measured, with_metrics
from cmt_cli.running.run_files import read_result
from tests.present import present
from tests.running.toy import ToyLearner, ToyMethod, run_toy, toy_stream

COMPARED = ("fwd_single_task", "relative_gain", "intransigence")


class Drift(ToyMethod):
    """The toy method with the facts that a job asks for; a larger push scores higher."""

    needs_documents = needs_labels = needs_episodes = needs_task_id = False

    def __init__(self, *, push: float) -> None:
        self.push = push

    def learn(self, learner: ToyLearner, task: Any, fit: Any) -> None:
        super().learn(learner, task, fit)
        learner.model.weight.data += self.push


def toy_job(runs: Path, *, method: str = "drift", baselines: str = "none", push: float = 0.0, seed: int = 0) -> Job:
    def method_of(value: float) -> dict[str, Any]:
        return {"_target_": f"{__name__}.Drift", "push": value}

    config = {
        "method": method_of(push),
        "data": {"_target_": "tests.running.toy.toy_stream"},
        "model": {"_target_": "tests.running.toy.ToyLearner"},
        "trainer": {"_target_": "tests.running.toy.ToyTrainer"},
        "evaluator": {"_target_": "tests.running.toy.ToyEvaluator"},
        "logger": {"_target_": "cmt_cli.running.loggers.NullLogger"},
        "paths": {"runs": str(runs), "cache": str(runs / ".cache")},
        "baseline_methods": {"single_task": method_of(0.05), "joint": method_of(0.1)},
        "baselines": baselines,
        "seed": seed,
        "trusted_targets": ["tests"],
    }
    names = {"method": method, "data": "toy", "model": "toy"}
    return Job(config, names, (f"method={method}", f"seed={seed}", f"baselines={baselines}"))


def metrics(folder: Path) -> dict[str, Metric]:
    result = read_result(folder)
    assert result is not None and result.status == "complete"
    return result.metrics


def folder_of(made: Job) -> Path:
    return made.folder(toy_stream())


def test_baselines_are_not_made_unless_requested(tmp_path: Path) -> None:
    made = toy_job(tmp_path)
    job_run.run(made)
    assert [path.name for path in tmp_path.iterdir()] == [folder_of(made).name]
    found = metrics(folder_of(made))
    for name in COMPARED:
        method = "joint" if name == "intransigence" else "single_task"
        run_name = folder_of(made.baseline(method)).name
        assert found[name].value is None
        command = "`cmt run method=drift seed=0 baselines=auto` makes it"
        assert found[name].reason == f"needs the baseline run {run_name}; {command}"


def test_baselines_are_made_once_and_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = toy_job(tmp_path, baselines="auto")
    job_run.run(made)
    printed = capsys.readouterr().err
    assert "Baseline run single_task: 3 trainings from the base model, 12 examples per epoch in all" in printed
    assert "Baseline run joint: 3 trainings from the base model, 24 examples per epoch in all (2 times" in printed
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["drift", "joint", "single_task"]
    rows = {}
    for name, folder in (
        ("own", folder_of(made)),
        *((m, folder_of(made.baseline(m))) for m in ("single_task", "joint")),
    ):
        result = read_result(folder)
        assert result is not None
        rows[name] = [[present(score) for score in row] for row in result.matrices["em"].rows]
    own, single, joint = rows["own"], rows["single_task"], rows["joint"]
    found = metrics(folder_of(made))
    assert found["fwd_single_task"].value == pytest.approx(sum(own[j + 1][j] - single[j + 1][j] for j in (1, 2)) / 2)
    assert found["relative_gain"].value == pytest.approx(sum(own[3][j] / single[j + 1][j] for j in (0, 1)) / 2)
    assert found["intransigence"].value == pytest.approx(sum(joint[j + 1][j] - own[j + 1][j] for j in range(3)) / 3)
    assert found["f1/intransigence"].value == pytest.approx(present(found["intransigence"].value) / 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    job_run.run(made)
    assert "Baseline run" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    job_run.run(toy_job(tmp_path, push=0.2))  # another run of the same kind finds them
    assert metrics(folder_of(toy_job(tmp_path, push=0.2)))["intransigence"].value is not None
    assert len(list(tmp_path.iterdir())) == 4


def test_single_task_must_not_guess_an_untold_task() -> None:
    keys = ("single_task", "joint", "newest_task")
    untold = toy_stream()
    told = replace(untold, tests=[replace(test, gives_task=True) for test in untold.tests])
    assert methods_of(untold, keys) == {"single_task": "newest_task", "joint": "joint"}
    assert methods_of(told, keys) == {"single_task": "single_task", "joint": "joint"}
    assert methods_of(untold, keys[:2]) == {"single_task": "single_task", "joint": "joint"}  # an older record
    assert methods_of(untold, ()) == {}


def test_a_baseline_run_has_no_baselines_of_its_own(tmp_path: Path) -> None:
    made = toy_job(tmp_path, baselines="auto")
    baseline = made.baseline("joint")
    same = toy_job(tmp_path, method="joint", push=0.1)
    assert baseline.identity == same.identity and baseline.baselines == "none"
    job_run.run(same)
    assert [path.name for path in tmp_path.iterdir()] == [folder_of(baseline).name]
    assert metrics(folder_of(same))["intransigence"].value == 0  # its own baseline


def test_a_complete_run_takes_up_later_baselines(tmp_path: Path) -> None:
    made = toy_job(tmp_path)
    job_run.run(made)
    job_run.run(toy_job(tmp_path, method="joint", push=0.1))
    assert metrics(folder_of(made))["intransigence"].value is None
    job_run.run(made)
    found = metrics(folder_of(made))
    assert found["intransigence"].value is not None and found["fwd_single_task"].value is None


def test_killed_inside_a_baseline_the_same_command_continues_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run.run(toy_job(tmp_path / "whole", baselines="auto"))
    real, calls = Drift.learn, []

    def learn(self: Drift, *arguments: Any) -> None:
        calls.append(self.push)
        if len(calls) in (2, 5):  # in the second task of the first baseline, and of the second one
            raise KeyboardInterrupt
        real(self, *arguments)

    monkeypatch.setattr(Drift, "learn", learn)
    killed = toy_job(tmp_path / "killed", baselines="auto")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            job_run.run(killed)
    assert not folder_of(killed).exists()
    job_run.run(killed)
    assert len(calls) == 3 * 3 + 2  # only what was cut short is repeated
    whole = toy_job(tmp_path / "whole")
    assert metrics(folder_of(killed)) == metrics(folder_of(whole))


def test_a_baseline_that_another_process_makes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, refused = job_run._run_stream, list[str]()

    def busy_at_first(current: Job, *arguments: Any, **named: Any) -> None:
        if current.names["method"] == "joint" and len(refused) < 2:
            refused.append("joint")
            raise FolderInUseError("Process 1 is writing")
        real(current, *arguments, **named)

    monkeypatch.setattr(job_run, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(job_run, "_run_stream", busy_at_first)
    job_run.run(toy_job(tmp_path, baselines="auto"))
    assert capsys.readouterr().err.count("waiting for it") == 2
    assert metrics(folder_of(toy_job(tmp_path)))["intransigence"].value is not None


@pytest.mark.slow
def test_two_processes_that_need_the_same_baselines_both_end(tmp_path: Path) -> None:
    jobs = [toy_job(tmp_path, baselines="auto", push=push) for push in (0.0, 0.3)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=job_run.run, args=(made,)) for made in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    assert all(metrics(folder_of(made))["intransigence"].value is not None for made in jobs)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_baseline_on_other_data_is_not_compared_with(tmp_path: Path) -> None:
    run_toy(tmp_path / "joint", stream=toy_stream(source="real", sha256="a" * 64))
    now = toy_stream(source="real", sha256="b" * 64)
    found = find_baseline("joint", tmp_path / "joint", now, own=tmp_path / "mine", command="cmt run")
    assert found.reason == "the baseline run joint is of other data; remove it, then `cmt run` makes it"


def test_an_unknown_mode_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="baselines='all'"):
        job_run.run(toy_job(tmp_path, baselines="all"))


def test_a_baselines_work_is_told_in_trainings_and_examples() -> None:
    assert work("single_task", toy_stream(4)).startswith("4 trainings from the base model, 16 examples per epoch")
    assert work("joint", toy_stream(4)).endswith(
        "40 examples per epoch in all (2.5 times those of one pass over the stream)"
    )
    assert work("single_task", toy_stream(1)) == (
        "1 training from the base model, 4 examples per epoch in all (as many as one pass over the stream)"
    )


def test_forward_transfer_is_undefined_where_tasks_bring_new_labels(tmp_path: Path) -> None:
    result, base = run_toy(tmp_path), toy_stream()

    def labelled(*labels: tuple[str, ...], gives_task: bool = False) -> Stream:
        tests = [TestSet(t.name, t.examples, "em", t.learned_at, gives_task, labels) for t in base.tests]
        return Stream("labels", base.tasks, tests, base.episodes, base.provenance)

    growing = with_metrics(result, labelled((" a",), (" b",), (" c",)), Measured({})).metrics
    assert growing["fwd_zero_shot"].value is None and growing["f1/fwd_zero_shot"].value is None
    assert growing["fwd_zero_shot"].reason is not None and "new labels" in growing["fwd_zero_shot"].reason
    assert growing["aa"] == result.metrics["aa"]
    shared = (" a", " b")
    for defined in (
        labelled((" a",), (" b",), (" c",), gives_task=True),
        labelled(shared, (), ()),
        labelled(shared, shared, (" b",)),
    ):
        assert with_metrics(result, defined, Measured({})).metrics["fwd_zero_shot"].value is not None


def test_probes_keep_their_own_metric(tmp_path: Path) -> None:
    base = toy_stream()
    probe = TestSet("general", base.tests[0].examples, "f1", None)
    stream = Stream("toy", base.tasks, [*base.tests, probe], base.episodes, base.provenance)
    result = run_toy(tmp_path, stream=stream)
    column = [row[3] for row in result.matrices["f1"].rows]
    assert result.metrics["probe_drop"].value == pytest.approx(column[0] - column[3])
    assert result.metrics["probe_drop[general]"].value == result.metrics["probe_drop"].value
    assert json.loads((tmp_path / "result.json").read_text())["metrics"]["probe_drop"] is not None

"""A run is never continued, repeated or asked with another model or other data; other versions are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import override

from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.process_group import SingleProcess
from cmt_cli.core.stream import Stream
from cmt_cli.running import inputs, job_run
from cmt_cli.running.identity import versions
from cmt_cli.running.inputs import compare_inputs, load_learner, on_each, refuse_unlike, tell_differences
from cmt_cli.running.run_files import read_result
from tests.present import present
from tests.running.test_baselines import folder_of, metrics, toy_job
from tests.running.toy import ToyLearner, ToyTrainer, run_toy, toy_stream

A, B = "a" * 64, "b" * 64


class Loaded(ToyLearner):
    """A learner that was loaded from files."""

    def __init__(self, **files: str) -> None:
        super().__init__()
        self.files = {f"{name}.json": digest for name, digest in files.items()}


def stopped(folder: Path, **parts: Any) -> None:
    def stop(step: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        run_toy(folder, trainer=ToyTrainer(on_step=stop), **parts)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((folder / "result.json").read_text())
    change(record)
    (folder / "result.json").write_text(json.dumps(record))


def other_texts() -> Stream:
    """Return the toy stream with one other answer."""
    stream = toy_stream()
    (first, *rest) = stream.tests
    examples = [replace(first.examples[0], target=" 7"), *first.examples[1:]]
    return replace(stream, tests=[replace(first, examples=examples), *rest])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config": A, "tokenizer": B}, r"tokenizer\.json changed since \(sha256 aaaaaaaa, today bbbbbbbb\)\)"),
        ({"config": A}, r"\(tokenizer\.json is gone\)"),
        ({"config": A, "tokenizer": A, "added": B}, r"\(added\.json is new\)"),
    ],
)
def test_an_interrupted_run_never_mixes_two_models(files: dict[str, str], words: str, tmp_path: Path) -> None:
    stopped(tmp_path, learner=Loaded(config=A, tokenizer=A))
    before = (tmp_path / "result.json").read_bytes()
    with pytest.raises(UserError, match=words):
        run_toy(tmp_path, learner=Loaded(**files))
    assert (tmp_path / "result.json").read_bytes() == before
    assert run_toy(tmp_path, learner=Loaded(config=A, tokenizer=A)).status == "complete"


@pytest.mark.parametrize("make", [stopped, run_toy])
def test_a_stream_without_files_is_known_by_its_content(make: Callable[..., Any], tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match="the same settings give other tasks, texts or questions"):
        run_toy(tmp_path, stream=other_texts())


def test_a_record_without_hashes_is_continued_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped(tmp_path, learner=Loaded(config=A))
    edit(tmp_path, lambda record: (record["model"].pop("sha256"), record["data"].pop("content_sha256")))
    tell_differences(present(read_result(tmp_path)), tmp_path)
    assert "without a hash of its model and data" in capsys.readouterr().err
    assert run_toy(tmp_path, learner=Loaded(config=B), stream=other_texts()).status == "complete"


def test_other_versions_are_told_and_both_recorded(tmp_path: Path) -> None:
    stopped(tmp_path)
    edit(tmp_path, lambda record: record["versions"].update(numpy="1.0", spacy="not installed"))
    with pytest.warns(CmtWarning, match=rf"was made with numpy 1\.0; here are numpy {versions()['numpy']}\. "):
        tell_differences(present(read_result(tmp_path)), tmp_path)
    assert run_toy(tmp_path).versions["numpy"] == f"1.0 then {versions()['numpy']}"


def test_equal_inputs_are_not_worth_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    stopped(tmp_path, learner=Loaded(config=A))
    tell_differences(present(read_result(tmp_path)), tmp_path)
    assert not recwarn.list


def test_files_that_change_while_they_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_job(tmp_path)
    found = iter([{"config.json": A}, {"config.json": B}])
    monkeypatch.setattr(type(made), "model_files", lambda self: next(found))
    with pytest.raises(UserError, match=r"changed while they were read: config\.json changed"):
        load_learner(made, ToyLearner)  # type: ignore[arg-type]


class Heavier(ToyLearner):
    """The toy learner as another file of weights would make it."""

    def __init__(self) -> None:
        super().__init__()
        torch.nn.init.ones_(self.model.weight)


def test_a_model_without_files_is_known_by_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_job(tmp_path)
    folder = folder_of(made)
    job_run.run(made)
    edit(folder, lambda record: record.update(status="interrupted"))
    monkeypatch.setattr("tests.running.toy.ToyLearner", Heavier)
    with pytest.raises(UserError, match="weights in memory"):
        job_run.run(made)


def test_baselines_of_another_model_are_not_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_job(tmp_path)
    files = {"config.json": A}
    monkeypatch.setattr(type(made), "model_files", lambda self: dict(files))
    job_run.run(made.baseline("joint"))
    files["config.json"] = B
    job_run.run(made)
    reason = metrics(folder_of(made))["intransigence"].reason
    assert reason is not None and "is of another model; remove it" in reason
    made = toy_job(tmp_path, baselines="auto", push=0.1)
    with pytest.raises(UserError, match=r"joint-.*config\.json changed since"):
        job_run.run(made)
    assert not folder_of(made).exists()


def test_a_complete_run_of_another_model_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_job(tmp_path)
    monkeypatch.setattr(type(made), "model_files", lambda self: {"config.json": A})
    job_run.run(made)
    monkeypatch.setattr(type(made), "model_files", lambda self: {"config.json": B})
    with pytest.raises(UserError, match=r"config\.json changed since"):
        compare_inputs(made, folder_of(made), made.stream())
    monkeypatch.setattr(type(made), "model_files", lambda self: None)  # it is not here any more
    job_run.run(made)


def test_processes_must_read_the_same_files() -> None:
    class Two:
        def gather(self, value: Any) -> list[Any]:
            return [value, {"config.json": B}]

    refuse_unlike(Two(), "model", {"config.json": B})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="different files as its model"):
        refuse_unlike(Two(), "model", {"config.json": A})  # type: ignore[arg-type]


def test_the_generator_is_named_where_its_data_changed(tmp_path: Path) -> None:
    stream = toy_stream()
    old = replace(stream, provenance=replace(stream.provenance, generator="1" * 16))
    stopped(tmp_path, stream=old)
    assert present(read_result(tmp_path)).data["generator"] == "1" * 16
    new = other_texts()
    new = replace(new, provenance=replace(new.provenance, generator="2" * 16))
    assert "generator 11111111, today 22222222" in inputs.data_changes(present(read_result(tmp_path)), new)


def test_a_state_without_a_record_is_told(tmp_path: Path) -> None:
    made = toy_job(tmp_path)
    folder = folder_of(made)
    job_run.run(made)
    (folder / "result.json").unlink()
    with pytest.warns(CmtWarning, match=r"result\.json is gone: which model and data it is of is not checked"):
        compare_inputs(made, folder, made.stream())


def test_numbers_of_another_format_are_told(tmp_path: Path) -> None:
    stopped(tmp_path)
    edit(tmp_path, lambda record: record["model"].update(dtype="bfloat16"))
    with pytest.warns(CmtWarning, match="numbers were bfloat16 when the run was begun, and are float32"):
        run_toy(tmp_path)


class Pair(SingleProcess):
    """One of two processes; the other has given up where `other` is its reason."""

    world_size = 2

    def __init__(self, other: str | None) -> None:
        self.other = other

    @override
    def gather(self, value: Any) -> list[Any]:
        return [value, self.other]


def test_what_one_process_is_refused_all_are() -> None:
    def fail() -> None:
        raise UserError("mine")

    assert on_each(Pair(None), lambda: 7) == 7
    with pytest.raises(UserError, match=r"^Process 1 of this run, counted from 0, cannot go on: theirs$"):
        on_each(Pair("theirs"), lambda: 7)
    for other in (None, "theirs"):
        with pytest.raises(UserError, match=r"^mine$"):
            on_each(Pair(other), fail)

"""From overrides to plain jobs: sweeps, names, folders, trust."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from cmt_cli.commands import dry_run
from cmt_cli.config import catalog, compose
from cmt_cli.config.check import Request
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Episodes, Provenance, Stream
from cmt_cli.running import job
from cmt_cli.sweeps import launch
from tests import command_line

BASE = ("method=frozen", "trainer=smoke", "logger=none", "model.device=cpu")


def stream(source: str, *, split: str = "test") -> Stream:
    provenance = Provenance("toy", source, "none", split=split)  # type: ignore[arg-type]
    return Stream("toy", (), (), Episodes(), provenance)


def test_a_grid_sweep_lists_its_jobs_last_key_fastest() -> None:
    jobs = compose.jobs(["seed=range(0,2)", "model=tiny", "method=cmt,mac"], [catalog.conf_dir()])
    assert jobs == [
        ["seed=0", "model=tiny", "method=cmt"],
        ["seed=0", "model=tiny", "method=mac"],
        ["seed=1", "model=tiny", "method=cmt"],
        ["seed=1", "model=tiny", "method=mac"],
    ]


def test_a_glob_sweeps_over_the_options_of_a_group() -> None:
    jobs = compose.jobs(["experiment=glob(llama2_s*)"], [catalog.conf_dir()])
    assert jobs == [["experiment=llama2_squad"], ["experiment=llama2_streamingqa"]]


def test_an_interval_stands_for_itself_by_its_start() -> None:
    values = compose.first_values(["trainer.task.learning_rate=interval(0.1,0.2)"], [catalog.conf_dir()])
    assert values == ["trainer.task.learning_rate=0.1"]


def test_a_job_holds_plain_values_only() -> None:
    checked = command_line.job(*BASE)
    assert yaml.safe_load(yaml.safe_dump(dict(checked.config))) == checked.config
    assert checked.config["trainer"]["max_steps"] == 3
    assert checked.names == {"method": "frozen", "data": "streamingqa", "model": "tiny"}
    assert "hydra" not in checked.config


def test_folder_name_shows_generated_data_and_validation_split() -> None:
    checked = command_line.job(*BASE)
    name = checked.folder(stream("real")).name
    assert name.startswith("frozen-streamingqa-tiny-")
    assert checked.folder(stream("generated")).name == name.replace("streamingqa-", "streamingqa-generated-")
    both = checked.folder(stream("generated", split="validation")).name
    assert both == name.replace("streamingqa-", "streamingqa-generated-validation-")


def test_the_folder_ignores_paths_and_loggers() -> None:
    def folder(*overrides: str) -> str:
        return command_line.job(*BASE, *overrides).folder(stream("real")).name

    assert folder() == folder("logger=jsonl") == folder("paths.data=/elsewhere") == folder("paths.cache=/elsewhere")
    assert len({folder(), folder("seed=1"), folder("trainer.max_steps=4")}) == 3


def test_the_task_travels_by_name_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(launch.task)) is launch.task
    stopped = pickle.loads(pickle.dumps(launch.Stopped(UserError("why"))))
    assert str(stopped.cause) == "why"


def saved(folder: Path, *overrides: str, **changes: object) -> Path:
    checked = command_line.job(*BASE, *overrides)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**checked.saved, **changes}))
    return folder


def test_a_saved_configuration_is_the_same_job_again(tmp_path: Path) -> None:
    checked = command_line.job(*BASE)
    assert job.load(saved(tmp_path / "run"), ()) == checked


def test_a_saved_configuration_cannot_declare_itself_trusted(tmp_path: Path) -> None:
    folder = saved(tmp_path / "run", trusted_targets=["os"], logger={"_target_": "os.system"})
    with pytest.raises(UserError, match="--trust os"):
        job.load(folder, ())


def test_a_saved_configuration_is_checked_against_the_allow_list(tmp_path: Path) -> None:
    folder = saved(tmp_path / "run", logger={"_target_": "os.system"})
    with pytest.raises(UserError, match="outside the trusted packages"):
        job.load(folder, ())


def test_a_baseline_is_the_ordinary_run_of_its_settings() -> None:
    adapted = command_line.job("method=lora", *BASE[1:], "baselines=auto")
    joint = command_line.job("method=joint", "trainable@method.trainable=lora", *BASE[1:])
    assert adapted.baseline("joint").identity == joint.identity  # the same parameters are trained
    single = command_line.job("method=single_task", *BASE[1:])
    assert command_line.job(*BASE).baseline("single_task").identity == single.identity
    assert single.baseline("single_task").identity == single.identity
    newest = adapted.baseline("newest_task").config["method"]
    assert newest["_target_"] == "cmt_cli.methods.controls.single_task.NewestTask"
    assert newest["trainable"] == adapted.config["method"]["trainable"]


def test_baselines_do_not_change_where_a_run_is_kept() -> None:
    plain = command_line.job(*BASE)
    for changed in ("baselines=auto", "baseline_methods.joint.trainable.num_frozen_blocks=1"):
        assert command_line.job(*BASE, changed).folder(stream("real")) == plain.folder(stream("real"))
    one = command_line.job(*BASE, "baseline_methods.joint.trainable.num_frozen_blocks=1")
    assert one.baseline("joint").identity != plain.baseline("joint").identity


def test_a_dry_run_tells_which_references_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (*BASE, f"paths.runs={tmp_path}", f"paths.data={tmp_path}", "baselines=auto")
    dry_run.report(Request(arguments))
    printed = capsys.readouterr().out
    assert printed.count("would be made first: ") == 2 and f"needs   {tmp_path}/joint-streamingqa" in printed
    assert "trainings from the base model" in printed
    dry_run.report(Request(("method=joint", *arguments[1:-1])))
    printed = capsys.readouterr().out
    assert "(this run itself)" in printed and "would be left out; baselines=auto makes it" in printed
    assert not list(tmp_path.iterdir())

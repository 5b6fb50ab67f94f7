"""A sweep file's agents call `cmt run` with overrides that it takes, and choose on the validation split only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from cmt_cli.config import check
from cmt_cli.core.exceptions import UserError
from cmt_cli.sweeps.wandb_file import Search, first_overrides, parse, read_parameters, write

BEST = Search(method=None, metric="final/aa", goal="maximize", max_runs=None)


def written(tmp_path: Path, *given: str, search: Search = BEST) -> dict[str, Any]:
    write(given, tmp_path / "sweep.yaml", search, project="cmt", config_dir=None)
    return dict(yaml.safe_load((tmp_path / "sweep.yaml").read_text()))


def agent_command(sweep: dict[str, Any], chosen: dict[str, Any]) -> list[str]:
    """Return what W&B's agent runs for one choice, built by its own functions."""
    arguments = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
    command: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        name = word.removeprefix("${").removesuffix("}")
        known = {"env": ["/usr/bin/env"], **arguments}
        command += [str(part) for part in known[name]] if word.startswith("${") else [word]
    return command


@pytest.mark.parametrize(
    ("line", "parameter"),
    [
        ("seed=0,1,2", {"values": [0, 1, 2]}),
        ("seed=range(3)", {"values": [0, 1, 2]}),
        ("method=ewc,lora", {"values": ["ewc", "lora"]}),
        ("a.rate=1e-4,1e-5", {"values": [1e-4, 1e-5]}),
        ("a.betas=[0.9,0.99],[0.8,0.9]", {"values": ["[0.9,0.99]", "[0.8,0.9]"]}),
        ("a.b=null,true", {"values": ["null", "True"]}),
        ("data=squad", {"value": "squad"}),
        ("a.rate=interval(0.1,0.5)", {"distribution": "uniform", "min": 0.1, "max": 0.5}),
        ("a.steps=int(interval(1,10))", {"distribution": "int_uniform", "min": 1, "max": 10}),
        ("a.rate=tag(log,interval(1e-5,1e-3))", {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}),
    ],
)
def test_hydra_sweep_syntax_becomes_wandb_parameters(line: str, parameter: dict[str, Any]) -> None:
    assert parse(line) == {line.partition("=")[0]: parameter}


def test_cmt_accepts_an_agents_command_line(tmp_path: Path) -> None:
    rate = "trainer.task.learning_rate=tag(log,interval(1e-5,1e-3))"
    sweep = written(tmp_path, "method=uniform,joint", "seed=0,1", rate, "trainer.task.betas=[0.9,0.99],[0.8,0.9]")
    assert sweep["method"] == "bayes" and sweep["metric"] == {"name": "final/aa", "goal": "maximize"}
    chosen = {key: parameter.get("value", 3.2e-05) for key, parameter in sweep["parameters"].items()}
    chosen |= {key: p["values"][-1] for key, p in sweep["parameters"].items() if "values" in p}
    command = agent_command(sweep, chosen)
    assert command[:3] == ["/usr/bin/env", "cmt", "run"]
    job = check.check(check.Request(tuple(command[3:])))
    assert job.names["method"] == "joint" and job.config["seed"] == 1
    assert job.config["trainer"]["task"]["learning_rate"] == 3.2e-05
    assert job.config["trainer"]["task"]["betas"] == [0.8, 0.9]
    assert job.config["data"]["selection"]["stream_split"] == "validation"


def test_the_validation_split_is_asked_for_whatever_its_key(tmp_path: Path) -> None:
    sweep = written(tmp_path, "method=ewc,lora", "data=clinc150", "data.source=generated")
    assert sweep["parameters"]["data.limits.stream_split"] == {"value": "validation"}
    assert sweep["method"] == "grid"
    request = check.Request(tuple(first_overrides(sweep["parameters"])))
    assert check.check(request).config["data"]["limits"]["stream_split"] == "validation"


def test_a_sweep_on_test_is_refused(tmp_path: Path) -> None:
    for split in ("test", "test,validation"):
        with pytest.raises(UserError, match="what is chosen on the test split is no test result"):
            written(tmp_path, "method=uniform,joint", f"data.selection.stream_split={split}")
    assert not (tmp_path / "sweep.yaml").exists()


def test_every_value_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="method=mca: there is no such method"):
        written(tmp_path, "method=cmt,mca")
    with pytest.raises(UserError, match="learning_rat"):
        written(tmp_path, "method=uniform,joint", "trainer.task.learning_rat=0.1")
    with pytest.raises(UserError, match="nothing to search"):
        written(tmp_path, "method=cmt")
    with pytest.raises(UserError, match="grid needs values for trainer"):
        search = Search(method="grid", metric="final/aa", goal="maximize", max_runs=None)
        written(tmp_path, "trainer.task.learning_rate=interval(0.1,0.2)", search=search)
    with pytest.raises(UserError, match="Did you mean 'maximize'"):
        written(tmp_path, "seed=0,1", search=Search(method=None, metric="final/aa", goal="maximise", max_runs=None))
    with pytest.raises(UserError, match="no parameter"):
        written(tmp_path, "~data", "seed=0,1")
    assert not (tmp_path / "sweep.yaml").exists()


def test_parameters_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("method: [uniform, joint]\nseed: 3\ntrainer.task.learning_rate: {min: 1.0e-5, max: 1.0e-3}\n")
    expected = {"min": 1e-5, "max": 1e-3}
    assert read_parameters(path) == {
        "method": {"values": ["uniform", "joint"]},
        "seed": {"value": 3},
        "trainer.task.learning_rate": expected,
    }
    sweep = written(tmp_path, str(path), "seed=0,1")
    assert sweep["parameters"]["seed"] == {"values": [0, 1]} and sweep["method"] == "bayes"
    (tmp_path / "again.yaml").write_text((tmp_path / "sweep.yaml").read_text())
    assert read_parameters(tmp_path / "again.yaml") == sweep["parameters"]
    for text, problem in (("[1]", "no parameters"), ("a: {b: 1}", "written with dots"), ("a: [", "read as yaml")):
        path.write_text(text)
        with pytest.raises(UserError, match=problem):
            read_parameters(path)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("5E3", 5000.0),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("true", True),
        ("null", None),
        *((word, word) for word in ("no", "yes", "off", "y", "010", "0x1F", "0o10", "12:30", "1:30.5", "2020-01-01")),
    ],
)
def test_a_file_sweeps_what_was_typed(tmp_path: Path, typed: str, value: object) -> None:
    path = tmp_path / "parameters.yaml"
    for text in (f"+a: {typed}", f"+a: [{typed}]", f"+a: {{value: {typed}}}", f"+a: {{values: [{typed}]}}"):
        path.write_text(text)
        (line,) = first_overrides(read_parameters(path))
        assert check.composed(check.Request((line,)))["a"] == value
        assert check.composed(check.Request((f"+a={typed}",)))["a"] == value
    (line,) = first_overrides(parse(f"+a={typed}"))
    assert check.composed(check.Request((line,)))["a"] == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ('["{a}, b: c\\nd"]', "{a}, b: c\nd"),
        ("['a,b']", "a,b"),
        ("[[no, 1e-5, null, true, '12:30']]", ["no", 1e-5, None, True, "12:30"]),
        ("[{no: [off]}]", {"no": ["off"]}),
    ],
)
def test_texts_and_lists_of_a_file_reach_the_run(tmp_path: Path, typed: str, value: object) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(f"+a: {typed}")
    (line,) = first_overrides(read_parameters(path))
    assert check.composed(check.Request((line,)))["a"] == value


def test_an_interval_of_a_file_has_numbers_for_ends(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("trainer.task.learning_rate: {min: 1e-5, max: 1e-3, distribution: log_uniform_values}")
    parameter = {"min": 1e-5, "max": 1e-3, "distribution": "log_uniform_values"}
    assert read_parameters(path) == {"trainer.task.learning_rate": parameter}


def test_a_key_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parameters.yaml").write_text("seed: [0, 1]\nseed: [2]")
    with pytest.raises(UserError, match="'seed' occurs twice"):
        read_parameters(tmp_path / "parameters.yaml")

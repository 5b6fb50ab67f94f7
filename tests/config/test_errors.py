"""A mistake on the command line is one readable paragraph: what was given, what is allowed, the nearest match."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.config import check, targets
from cmt_cli.config.check import Request
from cmt_cli.core.exceptions import UserError
from cmt_cli.methods.combination import Combination

BASE = ("method=frozen", "trainer=smoke", "logger=none")


def message(*overrides: str, multirun: bool = False, config_dir: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        check.check(Request((*BASE, *overrides), multirun, config_dir))
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method=frozn", "method=frozn: there is no such method. Did you mean 'frozen'?"),
        ("trainer=smok", "Did you mean 'smoke'? Allowed: default,"),
        (
            "trainable@method.trainable=lora",
            "trainable: nothing that was chosen takes it there. `cmt list",
        ),
        ("size=huge", "size=huge: there is no such size. Allowed: embedded, large, small."),
        ("experiment=llama2_streaming", "Did you mean 'llama2_streamingqa'?"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm: there is no such hydra/launcher."),
        ("methd=cmt", "methd: there is no such key. Did you mean 'method'?"),
        ("seeed=1", "Did you mean 'seed'?"),
        ("trainer.task.learning_rat=1", "no such key in trainer.task. Did you mean 'learning_rate'?"),
        ("model.device.x=1", "model.device.x: there is no 'model.device' with keys of its own"),
        ("seed=1,2", "add -m"),
        ("trainer.task={", "is not KEY=VALUE"),
        ("seed", "is not KEY=VALUE"),
        ("~seed", "Interpolation key 'seed' not found"),
        ("paths.runs=${nothing}", "paths.runs: Interpolation key 'nothing' not found"),
        ("model=huggingface", "model.name_or_path has no value yet"),
        ("+trainer.steps=1", "takes no 'steps'. Did you mean 'max_steps'?"),
        ("~trainer.precision", "also needs precision"),
        ("trainer.max_steps=many", "trainer.max_steps='many' is a str; allowed: int | None"),
        ("model._target_=os.system", "outside the trusted packages"),
        ("+model._partial_=true", "the only key with a leading underscore is _target_"),
        ("+extra._target_=os.system", "outside the trusted packages"),
    ],
)
def test_mistakes(override: str, expected: str) -> None:
    assert expected in message(override)


def test_a_key_of_values_from_elsewhere_names_that_place() -> None:
    text = message("method=seq_star", "data=world_skills", "method.budget.num_epochs=3")
    assert (
        text
        == "method.budget.num_epochs: method.budget is trainer.task here. Set it there: trainer.task.num_epochs=..."
    )


def test_parts_of_options_are_not_offered() -> None:
    text = message("method=replay", "trainable@method.trainable=loar")
    assert "Did you mean 'lora'? Allowed: bottleneck, full, lora, lora_experts," in text


def test_a_wrong_seed_is_named_as_it_was_given() -> None:
    assert message("method=replay", "seed=x") == "seed='x' is a str; allowed: int."


def test_a_label_column_is_called_answer() -> None:
    assert "Did you mean 'answer'?" in message("data=labelled", "data.columns.label=category")


def test_a_semicolon_is_to_be_quoted() -> None:
    text = message("data=labelled", "data.table.delimiter=;")
    assert "is not KEY=VALUE as Hydra reads it. Quote values" in text and "semicolons" in text


def test_a_target_given_by_interpolation_is_checked_too() -> None:
    assert "'os.system'" in message("+where=os.system", "model._target_=${where}")


def test_a_sweep_is_checked_by_its_first_job() -> None:
    assert "Did you mean 'smoke'" in message("trainer=smok,default", multirun=True)


def test_an_impossible_pair_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.yaml").write_text("# kind: labelled\n_target_: cmt_cli.data.knowledge.squad.squad\n")
    text = message("data=labels", "method=cmt", config_dir=tmp_path)
    assert "method=cmt data=labels: cmt needs documents and episodes, which labels (labelled) does not have" in text


COMPOSED = """# family: combination
# needs: nothing
defaults:
  - /method@methods.lora: lora
  - /method@methods.{member}: {member}
  - override /trainable@methods.{member}.trainable: unchanged
  - _self_
_target_: cmt_cli.methods.combination.Combination
order: [lora, {member}]
"""


def composition(folder: Path, member: str) -> str:
    (folder / "method").mkdir(exist_ok=True)
    (folder / "method" / f"lora_{member}.yaml").write_text(COMPOSED.format(member=member))
    return f"method=lora_{member}"


def test_a_composition_is_refused_where_a_member_cannot_work(tmp_path: Path) -> None:
    """Its own header says that it needs nothing; each member is checked by its own."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dialogue.yaml").write_text("# kind: episodes\n_target_: cmt_cli.data.knowledge.squad.squad\n")
    needy = composition(tmp_path, "needy")
    (tmp_path / "method" / "needy.yaml").write_text(
        "# needs: documents\ndefaults:\n  - /trainable@trainable: lora\n"
        "_target_: cmt_cli.methods.regularization.l2.L2\nweight: 1.0\nnormalize: mean\n"
    )
    text = message("data=dialogue", needy, config_dir=tmp_path)
    assert "method=needy data=dialogue: needy needs documents, which dialogue (episodes) does not have" in text
    checked = check.check(Request((*BASE, needy), config_dir=tmp_path))  # the default stream has documents
    assert checked.config["method"]["order"] == ["lora", "needy"]


def test_a_composition_given_as_overrides_is_built(tmp_path: Path) -> None:
    checked = check.check(Request((*BASE, composition(tmp_path, "ewc")), config_dir=tmp_path))
    method = targets.instantiate(checked.config["method"], ())
    assert isinstance(method, Combination)
    with pytest.raises(UserError, match=r"method\.methods\.ewc"):
        check.check(Request((*BASE, "method=lora_ewc", "method.methods.ewc.weigth=1"), config_dir=tmp_path))


def test_a_missing_config_dir_is_named() -> None:
    assert "--config-dir nowhere: there is no such folder" in message(config_dir=Path("nowhere"))


def test_options_of_a_config_dir_are_suggested_too(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "overnight.yaml").write_text("defaults: [default]\nmax_steps: 7\n")
    assert "Did you mean 'overnight'?" in message("trainer=overnite", config_dir=tmp_path)
    checked = check.check(Request((*BASE, "trainer=overnight"), config_dir=tmp_path))
    assert checked.config["trainer"]["max_steps"] == 7

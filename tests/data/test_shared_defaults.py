"""The parts that streams' yamls take in: no streams themselves, and open to yamls of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.config import catalog, check, compose
from cmt_cli.config.check import Request
from cmt_cli.core.exceptions import UserError

SHARED = catalog.conf_dir() / "data" / "_shared"
OWN = """\
# kind: labels
# license: ours
defaults:
  - _shared/labelled_files@_here_
  - _self_
_target_: cmt_cli.data.classification.banking77.banking77
default_path: bank
num_tasks: 3
labels_per_task: null
order_seed: null
format:
  prompt_template: "{text} ->"
  metric: em
generated:
  _target_: cmt_cli.data.world.intents.Intents
  num_train: 4
  num_validation: 1
  num_test: 1
  seed: 0
"""


@pytest.fixture
def own_dir(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bank.yaml").write_text(OWN, encoding="utf-8")
    return tmp_path


def test_parts_are_no_options() -> None:
    names = [option.name for option in catalog.options("data", [catalog.conf_dir()])]
    assert SHARED.is_dir() and "banking77" in names
    assert not [name for name in names if "_shared" in name]
    with pytest.raises(UserError, match=r"data=_shared/files: there is no such data"):
        catalog.find("data", "_shared/files", [catalog.conf_dir()])


def test_a_users_yaml_takes_in_the_shared_defaults(own_dir: Path) -> None:
    made = check.check(Request(("data=bank", "method=finetune"), config_dir=own_dir)).config["data"]
    banking = check.check(Request(("data=banking77", "method=finetune"))).config["data"]
    assert made["limits"] == banking["limits"] and made["split_policy"] == banking["split_policy"]
    assert made["format"] == banking["format"] | {"prompt_template": "{text} ->"}
    assert made["path"] == made["default_path"] == "bank"


def test_a_stream_without_a_template_is_refused_by_name(own_dir: Path) -> None:
    without = OWN.replace('  prompt_template: "{text} ->"\n', "")
    (own_dir / "data" / "bank.yaml").write_text(without, encoding="utf-8")
    with pytest.raises(UserError, match=r"data\.format\.prompt_template has no value yet"):
        check.check(Request(("data=bank", "method=finetune"), config_dir=own_dir))


def test_completion_knows_keys_that_are_taken_in(own_dir: Path) -> None:
    own = catalog.top_level_keys(own_dir / "data" / "bank.yaml")
    composed = compose.compose(["data=bank"], [catalog.conf_dir(), own_dir]).data
    assert set(own) == {str(key) for key in composed} - {"_target_"}


@pytest.mark.parametrize("option", catalog.options("data", [catalog.conf_dir()]), ids=lambda option: option.name)
def test_keys_of_every_stream_are_complete(option: catalog.Option) -> None:
    composed = compose.compose([f"data={option.name}"], [catalog.conf_dir()]).data
    assert set(catalog.top_level_keys(option.path)) == {str(key) for key in composed} - {"_target_"}


def test_an_unknown_stream_points_to_files_of_ones_own() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'banking77'\?.*data=labelled data\.path="):
        check.check(Request(("data=banking7",)))
    with pytest.raises(UserError) as error:
        check.check(Request(("method=ewcc",)))
    assert "data=labelled" not in str(error.value)

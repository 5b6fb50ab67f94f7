"""A model's size class chooses sizes, rates and what is trained; what is given on the command line wins."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.config import catalog
from cmt_cli.core.exceptions import UserError
from tests import command_line

LLAMA = "model=llama2_7b"
CHOOSING = [  # methods that leave it to the size what is trained
    option.name
    for option in catalog.options("method", [catalog.conf_dir()])
    if "_${size}" in option.path.read_text(encoding="utf-8")
]


def config(*overrides: str) -> dict[str, Any]:
    return dict(command_line.job(*overrides).config)


def test_cmt_on_llama_has_the_published_sizes() -> None:
    mission = config("method=cmt", "data=streamingqa", LLAMA, "data.source=real")
    published = config("experiment=llama2_streamingqa")
    assert mission["method"] == published["method"]
    assert mission["trainer"]["meta"] == published["trainer"]["meta"]
    assert mission["method"]["parts"]["compressor"]["num_slots"] == 24


def test_the_embedded_model_has_sizes_of_its_own() -> None:
    sizes = config("method=cmt")["method"]["parts"]
    assert (sizes["compressor"]["num_slots"], sizes["aggregator"]["num_blocks"], sizes["key_width"]) == (8, 1, 192)


def test_distilgpt2_is_of_the_class_between_them() -> None:
    small = config("method=cmt", "model=distilgpt2", "data.source=real")
    assert small["method"]["parts"]["compressor"]["num_slots"] == 12
    assert small["trainer"]["meta"]["batch_size"] == 64


@pytest.mark.parametrize(("model", "kind"), [("tiny", "Full"), ("distilgpt2", "Lora"), ("llama2_7b", "Lora")])
def test_every_method_that_has_a_choice_trains_the_same(model: str, kind: str) -> None:
    assert {"finetune", "replay", "ewc", "l2", "mas", "gem", "der", "joint", "single_task", "seq_star"} <= {*CHOOSING}
    for method in CHOOSING:
        data = "data=world_skills"
        trainable = config(f"method={method}", f"model={model}", data)["method"]["trainable"]
        assert trainable["_target_"].endswith(f".{kind}"), method


@pytest.mark.parametrize("method", ["lora_l2", "prompt_tuning", "freeze_bottom", "olora"])
def test_baselines_train_what_the_run_does(method: str) -> None:
    run = command_line.job(f"method={method}", "data=world_skills")
    own = run.config["method"]
    trained = own["methods"]["lora"]["trainable"] if "methods" in own else own["trainable"]
    for name in ("single_task", "joint", "newest_task"):
        assert run.baseline(name).config["method"]["trainable"] == trained


def test_joint_and_seq_star_have_the_budget_of_tasks() -> None:
    given = ("data=world_skills", "trainer.task.num_epochs=3", "trainer.task.learning_rate=0.5")
    assert "budget" not in config("method=joint", *given)["method"]
    seq_star = config("method=seq_star", *given)
    assert seq_star["method"]["budget"] == seq_star["trainer"]["task"]


def test_a_given_size_wins_over_the_models() -> None:
    large = config("method=replay", "size=large", "data=world_skills")
    assert large["method"]["trainable"]["learning_rate"] == 1.0e-4
    assert large["size"]["name"] == "large"


def test_a_given_value_wins_over_the_sizes() -> None:
    changed = config("method=cmt", LLAMA, "data.source=real", "method.parts.compressor.num_slots=6")
    assert changed["method"]["parts"]["compressor"]["num_slots"] == 6


def test_settings_and_not_their_size_name_a_run() -> None:
    given = ("method=frozen", "trainer=paper", "trainer.checkpoint_layers=false")  # what else follows the size
    same = [command_line.job(*given, f"size={size}") for size in ("embedded", "large")]
    assert same[0].identity == same[1].identity


def test_a_value_for_each_size_is_needed() -> None:
    with pytest.raises(UserError, match="a value for each of embedded, small, large, and has 2"):
        config("method=finetune", "trainer.task.learning_rate=${by_size:1,2}", "data=world_skills")

"""What is typed on the command line means what the same text means in a yaml file."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cmt_cli.config.check import Request, check
from cmt_cli.config.spelling import read


def config(*overrides: str) -> Any:
    return check(Request(("method=finetune", "data=squad", *overrides))).config


@pytest.mark.parametrize("typed", [r"\n", r'"\n"', r"'\n'", "'\n'"])
def test_a_newline_may_be_typed_as_yaml_writes_it(typed: str) -> None:
    assert config(f"evaluator.decoding.stop_text={typed}") == config()


def test_templates_are_read_as_in_yaml() -> None:
    template = r'data.prompt_template="Q: {question}\nA:"'
    assert config(template)["data"]["prompt_template"] == "Q: {question}\nA:"
    assert read({"prompt_template": {"a": r"{text}\nA:"}}) == {"prompt_template": {"a": "{text}\nA:"}}
    assert read({"prompt_template": "$\\nabla$ {text}\nA:"}) == {"prompt_template": "$\\nabla$ {text}\nA:"}
    assert read({"table": {"delimiter": r"\t"}}) == {"table": {"delimiter": "\t"}}


def test_text_that_is_no_prompt_keeps_its_backslashes() -> None:
    tree = {"path": r"C:\new", "source_pattern": r"\n(.*)", "order": [r"a\nb"]}
    assert read(tree) == tree


@pytest.mark.parametrize("typed", ["inf", ".inf", ".Inf", "+.inf", "'.inf'"])
def test_infinity_may_be_typed_as_yaml_writes_it(typed: str) -> None:
    assert config(f"trainer.task.max_grad_norm={typed}")["trainer"]["task"]["max_grad_norm"] == math.inf


def test_reading_settings_twice_changes_nothing() -> None:
    once = read({"stop_text": r"\n\n", "limits": ["-.inf", 1.5], "flag": True, "nothing": None})
    assert once == {"stop_text": "\n\n", "limits": [-math.inf, 1.5], "flag": True, "nothing": None}
    assert read(once) == once

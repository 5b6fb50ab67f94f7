"""What <TAB> offers. bash passes `method=c` as the three words `method`, `=`, `c`; zsh and fish pass it whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmt_cli.commands.completion import complete
from cmt_cli.config import catalog


@pytest.fixture
def dirs() -> list[Path]:
    return [catalog.conf_dir()]


def test_keys_and_groups(dirs: list[Path]) -> None:
    assert {"method=", "data=", "seed="} <= set(complete([], "", dirs))
    assert complete([], "se", dirs) == ["seed="]


def test_the_beginning_of_a_group_offers_whole_words(dirs: list[Path]) -> None:
    methods = complete([], "me", dirs)
    assert {"method=cmt", "method=mac"} <= set(methods)
    assert all(word.startswith("method=") for word in methods)
    assert "+experiment=llama2_squad" in complete([], "+exp", dirs)


def test_values_of_a_group_as_bash_splits_them(dirs: list[Path]) -> None:
    assert complete(["method", "="], "cm", dirs) == ["cmt"]
    assert "cmt" in complete(["method"], "=", dirs)
    assert complete(["method=cmt", "trainer", "="], "sm", dirs) == ["smoke"]


def test_values_of_a_group_as_zsh_passes_them(dirs: list[Path]) -> None:
    assert complete([], "trainer=sm", dirs) == ["trainer=smoke"]


def test_a_sweep_goes_on_after_each_comma(dirs: list[Path]) -> None:
    assert complete([], "trainer=smoke,de", dirs) == ["trainer=smoke,default"]
    assert "trainer=smoke,smoke" not in complete([], "trainer=smoke,", dirs)


def test_nested_keys_are_those_of_the_chosen_option(dirs: list[Path]) -> None:
    assert complete(["model=huggingface"], "model.name", dirs) == ["model.name_or_path="]
    assert complete(["model", "=", "huggingface"], "model.name", dirs) == ["model.name_or_path="]
    assert complete(["model=tiny"], "model.name", dirs) == []


@pytest.mark.parametrize(("words", "offered"), [("run trainer = sm", "smoke"), ("list methods seq", "seq_star")])
def test_bash_completes_through_the_real_program(words: str, offered: str) -> None:
    given = {"_CMT_COMPLETE": "complete_bash", "COMP_WORDS": f"cmt {words}", "COMP_CWORD": str(len(words.split()))}
    done = subprocess.run(
        [sys.executable, "-m", "cmt_cli"], env={**os.environ, **given}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [offered]

"""Alpaca by skills: the grouping rule, division of one file, faults, real files and the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.instructions.alpaca_skills import LAYOUT, alpaca_skills, first_word
from tests.data.instruction_settings import HELD_OUT, common, put_json
from tests.data.translations import built

SKILLS = {"list": ["name", "give"], "write": ["compose"]}
TEMPLATE = "{instruction}|{input}"


def rows() -> list[dict[str, Any]]:
    words = ("Name", "give", "LIST", "Compose", "write", "Dance")
    return [{"instruction": f"{word} {i}.", "input": "", "output": f"{i}"} for word in words for i in range(4)]


def stream(path: Path, *, source: str = "real", on_bad_row: str = "error", skills: Any = SKILLS) -> Stream:
    settings = {
        "order": ["write", "list"],
        "skills": skills,
        "held_out": HELD_OUT,
        **common(["write", "list"], TEMPLATE),
    }
    return built(alpaca_skills, path, source=source, on_bad_row=on_bad_row, **settings)


@pytest.mark.parametrize(("text", "word"), [("Sort it", "sort"), ('"Give', "give"), ("3. List!", "list"), ("12", "")])
def test_the_first_word_is_the_first_run_of_letters(text: str, word: str) -> None:
    assert first_word(text) == word


def test_instructions_belong_to_the_skill_of_their_first_word(tmp_path: Path) -> None:
    put_json(tmp_path / "alpaca_data.json", rows())
    made = stream(tmp_path)
    words = [
        {e.prompt.split()[0] for e in (*task.train, *task.validation, *test.examples)}
        for task, test in zip(made.tasks, made.tests, strict=True)
    ]
    assert words == [{"Compose", "write"}, {"Name", "give", "LIST"}]
    assert [len(test.examples) for test in made.tests] == [2, 3]  # a quarter of 8 and of 12
    assert "4 instructions of no skill not used" in made.provenance.note
    assert made.tasks[0].train[0].prompt.endswith(".|")


def test_faults_have_their_line_and_may_be_skipped(tmp_path: Path) -> None:
    faulty = [{"instruction": "Give.", "input": 3, "output": "x"}, {"instruction": "Give.", "output": " "}, *rows()]
    put_json(tmp_path / "alpaca_data.json", faulty)
    assert [(p.line, p.message) for p in LAYOUT.read(tmp_path)[1]] == [
        (2, "[0]: 'input' must be a string, not a number"),
        (7, "[1]: 'output' is empty"),
    ]
    assert "2 faulty rows skipped" in stream(tmp_path, on_bad_row="skip").provenance.note
    assert LAYOUT.read(tmp_path / "none")[1][0].message == "holds no alpaca_data.json"


@pytest.mark.parametrize("skills", [{"a": ["go"], "b": ["go"]}, {"a": ["Go"]}, {"a": ["b"], "b": ["c"]}])
def test_a_word_of_two_skills_is_refused(tmp_path: Path, skills: dict[str, list[str]]) -> None:
    with pytest.raises(UserError, match=r"lower case and belong to one skill only"):
        stream(tmp_path, skills=skills)


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(tmp_path, source="generated")
    assert [task.name for task in made.tasks] == ["write", "list"] and made.provenance.source == "generated"
    assert made.tasks[0].train[0].prompt.startswith("Write: ")


def test_the_real_files(real_data: Path) -> None:
    folder = real_data.parent / "instruction_tuning/alpaca"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    made = stream(folder, on_bad_row="skip")
    assert "1 faulty row skipped" in made.provenance.note
    assert all(len(task.train) > 30 and test.examples for task, test in zip(made.tasks, made.tests, strict=True))

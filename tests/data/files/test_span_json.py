"""Span json: characters or tokens, objects or triples; every fault is told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.spans import Entity
from cmt_cli.data.files.conll import Sentence
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.span_json import read_spans
from tests.data.written_files import put_jsonl


def read(tmp_path: Path, *rows: dict[str, Any]) -> tuple[list[Sentence], list[tuple[int | None, str]]]:
    problems: list[Problem] = []
    sentences = read_spans(put_jsonl(tmp_path / "train.jsonl", rows), problems)
    return sentences, [(problem.line, problem.message) for problem in problems]


def test_character_and_token_spans_give_the_same_sentence(tmp_path: Path) -> None:
    text = "Ada  Moor sang in Kelham ."
    by_characters = {"text": text, "entities": [[18, 24, "city"], {"start": 0, "end": 9, "type": "person"}]}
    by_tokens = {"tokens": text.split(), "entities": [{"start": 0, "end": 2, "label": "person"}, [4, 5, "city"]]}
    sentences, problems = read(tmp_path, by_characters, by_tokens)
    assert problems == []
    for line, sentence in enumerate(sentences, start=1):
        entities = (Entity("person", "Ada Moor"), Entity("city", "Kelham"))
        assert sentence == Sentence(("Ada", "Moor", "sang", "in", "Kelham", "."), entities, line)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"entities": []}, "the key 'text' is missing"),
        ({"text": " ", "entities": []}, "'text' is empty"),
        ({"tokens": ["a", 1], "entities": []}, "'tokens' must be a list of strings"),
        ({"text": "a"}, "'entities' must be a list, not null"),
        ({"text": "a", "entities": [[0, 1]]}, "entities[0] must be {start, end, type}"),
        ({"text": "a", "entities": [["0", 1, "x"]]}, "entities[0] must be {start, end, type}"),
        ({"text": "a", "entities": [[0, 1, ""]]}, "entities[0] has no type"),
        ({"text": "a", "entities": [[0, 2, "x"]]}, "entities[0] from 0 to 2 holds nothing of 1 place"),
        ({"text": "a b", "entities": [[1, 2, "x"]]}, "entities[0] from 1 to 2 holds nothing"),
    ],
)
def test_a_fault_has_its_line_and_costs_one_sentence(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    good = {"text": "b", "entities": []}
    sentences, problems = read(tmp_path, good, row, good)
    assert [sentence.line for sentence in sentences] == [1, 3]
    assert [line for line, _ in problems] == [2]
    assert message in problems[0][1]

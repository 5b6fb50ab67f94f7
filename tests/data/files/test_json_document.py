"""Json files read whole: the line of an object is known when a problem needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_cli.data.files.json_document import JsonRecord, container_lines, read_json, spelled
from cmt_cli.data.files.problems import Problem


def test_a_record_reports_its_path_and_first_line(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"data": [\n  {"text": "a\\n[b"},\n  {"text":\n   "c"}\n]}\n')
    problems: list[Problem] = []
    document = read_json(path, problems)
    assert document is not None
    record = JsonRecord(document, ("data", 1), document.value["data"][1])
    assert str(record.problem("is odd")) == f"{path}:3: data[1]: is odd"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ('{"a": 1,\n "b" 2}', 2, "is not valid json (Expecting ':' delimiter at column 6)"),
        ("", 1, "is empty"),
        ("[" * 100_000, None, "nested too deeply"),
        (b'{"a":\n "\xff"}', 2, "is not UTF-8"),
    ],
)
def test_each_fault_of_a_json_file_is_named_once(
    tmp_path: Path, content: str | bytes, line: int | None, words: str
) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems: list[Problem] = []
    read_json(path, problems)
    assert [problem.line for problem in problems] == [line]
    assert words in problems[0].message


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=json_values, indent=st.sampled_from([None, 0, 1, 3]))
def test_every_container_is_found_on_its_first_line(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    lines = text.split("\n")
    found = container_lines(text)
    assert len(found) == text_containers(value)
    for keys, line in found.items():
        inner = value
        for key in keys:
            inner = inner[key]
        assert ("{" if isinstance(inner, dict) else "[") in lines[line - 1]


def text_containers(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(text_containers(inner) for inner in value.values())
    return 1 + sum(text_containers(inner) for inner in value) if isinstance(value, list) else 0


def test_a_path_is_spelled_as_one_writes_it() -> None:
    assert spelled(("data", 3, "paragraphs", 0)) == "data[3].paragraphs[0]"

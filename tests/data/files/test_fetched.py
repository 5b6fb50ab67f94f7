"""The record beside fetched files: added to, read in its older form, and worth nothing where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.data.files.fetched import FILE, Fetched, fetched_into, note_fetched


def test_records_add_up(tmp_path: Path) -> None:
    note_fetched(tmp_path, {"a.csv": "1"}, {"org/set": "c0"})
    note_fetched(tmp_path, {"b/c.csv": "2"}, {})
    assert fetched_into(tmp_path) == Fetched({"a.csv": "1", "b/c.csv": "2"}, {"org/set": "c0"})


def test_commits_are_told_of_fetched_files_only(tmp_path: Path) -> None:
    note_fetched(tmp_path, {"a.csv": "1", "b.csv": "2"}, {"org/set": "c0", "org/other": "c1"})
    assert fetched_into(tmp_path).commits({"1"}) == "org/other at c1, org/set at c0"
    assert fetched_into(tmp_path).commits({"1", "3"}) == fetched_into(tmp_path).commits(set()) == ""


def test_a_record_of_files_alone_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"train-v1.1.json": "1"}')
    assert fetched_into(tmp_path) == Fetched({"train-v1.1.json": "1"}, {})


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": 3, "datasets": [1]}', "\xff"])
def test_a_damaged_record_is_an_empty_one(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content, encoding="latin-1")
    assert fetched_into(tmp_path) == Fetched({}, {})

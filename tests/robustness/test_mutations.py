"""Damaged files are refused, read as before, or read as what they are; the large campaign draws more of the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cmt_cli.config import catalog
from tests.robustness.mutations import KINDS, Reader, mutations, outcome, readers

PER_READER = 5
SEED = 20240
FILES = {"a.csv": b"text,label\none,x\ntwo,y\n", "b.json": b'[{"a": 1}, {"a": 2}]\n'}


def test_mutations_are_drawn_from_their_seed() -> None:
    number = 3 * len(KINDS)
    drawn = list(mutations(FILES, number, 1))
    assert drawn == list(mutations(FILES, number, 1)) != list(mutations(FILES, number, 2))
    assert {name for name, _ in drawn} == set(FILES) and len(drawn) == number
    assert sum(content != FILES[name] for name, content in drawn) > 0.9 * number


def test_every_stream_with_files_has_a_reader() -> None:
    names = {option.name for option in catalog.options("data", [catalog.conf_dir()])}
    assert {name for name in names if not name.startswith("world_")} <= {reader.name for reader in readers()}


def test_damage_is_refused_or_told(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for number, reader in enumerate(readers()):
        for name, content in mutations(reader.files, PER_READER, SEED + number):
            found[outcome(reader, tmp_path / "files", name, content)] += 1
    assert found["refused"] > found["same"] + found["changed"] > 0
    assert found.total() == PER_READER * len(readers())


def test_whole_files_are_read_as_the_same(tmp_path: Path) -> None:
    for reader in readers():
        name, content = next(iter(reader.files.items()))
        assert outcome(reader, tmp_path / "files", name, content) == "same", reader.name


def test_an_error_of_another_kind_is_no_outcome(tmp_path: Path) -> None:
    def raise_key_error(_: Path) -> object:
        raise KeyError("damaged")

    reader = readers()[0]
    broken = Reader(reader.name, reader.files, raise_key_error)  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        outcome(broken, tmp_path / "files", "x", b"")

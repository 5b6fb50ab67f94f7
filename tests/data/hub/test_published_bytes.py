"""Rows that hold what the authors' files hold become those files again, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cmt_cli.data.entities import crossner, wnut_mit
from cmt_cli.data.files.published import PUBLISHED
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.hub.hub_files import Tables
from cmt_cli.data.translation import tatoeba


class RealTables:
    """The rows of real files by table."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        self._rows = rows

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        return iter(self._rows.get(name, []))


def sentences(file: Path) -> list[dict[str, Any]]:
    """Return the sentences of a file of tokens and tags."""
    blocks = file.read_text(encoding="utf-8").strip("\n").split("\n\n")
    lines = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    return [{"tokens": [line[0] for line in block], "ner_tags": [line[1] for line in block]} for block in lines]


def folder_of(real_data: Path, name: str) -> Path:
    folder = real_data.parent / name
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    return folder


def test_tatoeba_is_the_published_one(real_data: Path, tmp_path: Path) -> None:
    folder = folder_of(real_data, "machine_translation/tatoeba/v1")
    rows = {}
    for pair in tatoeba.PAIRS:
        one, two = (
            (folder / f"tatoeba.{pair}.{language}").read_bytes().decode().split("\n")[:-1]
            for language in pair.split("-")
        )
        rows[pair] = [{"sentence1": a, "sentence2": b} for a, b in zip(one, two, strict=True)]
    tatoeba.HUB.sources[0].write(tmp_path, cast(Tables, RealTables(rows)))
    assert {sha256_of(file) for file in tmp_path.iterdir()} == PUBLISHED["tatoeba"]


def test_crossner_is_the_published_one(real_data: Path, tmp_path: Path) -> None:
    folder = folder_of(real_data, "ner/crossner/ner_data")
    stems = {"train": "train", "validation": "dev", "test": "test"}
    domains = ("music", "politics", "science")
    rows = {f"{d} {split}": sentences(folder / d / f"{stem}.txt") for d in domains for split, stem in stems.items()}
    crossner.HUB.sources[0].write(tmp_path, cast(Tables, RealTables(rows)))
    written = {sha256_of(file) for domain in domains for file in (tmp_path / "ner_data" / domain).iterdir()}
    assert written == PUBLISHED["crossner"]


def test_wnut17_is_the_real_one(real_data: Path, tmp_path: Path) -> None:
    folder = folder_of(real_data, "ner/wnut17").parent
    files = wnut_mit.DOMAINS["wnut17"].files
    rows = {split: sentences(folder / file) for split, file in files.items()}
    wnut_mit.HUB.sources[0].write(tmp_path, cast(Tables, RealTables(rows)))
    assert [(tmp_path / file).read_bytes() == (folder / file).read_bytes() for file in files.values()] == [True] * 3

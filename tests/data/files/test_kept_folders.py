"""A folder of the cache is used again while it holds what was written; otherwise it is made anew with a warning."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.data.files import generated
from cmt_cli.data.files.archives import unpacked
from cmt_cli.data.hub import library as hub
from tests.data.files.test_archives import put_zip

TEXT = "question,answer\nWho?,Ada\n"


def written(cache: Path) -> Path:
    return generated.written("toy", {"seed": 0}, cache, lambda folder: put(folder / "train.csv"))


def put(file: Path) -> None:
    file.write_text(TEXT)


def put_pipe(folder: Path) -> None:
    (folder / "train.csv").unlink()
    os.mkfifo(folder / "train.csv")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "train.csv").write_text(TEXT.replace("Ada", "Adb")),
        lambda folder: (folder / "train.csv").write_text(""),
        lambda folder: (folder / "train.csv").unlink(),
        lambda folder: (folder / "dev.csv").write_text(TEXT),
        lambda folder: (folder / "GENERATED").write_text("{}"),
        put_pipe,
        lambda folder: next((folder.parents[1] / "seals").rglob("*.json")).write_text("{}"),
        lambda folder: folder.rename(folder.with_name("away")) and folder.write_text("a file"),
    ],
)
def test_damaged_generated_data_are_made_anew(damage: Callable[[Path], object], tmp_path: Path) -> None:
    folder = written(tmp_path)
    damage(folder)
    with pytest.warns(CmtWarning, match="is damaged and made anew"):
        assert written(tmp_path) == folder
    assert (folder / "train.csv").read_text() == TEXT and not (folder / "dev.csv").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert written(tmp_path) == folder


def test_folders_that_were_never_sealed_are_silently_remade(tmp_path: Path) -> None:
    folder = written(tmp_path)
    next((tmp_path / "seals").rglob("*.json")).unlink()
    (folder / "train.csv").write_text("cut of")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (written(tmp_path) / "train.csv").read_text() == TEXT


def test_a_damaged_unpacked_archive_is_unpacked_anew(tmp_path: Path) -> None:
    archive = put_zip(tmp_path / "a.zip", {"f.csv": "1", "g.csv": "2"})
    folder = unpacked(archive, tmp_path / "cache", [])
    (folder / "g.csv").write_text("3")
    with pytest.warns(CmtWarning, match="is damaged and made anew"):
        assert unpacked(archive, tmp_path / "cache", []) == folder
    assert (folder / "g.csv").read_text() == "2"


def test_a_damaged_copy_of_hub_data_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "load_splits", lambda *args, **kwargs: {"test": [{"text": "good"}]})
    monkeypatch.setattr(hub, "_plain_rows", iter)
    folder = hub.stored("org/set", "0" * 40, None, tmp_path)
    (folder / "test.jsonl").write_text('{"text": "goof"}\n')
    with pytest.warns(CmtWarning, match="is damaged and made anew"):
        hub.stored("org/set", "0" * 40, None, tmp_path)
    assert json.loads((folder / "test.jsonl").read_text()) == {"text": "good"}

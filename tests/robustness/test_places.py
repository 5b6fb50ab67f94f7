"""A run that is loaded from a folder writes there and in the user's cache, wherever its config.yaml says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.regular_files import refuse_special
from cmt_cli.running import job
from tests.command_line import cmt
from tests.robustness.folders import edited, finished, unfinished

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_places_of_a_foreign_configuration_are_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "elsewhere"

    def lead_away(config: dict[str, Any]) -> None:
        config["paths"] = {name: str(other / name) for name in config["paths"]}
        config["data"]["cache"] = str(other / "cache")
        config["logger"] = {
            "_target_": "cmt_cli.running.loggers.JsonLines",
            "path": str(other / "log" / "events.jsonl"),
        }

    folder = edited(unfinished(finished()), lead_away)
    capsys.readouterr()
    assert cmt("resume", str(folder)) == 0
    told = " ".join(capsys.readouterr().err.split())
    for key in ("paths.runs", "paths.cache", "data.cache", "logger.path"):
        assert f"{key}={other}" in told
    assert not other.exists()
    assert (folder.parent / "events.jsonl").is_file()
    assert cmt("ask", str(folder), "Who?") == 0
    assert not other.exists()


def test_ones_own_run_is_loaded_without_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished("method=bm25", "logger=jsonl")
    capsys.readouterr()
    loaded = job.load(folder, ())
    assert capsys.readouterr().err == ""
    assert loaded.config["logger"] == {"_target_": "cmt_cli.running.loggers.JsonLines", "path": "runs/events.jsonl"}


def test_another_place_changes_no_hash(tmp_path: Path) -> None:
    folder = finished()
    before = job.load(folder, ()).identity
    moved = tmp_path / "sent" / folder.name
    moved.parent.mkdir()
    folder.rename(moved)
    loaded = job.load(moved, ())
    assert loaded.identity == before
    assert loaded.baseline("joint").folder(loaded.stream()).parent == moved.parent


def test_data_are_read_from_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "inner" / "train.csv").write_text("a")
    refuse_special(tmp_path / "data")
    os.mkfifo(tmp_path / "data" / "inner" / "test.csv")
    with pytest.raises(UserError, match="regular files only"):
        refuse_special(tmp_path / "data")


def test_folders_behind_links_are_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(tmp_path / "data")
    refuse_special(tmp_path / "data")
    os.mkfifo(tmp_path / "other" / "test.csv")
    with pytest.raises(UserError, match="regular files only"):
        refuse_special(tmp_path / "data")


def test_a_link_to_a_device_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").symlink_to("/dev/null")
    with pytest.raises(UserError, match="regular files only"):
        refuse_special(tmp_path)

"""A file outside that a run folder holds a hard link to is not changed by any command."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import SMALL, cmt
from tests.robustness.folders import made_in, unfinished

RUN = ("method=bm25",)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with made_in(tmp_path_factory.mktemp("original"), *RUN) as folder:
        yield folder


@pytest.fixture
def run(original: Path, empty_folder: Path) -> Path:
    return shutil.copytree(original, empty_folder / "runs" / original.name)


def linked(run: Path, outside: Path) -> dict[Path, bytes]:
    """Give every file of a run but its lock a second name outside, as `cp -l` does; return what they hold."""
    files = [file for file in run.rglob("*") if file.is_file() and file.name != ".lock"]
    outside.mkdir()
    for number, file in enumerate(files):
        (outside / str(number)).hardlink_to(file)
    return {file: file.read_bytes() for file in outside.iterdir()}


@pytest.mark.parametrize("command", ["resume", "run", "ask", "metrics"])
def test_files_of_a_backup_by_links_stay(command: str, run: Path, tmp_path: Path) -> None:
    with (run / "events.jsonl").open("a") as events:
        events.write("torn")
    if command in ("resume", "run"):
        unfinished(run)
        shutil.rmtree(run / "checkpoint" / "state" / "1", ignore_errors=True)
    before = linked(run, tmp_path / "backup")
    words = {
        "resume": ("resume", str(run)),
        "run": ("run", *SMALL, *RUN),
        "ask": ("ask", str(run), "Who?"),
        "metrics": ("metrics", str(run), "--add", "chrf"),
    }
    assert cmt(*words[command]) == 0
    assert {file: file.read_bytes() for file in before} == before


def test_a_lock_that_is_a_hard_link_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("content")
    (run / ".lock").unlink()
    (run / ".lock").hardlink_to(tmp_path / "precious")
    for words in (("ask", str(run), "Who?"), ("resume", str(unfinished(run)))):
        assert cmt(*words) == 2
        assert ".lock' is a hard link" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "content"

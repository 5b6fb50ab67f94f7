"""A run that may only be read answers, and nothing is left of the copy that it answers from."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from pathlib import Path

import pytest

import cmt_cli
from cmt_cli.running.lock import RunLock
from tests.command_line import cmt
from tests.robustness.folders import finished

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no lock be taken, as on a disk that can only be read; root may write whatever the permissions say."""

    def acquire(lock: RunLock) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "runs/.lock")

    monkeypatch.setattr(RunLock, "acquire", acquire)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("method", ["bm25", "cmt"])
def test_a_question_needs_no_write(method: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = finished(f"method={method}")
    expected = cmt_cli.load(folder).ask("Who?")
    before = contents(folder)
    request.getfixturevalue("read_only")
    run = cmt_cli.load(folder)
    assert run.ask("Who?") == expected and run.ask("Who?") == expected
    assert contents(folder) == before
    assert list((tmp_path / "temporary").iterdir())
    del run
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_what_writes_still_says_so(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished("method=bm25")
    request.getfixturevalue("read_only")
    assert cmt("metrics", str(folder), "--add", "chrf") == 2
    assert "the disk can only be read" in capsys.readouterr().err

"""What the system refuses is one paragraph with exit code 2: what, where, what to do; a mistake of ours is not."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import from_library, told, writing
from cmt_cli.running import job_run
from cmt_cli.sweeps.folder import Plan, SweepFolder
from tests.command_line import SMALL, cmt


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "full", "/runs/a"), ("'/runs/a'", "no space left", "Make room")),
        (OSError(errno.EROFS, "ro", "/runs/a"), ("can only be read", "paths.runs=FOLDER")),
        (PermissionError(errno.EACCES, "no", "/runs/a"), ("may not read or write", "CMT_CACHE=FOLDER")),
        (OSError(errno.EMFILE, "many", "/runs/a"), ("too many open files", "ulimit -n")),
        (IsADirectoryError(errno.EISDIR, "is", "/runs/a"), ("a folder is where a file should be",)),
        (NotADirectoryError(errno.ENOTDIR, "no", "/runs/a"), ("a file is where a folder should be",)),
        (MemoryError(), ("Memory ran out", "trainer.task.batch_size")),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ("Memory ran out",)),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ("Memory ran out", "can't allocate")),
        (ImportError("libx.so: failed to map segment from shared object"), ("Memory ran out",)),
        (RuntimeError("can't start new thread"), ("Memory ran out",)),
        (RuntimeError("Could not determine home directory."), ("no home folder", "Set HOME", "CMT_CACHE=FOLDER")),
    ],
)
def test_a_refusal_says_what_where_and_what_to_do(error: BaseException, words: tuple[str, ...]) -> None:
    text = told(error)
    assert text is not None and all(word in text for word in words) and "\n" not in text


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), OSError("no number"), KeyError("x"), ImportError("y")]
)
def test_other_errors_stay_errors_of_ours(error: BaseException) -> None:
    assert told(error) is None


def test_a_write_without_a_name_gets_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="state") as refused, writing(tmp_path / "state"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert refused.value.filename == str(tmp_path / "state")
    found = from_library(ValueError("I/O error: File too large (os error 27)"), tmp_path / "state")
    assert isinstance(found, OSError) and found.errno == errno.EFBIG
    assert isinstance(from_library(ValueError("header too small"), tmp_path), ValueError)


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError(), 2), (OSError(errno.EDQUOT, "x", "/a"), 2), (RuntimeError("ours"), None)]
)
def test_the_command_line_tells_them_apart(
    error: BaseException,
    code: int | None,
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(job_run, "run", fail)
    if code is None:
        with pytest.raises(RuntimeError, match="ours"):
            from cmt_cli.commands import app

            app.main(("run", *SMALL, "method=bm25"))
        return
    assert cmt("run", *SMALL, "method=bm25") == code
    message = capsys.readouterr().err
    assert message.startswith("Error: ") and "Traceback" not in message


def test_a_file_where_a_folder_should_be_is_named(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_folder / "cache").write_text("")
    assert cmt("run", *SMALL, "method=bm25") == 2
    assert f"'{os.fspath(empty_folder / 'cache')}" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "null", '{"jobs": 3}', "\x00"])
def test_a_damaged_sweep_is_told(empty_folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty_folder / "sweep"
    sweep = SweepFolder(folder)
    sweep.create(Plan(("seed=0",), (), "basic", "basic", (("seed=0",),), str(empty_folder), None, 0.0))
    sweep.hand_out(("seed=0",))
    assert cmt("sweep", "status", str(folder)) == 0
    record = sweep.record_path(("seed=0",))
    kept = record.read_text()
    record.write_text(content)
    assert cmt("sweep", "status", str(folder)) == 2
    assert f"'{record}' cannot be read" in capsys.readouterr().err
    record.write_text(kept)
    assert json.loads((folder / "sweep.json").read_text())["jobs"] == [["seed=0"]]
    (folder / "sweep.json").write_text(content)
    assert cmt("sweep", "status", str(folder)) == 2
    assert "sweep.json' cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "3", '{"best_value": "x", "best_params": {}, "metric": "aa"}', "\x00"])
def test_a_damaged_study_is_told(empty_folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty_folder / "sweep"
    SweepFolder(folder).create(Plan((), (), "basic", "optuna", (("seed=0",),), str(empty_folder), None, 0.0))
    (folder / "study.json").write_text(content)
    assert cmt("sweep", "status", str(folder)) == 2
    assert "study.json' cannot be read" in capsys.readouterr().err


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a user whom neither HOME nor the system gives a home, as in a container with an id of its own."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])


@pytest.mark.usefixtures("no_home")
def test_a_user_without_a_home_is_told(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = os.environ["CMT_CACHE"]
    monkeypatch.delenv("CMT_CACHE")
    for words in (
        ("run", *SMALL, "method=bm25"),
        ("run", *SMALL, "method=bm25", "--dry-run"),
        ("data", "check", "squad"),
    ):
        assert cmt(*words) == 2
        assert "no home folder" in capsys.readouterr().err
    assert cmt("doctor") in (0, 1)
    monkeypatch.setenv("CMT_CACHE", cache)
    assert cmt("run", *SMALL, "method=bm25") == 0

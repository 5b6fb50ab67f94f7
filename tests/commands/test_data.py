"""`cmt data` looks at a stream's files with the reader that a run uses; `cmt doctor` says what is here."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.command_line import cmt

pytestmark = pytest.mark.usefixtures("empty_folder")


def write_stream(folder: Path, question: str) -> None:
    folder.mkdir()
    for name in ("train", "val", "test"):
        rows = f'"{name}: Ann lives in Bern.",{question},Bern\n"{name}: Bob lives in Rome.",Where is Bob?,Rome\n'
        (folder / f"{name}.csv").write_text("text,question,answers\n" + rows)


def test_check_counts_what_is_in_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    write_stream(Path("news"), "Where is Ann?")
    assert cmt("data", "check", "streamingqa", "--path", "news", "data.num_tasks=2") == 0
    out = capsys.readouterr().out
    assert "no problems" in out and "2 documents, 2 test questions, 2 meta-training episodes" in out
    assert "sha256" in out and "test.csv" in out


def test_check_reads_what_a_run_with_these_overrides_would(capsys: pytest.CaptureFixture[str]) -> None:
    write_stream(Path("news"), "Where is Ann?")
    assert cmt("data", "check", "streamingqa", "data.path=news", "data.num_tasks=1", "seed=3") == 0
    assert "streamingqa at news: no problems." in capsys.readouterr().out
    assert cmt("data", "check", "streamingqa", "data.path=news", "data.num_tasks=3") == 2
    assert "num_tasks=3 does not fit 2 documents" in capsys.readouterr().err
    assert cmt("data", "check", "streamingqa", "data.pth=news") == 2
    assert "Did you mean 'path'?" in capsys.readouterr().err


def test_one_problem_is_one_problem(capsys: pytest.CaptureFixture[str]) -> None:
    write_stream(Path("news"), "Where is Ann?")
    with Path("news/test.csv").open("a") as file:
        file.write("A text.,,Bern\n")
    assert cmt("data", "check", "streamingqa", "--path", "news", "data.num_tasks=1") == 2
    assert "Error: 1 problem in the files of streamingqa at news." in capsys.readouterr().err


def test_check_reports_all_problems_with_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_stream(Path("news"), "")
    assert cmt("data", "check", "streamingqa", "--path", "news") == 2
    shown = capsys.readouterr()
    assert all(f"news/{name}.csv:2: " in shown.out for name in ("train", "val", "test"))
    assert "3 problems in the files of streamingqa" in shown.err


def test_check_of_absent_files_says_how_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("data", "check", "streamingqa") == 2
    assert "Either put train.csv" in capsys.readouterr().err


def test_prepare_says_how_to_get_what_cannot_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("data", "prepare", "streamingqa") == 2
    assert "cannot be fetched from here. Either put train.csv" in capsys.readouterr().err


def test_an_unknown_stream_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("data", "check", "squat") == 2
    assert "Did you mean 'squad'?" in capsys.readouterr().err


def test_doctor_uses_no_network_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("the network was used"))
    monkeypatch.setenv("WANDB_API_KEY", "a-secret")
    monkeypatch.setenv("HF_HOME", str(Path.cwd() / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    write_stream(Path("data"), "Where?")
    Path("data").rename("streamingqa")
    Path("data").mkdir()
    Path("streamingqa").rename("data/streamingqa")
    assert cmt("doctor") == 0
    out = capsys.readouterr().out
    assert "a-secret" not in out and "logged in: runs go online" in out
    assert "gated models like Llama 2 need" in out
    assert "found at data/streamingqa" in out and "missing. " in out
    assert "cpu" in out and "torch" in out

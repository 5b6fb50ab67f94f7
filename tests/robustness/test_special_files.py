"""Pipes, sockets and devices are refused wherever a file is read; nothing waits for them."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmt_cli.analysis.run_index import INDEX_NAME
from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.archives import is_archive
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import read_lines, sha256_of
from cmt_cli.data.files.regular_files import SpecialFileError, open_regular
from cmt_cli.models.model_files import local_folder
from tests.command_line import cmt
from tests.models.checkpoints import save_checkpoint
from tests.reporting.runs import write_run
from tests.robustness.deadline import within_seconds


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have few characters
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


Make = Callable[[Path], None]
SPECIAL: list[Make] = [pipe, link_to_device, socket_at]


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    with within_seconds(20):
        yield


@pytest.mark.parametrize("make", [*SPECIAL, Path.mkdir])
def test_nothing_but_a_regular_file_is_opened(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "file.csv")
    with pytest.raises(SpecialFileError, match=r"file\.csv' is .*, and regular files only are read"):
        open_regular(tmp_path / "file.csv")
    problems: list[Problem] = []
    assert list(read_lines(tmp_path / "file.csv", problems)) == []
    assert "regular files only" in problems[0].message and problems[0].ends_file
    assert not is_archive(tmp_path / "file.csv")
    with pytest.raises(SpecialFileError):
        sha256_of(tmp_path / "file.csv")


def test_the_error_can_be_sent_to_another_process(tmp_path: Path) -> None:
    error = SpecialFileError(tmp_path, tmp_path.stat().st_mode)
    sent = pickle.loads(pickle.dumps(error))
    assert isinstance(sent, UserError) and str(sent) == str(error)


@pytest.mark.parametrize("make", SPECIAL)
@pytest.mark.parametrize("name", ["documents", "fewrel_10x8", "semeval2010", "tatoeba", "labelled", "superni_o1"])
def test_streams_refuse_what_is_no_file(
    name: str, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    make(tmp_path / "data" / "deep" / "task1.json")
    for path in (tmp_path / "data", tmp_path / "data" / "deep" / "task1.json"):
        assert cmt("data", "check", name, "--path", str(path)) == 2
        assert "a pipe, a socket or a device" in capsys.readouterr().err


@pytest.mark.parametrize("make", SPECIAL)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json"])
def test_models_refuse_what_is_no_file(name: str, make: Make, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", "llama")
    (tmp_path / "model" / name).unlink(missing_ok=True)
    make(tmp_path / "model" / name)
    with pytest.raises(UserError, match=f"{name}' is a pipe, a socket or a device"):
        local_folder(str(tmp_path / "model"), "main")


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid", b"<!DOCTYPE html>\n<html>"])
def test_pointers_and_pages_are_no_weights(content: bytes, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", "llama")
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors' is a (Git LFS pointer|web page)"):
        local_folder(str(tmp_path / "model"), "main")


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("name", ["result.json", "config.yaml", "predictions/row_000.jsonl", "scores.csv"])
def test_commands_do_not_wait_for_pipes_in_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(Path("runs") / "toy", "toy")
    (folder / name).unlink(missing_ok=True)
    pipe(folder / name)
    codes = {command: cmt(command, str(folder)) for command in ("show", "runs", "compare", "report", "resume", "ask")}
    told = capsys.readouterr().err
    assert set(codes.values()) <= {0, 2}, codes
    assert "regular files only" in told


@pytest.mark.usefixtures("empty_folder")
def test_a_pipe_as_index_of_runs_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs") / "toy", "toy")
    pipe(Path("runs") / INDEX_NAME)
    assert cmt("runs") == 0
    assert capsys.readouterr().out.endswith("1 run\n") and (Path("runs") / INDEX_NAME).is_file()


@pytest.mark.usefixtures("empty_folder")
def test_configurations_are_read_from_regular_files(capsys: pytest.CaptureFixture[str]) -> None:
    Path("conf/data").mkdir(parents=True)
    pipe(Path("conf/data/mine.yaml"))
    for command in (("list", "data"), ("run", "data=mine"), ("data", "check", "mine")):
        assert cmt(*command, "--config-dir", "conf") == 2
        assert "conf/data/mine.yaml' is a pipe" in capsys.readouterr().err
    pipe(Path("parameters.yaml"))
    assert cmt("wandb", "sweep", "parameters.yaml") == 2
    assert "parameters.yaml' is a pipe" in capsys.readouterr().err
    shutil.rmtree("conf")

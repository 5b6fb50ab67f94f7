"""Offline runs are uploaded whole, once, as the run they are; what cannot be uploaded is named and stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wandb

from cmt_cli.core.exceptions import UserError
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.tracking.connection import server
from cmt_cli.tracking.logger import WandbLogger
from cmt_cli.tracking.parts import note_unsent
from cmt_cli.tracking.sync import find_unsent, sync
from tests.reporting.runs import write_run
from tests.running.toy import ToyTrainer, run_toy
from tests.tracking.wandb_server import Received, logged_in


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Received]:
    with logged_in(monkeypatch, tmp_path) as received:
        yield received
        wandb.teardown()


def logger(mode: str) -> WandbLogger:
    return WandbLogger(
        project="cmt", entity=None, mode=mode, log_artifacts=False, connect_seconds=5.0, finish_seconds=10.0
    )


def stop_in_task_2(folder: Path) -> ToyTrainer:
    def stop(step: int) -> None:
        if step == 3 and (folder / "predictions" / "row_001.jsonl").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    return ToyTrainer(on_step=stop)


def waiting(folder: Path) -> None:
    part = folder / "wandb" / "offline-run-1-a"
    part.mkdir(parents=True)
    (part / "run-a.wandb").touch()


def rows(received: Received, run: str) -> list[int]:
    return [row["task_index"] for row in received.history[run] if "task_index" in row]


def test_a_continued_run_is_uploaded_as_one(tmp_path: Path, account: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drift"
    with pytest.raises(StoppedBySignal):
        run_toy(folder, loggers=[logger("offline")], trainer=stop_in_task_2(folder))
    time.sleep(1.1)  # the client names its folder by the second
    run_toy(folder, loggers=[logger("offline")])
    wandb.teardown()
    (found,) = find_unsent([tmp_path])
    assert len(found.parts) == 2 and not found.is_running
    monkeypatch.chdir(tmp_path)
    account.is_broken = True
    (left,) = sync([found], address=account.address, run_seconds=3)
    assert left.folder == folder and left.reason and not account.history
    account.is_broken = False
    said: list[str] = []
    again = find_unsent([tmp_path])
    assert sync(again, address=account.address, run_seconds=60, progress=lambda text, *_: said.append(text)) == []
    assert said == ["uploading drift"]
    name = (folder / "wandb" / "run_id.txt").read_text().strip()
    assert list(account.history) == [name] and rows(account, name) == [0, 1, 2, 3]
    assert account.runs[name]["groupName"] == "drift-toy-toy" and account.runs[name]["displayName"] == "drift"
    assert account.summaries[name]["status"] == "complete"
    assert find_unsent([tmp_path]) == []
    assert [path.name for path in tmp_path.iterdir()] == ["drift"]  # nothing is written beside the run


def test_a_continued_online_run_stays_the_same_run(tmp_path: Path, account: Received) -> None:
    with pytest.raises(StoppedBySignal):
        run_toy(tmp_path / "drift", loggers=[logger("auto")], trainer=stop_in_task_2(tmp_path / "drift"))
    run_toy(tmp_path / "drift", loggers=[logger("auto")])
    name = (tmp_path / "drift" / "wandb" / "run_id.txt").read_text().strip()
    assert set(account.history) == {name} and rows(account, name) == [0, 1, 2, 3]
    assert account.summaries[name]["status"] == "complete"
    assert find_unsent([tmp_path]) == []


def test_nothing_is_begun_without_login_or_server(
    tmp_path: Path, account: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(tmp_path / "run")
    found = find_unsent([tmp_path])
    with pytest.raises(UserError, match=r"does not answer within 10 s. 1 run waits"):
        sync(found, address="http://127.0.0.1:9", run_seconds=1)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match="not logged in"):
        sync(found, address=account.address, run_seconds=1)


def test_runs_that_are_being_written_are_left_alone(tmp_path: Path, account: Received) -> None:
    folder = write_run(tmp_path / "run", "ewc", status="running")
    waiting(folder)
    (folder / ".lock").touch()
    (found,) = find_unsent([folder])
    (left,) = sync([found], address=account.address, run_seconds=1)
    assert left.reason == "it is still running" and not account.queries


def test_what_an_online_run_could_not_send_waits_too(tmp_path: Path) -> None:
    part = tmp_path / "run" / "wandb" / "run-1-a"
    part.mkdir(parents=True)
    (part / "run-a.wandb").touch()
    assert find_unsent([tmp_path]) == []
    note_unsent(tmp_path / "run")
    assert [found.parts for found in find_unsent([tmp_path])] == [(part.resolve(),)]
    (part / "run-a.wandb.synced").touch()
    assert find_unsent([tmp_path]) == []


def test_the_server_is_the_one_of_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert server() == wandb.Settings().base_url
    (tmp_path / "settings").write_text("[default]\nbase_url = http://wandb.example:8080\n")
    assert server() == "http://wandb.example:8080"
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase_url = http://here.example\n")
    assert server() == "http://here.example"


def test_the_logger_asks_the_server_of_the_login(
    tmp_path: Path, account: Received, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    (tmp_path / "settings").write_text(f"[default]\nbase_url = {account.address}\n")
    place = account.address.removeprefix("http://")
    (tmp_path / "no-netrc").write_text(f"machine {place} login me password {'a' * 40}")
    run_toy(tmp_path / "drift", loggers=[logger("auto")])
    assert account.address in capsys.readouterr().err
    assert [rows(account, name) for name in account.history] == [[0, 1, 2, 3]]
    assert find_unsent([tmp_path]) == []


def test_a_run_folder_does_not_choose_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase_url = http://elsewhere.example\n")
    (tmp_path / "result.json").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is a run folder"):
        server()


def two_parts(folder: Path) -> list[Path]:
    with pytest.raises(StoppedBySignal):
        run_toy(folder, loggers=[logger("offline")], trainer=stop_in_task_2(folder))
    time.sleep(1.1)  # the client names its folder by the second
    run_toy(folder, loggers=[logger("offline")])
    wandb.teardown()
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_broken_part_costs_nothing(tmp_path: Path, account: Received) -> None:
    first, second = two_parts(tmp_path / "drift")
    first.write_bytes(first.read_bytes()[:7])
    second.write_bytes(second.read_bytes()[:-400])
    assert sync(find_unsent([tmp_path]), address=account.address, run_seconds=60) == []
    assert [rows(account, name) for name in account.history] == [[0, 1, 2, 3]]
    assert find_unsent([tmp_path]) == []


def test_the_next_start_marks_parts_without_content(tmp_path: Path) -> None:
    folder = tmp_path / "drift"
    empty = folder / "wandb" / "offline-run-20200101_000000-a" / "run-a.wandb"
    empty.parent.mkdir(parents=True)
    empty.write_bytes(b"7 bytes")
    assert [found.parts for found in find_unsent([folder])] == [(empty.parent,)]
    run_toy(folder, loggers=[logger("offline")])
    ((part,),) = [found.parts for found in find_unsent([folder])]
    assert part != empty.parent and empty.with_suffix(".wandb.synced").exists()


def test_a_damaged_event_is_named_and_the_rest_uploaded(tmp_path: Path, account: Received) -> None:
    folder = tmp_path / "drift"
    run_toy(folder, loggers=[logger("offline")])
    wandb.teardown()
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if '"event": "row"' in line)
    (folder / "events.jsonl").write_text("".join([*lines[:number], "{torn\n", *lines[number + 1 :]]))
    (left,) = sync(find_unsent([folder]), address=account.address, run_seconds=60)
    assert f"damaged in line {number + 1}" in left.reason
    assert [rows(account, name) for name in account.history] == [[1, 2, 3]]
    assert find_unsent([folder]) == []


def test_of_an_older_folder_the_readable_parts_are_uploaded(tmp_path: Path, account: Received) -> None:
    folder = tmp_path / "drift"
    first, second = two_parts(folder)
    (folder / "wandb" / "run.json").unlink()  # which older versions did not write
    first.write_bytes(b"no part of a run")
    header = folder / "wandb" / "offline-run-20200101_000000-a" / "run-a.wandb"
    header.parent.mkdir()
    header.write_bytes(second.read_bytes()[:7])
    (left,) = sync(find_unsent([folder]), address=account.address, run_seconds=60)
    assert first.parent.name in left.reason and "Remove a part's folder" in left.reason
    assert second.parent.name not in left.reason and header.parent.name not in left.reason
    assert [rows(account, name) for name in account.history] == [[2, 3]]
    assert [found.parts for found in find_unsent([folder])] == [(first.parent,)]


def test_a_cut_upload_goes_on_where_the_server_is(tmp_path: Path, account: Received) -> None:
    folder = tmp_path / "drift"
    run_toy(folder, loggers=[logger("offline")])
    wandb.teardown()
    sync(find_unsent([folder]), address=account.address, run_seconds=60)
    ((name, whole),) = account.history.items()
    for marked in folder.glob("wandb/*/*.synced"):
        marked.unlink()
    account.history[name] = whole[:10]
    assert sync(find_unsent([folder]), address=account.address, run_seconds=60) == []
    assert [row["_step"] for row in account.history[name]] == [row["_step"] for row in whole]


@pytest.mark.parametrize("damage", ["link", "pipe", "folder", "bytes"])
def test_an_unreadable_folder_leaves_the_others_alone(damage: str, tmp_path: Path, account: Received) -> None:
    run_toy(tmp_path / "whole", loggers=[logger("offline")])
    wandb.teardown()
    broken = write_run(tmp_path / "broken", "toy")
    waiting(broken)
    if damage == "link":
        (broken / "wandb" / "more").symlink_to(tmp_path)
    elif damage == "pipe":
        os.mkfifo(broken / "wandb" / "more")
    elif damage == "folder":
        (broken / "result.json").unlink()
        (broken / "result.json").mkdir()
    else:
        (broken / "wandb" / "unsent.txt").write_bytes(b"\xff\xfe")
        (broken / "result.json").write_bytes(b"\xff\xfe")
    left = sync(find_unsent([tmp_path]), address=account.address, run_seconds=60)
    assert [one.folder for one in left] in ([broken], [])
    assert [one.folder for one in left] == [broken] or damage == "bytes"
    name = (tmp_path / "whole" / "wandb" / "run_id.txt").read_text().strip()
    assert rows(account, name) == [0, 1, 2, 3]
    if damage in ("link", "pipe", "folder"):
        with pytest.raises((UserError, OSError)):
            find_unsent([broken])


def test_two_uploads_at_once_send_every_step_once(tmp_path: Path, account: Received) -> None:
    run_toy(tmp_path / "whole", loggers=[logger("offline")])
    wandb.teardown()
    found = find_unsent([tmp_path])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sync(found, address=account.address, run_seconds=60), range(2)))
    name = (tmp_path / "whole" / "wandb" / "run_id.txt").read_text().strip()
    assert list(account.history) == [name] and rows(account, name) == [0, 1, 2, 3]

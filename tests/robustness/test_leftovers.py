"""What processes that are gone have left behind is removed and blocks nobody; what live ones write is left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from pathlib import Path

import pytest

from cmt_cli.core.atomic import folder_beside, owner, remove_leftovers, temporary
from cmt_cli.running.lock import Claim, FolderInUseError, RunLock, read_holder
from tests.running.toy import toy_store

DEAD = 2**22  # above the largest number of a process
HERE = socket.gethostname()


def age(path: Path, seconds: float) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_only_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    names = {
        f".result.json.{DEAD}@{HERE}.tmp": False,
        f".result.json.{owner()}.tmp": True,
        ".result.json.7@elsewhere.tmp": True,  # written a moment ago, on a host that cannot be asked
        ".clock.7@elsewhere.1": True,
        f".clock.{DEAD}@{HERE}.1": False,
        f".lock.claim.{'0' * 16}": True,
        ".lock": True,
        "kept.tmp": True,
    }
    for name in names:
        (tmp_path / name).touch()
    old = (age_of := tmp_path / ".scores.csv.7@elsewhere.tmp")
    old.touch()
    age(age_of, 2 * 3600)
    for name, is_left in ((f".writing-{DEAD}@{HERE}-abcdefgh", True), (f".writing-{owner()}-abcdefgh", False)):
        (tmp_path / name / "files").mkdir(parents=True)
        (tmp_path / name / "files" / "part").touch()
        names[name] = not is_left
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(name for name, stays in names.items() if stays)


def test_a_folder_in_which_somebody_still_writes_is_live(tmp_path: Path) -> None:
    inner = tmp_path / ".writing-7@elsewhere-abcdefgh" / "files"
    inner.mkdir(parents=True)
    (inner / "part").touch()
    for path in (inner, inner.parent):
        age(path, 10**5)
    remove_leftovers(tmp_path)
    assert inner.exists()
    age(inner / "part", 10**5)
    remove_leftovers(tmp_path)
    assert not inner.parent.exists()


def test_the_next_run_in_a_folder_sweeps_it(tmp_path: Path) -> None:
    with toy_store(tmp_path) as store:
        store.save_state("before_stream", {"n": 1})
    left = [
        tmp_path / f".scores.csv.{DEAD}.tmp",  # of an older version, which named no host
        tmp_path / "predictions" / f".row_000.jsonl.{DEAD}@{HERE}.tmp",
        tmp_path / "checkpoint" / "state" / "1" / f".state.json.{DEAD}@{HERE}.tmp",
    ]
    for path in left:
        path.touch()
    with toy_store(tmp_path) as store:
        assert not any(path.exists() for path in left)
        assert store.load_state() is not None


def test_a_cache_is_swept_of_unfinished_folders(tmp_path: Path) -> None:
    killed = tmp_path / f".writing-{DEAD}@{HERE}-abcdefgh"
    killed.mkdir()
    with folder_beside(tmp_path / "kept") as inner:
        assert not killed.exists() and inner.is_dir()
        remove_leftovers(tmp_path)
        assert inner.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_name_tells_its_process(tmp_path: Path) -> None:
    assert temporary(tmp_path / "scores.csv").name == f".scores.csv.{os.getpid()}@{HERE}.tmp"


@pytest.mark.parametrize("content", ["", "{", "[1]", json.dumps({"pid": 7, "host": "elsewhere", "token": "theirs"})])
def test_a_claim_of_another_host_costs_two_seconds(tmp_path: Path, content: str) -> None:
    (tmp_path / ".lock.claim").write_text(content)
    began = time.monotonic()
    with RunLock(tmp_path):
        assert time.monotonic() - began < 2
        assert read_holder(tmp_path / ".lock")["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_claim_of_a_dead_process_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock.claim").write_text(json.dumps({"pid": DEAD, "host": HERE, "token": "theirs"}))
    began = time.monotonic()
    with RunLock(tmp_path):
        assert time.monotonic() - began < 0.3


def test_a_slow_claimant_that_lost_its_claim_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, make = RunLock(tmp_path), Claim.make

    def interrupted(claim: Claim, has_kernel_lock: bool) -> None:
        make(claim, has_kernel_lock)
        if not (tmp_path / "once").exists():  # as another host would, which waited in vain for this process
            (tmp_path / "once").touch()
            (tmp_path / ".lock.claim").unlink()
            monkeypatch.setattr("cmt_cli.running.lock._POLL_SECONDS", 0.01)
            (tmp_path / ".lock").write_text(
                json.dumps({"pid": 7, "host": "elsewhere", "token": "theirs", "started": "then"})
            )
            monkeypatch.setattr("cmt_cli.running.lock.SILENT_SECONDS", 0.2)

    monkeypatch.setattr(Claim, "make", interrupted)
    with slow:
        assert read_holder(tmp_path / ".lock")["token"] != "theirs"  # only after its heartbeat had stopped


@pytest.mark.parametrize("garbage", ["3", "[[1, 2]]", '{"pid": "x", "host": "here"}', '{"pid": 7}', "\udcff"])
def test_a_garbage_lock_is_nobodys(tmp_path: Path, garbage: str) -> None:
    (tmp_path / ".lock").write_bytes(garbage.encode("utf-8", "surrogateescape"))
    with RunLock(tmp_path):
        assert read_holder(tmp_path / ".lock")["pid"] == os.getpid()


def _hold(folder: str, has_kernel_lock: bool, start: float, places: multiprocessing.Queue[str]) -> None:
    import cmt_cli.running.lock as module

    module._POLL_SECONDS, module.HEARTBEAT_SECONDS = 0.02, 0.05
    if not has_kernel_lock:
        module._lock = lambda handle: False
    while time.time() < start:
        pass
    try:
        with RunLock(Path(folder)) as lock:
            time.sleep(0.8)  # longer than the others wait before they look again
            lock.verify()
            places.put("held")
    except FolderInUseError:
        places.put("refused")


@pytest.mark.parametrize("has_kernel_lock", [True, False])
def test_of_many_that_find_a_claim_one_holds(tmp_path: Path, has_kernel_lock: bool) -> None:
    (tmp_path / ".lock.claim").touch()
    context = multiprocessing.get_context("fork")
    places: multiprocessing.Queue[str] = context.Queue()
    start = time.time() + 0.3
    processes = [context.Process(target=_hold, args=(str(tmp_path), has_kernel_lock, start, places)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [places.get(timeout=20) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found) == ["held", "refused", "refused", "refused"]
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]

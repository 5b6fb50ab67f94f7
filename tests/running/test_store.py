"""A run folder is whole at every moment and has one writer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Provenance
from cmt_cli.running import lock as lock_module
from cmt_cli.running.checkpoint import Slot
from cmt_cli.running.identity import Identity, config_hash, folder_name
from cmt_cli.running.lock import RunLock
from cmt_cli.running.run_files import read_events
from cmt_cli.running.scores import read_cells
from tests.running.toy import ToyScore, toy_store


def test_a_state_comes_back_exactly(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    state = {
        "view": base[:, ::2],
        "tied": base,
        "also_tied": base,
        "half": torch.tensor([1.5, -0.1], dtype=torch.bfloat16),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 3),
        "step": 7,
        "best": float("inf"),
        "names": ["a", None],
        "nested": {"x": 0.1},
    }
    slot = Slot(tmp_path)
    slot.save(state, tag="learn:3", notes={"seconds": 1.0})
    loaded = slot.load()
    assert loaded is not None and loaded.tag == "learn:3" and loaded.notes == {"seconds": 1.0}
    assert set(loaded.state) == set(state)
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert loaded.state[name].dtype == value.dtype and torch.equal(loaded.state[name], value)
        else:
            assert loaded.state[name] == value


def test_what_json_or_safetensors_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'seen' is a set"):
        Slot(tmp_path).save({"seen": {1}}, tag="x")
    with pytest.raises(TypeError, match="key 3"):
        Slot(tmp_path).save({"counts": {3: "three"}}, tag="x")
    assert Slot(tmp_path).load() is None


def test_two_checkpoints_are_kept_and_a_tag_chooses(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for number in range(5):
        slot.save({"n": number}, tag=f"phase {number}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "5", "latest"]
    newest, before = slot.load(), slot.load("phase 3")
    assert newest is not None and newest.state["n"] == 4
    assert before is not None and before.state["n"] == 3
    assert slot.load("phase 1") is None
    slot.clear()
    assert slot.load() is None


def test_what_a_process_left_is_forgotten(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for step in (1, 2, 3):
        slot.save({"step": step}, tag="fit")
    for leftover in ("1", "4"):  # an old one that could not be removed, and one that was never finished
        (tmp_path / leftover).mkdir()
    slot.forget_old()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["2", "3"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove tensors", "remove json", "empty json"])
def test_a_damaged_checkpoint_is_noticed(tmp_path: Path, damage: str) -> None:
    slot = Slot(tmp_path)
    slot.save({"w": torch.zeros(100)}, tag="old")
    slot.save({"w": torch.ones(100)}, tag="new")
    tensors, values = tmp_path / "2" / "state.safetensors", tmp_path / "2" / "state.json"
    content = tensors.read_bytes()
    actions: dict[str, Callable[[], object]] = {
        "flip": lambda: tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        "truncate": lambda: tensors.write_bytes(content[:50]),
        "remove tensors": tensors.unlink,
        "remove json": values.unlink,
        "empty json": lambda: values.write_text(""),
    }
    actions[damage]()
    with pytest.warns(UserWarning, match="damaged"):
        loaded = slot.load()
    assert loaded is not None and loaded.tag == "old" and not loaded.state["w"].any()
    slot.save({"w": torch.ones(100)}, tag="newer")
    loaded = slot.load()
    assert loaded is not None and loaded.tag == "newer"


def test_an_unfinished_checkpoint_is_never_seen(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.save({"n": 1}, tag="whole")
    shutil.copytree(tmp_path / "1", tmp_path / "2")  # saved, but the pointer was not moved before the process died
    (tmp_path / "2" / "state.json").write_text((tmp_path / "1" / "state.json").read_text().replace("whole", "torn"))
    loaded = slot.load()
    assert loaded is not None and loaded.tag == "whole"


def test_a_folder_has_one_writer_until_it_is_released(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(UserError, match=f"Process {os.getpid()} on host"):
        RunLock(tmp_path).acquire()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(json.dumps({"pid": 2**22, "host": socket.gethostname(), "started": "then"}))
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def name_holder(folder: Path, *, host: str, pid: int = 1) -> Path:
    (folder / ".lock").write_text(json.dumps({"pid": pid, "host": host, "started": "then", "token": "theirs"}))
    return folder / ".lock"


def test_a_silent_holder_on_another_host_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "SILENT_SECONDS", 0.3)
    lock = name_holder(tmp_path, host="elsewhere")
    began = time.monotonic()
    with RunLock(tmp_path):
        assert json.loads(lock.read_text())["host"] == socket.gethostname()
    assert time.monotonic() - began > 0.2


def test_a_time_to_come_does_not_hold_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.05)
    lock = name_holder(tmp_path, host="elsewhere")
    (tmp_path / ".lock.claim").write_text(json.dumps({"pid": 1, "host": "elsewhere", "token": "theirs"}))
    for path in (lock, tmp_path / ".lock.claim"):
        os.utime(path, (4e9, 4e9))
    began = time.monotonic()
    with RunLock(tmp_path):
        assert json.loads(lock.read_text())["host"] == socket.gethostname()
    assert 0.2 < time.monotonic() - began < 5


def test_a_beating_holder_on_another_host_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.01)
    lock = name_holder(tmp_path, host="elsewhere")
    beat = threading.Timer(0.1, os.utime, (lock,))
    beat.start()
    with pytest.raises(UserError, match="'elsewhere'"):
        RunLock(tmp_path).acquire()
    beat.join()
    assert json.loads(lock.read_text())["host"] == "elsewhere"


def without_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)


def test_without_kernel_locks_there_is_still_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernel_locks(monkeypatch)
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.02)
    with RunLock(tmp_path), pytest.raises(UserError, match="is writing the run folder"):
        RunLock(tmp_path).acquire()
    name_holder(tmp_path, host=socket.gethostname(), pid=2**22)  # dead: taken over at once
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_one_of_many_writes_without_kernel_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernel_locks(monkeypatch)
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.02)
    locks, outcomes = [RunLock(tmp_path) for _ in range(8)], []

    def acquire(lock: RunLock) -> None:
        try:
            lock.acquire()
            outcomes.append("holds")
        except UserError:
            outcomes.append("refused")

    threads = [threading.Thread(target=acquire, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["holds"] + ["refused"] * 7
    for lock in locks:
        lock.release()
    assert not (tmp_path / ".lock.claim").exists()


def test_a_claim_of_a_dead_process_does_not_block(tmp_path: Path) -> None:
    claim = tmp_path / ".lock.claim"
    claim.touch()
    os.utime(claim, (0, 0))
    with RunLock(tmp_path):
        assert not claim.exists()


def test_a_frozen_holder_notices_its_loss_before_saving(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.verify()
    name_holder(tmp_path, host="elsewhere")
    with pytest.raises(UserError, match="'elsewhere'"):
        lock.verify()
    lock.release()
    assert json.loads((tmp_path / ".lock").read_text())["host"] == "elsewhere"


def test_the_holder_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    with RunLock(tmp_path) as lock:
        os.utime(tmp_path / ".lock", (0, 0))
        lock._stop.wait(0.3)
        assert (tmp_path / ".lock").stat().st_mtime > 10**9


def test_a_torn_last_event_is_cut_off(tmp_path: Path) -> None:
    with toy_store(tmp_path) as store:
        store.event("row", {"values": {"loss": float("nan")}})
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "tr')
    assert [e["event"] for e in read_events(tmp_path)] == ["row"]
    assert read_events(tmp_path)[0]["values"] == {"loss": None}
    with toy_store(tmp_path) as store:
        assert store.num_events == 1
        store.event("start", {})
    assert [e["event"] for e in read_events(tmp_path)] == ["row", "start"]


def test_scores_read_back_exactly_and_missing_cells_stay_missing(tmp_path: Path) -> None:
    with toy_store(tmp_path) as store:
        text = 'a line\u2028separator, a "quote" and ümlaut'
        scores = [ToyScore('test, "one"', {"em": 1 / 3, "f1": 1e-17}, [{"id": "q", "prediction": text}])]
        store.add_row(0, scores, {"skipped": "em"})
        store.add_row(1, scores, {})
        assert store.cells()[0] == {'test, "one"': {"em": 1 / 3, "f1": 1e-17}, "skipped": {"em": None}}
        assert store.predictions(0) == [{"id": "q", "prediction": text}]
        store.drop_rows_after(0)
        assert list(read_cells(tmp_path / "scores.csv")) == [0]
        assert [p.name for p in (tmp_path / "predictions").iterdir()] == ["row_000.jsonl"]


def test_the_config_hash_covers_what_decides_the_result() -> None:
    def config(root: str, **changes: object) -> dict[str, object]:
        settings = {"data": {"path": f"{root}/streamingqa", "seed": 0}, "model": {"device": "cpu"}, "seed": 0}
        return {**settings, "paths": {"data": root}, "logger": {"mode": root}, **changes}

    base = config_hash(config("data"))
    assert len(base) == 64 and base == config_hash(config("/mnt/data", model={"device": "cuda:1"}))
    assert base != config_hash(config("data", seed=1)) != config_hash(config("data", seed=2))
    assert base != config_hash(config("data", data={"path": "/home/me/dev.json", "seed": 0}))
    for known in ({"trainer": {"distributed": "ddp"}}, {"data": {"path": "data/streamingqa", "seed": 0, "cache": "x"}}):
        (group,) = known
        without = {group: {key: value for key, value in known[group].items() if key not in ("distributed", "cache")}}
        assert config_hash(config("data", **known)) == config_hash(config("data", **without))
    repeated = config_hash(config("data", seed=1), ignore_seed=True)
    assert repeated == config_hash(config("data", seed=2), ignore_seed=True)
    identity = Identity(method="cmt", data="squad", model="tiny", seed=0, config_hash=base)
    generated, real = Provenance("squad", "generated", "none"), Provenance("squad", "real", "none")
    assert folder_name(identity, generated) == f"cmt-squad-generated-tiny-{base[:8]}"
    assert folder_name(identity, real) == f"cmt-squad-tiny-{base[:8]}"
    chosen_on = replace(real, split="validation")
    assert folder_name(identity, chosen_on) == f"cmt-squad-validation-tiny-{base[:8]}"


@pytest.mark.parametrize("key", ["device", "cache", "distributed"])
@pytest.mark.parametrize(
    "place",
    [
        lambda value, key: {"method": {"_target_": "mine.Method", key: value}},
        lambda value, key: {"method": {"parts": [{"_target_": "mine.Part", key: value}]}},
        lambda value, key: {"model": {"device": "cpu", "teacher": {key: value}}},
        lambda value, key: {"trainer": {"task": {key: value}}},
        lambda value, key: {"data": {"_target_": "mine.stream", "first": {"_target_": "mine.other", key: value}}},
        lambda value, key: {"evaluator": {key: value}},
    ],
)
def test_settings_named_like_a_place_elsewhere_are_hashed(place: Callable[..., dict[str, Any]], key: str) -> None:
    assert config_hash(place("a", key)) != config_hash(place("b", key))


def test_numbers_named_like_a_place_are_hashed() -> None:
    assert config_hash({"data": {"cache": 1}}) != config_hash({"data": {"cache": 2}})
    inner = [{"data": {"parts": [{"_target_": "cmt_cli.data.knowledge.squad.squad", "cache": c}]}} for c in ("a", "b")]
    assert config_hash(inner[0]) == config_hash(inner[1])

"""Folders of a cache are whole or absent, and those that nobody uses go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cmt_cli.core.atomic import forget_unused, note_use, published, read_sealed, write_sealed, write_text
from cmt_cli.core.exceptions import UserError


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), published(tmp_path / "kept" / "a") as inner:
        (inner / "file").write_text("half")
        raise ZeroDivisionError
    assert list((tmp_path / "kept").iterdir()) == []
    with published(tmp_path / "kept" / "a") as inner:
        (inner / "file").write_text("whole")
        assert not (tmp_path / "kept" / "a").exists()
    assert (tmp_path / "kept" / "a" / "file").read_text() == "whole"


def test_the_faster_of_two_processes_wins(tmp_path: Path) -> None:
    with published(tmp_path / "a") as slow:
        (slow / "file").write_text("same")
        with published(tmp_path / "a") as fast:
            (fast / "file").write_text("same")
        before = (tmp_path / "a" / "file").stat().st_ino
    assert (tmp_path / "a" / "file").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_was_not_used_for_long_is_removed(tmp_path: Path) -> None:
    for name, age in (("old", 40), ("used", 40), ("new", 1), (".writing-killed", 40)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age * 86_400,) * 2)
    note_use(tmp_path / "used")
    forget_unused(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]


def test_a_sealed_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = {"b": [1, "\u00e9"], "a": {"sha256": None, "record": 0.5}}
    write_sealed(tmp_path / "r.json", record)
    assert read_sealed(tmp_path / "r.json") == record


@pytest.mark.parametrize(
    "damaged", [b"", b"[]", b"{}", b"\xff", b'{"record": {"a": 1}}', b'{"sha256": 1, "record": 2}']
)
def test_what_was_not_sealed_is_no_record(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(damaged)
    with pytest.raises(ValueError):
        read_sealed(tmp_path / "r.json")


def test_every_flipped_bit_of_a_sealed_record_is_noticed(tmp_path: Path) -> None:
    record = {"name": "s", "start": 1, "is_kept": True}
    write_sealed(tmp_path / "r.json", record)
    content = (tmp_path / "r.json").read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            (tmp_path / "r.json").write_bytes(flipped)
            try:
                assert read_sealed(tmp_path / "r.json") == record  # a blank for another
            except ValueError:
                continue


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(UserError, match="is a pipe, a socket or a device"):
            write_text(tmp_path / name, "content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"] and (tmp_path / "pipe").is_fifo()

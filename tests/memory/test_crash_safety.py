"""A bank is readable, and a prefix of what was written, whenever its process dies."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.shards import ShardedRows
from tests.memory import killed_writer
from tests.memory.killed_writer import open_bank, record


def written_bank(folder: Path, num_records: int) -> Path:
    """Write a bank of some records and close it; return its manifest."""
    bank = open_bank(folder)
    for number in range(num_records):
        bank.append(record(number))
    bank.close()
    return folder / "manifest.jsonl"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_random_moments_leaves_a_prefix(tmp_path: Path) -> None:
    command = [sys.executable, killed_writer.__file__, str(tmp_path), "25"]
    root = Path(killed_writer.__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 25 and counts == sorted(counts)
    assert counts[-1] > 40  # several shards


def test_a_truncated_line_is_dropped_and_writing_goes_on(tmp_path: Path) -> None:
    manifest = written_bank(tmp_path, 3)
    whole = manifest.read_bytes()
    for length in range(len(whole) - 1, len(whole.rsplit(b"\n", 2)[0]) + 1, -1):
        manifest.write_bytes(whole[:length])
        assert open_bank(tmp_path).rows().tolist() == [0, 1]
    opened = open_bank(tmp_path)
    opened.append(record(2))
    opened.close()
    assert manifest.read_bytes() == whole


def test_an_interrupted_removal_is_finished_on_opening(tmp_path: Path) -> None:
    with written_bank(tmp_path, 1).open("a") as file:
        file.write('{"remove":[0]}\n')
    shard = np.load(tmp_path / "memory_00000.npy", mmap_mode="r")
    assert shard[0].any()
    assert len(open_bank(tmp_path)) == 0
    assert not shard[0].any()


def test_a_damaged_middle_line_is_reported_with_its_number(tmp_path: Path) -> None:
    manifest = written_bank(tmp_path, 3)
    lines = manifest.read_bytes().split(b"\n")
    manifest.write_bytes(b"\n".join([lines[0], lines[1][:9], *lines[2:]]))
    with pytest.raises(UserError, match="line 2"):
        open_bank(tmp_path)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first, second = open_bank(tmp_path), open_bank(tmp_path)
    first.append(record(0))
    first.sync()
    with pytest.raises(UserError, match="one writer"):
        second.append(record(1))
    first.close()
    assert open_bank(tmp_path).memories(torch.tensor([0])).unique().tolist() == [1.0]


def test_rows_that_a_file_lacks_are_told(tmp_path: Path) -> None:
    rows = ShardedRows("keys", 4, tmp_path)
    rows.write(0, np.arange(40, dtype=np.uint8).reshape(10, 4))
    rows.close()
    path = tmp_path / "keys_00000.npy"
    size = path.stat().st_size - 4 * len(np.load(path))  # of the header
    os.truncate(path, size + 10 * 4)  # as a crash leaves it between cutting and extending
    ShardedRows("keys", 4, tmp_path).discard_from(10)
    os.truncate(path, size + 10 * 4 - 1)
    with pytest.raises(UserError, match="ends before the last of its 10 rows"):
        ShardedRows("keys", 4, tmp_path).discard_from(10)

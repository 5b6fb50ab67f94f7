"""A process that writes into a bank, is killed at a random moment, and finds a whole prefix of its work each time.

Usage: python killed_writer.py FOLDER ROUNDS. Prints the number of rows after each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from cmt_cli.memory import document_bank, shards
from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.memory.records import Records

WIDTH = 2048
REMOVED_EVERY = 7


def open_bank(folder: Path) -> DocumentBank:
    cpu = torch.device("cpu")
    return DocumentBank(folder=folder, num_tokens=2, width=WIDTH, key_width=4, dtype="float32", device=cpu)


def record(number: int) -> Records:
    memories = torch.full((1, 2, WIDTH), float(number + 1))
    return Records(document_ids=[f"d{number}"], sha256=[str(number)], memories=memories, keys=torch.ones(1, 4))


def write_until_killed(folder: Path, reports: int) -> None:
    bank = open_bank(folder)
    number = bank.position()["rows"]
    while True:
        bank.append(record(number))
        if number % REMOVED_EVERY == 0:
            bank.remove(f"d{number - 3}")
        number += 1
        os.write(reports, b".")


def check(folder: Path, at_least: int) -> int:
    """Return the number of rows, all of which must be whole, and those removed zero."""
    bank = open_bank(folder)
    num_rows = bank.position()["rows"]
    assert num_rows >= at_least, f"{at_least} rows were on disk, {num_rows} are left"
    assert [bank.document_id(row) for row in range(num_rows)] == [f"d{row}" for row in range(num_rows)]
    live = set(bank.rows().tolist())
    for row in range(num_rows):
        values = bank._storage.read("memory", torch.tensor([row]).numpy()).unique().tolist()
        assert values == ([row + 1.0] if row in live else [0.0]), f"row {row} holds {values}"
    assert bank.search(torch.ones(1, 4), num_rows)[1][0, : len(live)].tolist() == sorted(live)
    return num_rows


def main(folder: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    document_bank.ROWS_PER_SYNC = 5
    shards.SHARD_BYTES = 20 * 2 * WIDTH * 4  # so that kills also meet the start of a shard
    draw = random.Random(0)
    num_rows = 0
    for _ in range(rounds):
        reading, reports = os.pipe()
        child = os.fork()
        if child == 0:
            write_until_killed(folder, reports)
        os.close(reports)
        for _ in range(draw.randint(0, 15)):
            os.read(reading, 1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, "the writer failed on its own"
        os.close(reading)
        num_rows = check(folder, num_rows)
        print(num_rows, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

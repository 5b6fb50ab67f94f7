"""Several processes of one program, as torchrun starts them, and the program that most tests start: see `main`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def place(rank: int, num: int, port: int) -> dict[str, str]:
    """Return the environment of one process of `num`, with one thread."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    rest = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LOCAL_RANK": str(rank)}
    return {**os.environ, **where, **rest, "RANK": str(rank), "WORLD_SIZE": str(num)}


def start(
    arguments: Sequence[str], *, num: int = 2, extra: Mapping[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """Start `num` processes of `python ARGUMENTS`, with their output in pipes."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**place(rank, num, port), **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num)
    ]


def outputs(processes: Sequence[subprocess.Popen[str]], *, seconds: float = 120) -> list[tuple[int, str]]:
    """Wait for all; return each one's exit code and what it wrote, both streams together."""
    try:
        texts = ["".join(process.communicate(timeout=seconds)) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


def main(path: str) -> None:
    """Run, one after the other, the jobs whose overrides a JSON file lists."""
    import torch

    from cmt_cli.running import job_run
    from tests.command_line import job

    torch.set_num_threads(1)
    for overrides in json.loads(Path(path).read_text()):
        job_run.run(job(*overrides))


if __name__ == "__main__":
    main(sys.argv[1])

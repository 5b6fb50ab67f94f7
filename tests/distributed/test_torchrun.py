"""`--processes N`: what torchrun is given, and what is refused before it is."""

from __future__ import annotations

import os

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.distributed import torchrun


@pytest.mark.parametrize("given", [["run", "--processes", "2", "seed=1"], ["run", "seed=1", "--processes=2"]])
def test_the_started_command_omits_the_launch_option(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    torchrun.start(2, "ddp", given)
    (command,) = started
    assert command[command.index("--nproc-per-node") + 1] == "2"
    assert command[-4:] == ["-m", "cmt_cli", "run", "seed=1"]


def test_what_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"needs trainer\.distributed=ddp"):
        torchrun.start(2, "none", [])
    with pytest.raises(UserError, match="at least one"):
        torchrun.start(0, "ddp", [])
    with pytest.raises(UserError, match=r"tasks_per_node=2"):
        torchrun.refuse_sweep(2)
    torchrun.refuse_sweep(None)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="started already"):
        torchrun.start(2, "ddp", [])
    with pytest.raises(UserError, match=r"tasks_per_node=2"):
        torchrun.refuse_sweep(None)

"""However often a run is killed, W&B has it as one run with every step once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_cli.tracking.sync import find_unsent, sync
from tests.tracking.killed_run import expected_history, run_killed
from tests.tracking.wandb_server import Received, logged_in

NUM_KILLS = int(os.environ.get("CMT_TEST_KILLS", "2"))


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Received]:
    with logged_in(monkeypatch, tmp_path) as received:
        yield received


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_killed_run_has_every_step_once(tmp_path: Path, account: Received, mode: str) -> None:
    folder = tmp_path / "drift"
    killed = run_killed(folder, mode, num_kills=NUM_KILLS, seed=NUM_KILLS)
    left = sync(find_unsent([folder]), address=account.address, run_seconds=60)
    assert killed == NUM_KILLS and left == [] and find_unsent([folder]) == []

    ((name, rows),) = account.history.items()
    own = ("_timestamp", "_runtime")
    shown = [{key: value for key, value in row.items() if key not in own} for row in rows]
    assert shown[:-1] == expected_history(folder)
    assert "tables/predictions" in shown[-1] and account.summaries[name]["status"] == "complete"
    assert [row["train/step"] for row in rows if "train/step" in row] == list(range(1, 25))
    assert [row["task_index"] for row in rows if "task_index" in row] == [0, 1, 2, 3]

"""docs/wandb.md names every key that a run logs, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wandb

from cmt_cli.tracking.logger import WandbLogger
from tests.running.toy import run_toy
from tests.tracking.wandb_file import read_run

DOCS = Path(__file__).parents[2] / "docs" / "wandb.md"


def test_the_page_names_what_the_logger_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    logger = WandbLogger(
        project="cmt", entity=None, mode="offline", log_artifacts=False, connect_seconds=1.0, finish_seconds=2.0
    )
    folder = tmp_path / "drift-toy-generated-toy-12345678"
    monkeypatch.setattr("cmt_cli.running.record.chance", lambda *_: None)  # all toy questions have one answer
    run_toy(folder, loggers=[logger])
    wandb.teardown()
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = read_run(path)
    lines = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", DOCS.read_text(), re.MULTILINE)
    places = {key: set(where.split(", ")) for key, where in lines}
    written = {
        "config": {key for key in found["config"] if key not in ("method", "seed", "_wandb")},
        "history": {key for row in found["history"] for key in row},
        "summary": set(found["summary"]),
    }
    # A table or picture is logged as one key with many parts.
    media = re.compile(r"\.(path|_type|sha256|size|ncols|nrows|width|height|format|artifact_path|log_mode|_latest.*)$")
    written = {where: {media.sub("", key) for key in keys} for where, keys in written.items()}
    used = set()
    for where, keys in written.items():
        for key in sorted(keys):
            if key.startswith("_") or (where == "summary" and key in written["history"]):
                continue  # the client's own keys, and its copy of the last history values
            fitting = {name for name in places if re.fullmatch(re.sub(r"<[^>]*>", "[^ ]+", name), key)}
            assert any(where in places[name] for name in fitting), f"{key} ({where}) is not in {DOCS.name}"
            used |= fitting
    assert used == set(places)
    assert found["run"].run_group == "drift-toy-toy" and found["run"].display_name == folder.name


def test_the_agent_of_a_sweep_gives_the_id_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def init(**settings: object) -> None:
        given.update(settings)
        raise ConnectionError("seen enough")

    monkeypatch.setattr(wandb, "init", init)
    for sweep_id in (None, "sweep1"):
        given.clear()
        monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
        if sweep_id is not None:
            monkeypatch.setenv("WANDB_SWEEP_ID", sweep_id)
        logger = WandbLogger(
            project="cmt", entity=None, mode="offline", log_artifacts=False, connect_seconds=1.0, finish_seconds=2.0
        )
        folder = tmp_path / str(sweep_id)
        folder.mkdir()
        logger.start("name", group="group", tags=[], config={}, folder=folder)
        assert ("id" in given) == ("resume" in given) == (sweep_id is None)

"""The dashboard reads what runs log, groups them by method, and never waits for a network that is not there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from cmt_cli.commands.app import main
from cmt_cli.core.exceptions import UserError
from cmt_cli.tracking import dashboard
from tests.tracking.wandb_server import wandb_server

pytest.importorskip("wandb_workspaces", reason="the extra `dashboards` is not installed")
DOCS = Path(__file__).parents[2] / "docs" / "wandb.md"


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))


def test_offline_it_writes_what_it_would_create(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main(["wandb", "dashboard", "--project", "streams", "--metric", "f1", "-o", str(tmp_path / "view.json")])
    assert ended.value.code == 0 and time.monotonic() - began < 8
    assert "not logged in" in capsys.readouterr().out
    view = json.loads((tmp_path / "view.json").read_text())
    assert view["project"] == "streams"
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    kinds = {section["name"]: [panel["viewType"] for panel in section["panels"]] for section in sections}
    assert kinds == {
        "Methods": ["Bar Chart"] * 4,
        "Over the stream": ["Run History Line Plot"] * 3,
        "Score against cost": ["Scatter Plot"] * 4,
        "Score matrices": ["Media Browser"],
        "Predictions": ["Weave"] * 2,
        "Training": ["Run History Line Plot"],
    }
    curve = sections[1]["panels"][0]["config"]
    assert curve["metrics"] == ["cl/aa/f1"] and curve["xAxis"] == "task_index"
    assert (curve["groupBy"], curve["groupAgg"], curve["groupArea"]) == ("group", "mean", "stddev")


def test_every_key_read_by_panels_is_in_the_contract() -> None:
    documented = re.findall(r"^\| `([^`]+)`", DOCS.read_text(), re.MULTILINE)
    patterns = [re.sub(r"<[^>]*>", "[^ ]+", key) for key in documented]
    keys = [*dashboard.BARS, *dashboard.COSTS, *(key.format(metric="em") for key in dashboard.CURVES)]
    for key in (*keys, "task_index", "train/step", "train/loss", "plots/score_matrix", "plots/tests"):
        assert any(re.fullmatch(pattern, key) for pattern in patterns), key


def test_logged_in_it_is_saved_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb_server() as received:
        monkeypatch.setenv("WANDB_BASE_URL", received.address)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        url = dashboard.save("cmt", "me", metric="em", seconds=30)
        (view,) = received.views
    assert "/me/cmt" in url and "cl/aa/em" in json.dumps(view)


def test_a_server_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    began = time.monotonic()
    with pytest.raises(UserError, match="The dashboard was not saved"):
        dashboard.save("cmt", "me", metric="em", seconds=1)
    assert time.monotonic() - began < 5

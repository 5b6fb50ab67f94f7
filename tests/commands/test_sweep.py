"""`cmt run -m`, `cmt sweep status` and `cmt sweep repeat` on the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from cmt_cli.config import catalog, compose
from cmt_cli.core.exceptions import UserError
from cmt_cli.sweeps import plan
from cmt_cli.sweeps.status import read_status
from tests.command_line import SMALL, cmt

pytestmark = pytest.mark.usefixtures("empty_folder")

MIXED = ("method=frozen", "data.generated.num_test_documents=4,-3", "data.num_tasks=1,2")
REST = [line for line in SMALL if not line.startswith(("data.generated.num_test", "data.num_tasks"))]


def test_a_failed_job_stops_none_and_is_repeated_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", *MIXED, *REST) == 1
    (folder,) = Path("runs/.sweeps").iterdir()
    told = capsys.readouterr().err
    assert "4 jobs: 2 complete, 2 failed" in told
    assert "num_test_documents=-3 data.num_tasks=1: data.generated.num_test_documents=-3 is too small" in told
    assert f"cmt sweep repeat {folder.absolute()}" in told
    assert cmt("sweep", "status", "latest", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"complete": 2, "failed": 2}
    assert cmt("sweep", "repeat", "latest") == 1
    starts = {c.record.num_starts for c in read_status(folder).jobs if c.record and c.state == "complete"}
    again = {c.record.num_starts for c in read_status(folder).jobs if c.record and c.state == "failed"}
    assert starts == {1} and again == {2}
    (log, _) = sorted((folder / "jobs").glob("*.log"))
    assert "num_test_documents=-3" in log.read_text()


def test_a_complete_sweep_is_not_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen", "seed=0,0", *SMALL) == 0
    assert "1 job: 1 complete" in capsys.readouterr().err  # the same run twice is one job
    assert cmt("sweep", "repeat", "latest") == 0
    assert "1 complete" in capsys.readouterr().out


def test_option_combinations_are_checked_before_the_first_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen,cmt", "data=streamingqa,clinc150", "trainer=smoke") == 2
    assert "method=cmt data=clinc150: cmt needs" in capsys.readouterr().err
    assert cmt("run", "-m", "seed=0,1,two", *REST) == 2
    assert "seed=two" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_repeat_takes_settings_of_the_launcher_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen", "seed=0", *SMALL) == 0
    assert cmt("sweep", "repeat", "latest", "seed=1") == 2
    assert "seed=1 would change the runs" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"hydra/launcher=joblib needs .* pip install 'cmt-cli\[joblib\]'"):
        plan.check_extras("joblib", "basic", [catalog.conf_dir()])


def test_a_folder_with_any_name_passes_through_hydras_grammar(capsys: pytest.CaptureFixture[str]) -> None:
    place = "hydra.sweep.dir=" + compose.quoted("it's a, {sweep}=1")
    assert cmt("run", "-m", "method=frozen", "seed=0", place, *SMALL) == 0
    assert read_status(Path("it's a, {sweep}=1")).counts == {"complete": 1}


def test_a_sweeper_bypassing_the_sweeps_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    other = "hydra.sweeper._target_=hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    assert cmt("run", "-m", "seed=0,1", other, *SMALL) == 2
    assert "hydra/sweeper=basic or optuna" in capsys.readouterr().err


def test_a_search_on_the_test_split_is_refused_early(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    assert cmt("run", "-m", "trainer.task.learning_rate=interval(1e-5,1e-3)", "hydra/sweeper=optuna", *SMALL) == 2
    assert "Add data.selection.stream_split=validation" in capsys.readouterr().err
    assert not Path("runs").exists()

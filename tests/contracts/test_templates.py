"""The example package in templates/ runs from outside the tree, by the options that its page names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.running.run_files import read_events, read_predictions, read_result
from tests.command_line import cmt

TEMPLATES = Path(__file__).parents[2] / "templates"
OUTSIDE = ("--config-dir", str(TEMPLATES / "conf"))
TRUST = "trusted_targets=[my_package]"
SMALL = ("model=tiny", "model.device=cpu", "trainer=smoke", "logger=none", f"data.path={TEMPLATES / 'data'}")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    """Make `my_package` importable, as `pip install -e templates` does."""
    monkeypatch.syspath_prepend(str(TEMPLATES))


def run(*overrides: str) -> Path:
    """Run the given overrides; return the run folder."""
    before = set(Path("runs").glob("*"))
    assert cmt("run", *OUTSIDE, *overrides, *SMALL) == 0
    (folder,) = set(Path("runs").glob("*")) - before
    return folder


def losses(folder: Path) -> list[float]:
    """Return the logged losses of a run."""
    return [event["values"]["loss"] for event in read_events(folder) if event["event"] == "train"]


def test_the_method_runs_on_the_stream() -> None:
    folder = run(TRUST, "method=my_method", "data=my_stream")
    result = read_result(folder)
    assert result is not None and result.status == "complete"
    assert result.matrices["accuracy"].tests == ("01_home", "02_town")
    answers = {row["prediction"].strip() for row in read_predictions(folder, 2)}
    assert answers <= {"kitchen", "garden", "transport", "sports"}
    assert result.cost.storage_bytes == 4 * result.cost.trainable_parameters


def test_an_experiment_names_the_package_to_trust() -> None:
    result = read_result(run("experiment=mine"))
    assert result is not None and (result.method, result.data["name"]) == ("my_method", "my_stream")


def test_a_weight_of_zero_is_plain_fine_tuning() -> None:
    pulled = run(TRUST, "method=my_method", "data=my_stream", "method.weight=0")
    plain = run(TRUST, "method=finetune", "data=my_stream")
    assert losses(pulled) == losses(plain) != []


def test_untrusted_packages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", *OUTSIDE, "method=my_method", "data=my_stream", *SMALL) == 2
    assert "trusted_targets=[its_package]" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_finished_run_resumes_with_trust() -> None:
    folder = run("experiment=mine")
    assert cmt("resume", str(folder)) == 2
    assert cmt("resume", str(folder), "--trust", "my_package") == 0

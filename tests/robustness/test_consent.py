"""What a folder names is executed only where the command line says so; what would run only leaves a marker file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cmt_cli
from cmt_cli.config import trust
from cmt_cli.core.exceptions import UserError
from cmt_cli.running import job
from tests.command_line import SMALL, cmt
from tests.robustness.folders import edited, finished, model_with_code, unfinished

pytestmark = pytest.mark.usefixtures("empty_folder")

MARKER = Path("executed")


@pytest.fixture
def remote_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Return a run whose config.yaml has `trust_remote_code: true`, and the name of its model."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = str(model_with_code(tmp_path / "model", tmp_path / MARKER))
    folder = finished("method=frozen", "model=huggingface", f"model.name_or_path={model}", "model.max_tokens=96",
                      "data.source=generated", "model.device=cpu")  # fmt: skip
    assert not MARKER.exists()
    return edited(unfinished(folder), lambda config: config["model"].update(trust_remote_code=True)), model


@pytest.mark.parametrize("command", ["resume", "ask"])
def test_remote_code_needs_the_models_name(
    command: str, remote_run: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = remote_run
    words = [command, str(folder), *(["Who?"] if command == "ask" else [])]
    assert cmt(*words) == 2
    assert f"--trust {model}" in capsys.readouterr().err and not MARKER.exists()
    assert cmt(*words, "--trust", "another/model") == 2 and not MARKER.exists()
    assert cmt(*words, "--trust", model) == 0
    assert MARKER.exists()


def test_python_asks_for_the_same_consent(remote_run: tuple[Path, str]) -> None:
    folder, model = remote_run
    with pytest.raises(UserError, match=r"model\.trust_remote_code"):
        cmt_cli.load(folder).ask("Who?")
    assert not MARKER.exists()
    cmt_cli.load(folder, trust=(model,)).ask("Who?")
    assert MARKER.exists()


def test_a_trusted_package_is_not_imported_unnamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "marking.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = edited(unfinished(finished()), lambda config: config.update(trusted_targets=["marking"]))
    edited(folder, lambda config: config.update(logger={"_target_": "marking.Logger"}))
    for words in (["resume", str(folder)], ["ask", str(folder), "Who?"], ["export", str(folder), "out"]):
        assert cmt(*words) == 2
        assert "--trust marking" in capsys.readouterr().err and not MARKER.exists()


def test_consent_is_needed_at_any_depth() -> None:
    hidden = {"trusted_targets": [], "x": [{"y": {"trust_remote_code": "yes", "name_or_path": "some/model"}}]}
    assert list(trust.executed(hidden)) == ["some/model"]
    assert trust.executed({"trusted_targets": [], "model": {"trust_remote_code": False}}) == {}


def test_the_error_repeats_what_was_trusted(tmp_path: Path) -> None:
    config: dict[str, Any] = {"trusted_targets": ["one", "two words"]}
    with pytest.raises(UserError, match="--trust one --trust 'two words'"):
        trust.refuse_untrusted(config, ["one"], path=tmp_path)
    trust.refuse_untrusted(config, ["two words", "one"], path=tmp_path)


def test_a_list_of_packages_is_a_list(tmp_path: Path) -> None:
    folder = edited(finished(), lambda config: config.update(trusted_targets="os"))
    with pytest.raises(UserError, match="trusted_targets is a str"):
        job.load(folder, ["o", "s"])


def sweep(*lines: str, **changes: Any) -> Path:
    """Make a sweep of one job that failed; then change its sweep.json, as whoever sends it can."""
    assert cmt("run", "-m", "method=frozen", *SMALL, "data.generated.num_test_documents=-3") == 1
    (folder,) = Path("runs/.sweeps").iterdir()
    plan = json.loads((folder / "sweep.json").read_text())
    plan["overrides"] += lines
    (folder / "sweep.json").write_text(json.dumps({**plan, **changes}))
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "trusted_targets=[marking]",
        "+model={trust_remote_code:true}",
        "+hydra.callbacks.mark._target_=marking.Callback",
        "hydra.launcher.setup=['touch executed']",
        "hydra/job_logging=default",
        "paths.runs=/elsewhere",
        "logger.path=/elsewhere",
        "+data.cache=/elsewhere",
    ],
)
def test_a_sweep_repeats_nothing_foreign_unnamed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(line)
    assert cmt("sweep", "repeat", str(folder)) == 2
    error = capsys.readouterr().err
    assert line in error and "--trust" in error and not MARKER.exists()


def test_a_study_elsewhere_is_not_opened_unnamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep()
    (path,) = (folder / "jobs").glob("*.json")
    record = json.loads(path.read_text())
    elsewhere = str(tmp_path / "elsewhere" / "mine.journal")
    record["trial"] = {"storage": elsewhere, "study": "mine", "number": 0, "id": 0, "metric": "aa"}
    path.write_text(json.dumps(record))
    assert cmt("sweep", "repeat", str(folder)) == 2
    assert f"--trust {elsewhere}" in capsys.readouterr().err
    assert not Path(elsewhere).parent.exists()


def test_a_sweeps_folder_of_settings_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    folder = sweep(config_dir=str(tmp_path / "mine"))
    assert cmt("sweep", "repeat", str(folder)) == 2
    assert f"--trust {tmp_path / 'mine'}" in capsys.readouterr().err
    assert cmt("sweep", "repeat", str(folder), "--trust", "mine") == 1  # the job fails again
    assert "num_test_documents=-3" in capsys.readouterr().err


def test_ones_own_command_line_is_consent(tmp_path: Path) -> None:
    model = model_with_code(tmp_path / "model", tmp_path / MARKER)
    words = ("method=frozen", "model=huggingface", f"model.name_or_path={model}", "model.max_tokens=96",
             "data.source=generated", "model.trust_remote_code=true")  # fmt: skip
    command = [sys.executable, "-m", "cmt_cli", "run", *words, *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert MARKER.exists()


def _environment(folder: Path) -> dict[str, str]:
    import os

    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "HF_MODULES_CACHE": str(folder / "modules")}

"""What a variable holds reaches the parts of a run and nothing that is recorded, and no foreign folder reads one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wandb
import yaml

import cmt_cli
from cmt_cli.core.exceptions import CmtWarning, UserError
from tests.command_line import SMALL, cmt, job
from tests.robustness.folders import edited, finished, unfinished

pytestmark = pytest.mark.usefixtures("empty_folder")

VALUE = "a-private-value"
REFERENCE = "${oc.env:PRIVATE}"
# Text that the run needs and that is written nowhere: what stops an answer.
KEY = "evaluator.decoding.stop_text"


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVATE", VALUE)


def files_with(text: str, folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_a_value_reaches_the_part_and_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def stop_text(decoding: object) -> None:
        seen.append(decoding.stop_text)  # type: ignore[attr-defined]

    monkeypatch.setattr("cmt_cli.core.decoding.Decoding.__post_init__", stop_text, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = finished("method=bm25", f"{KEY}={REFERENCE}", "logger=wandb")
    wandb.teardown()
    assert set(seen) == {VALUE}
    assert yaml.safe_load((folder / "config.yaml").read_text())["evaluator"]["decoding"]["stop_text"] == REFERENCE
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert files_with(VALUE, Path.cwd()) == [] and "config.yaml" in files_with(REFERENCE, folder)


def test_a_sweep_records_references() -> None:
    assert cmt("run", "-m", "method=bm25,frozen", *SMALL, f"{KEY}={REFERENCE}") == 0
    assert len(list(Path("runs").glob("*/result.json"))) == 2
    assert files_with(VALUE, Path.cwd()) == [] and "sweep.json" in files_with(REFERENCE, Path("runs/.sweeps"))


def test_a_repetition_is_the_same_run_with_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished("method=bm25", f"{KEY}={REFERENCE}")
    monkeypatch.setenv("PRIVATE", "another-value")
    assert cmt("run", *SMALL, "method=bm25", f"{KEY}={REFERENCE}") == 0
    assert list(Path("runs").glob("*/result.json")) == [folder / "result.json"]


@pytest.mark.parametrize("words", [["resume"], ["ask"]])
def test_a_folder_reads_no_variable_unnamed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = edited(unfinished(finished()), lambda c: c["data"].update(prompt_template=f"{{question}} {REFERENCE}"))
    command = [*words, str(folder), *(["Who?"] if words == ["ask"] else [])]
    assert cmt(*command) == 2
    error = capsys.readouterr().err
    assert "--trust oc.env:PRIVATE" in error and "data.prompt_template" in error
    assert files_with(VALUE, folder) == []
    assert cmt(*command, "--trust", "oc.env:OTHER") == 2
    with pytest.raises(UserError, match="reads your environment"):
        cmt_cli.load(folder).ask("Who?")


def test_a_run_is_continued_with_the_variable_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unfinished(finished("method=bm25", f"{KEY}={REFERENCE}"))
    assert cmt("resume", str(folder), "--trust", "oc.env:PRIVATE") == 0
    assert cmt("ask", str(folder), "Who?", "--trust", "oc.env:PRIVATE") == 0
    monkeypatch.delenv("PRIVATE")
    capsys.readouterr()
    for command in (["resume", str(folder)], ["ask", str(folder), "Who?"]):
        assert cmt(*command, "--trust", "oc.env:PRIVATE") == 2
        assert f"{KEY} takes its value from the environment variable PRIVATE" in capsys.readouterr().err
    assert cmt("run", *SMALL, "method=bm25", f"{KEY}={REFERENCE}") == 2


def test_a_value_in_a_prompt_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished("method=bm25", f"data.prompt_template='{{question}} {REFERENCE}'")
    assert "the value of ${oc.env:PRIVATE} stands in prompts" in capsys.readouterr().err.replace("\n", " ")
    assert all(name.startswith("row_") for name in files_with(VALUE, folder))


def test_printing_a_configuration_shows_references(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", *SMALL, f"{KEY}={REFERENCE}", "--cfg", "job") == 0
    out = capsys.readouterr().out
    assert REFERENCE in out and VALUE not in out


def test_errors_of_parts_show_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "data.path=${oc.env:PRIVATE}/nothing"
    assert cmt("run", *SMALL, "method=bm25", "data.source=real", path) == 2
    error = capsys.readouterr().err
    assert VALUE not in error and "oc.env:PRIVATE" in error


@pytest.mark.parametrize("words", [("method={}",), ("method=bm25", "data={}"), ("-m", "method=bm25,{}")])
def test_a_value_that_is_no_option_is_hidden(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", *SMALL, *(word.format(REFERENCE) for word in words)) == 2
    told = capsys.readouterr().err
    assert VALUE not in told and REFERENCE in told


@pytest.mark.parametrize(
    "value", ["~/private//place", "{tmp}/private/./place/", "private\\pläce\x1b'\"", "/private/a/../place"]
)
def test_values_are_hidden_however_a_message_spells_them(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRIVATE", value.format(tmp=tmp_path))
    small = (*SMALL, "method=bm25", "data.source=real")
    for path in ("data.path=${oc.env:PRIVATE}/nothing", "data.path=${oc.env:PRIVATE}"):
        assert cmt("run", *small, path) == 2
        assert cmt("run", *small, path, "--dry-run") == 2
        assert cmt("run", "-m", *small, path) in (1, 2)
    told = capsys.readouterr()
    assert "place" not in told.err + told.out and "pläce" not in told.err + told.out
    assert files_with("place", Path.cwd()) == [] and files_with("pläce", Path.cwd()) == []


def test_refusals_of_the_system_and_of_devices_show_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "private-loop"
    loop.symlink_to(loop)
    monkeypatch.setenv("PRIVATE", str(loop))
    assert cmt("run", *SMALL, "method=bm25", "model.device=${oc.env:PRIVATE}") == 2
    assert cmt("run", *SMALL, "method=bm25", "data.source=real", "data.path=${oc.env:PRIVATE}/x") == 2
    told = capsys.readouterr().err
    assert "private-loop" not in told and told.count("${oc.env:PRIVATE}") >= 2


def test_a_default_names_no_variable_in_secret() -> None:
    quoted = "'${oc.e\\nv:PRIVATE}'"
    folder = edited(
        unfinished(finished()), lambda c: c["data"].update(prompt_template=f"{{question}} ${{oc.env:NO,{quoted}}}")
    )
    assert cmt("resume", str(folder), "--trust", "oc.env:NO") == 2
    assert cmt("ask", str(folder), "Who?", "--trust", "oc.env:NO") == 2
    assert files_with(VALUE, folder) == []


def test_records_of_failed_jobs_show_references() -> None:
    path = "data.path=${oc.env:PRIVATE}/nothing"
    assert cmt("run", "-m", "method=bm25,frozen", *SMALL, "data.source=real", path) in (1, 2)
    assert files_with(VALUE, Path.cwd()) == []


@pytest.mark.parametrize("line", [f"{KEY}={REFERENCE}", f"{KEY}=${{oc.${{logger.word}}:PRIVATE}}"])
def test_a_foreign_sweep_reads_no_variable_unnamed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen", *SMALL, "data.generated.num_test_documents=-3") == 1
    (folder,) = Path("runs/.sweeps").iterdir()
    plan = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**plan, "overrides": [*plan["overrides"], line]}))
    assert cmt("sweep", "repeat", str(folder)) == 2
    assert "reads your environment" in capsys.readouterr().err.replace("\n", " ")


def test_a_secret_in_plain_text_is_warned_of() -> None:
    with pytest.warns(CmtWarning, match=r"extra\.api_key looks like a secret"):
        job(*SMALL, "+extra.api_key=abc")

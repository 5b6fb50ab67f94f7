"""Files of runs that are cut, damaged, missing or of another kind: one error that names them, or they are put back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import read_result
from tests.command_line import cmt
from tests.robustness.folders import made_in, unfinished

READERS = (
    ("show", "RUN"),
    ("metrics", "RUN"),
    ("report", "RUN", "-o", "report.html"),
    ("compare", "RUN"),
    ("resume", "RUN"),
    ("ask", "RUN", "Who?"),
    ("wandb", "sync", "RUN", "--dry-run"),
)
DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00garbage"),
    "list": lambda path: path.write_text("[1, 2]\n"),
    "null": lambda path: path.write_text("null\n"),
    "folder": lambda path: path.rename(path.with_name("aside")).with_name(path.name).mkdir(),
}
LARGE = ("config.yaml", "result.json", "scores.csv", "events.jsonl", "timings.json", ".lock")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make one run for all tests, which take copies of it."""
    with made_in(tmp_path_factory.mktemp("original"), "method=bm25") as folder:
        yield folder


@pytest.fixture
def run(original: Path, empty_folder: Path) -> Path:
    return shutil.copytree(original, empty_folder / "runs" / original.name)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", LARGE)
def test_no_command_fails_at_a_damaged_file(
    run: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / name
    DAMAGES[damage](path)
    for command in READERS[:4] if name in ("config.yaml", "result.json") else READERS:
        code = cmt(*(str(run) if word == "RUN" else word for word in command))
        assert code in (0, 2), (command, capsys.readouterr().err)
    for command in (("runs", str(run.parent)), ("compare", str(run.parent))):
        assert cmt(*command) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "bytes", "null", "list"])
@pytest.mark.parametrize("command", ["resume", "ask"])
def test_a_damaged_configuration_is_named(
    run: Path, command: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](run / "config.yaml")
    assert cmt(command, str(run), *(["Who?"] if command == "ask" else [])) == 2
    assert f"Error: '{run / 'config.yaml'}' cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"cost": None},
        {"data": []},
        {"metrics": {"aa": "high"}},
        {"matrices": {"em": {"metric": "em", "tests": ["a"], "learned_at": [0], "rows": [[0.5, 1.0]]}}},
        {"seed": "one"},
        {"status": None},
    ],
)
def test_values_of_other_types_are_told(
    run: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert cmt("show", str(run)) == 2
    assert f"Error: '{path}' cannot be read" in capsys.readouterr().err


def cut_predictions(run: Path, row: int = 1) -> None:
    path = run / "predictions" / f"row_{row:03d}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("damage", ["missing line", "missing file", "half a line", "no JSON"])
def test_no_metric_is_added_where_answers_are_missing(
    run: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "predictions" / "row_001.jsonl"
    if damage == "missing line":
        cut_predictions(run)
    elif damage == "missing file":
        path.unlink()
    elif damage == "half a line":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text(path.read_text().replace("{", "(", 1))
    before = (run / "result.json").read_bytes()
    assert cmt("metrics", str(run), "--add", "chrf") == 2
    assert str(path) in capsys.readouterr().err and (run / "result.json").read_bytes() == before


def test_missing_answers_of_a_test_are_noticed(run: Path) -> None:
    (run / "timings.json").unlink()
    path = run / "predictions" / "row_001.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [record for record in records if record["test"] != records[0]["test"]]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in kept))
    assert cmt("metrics", str(run), "--add", "chrf") == 2


def test_a_repeated_run_restores_scores_or_tells(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = (run / "scores.csv").read_text()
    (run / "scores.csv").unlink()
    assert cmt("resume", str(run)) == 0
    again = (run / "scores.csv").read_text()
    known = [{line for line in text.split() if not line.endswith(",")} for text in (scores, again)]  # others are empty
    assert known[0] == known[1] and len(known[0]) > 20
    assert "written again from result.json" in capsys.readouterr().err
    cut_predictions(run)
    shutil.rmtree(run / "checkpoint")
    assert cmt("resume", str(run)) == 0
    told = capsys.readouterr().err
    assert "predictions of 1 row" in told and "saved state" in told


def test_a_resume_puts_rows_back_from_the_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = read_result(run)
    (run / "scores.csv").unlink()
    assert cmt("resume", str(unfinished(run))) == 0
    found = read_result(run)
    assert found is not None and expected is not None and found.matrices == expected.matrices
    assert "they were put back" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_run_without_states_does_not_start_anew(run: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path in list((run / "checkpoint").rglob("state.safetensors")):
        if damage == "cut":
            path.write_bytes(b"torn")
    if damage == "gone":
        shutil.rmtree(run / "checkpoint")
    scores = (run / "scores.csv").read_bytes()
    for command in (("resume", str(unfinished(run))), ("ask", str(run), "Who?")):
        assert cmt(*command) == 2
        assert "cannot be loaded" in capsys.readouterr().err
    assert (run / "scores.csv").read_bytes() == scores and (run / "predictions" / "row_002.jsonl").is_file()


def test_a_lost_record_is_made_from_the_files(run: Path) -> None:
    expected = read_result(run)
    (run / "result.json").unlink()
    assert cmt("show", str(run)) == 2
    assert cmt("resume", run.name) == 0
    found = read_result(run)
    assert found is not None and expected is not None and found.matrices == expected.matrices


def test_a_line_that_is_no_event_is_left_out(run: Path) -> None:
    from cmt_cli.running.run_files import read_events

    number = len(read_events(run))
    path = run / "events.jsonl"
    path.write_text(f"[1]\n{{torn\n{path.read_text()}")
    with pytest.warns(UserWarning, match="line [12] is no event"):
        assert len(read_events(run)) == number


def test_prompts_with_several_fields_ask_for_each(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cmt_cli.running.answering import Template

    form = Template("{text}\nhead: {head}, relation:")
    assert form.prompt("", {"text": "A {b}.", "head": "x"}) == "A {b}.\nhead: x, relation:"
    assert form.prompt("A.", {"head": "x"}) == "A.\nhead: x, relation:"
    for question, fields in (("A.", {}), ("", {"text": "A."}), ("A.", {"text": "A.", "head": "x"}), ("A.", {"z": "x"})):
        with pytest.raises(UserError, match="--field text=TEXT --field head=TEXT"):
            form.prompt(question, fields)
    several = Template({"one": "{text}", "two": "{text}?"})
    with pytest.raises(UserError, match=r"--task NAME.*one, two"):
        several.prompt("A", {})
    assert several.prompt("A", {}, "two") == "A?"

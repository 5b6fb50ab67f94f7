"""A metric computed from stored predictions equals the one that the run itself would have computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cmt_cli.analysis.rescoring import ADDED, DEFINITIONS, REFUSED, add_metric, offered
from cmt_cli.commands.app import app
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Answer, Prompt
from cmt_cli.evaluation.changing_facts import CHANGE_SCORES
from cmt_cli.evaluation.evaluator import Evaluator
from cmt_cli.evaluation.metric_scorers import RECALLS, SCORERS
from cmt_cli.evaluation.translation_metrics import bleu
from cmt_cli.running.lock import FolderInUseError, RunLock
from cmt_cli.running.run_files import read_predictions, read_result
from cmt_cli.running.scores import read_cells, write_cells
from tests.running.toy import ToyMethod, run_toy

DECODING = Decoding(
    max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0, stop_text="\n"
)


class Parrot:
    """Answer with the question's last word, or with two more words after an odd one."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        words = [prompt.text.rstrip("?").split()[-1] for prompt in prompts]
        return [Answer(f"the {word} of them" if int(word) % 2 else word) for word in words]


class ParrotMethod(ToyMethod):
    def predictor(self, learner: Any, task_index: int) -> Any:
        return Parrot()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    run_toy(
        folder, method=ParrotMethod(), evaluator=Evaluator(decoding=DECODING, rows="all", max_examples_per_test=None)
    )
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def without(folder: Path, name: str) -> dict[str, Any]:
    """Remove a metric as if the run had never computed it; return the record as it was."""
    record = json.loads((folder / "result.json").read_text())
    fewer = json.loads(json.dumps(record))
    del fewer["matrices"][name]
    for part in ("metrics", "formulas", "reasons"):
        fewer[part] = {key: value for key, value in fewer[part].items() if not key.startswith(f"{name}/")}
    (folder / "result.json").write_text(json.dumps(fewer))
    cells = read_cells(folder / "scores.csv")
    for row in cells.values():
        for scores in row.values():
            scores.pop(name, None)
    write_cells(folder / "scores.csv", cells)
    return dict(record)


@pytest.mark.parametrize("name", ["f1", "em_prefix", "answer_words"])
def test_an_added_metric_is_the_runs_own(folder: Path, name: str) -> None:
    cells = read_cells(folder / "scores.csv")
    before = without(folder, name)
    add_metric(folder, name)
    after = json.loads((folder / "result.json").read_text())
    assert after["matrices"][name] == before["matrices"][name]
    assert after["metrics"] == before["metrics"] and after["formulas"] == before["formulas"]
    assert read_cells(folder / "scores.csv") == cells
    assert after["matrices"]["em"] == before["matrices"]["em"] and after["status"] == "complete"


def test_a_whole_test_metric_is_computed_over_its_questions(folder: Path) -> None:
    result = add_metric(folder, "bleu")
    records = [r for r in read_predictions(folder, 2) if r["test"] == "batch-1"]
    expected = bleu([r["prediction"] for r in records], [r["references"] for r in records])
    assert result.matrices["bleu"].rows[2][1] == pytest.approx(expected)
    added = json.loads((folder / ADDED).read_text())["bleu"]
    assert added["definition"].startswith("corpus BLEU") and added["signature"] == result.signatures["bleu"]
    assert "nrefs:1" in added["signature"] and added["versions"]["cmt"]
    assert json.loads((folder / "signatures.json").read_text())["bleu"] == added["signature"]


def test_single_questions_get_their_score_too(folder: Path) -> None:
    add_metric(folder, "rouge_l")
    scores = [record["scores"] for record in read_predictions(folder, 3)]
    assert scores[0]["rouge_l"] == 1.0 and 0 < scores[1]["rouge_l"] < 1
    assert set(scores[0]) == {
        "em",
        "em_prefix",
        "f1",
        "f1_shortest",
        "answer_words",
        "empty_rate",
        "eos_rate",
        "rouge_l",
    }
    written = read_result(folder)
    assert written is not None and written.metrics["rouge_l/aa"].value is not None
    assert "added later" in str(written.metrics["rouge_l/fwd_single_task"].reason)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("accuracy", "needs the log-likelihood of every choice"),
        ("recall_at_1", "gold documents"),
        ("em", "has 'em' already"),
        ("bwt", "comes with every score that is added, as SCORE/bwt"),
        ("span_f1_seen", "label sets"),
        ("rouge", "Did you mean 'rouge_l'"),
        ("triple_f1", "is of triples, and the target of 'q0-0'"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_changes(folder: Path, name: str, told: str) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=told):
        add_metric(folder, name)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_every_score_can_be_added_or_has_a_refusal() -> None:
    names = {name for scorer in SCORERS.values() for name in scorer.names} | set(RECALLS) | set(CHANGE_SCORES)
    assert names == set(DEFINITIONS) | set(REFUSED)


def test_a_run_that_is_written_or_unfinished_is_refused(folder: Path) -> None:
    with RunLock(folder), pytest.raises(FolderInUseError):
        add_metric(folder, "rouge_l")
    path = folder / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "interrupted"}))
    with pytest.raises(UserError, match="is interrupted: finish it first"):
        add_metric(folder, "rouge_l")


def test_an_addition_that_was_cut_off_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("cmt_cli.analysis.rescoring.write_cells", _fail)
        with pytest.raises(OSError, match="disk full"):
            add_metric(folder, "rouge_l")
    assert "rouge_l" not in offered(folder).there
    assert add_metric(folder, "rouge_l").metrics["rouge_l/aa"].value is not None
    assert "rouge_l" in offered(folder).there and "rouge_l" not in offered(folder).possible


def _fail(*_: object, **__: object) -> None:
    raise OSError("disk full")


def test_lost_predictions_are_told(folder: Path) -> None:
    (folder / "predictions" / "row_001.jsonl").unlink()
    with pytest.raises(UserError, match="predictions of row 1 are gone"):
        add_metric(folder, "rouge_l")


def test_the_command_lists_and_adds(folder: Path) -> None:
    listed = CliRunner().invoke(app, ["metrics", str(folder)], catch_exceptions=False).stdout
    assert "rouge_l" in listed.partition("Possible")[2].partition("Not possible")[0]
    assert "accuracy " in listed.partition("Not possible")[2]
    done = CliRunner().invoke(
        app, ["metrics", str(folder), "--add", "rouge_l", "--add", "chrf"], catch_exceptions=False
    )
    assert done.stdout.count("was added to every row") == 2

"""Probes are columns without a task: in the matrix, in probe_drop, in the record, and in nothing about tasks."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.analysis.repetitions import flat
from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.result import RunResult
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.evaluation.probes import Facts, Probes
from cmt_cli.running.identity import config_hash
from cmt_cli.running.restore import mend
from cmt_cli.running.run_files import read_events, read_predictions, read_result
from cmt_cli.running.scores import cells_of
from cmt_cli.running.signals import StoppedBySignal
from tests.command_line import SMALL, cmt, job
from tests.probes.harness_files import task_file
from tests.running.toy import record_without_times, run_toy

FACTS = {"metric": "acc", "sha256": "0" * 64, "num_questions": 2, "num_available": 5}


@dataclass
class ToyProbes(Probes):
    """Two columns whose scores are read off the toy's predictor, a number."""

    facts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"general": FACTS, "other": FACTS})
    before: Callable[[int], None] = field(default=lambda row: None)

    def prepare(self) -> Facts:
        return self.facts

    def evaluate(self, predictor: Any, learner: Any, *, row: int, num_rows: int, **rest: Any) -> Sequence[TestScore]:
        self.before(row)
        value = min(max(0.5 + predictor / 10, 0.0), 1.0)
        records = [
            {"test": "general", "id": "general:0", "prompt": "p", "prediction": str(value), "scores": {"acc": value}}
        ]
        return [TestScore("general", {"acc": value, "ppl": 20.5}, records), TestScore("other", {"acc": 0.25}, [])]


def column(result: RunResult, metric: str, test: str) -> list[float | None]:
    matrix = result.matrices[metric]
    return [row[matrix.tests.index(test)] for row in matrix.rows]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "probed"
    run_toy(folder, probes=ToyProbes())
    return folder


def test_a_probe_is_a_column_with_its_own_metric(probed: Path) -> None:
    result = read_result(probed)
    assert result is not None
    matrix = result.matrices["em"]
    assert matrix.tests == ("batch-0", "batch-1", "batch-2", "general", "other")
    assert matrix.learned_at == (0, 1, 2, None, None)
    own = column(result, "acc", "general")
    assert column(result, "em", "general") == own and None not in own
    assert result.metrics["probe_drop[general]"].value == pytest.approx(own[0] - own[-1])  # type: ignore[operator]
    assert result.metrics["probe_drop"].value == pytest.approx(result.metrics["probe_drop[general]"].value / 2)  # type: ignore[operator]
    assert column(result, "ppl", "general") == [20.5] * 4
    assert result.probes["general"] == FACTS
    assert [record["id"] for record in read_predictions(probed, 3) if record["test"] == "general"] == ["general:0"]


def test_what_is_about_tasks_is_as_without_probes(probed: Path, tmp_path: Path) -> None:
    plain, asked = run_toy(tmp_path), read_result(probed)
    assert asked is not None
    others = {name: metric for name, metric in asked.metrics.items() if not name.startswith("probe_drop")}
    assert others == {name: metric for name, metric in plain.metrics.items() if not name.startswith("probe_drop")}
    assert asked.data == plain.data and asked.seen == plain.seen


def test_a_killed_run_ends_with_the_same_record(probed: Path, tmp_path: Path) -> None:
    def kill(row: int) -> None:
        if row == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_toy(tmp_path, probes=ToyProbes(before=kill))
    run_toy(tmp_path, probes=ToyProbes())
    assert record_without_times(tmp_path) == record_without_times(probed)
    assert (tmp_path / "scores.csv").read_bytes() == (probed / "scores.csv").read_bytes()


def test_a_signal_while_probing_stops_and_continues(probed: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedBySignal):
        run_toy(tmp_path, probes=ToyProbes(before=lambda row: signal.raise_signal(signal.SIGTERM)))
    assert run_toy(tmp_path, probes=ToyProbes()).status == "complete"
    assert record_without_times(tmp_path) == record_without_times(probed)


def test_other_questions_are_refused(tmp_path: Path) -> None:
    def kill(row: int) -> None:
        if row == 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_toy(tmp_path, probes=ToyProbes(before=kill))
    changed = {"general": {**FACTS, "sha256": "1" * 64}, "other": FACTS}
    with pytest.raises(UserError, match="other questions of its probes: general changed since"):
        run_toy(tmp_path, probes=ToyProbes(changed))


def test_a_complete_run_asks_no_probes(probed: Path) -> None:
    class Absent(ToyProbes):
        def prepare(self) -> Facts:
            raise AssertionError("a complete run needs none")

    assert run_toy(probed, probes=Absent()).status == "complete"


def test_a_columns_name_must_be_free(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="probe 'batch-1' has the name of a test of the stream"):
        run_toy(tmp_path, probes=ToyProbes({"batch-1": FACTS}))


def test_the_time_of_probes_is_no_time_per_answer(tmp_path: Path) -> None:
    result = run_toy(tmp_path, probes=ToyProbes(before=lambda row: time.sleep(0.1)))
    assert result.cost.eval_seconds > 0.4
    assert result.cost.answer_ms_per_question * 4 * 6 < 1000 * (result.cost.eval_seconds - 0.39)


def test_a_lost_table_of_scores_is_written_again(probed: Path) -> None:
    scores = (probed / "scores.csv").read_bytes()
    result = read_result(probed)
    assert result is not None
    assert {test for row in cells_of(result).values() for test in row if "ppl" in row[test]} == {"general"}
    (probed / "scores.csv").unlink()
    with pytest.warns(CmtWarning, match="written again"):
        mend(probed, result)
    again = (probed / "scores.csv").read_bytes().split()
    assert {line for line in again if line[-1:] != b","} == {line for line in scores.split() if line[-1:] != b","}


def test_a_row_is_told_with_the_probes_own_metric(probed: Path) -> None:
    rows = [event["values"] for event in read_events(probed) if event["event"] == "row"]
    assert rows[0]["acc/general"] == column(read_result(probed), "acc", "general")[0]  # type: ignore[arg-type]
    assert "em/batch-0" in rows[0] and "em/general" not in rows[0]


def test_no_probes_leave_the_hash_as_it_was() -> None:
    settings = {"method": {"_target_": "x"}, "seed": 0}
    none = {"_target_": "cmt_cli.evaluation.probes.NoProbes"}
    assert (
        config_hash({**settings, "probes": none}) == config_hash(settings) == config_hash({**settings, "probes": None})
    )
    assert config_hash({**settings, "probes": {**none, "limit": 3}}) != config_hash(settings)


def test_no_probes_are_no_setting_of_a_comparison() -> None:
    assert flat({"probes": {"_target_": "cmt_cli.evaluation.probes.NoProbes"}, "seed": 0}) == {"seed": 0}


def test_baselines_are_runs_without_probes() -> None:
    plain, asked = job(*SMALL), job(*SMALL, "probes=lm_eval", "probes.tasks=[arc_easy]")
    assert asked.identity.config_hash != plain.identity.config_hash
    assert asked.baseline("joint").identity == plain.baseline("joint").identity
    assert asked.without_probes.identity == plain.identity


RUN = ("method=finetune", "data=world_classification", "trainer=smoke", "logger=none", "model.device=cpu",
       "evaluator=smoke", "data.num_tasks=2", "probes=lm_eval")  # fmt: skip


@pytest.mark.usefixtures("empty_folder")
def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert cmt("run", *RUN, "probes.tasks=[arc_easy]") == 2
    assert "pip install 'cmt-cli[lm-eval]'" in " ".join(capsys.readouterr().err.split())
    assert not list(Path("runs").glob("*/result.json"))


@pytest.mark.usefixtures("empty_folder")
def test_tasks_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", *RUN) == 2
    assert "probes.tasks has no value yet" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_folder")
def test_a_real_run_asks_shows_resumes_and_needs_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lm_eval")
    task = task_file(tmp_path / "tasks", "choice")
    assert cmt("run", *RUN, f"probes.tasks=[{task}]", "probes.limit=3") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "choice (general probe, acc, 3 of 6 questions)" in shown and "probe_drop[choice]" in shown
    (folder,) = Path("runs").glob("finetune-*")
    record = json.loads((folder / "result.json").read_text())
    assert record["probes"]["choice"]["num_questions"] == 3 and len(record["matrices"]["acc_norm"]["rows"]) == 3
    assert len(read_predictions(folder, 2)) == 2 * 4 + 3
    _forget_the_last_row(folder)
    capsys.readouterr()
    assert cmt("resume", str(folder)) == 2
    assert f"--trust {task}" in capsys.readouterr().err
    assert cmt("resume", str(folder), "--trust", task) == 0
    again = json.loads((folder / "result.json").read_text())
    assert [again[key] for key in ("matrices", "metrics", "probes")] == [
        record[key] for key in ("matrices", "metrics", "probes")
    ]


def _forget_the_last_row(folder: Path) -> None:
    """Leave a run as one that was killed in its last evaluation."""
    lines = [line for line in (folder / "scores.csv").read_text().splitlines(keepends=True) if line[0] != "2"]
    (folder / "scores.csv").write_text("".join(lines))
    (folder / "predictions" / "row_002.jsonl").unlink()
    record = json.loads((folder / "result.json").read_text())
    record["status"] = "interrupted"
    for matrix in record["matrices"].values():
        del matrix["rows"][2:]
    (folder / "result.json").write_text(json.dumps(record))

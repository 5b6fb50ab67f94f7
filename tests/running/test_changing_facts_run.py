"""A run on facts that change: its record, its predictions and what is shown of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cmt_cli.analysis import rescoring
from cmt_cli.commands import run_text
from cmt_cli.core.exceptions import UserError
from cmt_cli.running import job_run
from cmt_cli.running.run_files import read_predictions, read_result
from tests.command_line import job
from tests.present import present

SMALLEST = (
    "method=frozen",
    "data=factbook",
    "data.source=generated",
    "data.fields=[head_of_government,capital]",
    "data.generated.num_countries=16",
    "data.generated.num_editions=3",
    "data.generated.change_rate=0.5",
    "model=tiny",
    "model.device=cpu",
    "trainer=smoke",
    "logger=none",
    "evaluator.decoding.max_new_tokens=2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run."""
    place = tmp_path_factory.mktemp("facts")
    job_run.run(job(*SMALLEST, f"paths.runs={place / 'runs'}", f"paths.data={place}", f"paths.cache={place / 'cache'}"))
    (found,) = (place / "runs").iterdir()
    return found


def test_the_record_has_the_rates_by_age(folder: Path) -> None:
    result = present(read_result(folder))
    assert [matrix.metric for matrix in result.matrices.values()][:1] == ["em"]
    for name in ("current_accuracy", "unchanged_accuracy", "stale_rate"):
        assert {f"{name}/aa", f"{name}/age_0", f"{name}/age_1"} <= result.metrics.keys()
        assert f"{name}/fgt" not in result.metrics
        assert result.matrices[name].rows[3][0] is None  # in the first edition every fact is new
    assert "aa" in result.metrics and result.metrics["stale_rate/age_0"].value == 0


def test_predictions_tell_what_became_of_a_fact(folder: Path) -> None:
    records = read_predictions(folder, 3)
    assert {record["change"] for record in records if record["test"] == "2020-01-15"} == {"new"}
    changed = [record for record in records if record["change"] == "changed"]
    assert changed and all(record["earlier"] for record in changed)


def test_what_is_shown_has_a_line_for_each_rate(folder: Path) -> None:
    text = io.StringIO()
    run_text.show(present(read_result(folder)), folder, Console(file=text, width=100))
    (line,) = (line for line in text.getvalue().splitlines() if line.startswith("stale_rate"))
    assert line.split() == ["stale_rate", "0.000", "0.000", "0.000"]


def test_other_metrics_are_added_and_rates_are_not(folder: Path) -> None:
    with pytest.raises(UserError, match="what became of a fact"):
        rescoring.add_metric(folder, "stale_rate")
    assert rescoring.add_metric(folder, "rouge_l").metrics["rouge_l/aa"].value is not None
    assert all("change" in record and "rouge_l" in record["scores"] for record in read_predictions(folder, 3))

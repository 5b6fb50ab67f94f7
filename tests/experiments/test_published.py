"""Published tables: their jobs compose, and only a run of exactly a cell's configuration stands beside its number."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_cli.core.result import Metric, RunResult
from tests import command_line

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def published() -> Iterator[Any]:
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        import reproduction

        yield reproduction
    finally:
        sys.path.remove(str(EXPERIMENTS))


def write_run(folder: Path, job: tuple[str, ...], *, source: str = "real", **metrics: float) -> None:
    made = command_line.job(*job)
    data = {"name": made.names["data"], "source": source, "sha256": {}, "license": "none"}
    values = {name.replace("__", "/"): Metric(value, "") for name, value in metrics.items()}
    seed = made.config["seed"]
    result = RunResult(
        made.names["method"], data, {"name": made.names["model"]}, seed, f"{seed}", "complete", "em", metrics=values
    )
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result.to_json()))
    (folder / "config.yaml").write_text(yaml.safe_dump(made.saved))


def test_jobs_compose(published: Any) -> None:
    for table in published.TABLES:
        jobs = [job for cell in table.cells for job in cell.jobs]
        for job in {*jobs[:1], *jobs[-1:]}:
            experiment, _ = published.key_of(job)
            assert experiment == published.key_of((*job, "seed=7"))[0], (table.name, job)


def test_every_entry_has_source_and_jobs_or_reason(published: Any) -> None:
    for table in published.TABLES:
        for cell in table.cells:
            assert bool(cell.jobs) != bool(cell.reason), (table.name, cell.column, cell.row)
            assert cell.source.mark in ("", "†") and "arXiv" in cell.source.text + table.cells[0].source.text
            assert set(cell.published) <= set(table.metrics)


def test_a_run_of_the_cells_configuration_stands_beside_it(published: Any, tmp_path: Path) -> None:
    table = next(table for table in published.TABLES if table.name == "clinc150")
    cell = next(cell for cell in table.cells if cell.row == "SEQ*")
    (job,) = cell.jobs
    for seed, score in ((0, 0.80), (1, 0.84)):
        write_run(tmp_path / f"seq-{seed}", (*job, f"seed={seed}", "paths.runs=elsewhere"), aa=score, aia=0.9)
    write_run(tmp_path / "other-rate", (*job, "trainer.task.learning_rate=1e-4"), aa=0.1, aia=0.1)
    write_run(tmp_path / "generated", (*job, "seed=5"), source="generated", aa=1.0, aia=1.0)
    runs = published.complete_runs(tmp_path)
    text = published.markdown(table, runs)
    line = next(line for line in text.splitlines() if line.startswith("| CLINC150 | SEQ* |"))
    assert line == "| CLINC150 | SEQ* | 84.51 | 82.00 ± 2.83 | 89.43 | 90.00 ± 0.00 | 2 |"
    assert published.num_run(table, runs) == (1, 10, 14)
    others = [line for line in text.splitlines() if line.startswith("| CLINC150 | LAMOL_t |")]
    assert others == ["| CLINC150 | LAMOL_t | 43.37 | not run | 67.77 | not run | 0 |"]


def test_orders_are_averaged_and_counted(published: Any, tmp_path: Path) -> None:
    table = next(table for table in published.TABLES if table.name == "long_sequence")
    cell = next(cell for cell in table.cells if cell.row == "O-LoRA" and cell.jobs)
    write_run(tmp_path / "o4", cell.jobs[0], aa=0.70, bwt=-0.04)
    write_run(tmp_path / "o5", cell.jobs[1], aa=0.72, bwt=-0.02)
    four_tasks = tuple(part.replace("data.order=o4", "data.order=o1") for part in cell.jobs[0])
    write_run(tmp_path / "o1", four_tasks, aa=0.99, bwt=0.0)
    text = published.markdown(table, published.complete_runs(tmp_path))
    line = next(line for line in text.splitlines() if line.startswith("| LLaMA-2-7B-Chat, 15 tasks | O-LoRA |"))
    assert line.endswith("| 73.5† | 71.0 ± 1.4 | -4.0† | -3.0 ± 1.4 | 2, 2 of 3 orders |")


def test_the_report_in_the_repository_holds_every_table(published: Any, tmp_path: Path) -> None:
    written = (EXPERIMENTS.parent / "docs" / "reproduction.md").read_text(encoding="utf-8")
    for line in published.report(tmp_path).splitlines():
        if line.startswith("#") or line.startswith("- "):
            assert line in written
    assert written.count("\n| ") == published.report(tmp_path).count("\n| ")

"""Runs are averaged over seeds, and only what was measured on the same thing stands in one table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import fmean, stdev

import pytest
from rich.console import Console

from cmt_cli.analysis.compare_runs import compare
from cmt_cli.analysis.comparison import Options
from cmt_cli.analysis.find_runs import find_run, find_runs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import RunResult, ScoreMatrix
from cmt_cli.reporting.retention_plot import plot_retention, run_curve
from cmt_cli.reporting.tables import print_comparison, to_csv, to_markdown
from cmt_cli.running.stream_loop import run_stream
from tests.running.toy import ToyEvaluator, ToyLearner, ToyMethod, ToyTrainer, run_toy, toy_store, toy_stream


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1, 2):
        run_toy(folder / f"drift-{seed}", seed=seed)
    with toy_store(folder / "stronger", config={"strength": 2.0}) as store:
        run_stream(
            learner=ToyLearner(),  # type: ignore[arg-type]
            method=ToyMethod(),  # type: ignore[arg-type]
            stream=toy_stream(),
            trainer=ToyTrainer(),  # type: ignore[arg-type]
            evaluator=ToyEvaluator(),  # type: ignore[arg-type]
            store=store,
            loggers=[],
        )
    run_toy(folder / "validation", stream=toy_stream(split="validation"))
    run_toy(folder / "real", stream=toy_stream(source="real", sha256="ab" * 32))
    run_toy(folder / "stopped")
    record = json.loads((folder / "stopped" / "result.json").read_text())
    (folder / "stopped" / "result.json").write_text(json.dumps({**record, "status": "failed"}))
    (folder / "broken").mkdir()
    (folder / "broken" / "result.json").write_text("{")
    return folder


@pytest.mark.filterwarnings("ignore:.*broken")
def test_seeds_are_averaged_and_other_settings_are_not(runs: Path) -> None:
    comparison = compare([runs])
    generated = next(s for s in comparison.sections if s.source == "generated")
    by_settings = {line.settings: line for line in generated.lines}
    assert set(by_settings) == {"", "strength=2.0"}
    line = by_settings[""]
    assert line.seeds == (0, 1, 2)
    found = [run.result.metrics["aa"].value for run in find_runs(runs) if run.folder.name.startswith("drift-")]
    values = [value for value in found if value is not None]
    assert line.values["aa"].mean == pytest.approx(fmean(values))
    assert line.values["aa"].deviation == pytest.approx(stdev(values))
    assert by_settings["strength=2.0"].values["aa"].deviation is None
    assert line.values["recall_at_1/aa"].mean is None
    assert line.values["tokens"].mean == 2400


@pytest.mark.filterwarnings("ignore:.*broken")
def test_generated_and_real_data_never_share_a_table(runs: Path) -> None:
    comparison = compare([runs / "drift-0", runs / "real", runs])
    assert [section.source for section in comparison.sections if section.split == "test"] == ["generated", "real"]
    assert [len(section.lines) for section in comparison.sections] == [2, 1, 1]
    text = to_markdown(comparison)
    assert "GENERATED data" in text and "must not be compared" in text
    assert [(path.name, status) for path, status in comparison.left_out] == [("stopped", "failed")]


@pytest.mark.filterwarnings("ignore:.*broken")
def test_validation_results_have_a_labelled_table_of_their_own(runs: Path) -> None:
    comparison = compare([runs / "drift-0", runs / "validation"])
    assert [(section.split, len(section.lines)) for section in comparison.sections] == [("test", 1), ("validation", 1)]
    console = Console(width=120, file=io.StringIO(), record=True)
    print_comparison(comparison, console)
    for text in (console.export_text(), to_markdown(comparison)):
        assert "GENERATED data, VALIDATION split" in text and "are no test results" in text
    assert [line["split"] for line in csv.DictReader(io.StringIO(to_csv(comparison)))] == ["test", "validation"]


@pytest.mark.filterwarnings("ignore:.*broken")
def test_tables_fit_the_console_and_csv_is_exact(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare([runs])
    for width in (80, 160):
        monkeypatch.setenv("COLUMNS", str(width))
        console = Console(file=io.StringIO(), record=True)
        print_comparison(comparison, console)
        assert all(len(line.rstrip()) <= width for line in console.export_text().splitlines())
    lines = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    mean = next(line for line in comparison.sections[0].lines if len(line.seeds) == 3).values["aa"].mean
    assert float(next(line for line in lines if line["seeds"] == "0 1 2")["aa"]) == mean


def test_titles_of_other_files_tell_them_apart(tmp_path: Path) -> None:
    for name in ("ab", "cd"):
        run_toy(tmp_path / name, stream=toy_stream(source="real", sha256=name * 32))
    text = to_markdown(compare([tmp_path]))
    assert ", sha256 abababab), real data" in text and ", sha256 cdcdcdcd), real data" in text
    assert "sha256" not in to_markdown(compare([tmp_path / "ab"]))


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No runs were found"):
        compare([tmp_path])


def test_a_run_is_found_by_path_beginning_or_hash(runs: Path) -> None:
    assert find_run(str(runs / "real"), Path("elsewhere")) == runs / "real"
    assert find_run("stro", runs) == runs / "stronger"
    assert find_run("1", runs) == runs / "drift-1"
    with pytest.raises(UserError, match="fits several runs: drift-0, drift-1, drift-2"):
        find_run("drift", runs)
    with pytest.raises(UserError, match="Did you mean 'stronger'"):
        find_run("stronher", runs)


def test_an_unreadable_record_is_left_out_with_a_warning(runs: Path) -> None:
    with pytest.warns(UserWarning, match="broken"):
        found = find_runs(runs)
    assert [run.folder.name for run in found] == [
        "drift-0",
        "drift-1",
        "drift-2",
        "real",
        "stopped",
        "stronger",
        "validation",
    ]


def test_retention_curve_is_the_mean_score_at_each_age() -> None:
    rows = ((0.0, 0.0, 0.0), (0.8, 0.0, 0.0), (0.6, 1.0, 0.0), (0.4, 0.8, None))
    matrix = ScoreMatrix("em", ("a", "b", "c"), (0, 1, 2), rows)
    result = RunResult("m", {}, {}, 0, "", "complete", "em", matrices={"em": matrix})
    assert run_curve(result, "em") == pytest.approx([0.9, 0.7, 0.4])


@pytest.mark.filterwarnings("ignore:.*broken")
def test_retention_is_drawn_for_comparable_runs_only(runs: Path, tmp_path: Path) -> None:
    plot_retention([runs / "drift-0", runs / "drift-1", runs / "stronger"], tmp_path / "plots" / "retention.png")
    assert (tmp_path / "plots" / "retention.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"toy \(GENERATED data\), toy \(real data\)"):
        plot_retention([runs / "drift-0", runs / "real"], tmp_path / "mixed.png")


def loaded_from(folder: Path, digest: str | None, *, seed: int) -> None:
    """Make a run whose model's weights have a hash, or none as in older records."""
    learner = ToyLearner()
    learner.files = {"model.safetensors": digest} if digest else {}
    run_toy(folder, seed=seed, learner=learner)


def test_runs_of_other_weights_are_not_averaged(tmp_path: Path) -> None:
    loaded_from(tmp_path / "a0", "a" * 64, seed=0)
    loaded_from(tmp_path / "a1", "a" * 64, seed=1)
    loaded_from(tmp_path / "old", None, seed=2)
    ((line,),) = (section.lines for section in compare([tmp_path]).sections)
    assert line.seeds == (0, 1, 2)
    loaded_from(tmp_path / "b0", "b" * 64, seed=0)
    (section,) = compare([tmp_path]).sections
    assert sorted(line.seeds for line in section.lines) == [(0,), (0, 1), (2,)]
    assert all(line.settings.startswith("model files ") for line in section.lines)
    with pytest.raises(UserError, match="was loaded from different files"):
        compare([tmp_path], Options(by=("method",)))

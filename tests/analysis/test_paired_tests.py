"""Lines are averaged over seeds and orders, tested against a baseline, ranked over streams, and never mixed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import stdev

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cmt_cli.analysis.compare_runs import compare, ranks
from cmt_cli.analysis.comparison import Options
from cmt_cli.commands.app import app
from cmt_cli.core.exceptions import UserError
from cmt_cli.reporting.latex_tables import _table, escape, to_latex
from cmt_cli.reporting.tables import print_comparison, to_csv, to_markdown
from tests.running.records import Record

AA = {"replay": (0.50, 0.60, 0.70), "ewc": (0.40, 0.45, 0.50), "l2": (0.52, 0.58, 0.71)}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for method, values in AA.items():
        for seed, value in enumerate(values):
            good = round(10 * value)
            answers = {"a": [1.0] * good + [0.0] * (10 - good), "b": [1.0, 0.0]}
            Record(method=method, seed=seed, metrics={"aa": value, "fgt": 0.1 * seed}, answers=answers).write(
                tmp_path / "runs" / f"{method}-{seed}"
            )
    return tmp_path / "runs"


def test_paired_tests_use_equal_seeds_and_state_smallest_p(runs: Path) -> None:
    (section,) = compare([runs], Options(baseline="ewc", metrics=("aa", "fgt"))).sections
    by_line = {(d.line, d.metric): d for d in section.differences}
    replay = by_line["replay tiny", "aa"]
    assert replay.runs is not None and replay.runs.mean_difference == pytest.approx((0.1 + 0.15 + 0.2) / 3)
    assert (replay.runs.p, replay.runs.smallest_p, replay.runs.num_pairs) == (0.25, 0.25, 3)
    assert replay.holm_runs == 0.5  # two lines are tested
    assert by_line["replay tiny", "fgt"].questions_reason is not None
    assert any("no p below 0.25 is possible" in text for text in to_markdown_lines(runs))


def to_markdown_lines(runs: Path) -> list[str]:
    return to_markdown(compare([runs], Options(baseline="ewc"))).splitlines()


def test_questions_are_paired_over_all_seeds(runs: Path) -> None:
    (section,) = compare([runs], Options(baseline="ewc")).sections
    found = next(d for d in section.differences if d.line == "replay tiny")
    # ewc answers 4, 4 and 5 of the ten questions of test a (round(4.5) is 4), replay 5, 6 and 7; test b is equal.
    assert found.questions is not None and found.questions.num_pairs == 12
    assert found.questions.mean_difference == pytest.approx((1 + 2 + 2) / 3 / 12)
    # Questions 5, 6, 7 of test a: differences 2/3, 2/3, 1/3; 2 of 8 sign patterns reach them all.
    assert found.questions.p == 0.25
    assert found.question_interval is not None and found.question_interval.low <= 5 / 36 <= found.question_interval.high


def test_a_bootstrap_interval_stands_in_place_of_the_deviation(runs: Path) -> None:
    options = Options(interval="bootstrap", metrics=("aa",))
    (section,) = compare([runs], options).sections
    replay = next(line for line in section.lines if line.method == "replay").values["aa"]
    assert replay.deviation == pytest.approx(stdev(AA["replay"]))
    assert replay.interval is not None and (replay.interval.low, replay.interval.high) == pytest.approx((0.5, 0.7))
    text = to_markdown(compare([runs], options))
    assert r"0.600 \[0.500, 0.700\]" in text and "95% percentile bootstrap" in text and "too narrow" in text
    line = next(
        row for row in csv.DictReader(io.StringIO(to_csv(compare([runs], options)))) if row["method"] == "replay"
    )
    assert float(line["aa_low"]) == pytest.approx(0.5) and float(line["tokens"]) == 100


def test_orders_of_the_same_tasks_are_repetitions(tmp_path: Path) -> None:
    for i, tests in enumerate((("a", "b"), ("b", "a"))):
        Record(tests=tests, metrics={"aa": 0.2 + 0.2 * i}).write(tmp_path / f"replay-{i}")
        Record(method="ewc", tests=tests, metrics={"aa": 0.1 + 0.1 * i}).write(tmp_path / f"ewc-{i}")
    comparison = compare([tmp_path], Options(baseline="ewc"))
    (section,) = comparison.sections
    replay = section.lines[0]
    assert (replay.seeds, replay.num_orders) == ((0, 0), 2)
    assert replay.values["aa"].mean == pytest.approx(0.3)
    (found,) = section.differences
    assert found.runs is not None and found.runs.num_pairs == 2 and found.runs.smallest_p == 0.5
    assert "Orders of the tasks" in to_markdown(comparison)


def test_other_budgets_make_other_lines_and_are_never_merged(runs: Path) -> None:
    more = {"trainer": {"task": {"num_epochs": 3}}}
    Record(seed=3, config=more, metrics={"aa": 0.9}).write(runs / "replay-more")
    (section,) = compare([runs]).sections
    assert {line.settings for line in section.lines if line.method == "replay"} == {
        "trainer.task.num_epochs=1",
        "trainer.task.num_epochs=3",
    }
    with pytest.raises(UserError, match=r"'replay' that differ in budget.*trainer\.task\.num_epochs \(1; 3\)"):
        compare([runs], Options(by=("method",)))
    (section,) = compare([runs], Options(by=("method",), where=("trainer.task.num_epochs=1",))).sections
    assert {line.label for line in section.lines} == {"replay tiny", "ewc tiny", "l2 tiny"}
    with pytest.raises(UserError, match="fits several lines"):
        compare([runs], Options(baseline="replay"))


def test_a_merge_over_other_settings_says_what_varies(runs: Path) -> None:
    Record(seed=3, config={"trainer": {"task": {"learning_rate": 0.3}}}).write(runs / "replay-fast")
    (section,) = compare([runs], Options(by=("method",))).sections
    replay = next(line for line in section.lines if line.method == "replay")
    assert (replay.settings, len(replay.seeds)) == ("trainer.task.learning_rate=0.1|0.3", 4)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Record(seed=3, files={"test.csv": "bb"}), r"the files test\.csv have other contents"),
        (Record(seed=3, source="generated"), "the data source is generated and real"),
        (Record(seed=3, tests=("a", "b", "c")), "the tests differ, 2 and 3"),
        (Record(seed=3, model="gpt2"), r"model \(gpt2; tiny\)"),
        (Record(seed=3, config={"evaluator": {"max_examples_per_test": 5}}), "evaluator.max_examples_per_test"),
    ],
)
def test_unlike_data_and_models_are_never_averaged(runs: Path, other: Record, told: str) -> None:
    other.write(runs / "replay-other")
    with pytest.raises(UserError, match=told):
        compare([runs], Options(by=("method",)))
    lines = [line for section in compare([runs]).sections for line in section.lines if line.method == "replay"]
    assert sorted(len(line.seeds) for line in lines) == [1, 3]


def test_the_later_of_two_equal_runs_counts(runs: Path) -> None:
    Record(seed=0, metrics={"aa": 0.55}).write(runs / "copy")
    comparison = compare([runs], Options(where=("method=replay",)))
    (line,) = comparison.sections[0].lines
    assert line.seeds == (0, 1, 2) and runs / "copy" in line.folders
    ((folder, reason),) = comparison.left_out
    assert folder == runs / "replay-0" and "same seed" in reason


def test_ranks_are_over_all_streams_and_ties_are_shared(runs: Path) -> None:
    assert ranks({"a": 0.3, "b": 0.5, "c": 0.3}) == {"a": 2.5, "b": 1.0, "c": 2.5}
    assert ranks({"a": 0.3, "b": 0.5}, ascending=True) == {"a": 1.0, "b": 2.0}
    Record(method="replay", data="mail", metrics={"aa": 0.3}).write(runs / "mail-replay")
    Record(method="ewc", data="mail", metrics={"aa": 0.3}).write(runs / "mail-ewc")
    comparison = compare([runs], Options(metrics=("aa",)))
    (ranking,) = comparison.rankings
    assert ranking.streams == ("mail", "news")
    assert ranking.ranks == (("replay tiny", 1.25, (1.5, 1.0)), ("ewc tiny", 1.75, (1.5, 2.0)))
    assert ranking.left_out == (("l2 tiny", "mail"),)
    assert "since not run on mail: l2 tiny" in to_markdown(comparison)


def test_config_lists_are_written_as_on_the_command_line(runs: Path) -> None:
    Record(tests=("b", "a"), seed=4).write(runs / "turned")
    for where in ("data.order='[b, a]'", "data.order=[b*"):
        (section,) = compare([runs], Options(where=(where,))).sections
        assert [line.seeds for line in section.lines] == [(4,)]


def test_wrong_names_are_told(runs: Path) -> None:
    for options, told in (
        (Options(baseline="ewcc"), "Did you mean 'ewc'"),
        (Options(metrics=("fgtt",)), "Did you mean 'fgt'"),
        (Options(by=("methods",)), "Did you mean 'method'"),
        (Options(interval="sd"), "allowed are deviation, bootstrap"),
        (Options(where=("method=nobody",)), "None of the 9 runs"),
    ):
        with pytest.raises(UserError, match=told):
            compare([runs], options)


def test_latex_is_escaped_and_the_best_is_bold(runs: Path) -> None:
    assert escape(r"a_b & 50% of {x} \ ~^<|>") == (
        r"a\_b \& 50\% of \{x\} \textbackslash{} \textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{}"
    )
    Record(method="a_b%", metrics={"aa": 0.9, "fgt": 0.5}, data="x&y").write(runs / "odd")
    text = to_latex(compare([runs], Options(metrics=("aa", "fgt"), baseline="ewc", where=("data=news|x&y",))))
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 3
    assert r"a\_b\% tiny & 1 & 0.900 & 0.500" in text and r"\caption{x\&y" in text
    assert r"l2 tiny & 3 & \textbf{0.603 $\pm$0.097} & \textbf{0.100 $\pm$0.100}" in text


def test_latex_keeps_every_text_in_its_cell() -> None:
    assert escape("a\x1b[b\nc\u202e --d-e ,,f ``g'' ?`") == (
        r"a\textbackslash{}x1b[b c\textbackslash{}u202e -{}-d-e ,{},f `{}`g'{}' ?{}`"
    )
    row = _table("c", ["line", "n"], [["[9cm] x", "1"], ["*y", "2"]])
    assert "\n{}[9cm] x & 1 \\\\\n{}*y & 2 \\\\\n" in row  # else a length behind the line's end, and a star


def test_the_command_line_prints_every_format(runs: Path) -> None:
    call = ["compare", str(runs), "--baseline", "ewc", "--metric", "aa,fgt", "--where", "seed<2"]
    for form in ("table", "markdown", "latex", "csv", "json"):
        done = CliRunner().invoke(app, [*call, "--format", form], catch_exceptions=False)
        assert done.exit_code == 0 and "replay" in done.stdout
    record = json.loads(done.stdout)
    assert record["sections"][0]["differences"][0]["runs"]["num_pairs"] == 2
    listed = CliRunner().invoke(app, ["runs", str(runs), "--where", "method=e*", "--sort", "seed"])
    assert listed.stdout.splitlines()[-1] == "3 runs"


def test_a_console_of_80_columns_holds_the_tests(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console = Console(file=io.StringIO(), record=True)
    print_comparison(compare([runs], Options(baseline="ewc")), console)
    lines = console.export_text().splitlines()
    assert "against ewc tiny" in lines and max(map(len, lines)) <= 80
    assert sum(line.startswith(" method") for line in lines) == 2  # the costs do not fit beside the scores
    assert all(len(line.rstrip()) <= 80 for line in lines)

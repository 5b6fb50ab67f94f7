"""How values, tests and what must be said beside them are written, the same in every kind of table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from cmt_cli.analysis.comparison import COSTS, Comparison, Difference, Section, Value
from cmt_cli.analysis.statistics import PairedTest, is_narrow
from cmt_cli.core.exceptions import counted

SHORT = {
    "fwd_zero_shot": "fwd_zs",
    "recall_at_1/aa": "recall@1",
    "train_seconds": "train s",
    "adapt_seconds_per_document": "ms/doc",
    "answer_ms_per_question": "ms/ans",
    "trainable_parameters": "params",
    "storage_bytes": "stored B",
    "peak_memory_bytes": "MiB",
}
_SCALES: Mapping[str, float] = {"adapt_seconds_per_document": 1000.0, "peak_memory_bytes": 1 / 2**20}


def section_title(section: Section) -> str:
    """Return what a section's table is of."""
    data = f"{section.data} ({section.files})" if section.files else section.data
    return f"{data}, {section.label}, {counted(section.num_tests, 'test')}, scores by {section.primary_metric}"


def used(section: Section, columns: Iterable[str]) -> list[str]:
    """Return the columns in which some line has a value."""
    return [c for c in columns if any(line.values[c].mean is not None for line in section.lines)]


def shown(value: Value, column: str) -> str:
    """Return a value: scores with three decimals and their spread, costs with three digits."""
    if value.mean is None:
        return "-"
    scale = _SCALES.get(column, 1.0)
    is_score = column not in COSTS
    form: Callable[[float], str] = (lambda v: f"{v:.3f}") if is_score else (lambda v: _rounded(v * scale))
    if value.interval is not None and is_score:
        return f"{form(value.mean)} [{form(value.interval.low)}, {form(value.interval.high)}]"
    return form(value.mean) + (f" ±{form(value.deviation)}" if value.deviation is not None and is_score else "")


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def difference_cells(difference: Difference) -> list[str]:
    """Return (difference, pairs, p, adjusted p) over runs, then (pairs, difference, p, adjusted p) over questions."""
    runs, questions = difference.runs, difference.questions
    cells = [_mean(runs), str(runs.num_pairs) if runs else "0", _p(runs), _adjusted(difference.holm_runs)]
    cells.append(f"{questions.num_pairs:,}" if questions else "0")
    interval = difference.question_interval
    around = f" [{interval.low:+.3f}, {interval.high:+.3f}]" if interval else ""
    return [*cells, _mean(questions) + around, _p(questions), _adjusted(difference.holm_questions)]


def _mean(test: PairedTest | None) -> str:
    return "-" if test is None else f"{test.mean_difference:+.3f}"


def _p(test: PairedTest | None) -> str:
    if test is None:
        return "-"
    return f"{test.p:.2g} (least {test.smallest_p:.2g})" if test.smallest_p > 0.01 else f"{test.p:.2g}"


def _adjusted(p: float | None) -> str:
    return "-" if p is None else f"{p:.2g}"


def notes(comparison: Comparison) -> list[str]:
    """Return what must be said beside the tables."""
    found = []
    if len({section.source for section in comparison.sections}) > 1:
        found.append("Generated and real data stand in separate tables: their scores must not be compared.")
    if len({section.split for section in comparison.sections}) > 1:
        found.append("Results on the validation split, where settings are chosen, are no test results.")
    if len(comparison.sections) > 1:
        found.append("Runs on other tests, files or sizes stand in tables of their own.")
    found += [*_about_spread(comparison), *_about_tests(comparison), *comparison.notes]
    for ranking in comparison.rankings:
        for names in dict.fromkeys(names for _, names in ranking.left_out):
            lines = "; ".join(line for line, missing in ranking.left_out if missing == names)
            found.append(f"Not ranked by {ranking.metric}, since not run on {names}: {lines}.")
    return [*found, *(f"Left out: {folder} is {status}." for folder, status in comparison.left_out)]


def _about_spread(comparison: Comparison) -> list[str]:
    lines = [line for section in comparison.sections for line in section.lines]
    several = [f"{line.label}: {line.num_orders}" for line in lines if line.num_orders > 1]
    found = [f"Orders of the tasks that a line is averaged over: {'; '.join(several)}."] if several else []
    intervals = [value.interval for line in lines for value in line.values.values() if value.interval is not None]
    if not intervals:
        return found
    first = intervals[0]
    found.append(
        f"In brackets: {first.level:.0%} percentile bootstrap of the mean over runs, {first.num_resamples:,} resamples."
    )
    if any(is_narrow(len(line.seeds)) for line in lines):
        found.append(
            "Of fewer than 8 runs such an interval is too narrow: it covers the true mean less often than that."
        )
    return found


def _about_tests(comparison: Comparison) -> list[str]:
    every = [difference for section in comparison.sections for difference in section.differences]
    if not every:
        return []
    found = [
        "Tests: two-sided sign-flip permutation tests of paired differences, over runs with equal seed and order, and "
        "over single questions of the last row averaged over these; p Holm is adjusted over the lines of a table. "
        "Over questions they tell how sure a difference is for these trained models, not for other seeds."
    ]
    least = [d.runs.smallest_p for d in every if d.runs is not None]
    if least and min(least) > 0.05:
        found.append(
            f"With so few pairs of runs no p below {min(least):.2g} is possible: a large p over runs is no evidence "
            "that methods are equal. Six pairs allow 0.03, eight 0.008."
        )
    reasons = {f"{d.metric}: {reason}" for d in every for reason in (d.runs_reason, d.questions_reason) if reason}
    return [*found, *(f"Not tested, {reason}." for reason in sorted(reasons))]

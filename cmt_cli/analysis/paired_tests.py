"""Tests of every line against a baseline, over pairs that share what else decides a score.

    runs        pairs of runs with equal seed and order of tasks; of several the mean counts
    questions   pairs of answers to one question in the last row, their difference averaged over the same
                repetitions; the mean is over questions, so tests with more of them weigh more than in the mean over
                tests

Both are sign-flip tests (statistics.py); p-values are adjusted after Holm over the lines of a table. The tests over
questions say how sure the difference is for these trained models, not for other seeds: read both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from cmt_cli.analysis.comparison import COSTS, Difference, Line, Options, Section, lines_named
from cmt_cli.analysis.grouping import Group
from cmt_cli.analysis.run_index import Progress, RunEntry
from cmt_cli.analysis.statistics import Interval, PairedTest, bootstrap_interval, holm, sign_flip_test
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import read_predictions

Repetition = tuple[int, str | None]  # seed and order
Question = tuple[str, str, str]  # test, id, prompt
_NOTHING_SHARED = "no seed and order in common"


def differences(
    section: Section, groups: Sequence[Group], options: Options, progress: Progress | None = None
) -> tuple[list[Difference], str | None]:
    """Return the tests of a section's lines against the baseline, and a note where there is no baseline here."""
    if options.baseline is None:
        return [], None
    named = lines_named(section, options.baseline)
    if not named:
        return [], f"{section.data} ({section.label}) has no line '{options.baseline}', so nothing is tested there."
    if len(named) > 1:
        raise UserError(
            f"--baseline {options.baseline} fits several lines of {section.data}: "
            f"{'; '.join(line.label for line in named)}. Give one of these names, or fewer runs with --where."
        )
    entries = {entry.folder: entry for group in groups for entry in group.entries}
    found = []
    for metric in options.metrics or ("aa",):
        if metric not in COSTS:
            found += _of_metric(metric, section, named[0], _Repetitions(entries, progress), options)
    return found, None


class _Repetitions:
    """The runs of lines by seed and order, and their answers, each read once."""

    def __init__(self, entries: Mapping[Path, RunEntry], progress: Progress | None) -> None:
        self._entries = entries
        self._progress = progress
        self._answers: dict[tuple[Path, str], dict[Question, float]] = {}

    def of(self, line: Line) -> dict[Repetition, list[RunEntry]]:
        """Return a line's runs by seed and order."""
        repetitions: dict[Repetition, list[RunEntry]] = {}
        for folder in line.folders:
            entry = self._entries[folder]
            repetitions.setdefault((entry.head["seed"], entry.detail["order"]), []).append(entry)
        return repetitions

    def values(self, line: Line, metric: str) -> dict[Repetition, float]:
        """Return the mean of a metric in each repetition that has it."""
        found = {
            repetition: [run.detail["metrics"].get(metric) for run in runs]
            for repetition, runs in self.of(line).items()
        }
        known = {repetition: [value for value in values if value is not None] for repetition, values in found.items()}
        return {repetition: fmean(values) for repetition, values in known.items() if values}

    def answers(self, entry: RunEntry, score: str) -> dict[Question, float]:
        """Return the scores of a run's last row by question; nothing where its predictions are gone or lack them."""
        key = (entry.folder, score)
        if key not in self._answers:
            if self._progress is not None:
                self._progress("Reading answers", len(self._answers), len(self._entries))
            rows = sorted((entry.folder / "predictions").glob("row_*.jsonl"))
            last = int(rows[-1].stem.removeprefix("row_")) if rows else 0
            records = read_predictions(entry.folder, last, needed=("test", "id", "prompt")) if rows else []
            self._answers[key] = {
                (record["test"], record["id"], record["prompt"]): float(value)
                for record in records
                if (value := record.get("scores", {}).get(score)) is not None
            }
        return self._answers[key]


def _of_metric(
    metric: str, section: Section, base: Line, repetitions: _Repetitions, options: Options
) -> list[Difference]:
    found = [
        _difference(metric, section, base, line, repetitions, options) for line in section.lines if line is not base
    ]
    runs = holm({d.line: d.runs.p for d in found if d.runs is not None})
    questions = holm({d.line: d.questions.p for d in found if d.questions is not None})
    return [replace(d, holm_runs=runs.get(d.line), holm_questions=questions.get(d.line)) for d in found]


def _difference(
    metric: str, section: Section, base: Line, line: Line, repetitions: _Repetitions, options: Options
) -> Difference:
    mine, theirs = repetitions.values(line, metric), repetitions.values(base, metric)
    common = [repetition for repetition in mine if repetition in theirs]
    runs = sign_flip_test([mine[c] - theirs[c] for c in common], num_resamples=options.num_resamples, seed=options.seed)
    tested, interval, reason = _questions(metric, section, (base, line), repetitions, options)
    return Difference(
        line=line.label,
        baseline=base.label,
        metric=metric,
        runs=runs,
        holm_runs=None,
        runs_reason=None if runs is not None else _NOTHING_SHARED,
        questions=tested,
        holm_questions=None,
        question_interval=interval,
        questions_reason=reason,
    )


def _questions(
    metric: str, section: Section, pair: tuple[Line, Line], repetitions: _Repetitions, options: Options
) -> tuple[PairedTest | None, Interval | None, str | None]:
    name, _, last = metric.rpartition("/")
    if last != "aa":
        return None, None, "only average accuracy (aa) is a mean over the last row's questions"
    score = name or section.primary_metric
    base, line = (repetitions.of(each) for each in pair)
    common = [repetition for repetition in line if repetition in base]
    if not common:
        return None, None, _NOTHING_SHARED
    by_question: dict[Question, list[float]] = {}
    for repetition in common:
        mine, theirs = (
            _mean_answers([repetitions.answers(run, score) for run in runs[repetition]]) for runs in (line, base)
        )
        for question in mine.keys() & theirs.keys():
            by_question.setdefault(question, []).append(mine[question] - theirs[question])
    if not by_question:
        return None, None, f"the stored predictions hold no '{score}' of single questions"
    values = [fmean(by_question[question]) for question in sorted(by_question)]
    draws, seed = options.num_resamples, options.seed
    interval = bootstrap_interval(values, level=options.level, num_resamples=draws, seed=seed)
    return sign_flip_test(values, num_resamples=draws, seed=seed), interval, None


def _mean_answers(runs: Sequence[Mapping[Question, float]]) -> dict[Question, float]:
    if len(runs) == 1:
        return dict(runs[0])
    found: dict[Question, list[float]] = {}
    for answers in runs:
        for question, value in answers.items():
            found.setdefault(question, []).append(value)
    return {question: fmean(values) for question, values in found.items()}

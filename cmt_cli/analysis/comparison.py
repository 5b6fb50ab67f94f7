"""What a comparison holds: options, lines with their values, tests against a baseline, ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.analysis.statistics import LEVEL, NUM_RESAMPLES, SEED, Interval, PairedTest

SCORES = ("aa", "aia", "fgt", "bwt", "fwd_zero_shot", "retention", "f1/aa", "f1/retention", "recall_at_1/aa")
COSTS = (
    "train_seconds",
    "adapt_seconds_per_document",
    "answer_ms_per_question",
    "tokens",
    "trainable_parameters",
    "storage_bytes",
    "peak_memory_bytes",
)
INTERVALS = ("deviation", "bootstrap")
_LESS_IS_BETTER = ("fgt", "fgt_all_rows", "intransigence", "stability_gap", "probe_drop")


@dataclass(frozen=True, slots=True)
class Options:
    """What is compared and how: `where` chooses runs, `by` are the keys that make a line, `metrics` the score columns.

    `interval` is "deviation" or "bootstrap", the latter at `level` from `num_resamples` draws with `seed`. `baseline`
    names the line that the others are tested against.
    """

    where: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    interval: str = "deviation"
    level: float = LEVEL
    num_resamples: int = NUM_RESAMPLES
    seed: int = SEED


@dataclass(frozen=True, slots=True)
class Value:
    """Mean and deviation of one quantity over the repetitions that have it; None where none has it.

    `interval` is there where a bootstrap was requested and two or more have it.
    """

    mean: float | None
    deviation: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One experiment: its names, what sets it apart from others of the same method, and its values by column."""

    method: str
    model: str
    settings: str
    seeds: tuple[int, ...]
    values: Mapping[str, Value]
    folders: tuple[Path, ...]
    num_orders: int = 1

    @property
    def label(self) -> str:
        """Return the line's name within its table."""
        return " ".join(part for part in (self.method, self.model, self.settings) if part)


@dataclass(frozen=True, slots=True)
class Difference:
    """One line against the baseline by one metric: over equal seeds and orders, and over the questions of the last row.

    `holm_*` are the p-values adjusted for all lines that are tested by this metric. Without a test there is a reason.
    """

    line: str
    baseline: str
    metric: str
    runs: PairedTest | None
    holm_runs: float | None
    runs_reason: str | None
    questions: PairedTest | None
    holm_questions: float | None
    question_interval: Interval | None
    questions_reason: str | None


@dataclass(frozen=True, slots=True)
class Section:
    """Experiments that may be compared: the same tests from the same source."""

    data: str
    source: str
    split: str
    primary_metric: str
    num_tests: int
    lines: tuple[Line, ...]
    scores: tuple[str, ...] = SCORES
    differences: tuple[Difference, ...] = ()
    files: str = ""  # the files and their hash, where another section has the same title

    @property
    def label(self) -> str:
        """Return what must be said beside every number: where the data came from, and that they are no test."""
        source = "GENERATED data" if self.source == "generated" else "real data"
        return f"{source}, VALIDATION split" if self.split == "validation" else source


@dataclass(frozen=True, slots=True)
class Ranking:
    """Mean ranks over the streams of one source and split by one metric, the best line first.

    `ranks` gives (line, mean rank, rank on each stream); `left_out` the lines that some stream lacks, with its name.
    """

    metric: str
    streams: tuple[str, ...]
    ranks: tuple[tuple[str, float, tuple[float, ...]], ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sections, the runs that were left out with the reason, and ranks where there are several streams."""

    sections: tuple[Section, ...]
    left_out: tuple[tuple[Path, str], ...]
    rankings: tuple[Ranking, ...] = ()
    notes: tuple[str, ...] = ()


def less_is_better(metric: str) -> bool:
    """Return whether a smaller value of a metric or cost is the better one."""
    return metric in COSTS or metric.rpartition("/")[2].partition("[")[0] in _LESS_IS_BETTER


def lines_named(section: Section, name: str) -> list[Line]:
    """Return the lines of a section that a name means: by label, else by method."""
    exact = [line for line in section.lines if line.label == name]
    return exact or [line for line in section.lines if line.method == name]

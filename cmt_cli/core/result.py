"""The final record of a run, as `result.json` holds it. Scores are fractions; a missing cell is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1
SEEN = "(tasks learned so far)"  # stands for a test where scores are over the tests of all of them


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, or None with the reason why there is none. `formula` is its definition's id."""

    value: float | None
    formula: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Scores `[num_tasks + 1][num_tests]`; row 0 is before the first task. `learned_at` gives the tests' tasks."""

    metric: str
    tests: tuple[str, ...]
    learned_at: tuple[int | None, ...]
    rows: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class StepRow:
    """Scores by column of a matrix after `step` optimizer steps inside a task (index from 0); None where not scored."""

    task: int
    step: int
    scores: tuple[float | None, ...]


@dataclass(slots=True)
class Cost:
    """What a run used. Seconds are wall-clock; None where nothing was measured."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    adapt_seconds_per_document: float | None = None
    answer_ms_per_question: float | None = None
    tokens: int = 0
    trainable_parameters: int = 0
    storage_bytes: int = 0
    peak_memory_bytes: int = 0


@dataclass(slots=True)
class RunResult:
    """Everything a table, a plot or a comparison needs, without the predictions."""

    method: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    seed: int
    config_hash: str
    status: str  # running, complete, failed, interrupted
    primary_metric: str
    matrices: dict[str, ScoreMatrix] = field(default_factory=dict)  # by metric name
    seen: dict[str, tuple[float | None, ...]] = field(default_factory=dict)  # rows' scores of all learned tasks at once
    signatures: Mapping[str, str] = field(default_factory=dict)  # what scores must be quoted with, by metric
    truncated: Mapping[str, int] = field(default_factory=dict)  # prompts of the last row that were cut, by test
    metrics: dict[str, Metric] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    git_commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def split(self) -> str:
        """Return the split of the data that was learned and evaluated; a record that names none is of test."""
        return str(self.data.get("split", "test"))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the primary matrix is repeated as `scores`, `tests` and `learned_at`."""
        record = asdict(self)
        primary = self.matrices.get(self.primary_metric)
        record["tests"] = list(primary.tests) if primary else []
        record["learned_at"] = list(primary.learned_at) if primary else []
        record["scores"] = [list(row) for row in primary.rows] if primary else []
        record["formulas"] = {name: metric.formula for name, metric in self.metrics.items()}
        record["metrics"] = {name: metric.value for name, metric in self.metrics.items()}
        record["reasons"] = {n: m.reason for n, m in self.metrics.items() if m.value is None}
        return record

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> RunResult:
        """Rebuild a record from `to_json`'s output; raise ValueError for another schema version."""
        if record.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"result.json has schema {record.get('schema_version')!r}, this version reads {SCHEMA_VERSION}"
            )
        later = ("seen", "signatures", "truncated")  # a record of an older version lacks them
        fields = {name: record[name] for name in RunResult.__dataclass_fields__ if name not in later}
        fields["seen"] = {name: tuple(values) for name, values in record.get("seen", {}).items()}
        fields["signatures"] = record.get("signatures", {})
        fields["truncated"] = record.get("truncated", {})
        fields["matrices"] = {
            name: ScoreMatrix(m["metric"], tuple(m["tests"]), tuple(m["learned_at"]), tuple(map(tuple, m["rows"])))
            for name, m in record["matrices"].items()
        }
        reasons = record.get("reasons", {})
        fields["metrics"] = {
            name: Metric(value, record["formulas"][name], reasons.get(name))
            for name, value in record["metrics"].items()
        }
        fields["cost"] = Cost(**record["cost"])
        return RunResult(**fields)

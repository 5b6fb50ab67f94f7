"""The final record of a run, as `result.json` holds it. Scores are fractions; a missing cell is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
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
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what was asked besides the stream, by test
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
        _check(record, _TYPES, "")
        later = ("seen", "signatures", "truncated", "probes")  # a record of an older version lacks them
        fields = {name: record[name] for name in RunResult.__dataclass_fields__ if name not in later}
        fields["seen"] = {name: tuple(values) for name, values in record.get("seen", {}).items()}
        fields["signatures"] = record.get("signatures", {})
        fields["truncated"] = record.get("truncated", {})
        fields["probes"] = record.get("probes", {})
        for name in _checked_mapping(fields["probes"], "probes"):
            _check(fields["probes"][name], {"metric": str, "sha256": str}, f"probes.{name}.")
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
        result = RunResult(**fields)
        _check_shapes(result)
        return result


_NUMBER = (int, float, type(None))
_TYPES: Mapping[str, Any] = {  # of what a record must hold; a mapping stands for an object with at least these keys
    **dict.fromkeys(("method", "config_hash", "status", "primary_metric"), str),
    "data": {"name": str, "source": str, "sha256": Mapping},
    "model": {"name": str},
    "seed": int,
    **dict.fromkeys(("matrices", "metrics", "formulas", "versions"), Mapping),
    "cost": dict.fromkeys(Cost.__dataclass_fields__, _NUMBER),
}


def _check(record: Any, kinds: Mapping[str, Any], place: str) -> None:
    """Raise ValueError or TypeError where a JSON object lacks a key of `kinds` or has a value of another type there."""
    if not isinstance(record, Mapping):
        raise TypeError(f"{place.rstrip('.') or 'the record'} is a {type(record).__name__}")
    for key, kind in kinds.items():
        if key not in record:
            raise ValueError(f"it lacks {place}{key}")
        if isinstance(kind, Mapping):
            _check(record[key], kind, f"{place}{key}.")
        elif not isinstance(record[key], kind):
            raise TypeError(f"{place}{key} is a {type(record[key]).__name__}")


def _checked_mapping(value: Any, place: str) -> Mapping[str, Any]:
    _check(value, {}, place)
    return dict(value)


def _check_shapes(result: RunResult) -> None:
    """Raise ValueError or TypeError for what is not shaped as a matrix, and for what is no score."""
    num_rows = {len(matrix.rows) for matrix in result.matrices.values()}
    if len(num_rows) > 1:
        raise ValueError("its matrices differ in their rows")
    for name, matrix in result.matrices.items():
        columns = len(matrix.tests)
        if len(matrix.learned_at) != columns or any(len(row) != columns for row in matrix.rows):
            raise ValueError(f"the matrix {name!r} has rows of another length than its tests")
        _check_numbers((value for row in matrix.rows for value in row), f"the matrix {name!r}")
        _check_numbers(matrix.learned_at, f"the matrix {name!r}")
    for name, values in result.seen.items():
        _check_numbers(values, f"seen.{name}")
    _check_numbers((metric.value for metric in result.metrics.values()), "metrics")
    if result.matrices and result.primary_metric not in result.matrices:
        raise ValueError(f"the matrix of its primary metric {result.primary_metric!r} is missing")


def _check_numbers(values: Iterable[Any], place: str) -> None:
    for value in values:
        if not isinstance(value, _NUMBER) or (value is not None and not isfinite(value)):
            raise TypeError(f"{place} holds {value!r}, which is no score")

"""The final record of a run, made from what its folder holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cmt_cli.core.result import Cost, Metric, RunResult, ScoreMatrix
from cmt_cli.core.stream import Stream, TestSet
from cmt_cli.data.files.stream_content import identified
from cmt_cli.evaluation.chance import Chance, chance
from cmt_cli.evaluation.changing_facts import CHANGE_SCORES, change_metrics
from cmt_cli.evaluation.probes import Facts as ProbeFacts
from cmt_cli.evaluation.sequence_curves import curves
from cmt_cli.evaluation.sequence_metrics import NO_BASELINE, probe_drops, retention_curve, sequence_metrics
from cmt_cli.running.baselines import JOINT, SINGLE_TASK, BaselineRun
from cmt_cli.running.identity import Identity, git_commit, versions_since
from cmt_cli.running.scores import Cells, matrices, seen_rows, step_rows

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner

MIXED = "mixed"  # primary metric of a stream whose tests declare different ones


@dataclass(frozen=True, slots=True)
class Facts:
    """What of the record is known before the first phase."""

    identity: Identity
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    git_commit: str | None
    versions: Mapping[str, str]
    probes: ProbeFacts = field(default_factory=dict)

    @staticmethod
    def of(learner: Learner, stream: Stream, identity: Identity, previous: RunResult | None) -> Facts:
        """Describe the untouched base model and the stream; `previous` is the record of a run that is continued."""
        from cmt_cli.core.mixed_precision import name_of, num_parameters

        source = identified(stream).provenance
        data = {
            "name": identity.data,
            "stream": stream.name,
            "source": source.source,
            "split": source.split,
            "license": source.license,
            "sha256": dict(source.files),
            "content_sha256": source.content,
            "note": source.note,
            "num_tasks": len(stream.tasks),
            "num_documents": sum(len(task.documents) for task in stream.tasks),
            "num_questions": sum(len(test.examples) for test in stream.tests),
        }
        if source.generator:
            data["generator"] = source.generator
        model = {
            "name": identity.model,
            "weights": learner.name,
            "revision": learner.revision,
            "sha256": dict(learner.files),
            "num_parameters": num_parameters(learner.model),
            "dtype": name_of(learner.dtype),
        }
        if learner.prompt_format.record is not None:
            model["chat_template"] = learner.prompt_format.record
        return Facts(identity, data, model, git_commit(), versions_since(previous.versions if previous else {}))


@dataclass(frozen=True, slots=True)
class Measured:
    """What metrics are made of: the matrix's cells, the scores inside tasks by task, and the baseline runs."""

    cells: Cells
    steps: Mapping[int, Cells] = field(default_factory=dict)
    baselines: Mapping[str, BaselineRun] = field(default_factory=dict)  # by method
    signatures: Mapping[str, str] = field(default_factory=dict)  # by metric
    truncated: Mapping[str, int] = field(default_factory=dict)  # prompts that were cut, by test


def make_result(facts: Facts, stream: Stream, measured: Measured, *, cost: Cost, status: str) -> RunResult:
    """Return the record; rows that the run has not reached are absent."""
    cells = measured.cells
    num_rows = max(cells, default=-1) + 1
    by_metric = matrices(cells, stream.tests, num_rows=num_rows)
    primary = _primary_metric(stream)
    if primary == MIXED and by_metric:
        by_metric[MIXED] = _own_metrics(by_metric, stream)
    elif facts.probes and by_metric:
        by_metric[primary] = _with_probes(primary, by_metric, stream, facts.probes)
    return RunResult(
        method=facts.identity.method,
        data=facts.data,
        model=facts.model,
        seed=facts.identity.seed,
        config_hash=facts.identity.config_hash,
        status=status,
        primary_metric=primary,
        matrices=by_metric,
        seen=seen_rows(cells, num_rows=num_rows),
        signatures=measured.signatures,
        truncated=measured.truncated,
        metrics=_metrics(by_metric, primary, stream, measured),
        cost=cost,
        git_commit=facts.git_commit,
        versions=facts.versions,
        probes=facts.probes,
    )


def with_metrics(result: RunResult, stream: Stream, measured: Measured) -> RunResult:
    """Return a record with its metrics computed again: formulas and baselines may be newer than the run."""
    return replace(result, metrics=_metrics(result.matrices, result.primary_metric, stream, measured))


def _primary_metric(stream: Stream) -> str:
    """Return the metric that all tests with a task declare, or MIXED: then each test counts by its own."""
    declared = dict.fromkeys(test.metric for test in stream.tests if test.learned_at is not None)
    return next(iter(declared)) if len(declared) == 1 else MIXED


def _own_metrics(by_metric: Mapping[str, ScoreMatrix], stream: Stream) -> ScoreMatrix:
    some = next(iter(by_metric.values()))
    columns = [by_metric[test.metric].rows if test.metric in by_metric else () for test in stream.tests]
    rows = [tuple(c[i][j] if c else None for j, c in enumerate(columns)) for i in range(len(some.rows))]
    return ScoreMatrix(MIXED, some.tests, some.learned_at, tuple(rows))


def _with_probes(
    metric: str, by_metric: Mapping[str, ScoreMatrix], stream: Stream, probes: Iterable[str]
) -> ScoreMatrix:
    """Return the matrix of a metric in which the columns of probes, which have none of it, hold their own scores."""
    own = _own_metrics(by_metric, stream)
    found = by_metric.get(metric, own)
    names = set(probes)
    rows = (
        tuple(mine if test in names else value for test, value, mine in zip(found.tests, row, own_row, strict=True))
        for row, own_row in zip(found.rows, own.rows, strict=True)
    )
    return replace(found, metric=metric, rows=tuple(rows))


def _metrics(
    by_metric: Mapping[str, ScoreMatrix], primary: str, stream: Stream, measured: Measured
) -> dict[str, Metric]:
    """Return the primary matrix's metrics under their own names, the other matrices' as `<metric>/<name>`."""
    metrics: dict[str, Metric] = {}
    undefined = _undefined(stream)
    for name, matrix in sorted(by_metric.items(), key=lambda item: item[0] != primary):
        if name in CHANGE_SCORES:  # most tests lack some, and a rate is no score that is retained or forgotten
            metrics |= {f"{name}/{key}": value for key, value in change_metrics(matrix).items()}
            continue
        if name != primary and _is_of_probes(matrix):
            continue
        runs = measured.baselines
        found = sequence_metrics(
            matrix,
            single_task=runs[SINGLE_TASK].scores(name, by_metric) if SINGLE_TASK in runs else NO_BASELINE,
            joint=runs[JOINT].scores(name, by_metric) if JOINT in runs else NO_BASELINE,
            steps=step_rows(measured.steps, stream.tests, None if name == MIXED else name),
            chance=_first_chance(stream.tests, name),
            undefined=undefined,
        )
        if name == primary:
            metrics |= found | probe_drops(_own_metrics(by_metric, stream))
        else:
            metrics |= {f"{name}/{key}": value for key, value in found.items()}
    return metrics


def _is_of_probes(matrix: ScoreMatrix) -> bool:
    """Return whether only probes have a metric, which then says nothing about tasks."""
    pairs = (pair for row in matrix.rows for pair in zip(matrix.learned_at, row, strict=True))
    return {at is None for at, value in pairs if value is not None} == {True}


def _undefined(stream: Stream) -> dict[str, str]:
    """Return the metrics without a meaning for the stream, with the reason."""
    of_tasks = [test for test in stream.tests if test.learned_at is not None]
    if any(_brings_new_labels(test.labels_by_task) and not test.gives_task for test in of_tasks):
        reason = "undefined where later tasks bring new labels: before a task, and alone, there are other choices"
        return {"fwd_zero_shot": reason, "fwd_single_task": reason}
    return {}


def _brings_new_labels(labels_by_task: Sequence[Sequence[str]]) -> bool:
    """Return whether a task after the first has a label that the first lacks."""
    return any(set(labels) - set(labels_by_task[0]) for labels in labels_by_task[1:])


def row_values(result: RunResult, row: int, tests: Sequence[TestSet]) -> dict[str, float]:
    """Return one row's numbers by name: primary scores by test, retention, forgetting, means over what is learned.

    Retention is there where the record has it, too: a ratio of two scores at chance says nothing.
    """
    primary = result.matrices[result.primary_metric]
    own = {test.name: test.metric for test in tests if test.learned_at is None}
    values = {
        f"{own.get(test, primary.metric)}/{test}": v for test, v in zip(primary.tests, primary.rows[row], strict=True)
    }
    for name, matrix in result.matrices.items():
        known = [
            score
            for score, at in zip(matrix.rows[row], matrix.learned_at, strict=True)
            if score is not None and at is not None and at < row
        ]
        values[f"aa/{name}"] = sum(known) / len(known) if known else None
    if row > 0:
        if _is_learned(primary, tests):
            values[f"retention/{primary.metric}"] = retention_curve(primary)[row - 1]
        values[f"forgetting/{primary.metric}"] = dict(curves(primary)["forgotten"]).get(row)
    return {name: value for name, value in values.items() if value is not None}


def _is_learned(primary: ScoreMatrix, tests: Sequence[TestSet]) -> bool:
    """Return whether the score right after the first task is above chance, where chance is known."""
    limit = _first_chance(tests, primary.metric)
    first = [score for score, at in zip(primary.rows[1], primary.learned_at, strict=True) if at == 0]
    known = [score for score in first if score is not None]
    return limit is None or (bool(known) and limit.is_below(fmean(known)))


def _first_chance(tests: Sequence[TestSet], metric: str) -> Chance | None:
    return chance(tests, 0, None if metric == MIXED else metric)

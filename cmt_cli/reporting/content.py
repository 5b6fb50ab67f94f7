"""What a report shows, as plain JSON values: sections of comparable methods, their runs, and where all came from.

    {cmt, created, ramp, dark_ink_from, lines_on_light, lines_on_dark, markers, formulas,
     left_out: [{run, status, error}],
     sections: [{id, data, source, label, primary, metrics, tests, rows, methods: [...], runs: [...]}]}

A method is one experiment (all settings but seeds), a run one of its repetitions. Numbers are rounded to six
digits; spreads are {mean, sd, values}, with null where nothing was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.analysis.comparison import COSTS, Comparison, Line, Section
from cmt_cli.analysis.repetitions import flat
from cmt_cli.analysis.statistics import deviation, mean
from cmt_cli.core.result import RunResult, ScoreMatrix
from cmt_cli.evaluation.sequence_curves import CURVES, LEARNING_ACCURACY, curves, learning_accuracy
from cmt_cli.reporting import colors
from cmt_cli.reporting.curves import band, mean_matrix
from cmt_cli.running.run_files import read_config, read_error, read_result

SCORES = ("aa", "aia", "fgt", "bwt", "fwd_zero_shot", "fwd_single_task", "intransigence", "retention")
LEARNING = "learning_accuracy"
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class RunKey:
    """Where a run stands in the report: `<method id>.<seed>`, unique in its section."""

    section: str
    id: str
    folder: Path


def build(comparison: Comparison, *, cmt: str, created: str) -> tuple[dict[str, Any], list[RunKey]]:
    """Return the content and the runs in it, whose predictions are packed elsewhere."""
    keys: list[RunKey] = []
    sections: list[dict[str, Any]] = []
    for section in comparison.sections:
        name = _unique(_slug(f"{section.data}-{section.label}"), {s["id"] for s in sections})
        sections.append(_section(section, name, keys))
    content = {
        "cmt": cmt,
        "created": created,
        "ramp": colors.sequential(),
        "dark_ink_from": colors.dark_ink_from(),
        "lines_on_light": colors.LINES_ON_LIGHT,
        "lines_on_dark": colors.LINES_ON_DARK,
        "markers": colors.MARKERS,
        "formulas": _formulas(sections),
        "left_out": [
            {"run": folder.name, "status": status, "error": read_error(folder)}
            for folder, status in comparison.left_out
        ],
        "sections": sections,
    }
    return content, keys


def _section(section: Section, name: str, keys: list[RunKey]) -> dict[str, Any]:
    methods: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    several_models = len({line.model for line in section.lines}) > 1
    results: list[RunResult] = []
    for line in section.lines:
        method_id = _unique(_slug(line.method), {m["id"] for m in methods})
        repetitions = [_read(folder) for folder in line.folders]
        results += repetitions
        ids: list[str] = []
        for folder, result in zip(line.folders, repetitions, strict=True):
            ids.append(_unique(f"{method_id}.{result.seed}", set(ids)))
            keys.append(RunKey(name, ids[-1], folder))
            runs.append(_run(ids[-1], method_id, folder, result))
        label = f"{line.method} ({line.model})" if several_models else line.method
        methods.append({"id": method_id, "name": label, **_method(line, repetitions, ids)})
    _name_apart(methods)
    first = results[0]
    return {
        "id": name,
        "data": section.data,
        "source": section.source,
        "split": section.split,
        "label": section.label,
        "primary": section.primary_metric,
        "metrics": list(dict.fromkeys(name for result in results for name in result.matrices)),
        "tests": list(first.matrices[section.primary_metric].tests),
        "rows": max(len(matrix.rows) for result in results for matrix in result.matrices.values()),
        "methods": methods,
        "runs": runs,
    }


def _method(line: Line, results: Sequence[RunResult], ids: Sequence[str]) -> dict[str, Any]:
    metrics = list(dict.fromkeys(name for result in results for name in result.matrices))
    by_metric = {name: [r.matrices[name] for r in results if name in r.matrices] for name in metrics}
    costs = [result.to_json()["cost"] for result in results]
    return {
        "method": line.method,
        "model": line.model,
        "settings": line.settings,
        "seeds": list(line.seeds),
        "runs": list(ids),
        "mean": {name: _cells(mean_matrix(found)) for name, found in by_metric.items()},
        "learned_at": {name: list(found[0].learned_at) for name, found in by_metric.items()},
        "curves": {name: _bands(found) for name, found in by_metric.items()},
        "scores": {name: _scores(results, name) for name in metrics},
        "cost": {name: _spread([cost[name] for cost in costs]) for name in COSTS},
        "config": _settings(read_config(line.folders[0])),
    }


def _run(run_id: str, method_id: str, folder: Path, result: RunResult) -> dict[str, Any]:
    return {
        "id": run_id,
        "method": method_id,
        "seed": result.seed,
        "folder": folder.name,
        "config_hash": result.config_hash,
        "git_commit": result.git_commit,
        "versions": dict(result.versions),
        "data": {name: result.data.get(name) for name in ("stream", "source", "split", "license", "note", "sha256")},
        "model": dict(result.model),
        "signatures": dict(result.signatures),
        "reasons": {name: metric.reason for name, metric in result.metrics.items() if metric.value is None},
        "matrices": {name: _cells(matrix) for name, matrix in result.matrices.items()},
    }


def _scores(results: Sequence[RunResult], metric: str) -> dict[str, Any]:
    """Return the sequence metrics of one score over repetitions."""
    prefixes = ["" if metric == result.primary_metric else f"{metric}/" for result in results]
    found = {}
    for name in SCORES:
        known = [r.metrics.get(prefix + name) for r, prefix in zip(results, prefixes, strict=True)]
        found[name] = _spread([None if m is None else m.value for m in known])
    learned = [learning_accuracy(r.matrices[metric]).value for r in results if metric in r.matrices]
    return {**found, LEARNING: _spread(learned)}


def _bands(found: Sequence[ScoreMatrix]) -> dict[str, Any]:
    by_run = [curves(matrix) for matrix in found]
    bands = {name: band([run[name] for run in by_run]) for name in CURVES}
    return {name: [[x, _rounded(mean), _rounded(sd)] for x, mean, sd in points] for name, points in bands.items()}


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "mean": _rounded(mean(known)),
        "sd": _rounded(deviation(known)),
        "values": [_rounded(value) for value in values],
    }


def _cells(matrix: ScoreMatrix | None) -> list[list[float | None]] | None:
    return None if matrix is None else [[_rounded(value) for value in row] for row in matrix.rows]


def _formulas(sections: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the definitions of the scores that are shown, by name."""
    from cmt_cli.evaluation.sequence_metrics import FORMULAS

    return {name: FORMULAS[name] for name in SCORES} | {LEARNING: LEARNING_ACCURACY} if sections else {}


def _name_apart(methods: Sequence[dict[str, Any]]) -> None:
    """Give methods that share a name their settings in the name, or their number where these do not help."""
    names = [method["name"] for method in methods]
    for method in methods:
        if names.count(method["name"]) > 1 and method["settings"]:
            method["name"] += f" · {_short(method['settings'])}"
    for method in methods:
        if [m["name"] for m in methods].count(method["name"]) > 1:
            method["name"] += f" · {method['id']}"


def _short(settings: str) -> str:
    """Return overrides by the last part of their keys, `method.parts.rank=8` as `rank=8`."""
    return " ".join(re.sub(r"^[\w./]*\.(?=\w+=)", "", part) for part in settings.split(" "))


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a config's dotted keys and values as text, without its seeds."""
    found = {key: value for key, value in flat(config).items() if key.split(".")[-1] != "seed"}
    return {key: "" if value is None else str(value) for key, value in found.items()}


def _read(folder: Path) -> RunResult:
    result = read_result(folder)
    assert result is not None, folder  # the comparison found it
    return result


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run"


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")

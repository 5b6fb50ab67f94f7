"""Metrics that are computed after a run, from its stored predictions: each row's texts, targets and references.

The scores of single questions go into `predictions/`, the cells into `scores.csv`, the matrix and its metrics
`NAME/aa`, `NAME/fgt` and so on into `result.json`, and `added_metrics.json` tells what was added, when and by which
formula. Each file is replaced in one step and result.json comes last: an addition that was cut off is done again by
the same command. What needs more than the stored texts is refused with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cmt_cli.analysis.run_index import Progress
from cmt_cli.core.atomic import write_json, write_text
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.result import SEEN, Metric, RunResult, ScoreMatrix
from cmt_cli.core.stream import Answer, Example, TestSet
from cmt_cli.evaluation.chance import Chance, chance
from cmt_cli.evaluation.changing_facts import CHANGE_SCORES
from cmt_cli.evaluation.metric_scorers import RECALLS, SCORERS
from cmt_cli.evaluation.scorer import Pair, Scorer, Scores
from cmt_cli.evaluation.sequence_metrics import FORMULAS, Baseline, sequence_metrics
from cmt_cli.evaluation.span_metrics import LabelSpace
from cmt_cli.evaluation.triple_metrics import read_triples
from cmt_cli.running.identity import git_commit, versions
from cmt_cli.running.lock import RunLock
from cmt_cli.running.run_files import predictions_path, read_predictions, read_result, reading, refuse_links
from cmt_cli.running.scores import Cells, read_cells, write_cells

ADDED = "added_metrics.json"
DEFINITIONS = {
    "em": "1 where the normalized prediction equals any normalized reference (SQuAD, but numbers keep sign and point)",
    "em_prefix": "1 where the normalized prediction starts with the normalized shortest reference (MAC's code)",
    "f1": "largest F1 of normalized tokens over the references (SQuAD)",
    "f1_shortest": "F1 of normalized tokens against the shortest reference (MAC's code)",
    "accuracy_generated": "1 where the whole text is the target, but for case and white space",
    "first_choice": "1 where the first character is the target's (TRACE, ScienceQA)",
    "rouge_l": "ROUGE-L F1 of stemmed words, the best of the references",
    "rouge_l_summary": "F1 of the words in common subsequences of sentences (the package rouge, TRACE's MeetingBank)",
    "edit_similarity": "normalized edit similarity of characters, the best of the references",
    "bleu": "corpus BLEU by sacrebleu over all examples of a test",
    "chrf": "corpus chrF2 by sacrebleu over all examples of a test",
    **{
        f"triple_{name}": f"{text} of exact triples over all texts of a test, for targets that are triples"
        for name, text in {"f1": "F1", "precision": "precision", "recall": "recall"}.items()
    },
    "answer_words": "words of the prediction",
    "empty_rate": "share of empty predictions",
}
_NO_LABELS = "the label sets of the stream, which predictions do not hold"
REFUSED = {
    "accuracy": "it needs the log-likelihood of every choice; of the choices only the likeliest is stored",
    "eos_rate": "it needs to know whether generation reached its end, which is not stored",
    "sari": "it needs the text that was to be rewritten, which is not stored apart from the prompt",
    "span_f1": f"it needs {_NO_LABELS}",
    "span_f1_macro": f"it needs {_NO_LABELS}",
    "malformed_rate": "it is defined for lists of entities and triples, and comes with their scores",
    **dict.fromkeys(CHANGE_SCORES, "it needs questions that tell what became of a fact, and comes with their scores"),
    **dict.fromkeys(RECALLS, "it needs the gold documents of every question, which are not stored"),
}
_NEEDED = ("test", "id", "prompt", "target", "references", "prediction", "scores")
_NO_BASELINE = Baseline(reason="the metric was added later, and baseline runs are not read for it")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a run has, what could be added, and what not with the reason."""

    there: Mapping[str, float | None]  # mean over tests in the last row
    possible: Mapping[str, str]
    refused: Mapping[str, str]


def offered(folder: Path) -> Offer:
    """Return which metrics a run has, and which could be added."""
    result = _complete(folder)
    there = {name: _last_mean(matrix) for name, matrix in result.matrices.items()}
    possible = {name: text for name, text in DEFINITIONS.items() if name not in there}
    return Offer(there, possible, {name: reason for name, reason in REFUSED.items() if name not in there})


def add_metric(folder: Path, name: str, progress: Progress | None = None) -> RunResult:
    """Compute a metric for all rows of a complete run and return the new record.

    Raises UserError for a metric that stored predictions do not allow or that is there, and where another process
    writes the run.
    """
    _refuse(name)
    refuse_links(folder)
    with RunLock(folder):
        result = _complete(folder)
        cells = read_cells(folder / "scores.csv")
        _refuse_other_tests(folder, result, cells)
        _refuse_if_there(result, cells, name)
        scorer = next(scorer for scorer in SCORERS.values() if name in scorer.names)
        signature: str | None = None
        level: Chance | None = None
        for done, row in enumerate(sorted(cells)):
            if progress is not None:
                progress(f"Computing {name}", done, len(cells))
            records = _records(folder, row, cells[row])
            _refuse_other_targets(name, records)
            signature = _add_row(cells[row], records, scorer, name) or signature
            level = _chance(result, records, name)
            lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
            write_text(predictions_path(folder, row), "".join(f"{line}\n" for line in lines))
        return _write(folder, _with_metric(result, cells, name, signature, level), cells, name)


def _refuse_other_tests(folder: Path, result: RunResult, cells: Cells) -> None:
    known = {test for matrix in result.matrices.values() for test in matrix.tests}
    if others := sorted({test for row in cells.values() for test in row} - known - {SEEN}):
        raise UserError(
            f"'{folder / 'scores.csv'}' has scores of '{others[0]}', which is no test of result.json. Put back the "
            "file that was changed, or make the run again."
        )


def _refuse(name: str) -> None:
    if name in REFUSED:
        raise UserError(
            f"'{name}' cannot be computed from stored predictions: {REFUSED[name]}. Run the test again for it."
        )
    if name.endswith("_seen"):
        raise UserError(f"'{name}' cannot be computed from stored predictions: it needs {_NO_LABELS}.")
    if name.rpartition("/")[2] in FORMULAS:
        raise UserError(
            f"'{name}' is a metric of a score matrix. It comes with every score that is added, as SCORE/{name}; "
            f"the scores are {', '.join(DEFINITIONS)}."
        )
    if name not in DEFINITIONS:
        raise UserError(
            f"There is no metric '{name}'. From stored predictions {', '.join(DEFINITIONS)} can be computed."
            f"{nearest(name, [*DEFINITIONS, *REFUSED])}"
        )


def _complete(folder: Path) -> RunResult:
    result = read_result(folder)
    if result is None or result.status != "complete":
        status = "has no result.json yet" if result is None else f"is {result.status}"
        raise UserError(
            f"The run {folder} {status}: finish it first, with `cmt resume {folder}`; then metrics are added."
        )
    return result


def _refuse_if_there(result: RunResult, cells: Cells, name: str) -> None:
    matrix = result.matrices.get(name)
    if matrix is None:
        return
    others = [m for metric, m in result.matrices.items() if metric != name]
    for i, row in enumerate(matrix.rows):
        for j, value in enumerate(row):
            if value is None and any(other.rows[i][j] is not None for other in others):
                return  # some tests were scored otherwise: these are filled in
    raise UserError(f"The run has '{name}' already: {_last_mean(matrix)} in the mean over tests of the last row.")


def _last_mean(matrix: ScoreMatrix) -> float | None:
    values = [value for value in matrix.rows[-1] if value is not None] if matrix.rows else []
    return round(sum(values) / len(values), 4) if values else None


def _records(folder: Path, row: int, cells: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    records = read_predictions(folder, row, needed=_NEEDED)
    scored = {test for test, scores in cells.items() if test != SEEN and any(v is not None for v in scores.values())}
    found = {record["test"] for record in records}
    if found != scored:
        raise UserError(
            f"'{predictions_path(folder, row)}' holds answers of other tests than were scored (missing: "
            f"{', '.join(sorted(scored - found)) or 'none'}; unknown: {', '.join(sorted(found - scored)) or 'none'}). "
            "Put the file back, or make the run again: a metric is added to every row and test, or to none."
        )
    return records


def _refuse_other_targets(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    if not name.startswith("triple_"):
        return
    for record in records:
        triples, malformed = read_triples(record["target"])
        if malformed or not triples:
            raise UserError(
                f"'{name}' is of triples, and the target of '{record['id']}' ({record['test']}) is none: "
                f"'{record['target'].strip()[:80]}'."
            )


def _add_row(
    cells: dict[str, dict[str, float | None]], records: Sequence[dict[str, Any]], scorer: Scorer, name: str
) -> str | None:
    """Add a metric to one row's cells and records, where it is missing; return its signature if it has one."""
    by_test: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_test.setdefault(record["test"], []).append(record)
    signature = None
    for test, own in by_test.items():
        if cells.get(test, {}).get(name) is not None:
            continue
        pairs = [_pair(record) for record in own]
        scores: list[Scores] = [scorer.score(*pair) for pair in pairs]
        cells.setdefault(test, {})[name] = scorer.total(pairs, scores, LabelSpace())[name]
        signature = scorer.signatures(pairs).get(name, signature)
        for record, score in zip(own, scores, strict=True):
            if name in score:
                record["scores"] = {**record["scores"], name: score[name]}
    return signature


def _pair(record: Mapping[str, Any]) -> Pair:
    example = Example(record["id"], record["prompt"], record["target"], tuple(record["references"]))
    return example, Answer(record["prediction"])


def _chance(result: RunResult, records: Sequence[Mapping[str, Any]], name: str) -> Chance | None:
    """Return the chance of the first task's tests by their stored references."""
    some = result.matrices[result.primary_metric]
    learned_at = dict(zip(some.tests, some.learned_at, strict=True))
    by_test: dict[str, list[Example]] = {}
    for record in records:
        by_test.setdefault(record["test"], []).append(_pair(record)[0])
    return chance([TestSet(test, found, name, learned_at[test]) for test, found in by_test.items()], 0, name)


def _with_metric(result: RunResult, cells: Cells, name: str, signature: str | None, level: Chance | None) -> RunResult:
    some = result.matrices[result.primary_metric]
    rows = tuple(
        tuple(cells.get(row, {}).get(test, {}).get(name) for test in some.tests) for row in range(len(some.rows))
    )
    matrix = ScoreMatrix(name, some.tests, some.learned_at, rows)
    reasons = {key: metric.reason for key, metric in result.metrics.items() if metric.value is None}
    undefined = {k: r for k, r in reasons.items() if k in FORMULAS and r is not None and r.startswith("undefined")}
    found = sequence_metrics(matrix, single_task=_NO_BASELINE, joint=_NO_BASELINE, chance=level, undefined=undefined)
    metrics: dict[str, Metric] = {**result.metrics, **{f"{name}/{key}": value for key, value in found.items()}}
    signatures = {**result.signatures, **({name: signature} if signature else {})}
    return replace(result, matrices={**result.matrices, name: matrix}, metrics=metrics, signatures=signatures)


def _write(folder: Path, result: RunResult, cells: Cells, name: str) -> RunResult:
    path = folder / ADDED
    added: dict[str, Any] = {}
    if path.is_file():
        with reading(path, "Remove it: it only tells which metrics were added when."):
            added = dict(json.loads(path.read_text(encoding="utf-8")))
    added[name] = {
        "definition": DEFINITIONS[name],
        "signature": result.signatures.get(name),
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": dict(versions()),
        "git_commit": git_commit(),
    }
    if result.signatures:
        write_json(folder / "signatures.json", dict(result.signatures))
    write_json(path, added)
    write_cells(folder / "scores.csv", cells)
    write_json(folder / "result.json", result.to_json())
    return result

"""Run folders as runs leave them, written from a matrix and answers that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from cmt_cli.core.result import Cost, RunResult, ScoreMatrix
from cmt_cli.evaluation.sequence_metrics import sequence_metrics

Answer = Callable[[int, int, int], tuple[str, float]]  # row, task, question -> prediction, score
ROWS = ((0.0, 0.0, 0.1), (0.9, 0.1, 0.1), (0.6, 0.8, 0.2), (0.5, 0.7, 0.9))


def write_run(
    folder: Path,
    method: str,
    *,
    seed: int = 0,
    rows: Sequence[Sequence[float | None]] = ROWS,
    answer: Answer = lambda row, task, question: ("flute", float(task < row)),
    questions: int = 4,
    prompt: str = "Question {task}.{question}?",
    source: str = "generated",
    status: str = "complete",
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a run of three tasks, each with a test `task<j>` of `questions` questions."""
    names = {name: _matrix(name, rows, times) for name, times in (("em", 1), ("f1", 0.5), ("answer_words", 3))}
    data = {"name": "toy", "stream": "toy", "source": source, "split": "test", "license": "none", "note": "three tasks"}
    result = RunResult(
        method=method,
        data={**data, "sha256": {"train.csv": "ab" * 32}},
        model={"name": "tiny", "weights": "tiny", "revision": "r1", "num_parameters": 1234},
        seed=seed,
        config_hash="c0ffee" * 8,
        status=status,
        primary_metric="em",
        matrices=names,
        metrics={
            **sequence_metrics(names["em"]),
            **{f"f1/{k}": v for k, v in sequence_metrics(names["f1"]).items()},
        },
        cost=Cost(train_seconds=10.0 * (seed + 1), tokens=1000),
        git_commit="abc123",
        versions={"cmt": "0.1.0"},
    )
    (folder / "predictions").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result.to_json()))
    config = {
        "method": {"_target_": method, "rank": 8, **(settings or {})},
        "trainer": {"batch_size": 16},
        "seed": seed,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for row in range(len(rows)):
        records = [
            _record(
                test,
                f"q{task}-{question}",
                prompt.format(task=task, question=question),
                answer(row, task, question),
            )
            for task, test in enumerate(names["em"].tests)
            for question in range(questions)
        ]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "predictions" / f"row_{row:03d}.jsonl").write_text(lines)
    return folder


def _matrix(metric: str, rows: Sequence[Sequence[float | None]], times: float) -> ScoreMatrix:
    """Return the scores of a metric that is a multiple of the exact match."""
    tests = tuple(f"task{j}" for j in range(len(rows[0])))
    scores = tuple(tuple(None if v is None else v * times for v in row) for row in rows)
    return ScoreMatrix(metric, tests, tuple(range(len(tests))), scores)


def _record(test: str, name: str, prompt: str, answered: tuple[str, float]) -> dict[str, Any]:
    text, score = answered
    scores = {"em": score, "f1": score / 2, "answer_words": 3.0}
    question = {"test": test, "id": name, "target": " flute", "prompt": prompt}
    return {**question, "references": ["flute"], "prediction": text, "scores": scores, "documents": []}

"""Small files and settings that the data tests share."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.data.files.problems import Problem
from cmt_cli.data.knowledge.knowledge_stream import Selection

Read = Callable[[Path], tuple[object, list[Problem]]]  # of any corpus


def selection(**changes: Any) -> Selection:
    """Return a selection that takes everything in the order of the file, apart from the changes."""
    everything: dict[str, Any] = {
        "stream_split": "test",
        "order": "file",
        "pick": "first",
        "pick_seed": 0,
        "max_train_documents": None,
        "max_validation_documents": None,
        "max_test_documents": None,
        "max_test_questions_per_document": None,
    }
    return Selection(**(everything | changes))


def put_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def put_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def put_streamingqa(folder: Path, **changed: list[dict[str, str]]) -> Path:
    """Write a csv folder with one article and question in each file; `test=[...]` gives other rows."""
    for split in ("train", "val", "test"):
        rows = changed.get(split, [{"text": f"A {split} article.", "question": f"Which {split}?", "answers": split}])
        put_csv(folder / f"{split}.csv", rows)
    return folder


def faults(read: Read, path: Path) -> list[tuple[str, int | None, str]]:
    """Return what a reader finds wrong, as file name, line and message."""
    return [fault(problem) for problem in read(path)[1]]


def fault(problem: Problem) -> tuple[str, int | None, str]:
    return problem.file.name, problem.line, problem.message

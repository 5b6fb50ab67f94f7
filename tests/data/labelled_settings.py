"""Settings and small corpora that the tests of labelled streams share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmt_cli.core.stream import Stream
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.labelled.items import LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits

LabelledRead = Callable[[Path], tuple[LabelledCorpus, list[Problem]]]


def settings(path: Path, cache: Path, generated: Any, **changes: Any) -> dict[str, Any]:
    """Return what every labelled stream is called with, for files at `path`; nothing is generated."""
    given: dict[str, Any] = {
        "path": str(path),
        "default_path": "data/somewhere",
        "source": "auto",
        "auto_may_generate": False,
        "cache": str(cache),
        "on_bad_row": "error",
        "split_policy": SplitPolicy(validation_share=0.2, overlap="drop", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template="{text}\nLabel:", metric="em", gives_task=False),
        "generated": generated,
    }
    return given | changes


def sizes(stream: Stream) -> list[tuple[str, int, int, int]]:
    """Return each task's name and numbers of training, validation and test examples."""
    return [
        (task.name, len(task.train), len(task.validation), len(test.examples))
        for task, test in zip(stream.tasks, stream.tests, strict=True)
    ]


def faults(read: LabelledRead, path: Path) -> list[tuple[str, int | None, str]]:
    """Return what a reader finds wrong, as file name, line and message."""
    return [(problem.file.name, problem.line, problem.message) for problem in read(path)[1]]


def rows(corpus: LabelledCorpus, split: str) -> list[tuple[str, str, str]]:
    """Return task, text and label of each item of a split."""
    return [(item.task, item.fields["text"], item.labels[0]) for item in corpus.splits[split]]

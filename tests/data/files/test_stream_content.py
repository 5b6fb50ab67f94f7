"""The hash of a stream is that of all it holds, however it is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.stream import Document, Episode, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.data.files.stored_stream import read_stream, write_stream
from cmt_cli.data.files.stream_content import content_sha256, identified

QUESTION = Example("q", "Q?", " A", ("A",), (" A", " B"), ("d",), "s")
DOCUMENT = Document("d", "text", "2020-05-17", "title")
STREAM = Stream(
    "s",
    [Task("t", 0, [QUESTION, QUESTION], [QUESTION], [DOCUMENT])],
    [TestSet("t", [QUESTION], "em", 0)],
    Episodes([Episode((DOCUMENT,), (QUESTION,))]),
    Provenance("s", "real", "none"),
)


def with_task(**changes: Any) -> Stream:
    return replace(STREAM, tasks=[replace(STREAM.tasks[0], **changes)])


def with_test(**changes: Any) -> Stream:
    return replace(STREAM, tests=[replace(STREAM.tests[0], **changes)])


@pytest.mark.parametrize(
    "other",
    [
        with_task(train=[QUESTION]),
        with_task(train=[QUESTION, replace(QUESTION, target=" B")]),
        with_task(train=[QUESTION, replace(QUESTION, choices=(" B", " A"))]),
        with_task(train=[QUESTION] * 3, validation=[]),
        with_task(documents=[replace(DOCUMENT, date=None)]),
        with_task(name="u"),
        with_test(metric="f1"),
        with_test(gives_task=True),
        with_test(examples=[]),
        replace(STREAM, tests=[]),
        replace(STREAM, episodes=Episodes(validation=STREAM.episodes.train)),
        replace(STREAM, tasks=[*STREAM.tasks, *STREAM.tasks]),
    ],
)
def test_whatever_differs_gives_another_hash(other: Stream) -> None:
    assert content_sha256(other) != content_sha256(STREAM)


@pytest.mark.parametrize("same", [lambda: with_task(train=(QUESTION, QUESTION)), lambda: replace(STREAM, name="u")])
def test_how_rows_are_held_does_not_count(same: Callable[[], Stream]) -> None:
    assert content_sha256(same()) == content_sha256(STREAM)


def test_a_stored_stream_keeps_its_hash(tmp_path: Path) -> None:
    write_stream(identified(STREAM), tmp_path)
    read = read_stream(tmp_path, tmp_path)
    assert read.provenance.content == content_sha256(read) == content_sha256(STREAM)

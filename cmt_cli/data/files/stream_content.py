"""The sha256 of everything that a stream holds, which tells it from another whatever files it came from, if any."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace
from operator import attrgetter
from typing import Any

from cmt_cli.core.stream import Document, Episode, Example, Stream, TestSet

_BLOCK_BYTES = 2**16
_document = attrgetter(*(field.name for field in fields(Document)))
_CHANGE = ("change", "earlier")  # only where there is one: the hash of any other stream stays what it was
_plain_example = attrgetter(*(field.name for field in fields(Example) if field.name not in _CHANGE))
_change = attrgetter(*_CHANGE)


def identified(stream: Stream) -> Stream:
    """Return a stream whose provenance has the hash of its content."""
    if stream.provenance.content:
        return stream
    return replace(stream, provenance=replace(stream.provenance, content=content_sha256(stream)))


def content_sha256(stream: Stream) -> str:
    """Return the sha256 (hex) of a stream's tasks, tests and episodes in their order; reads all of them once.

    Values of other types than text and numbers count by their `repr`.
    """
    digest = hashlib.sha256()

    def put(head: Any, items: Iterable[Any], plain: Callable[[Any], Any]) -> None:
        digest.update(_line(head))
        block = bytearray()
        for item in items:
            block += _line(plain(item))
            if len(block) > _BLOCK_BYTES:
                digest.update(block)
                block.clear()
        digest.update(block)

    for task in stream.tasks:
        for part, examples in (("train", task.train), ("validation", task.validation)):
            put(["task", task.name, task.index, part], examples, _example)
        put(["task", task.name, task.index, "documents"], task.documents, _document)
    for test in stream.tests:
        put(["test", *_facts(test)], test.examples, _example)
    for part, episodes in (("train", stream.episodes.train), ("validation", stream.episodes.validation)):
        put(["episodes", part], episodes, _episode)
    return digest.hexdigest()


def _facts(test: TestSet) -> list[Any]:
    return [test.name, test.metric, test.learned_at, test.gives_task, test.labels_by_task, asdict(test.answers)]


def _example(example: Example) -> tuple[Any, ...]:
    plain: tuple[Any, ...] = _plain_example(example)
    return plain + _change(example) if example.change else plain


def _episode(episode: Episode) -> list[list[Any]]:
    return [list(map(_document, episode.support)), list(map(_example, episode.query))]


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=repr).encode() + b"\n"

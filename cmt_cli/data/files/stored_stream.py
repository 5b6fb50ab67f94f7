"""Writes a stream into a folder that holds every document, example and episode once, and reads it as `StoredRows`.

rows.json and offsets.npy (see `stored_rows`) hold all rows; stream.json says which of them belong to which task, test
and split, and gives the sha256 of the files and of itself. Choices that many examples share stand once, in stream.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cmt_cli.core.atomic import read_sealed, write_sealed
from cmt_cli.core.stored_rows import (
    OFFSETS_FILE,
    ROWS_FILE,
    DamagedFile,
    RowFile,
    RowWriter,
    Span,
    StoredRows,
    file_sha256,
)
from cmt_cli.core.stream import AnswerForm, Document, Episode, Episodes, Example, Provenance, Stream, Task, TestSet

STREAM_FILE = "stream.json"
MAX_SHARED = 4096  # different choices that are kept once; further ones stand in their rows

T = TypeVar("T")


def write_stream(stream: Stream, folder: Path) -> None:
    """Write a stream's files into an existing, empty folder."""
    codec = _Codec()
    with RowWriter(folder) as writer:

        def put(values: Iterable[T], encode: Callable[[T], Any]) -> dict[str, Any]:
            return asdict(writer.write(encode(value) for value in values))

        tasks = [
            {
                "name": task.name,
                "index": task.index,
                "train": put(task.train, codec.example),
                "validation": put(task.validation, codec.example),
                "documents": put(task.documents, _document),
            }
            for task in stream.tasks
        ]
        tests = [{**_test_facts(test), "examples": put(test.examples, codec.example)} for test in stream.tests]
        episodes = {
            "train": put(stream.episodes.train, codec.episode),
            "validation": put(stream.episodes.validation, codec.episode),
        }
    record = {
        "name": stream.name,
        "tasks": tasks,
        "tests": tests,
        "episodes": episodes,
        "provenance": {**asdict(stream.provenance), "files": dict(stream.provenance.files)},
        "choices": list(codec.choices),
        "sha256": {name: file_sha256(folder / name) for name in (ROWS_FILE, OFFSETS_FILE)},
    }
    write_sealed(folder / STREAM_FILE, record)


def read_stream(folder: Path, cache: Path) -> Stream:
    """Return the stream of a folder; raise DamagedFile where its files are not those that were written.

    `cache` is where what follows from its rows, such as tokens, may be kept.
    """
    try:
        record = read_sealed(folder / STREAM_FILE)
        for name, digest in record["sha256"].items():
            if file_sha256(folder / name) != digest:
                raise DamagedFile(f"{folder / name} is not what was written")
        return _stream(record, RowFile(folder), cache)
    except DamagedFile:
        raise
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{folder} is not whole ({type(error).__name__}: {error})") from error


def _stream(record: Mapping[str, Any], file: RowFile, cache: Path) -> Stream:
    example = partial(_read_example, tuple(tuple(choices) for choices in record["choices"]))

    def get(span: Mapping[str, Any], decode: Callable[[Any], T]) -> Sequence[T]:
        found = Span(**span)
        return StoredRows(file, found, decode, cache=cache) if found.stop > found.start else ()

    tasks = [
        Task(
            task["name"],
            task["index"],
            get(task["train"], example),
            get(task["validation"], example),
            get(task["documents"], _read_document),
        )
        for task in record["tasks"]
    ]
    tests = [
        TestSet(
            test["name"],
            get(test["examples"], example),
            test["metric"],
            test["learned_at"],
            test["gives_task"],
            tuple(map(tuple, test["labels_by_task"])),
            AnswerForm(**test["answers"]),
        )
        for test in record["tests"]
    ]
    episode = partial(_read_episode, example)
    parts = record["episodes"]
    episodes = Episodes(get(parts["train"], episode), get(parts["validation"], episode))
    return Stream(record["name"], tasks, tests, episodes, Provenance(**record["provenance"]))


def _test_facts(test: TestSet) -> dict[str, Any]:
    return {
        "name": test.name,
        "metric": test.metric,
        "learned_at": test.learned_at,
        "gives_task": test.gives_task,
        "labels_by_task": test.labels_by_task,
        "answers": asdict(test.answers),
    }


class _Codec:
    """Examples and episodes as json values; remembers the choices that it has seen."""

    def __init__(self) -> None:
        self.choices: dict[tuple[str, ...], int] = {}

    def example(self, example: Example) -> list[Any]:
        if len(self.choices) < MAX_SHARED:
            self.choices.setdefault(example.choices, len(self.choices))
        choices = self.choices.get(example.choices, example.choices)
        return [
            example.id,
            example.prompt,
            example.target,
            example.references,
            choices,
            example.document_ids,
            example.source,
            *([example.change, example.earlier] if example.change else []),
        ]

    def episode(self, episode: Episode) -> list[Any]:
        return [[_document(document) for document in episode.support], [self.example(e) for e in episode.query]]


def _document(document: Document) -> list[Any]:
    return [document.id, document.text, document.date, document.title]


def _read_document(values: list[Any]) -> Document:
    return Document(*values)


def _read_example(shared: tuple[tuple[str, ...], ...], values: list[Any]) -> Example:
    identity, prompt, target, references, choices, document_ids, source, *changed = values
    found = shared[choices] if isinstance(choices, int) else tuple(choices)
    change: Any
    change, earlier = changed or ("", ())
    return Example(
        identity, prompt, target, tuple(references), found, tuple(document_ids), source, change, tuple(earlier)
    )


def _read_episode(example: Callable[[Any], Example], values: list[Any]) -> Episode:
    support, query = values
    return Episode(tuple(map(_read_document, support)), tuple(map(example, query)))

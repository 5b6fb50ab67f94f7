"""A kept stream equals the one that was read, and is never served for other files, settings or code."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_cli.core.stored_rows import DamagedFile, StoredRows
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.data.files import stream_cache
from cmt_cli.data.files.stored_stream import read_stream, write_stream
from cmt_cli.data.files.stream_cache import cached

TEXT = st.text(max_size=12)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
DOCUMENT = st.builds(Document, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT)
EXAMPLE = st.builds(Example, TEXT, TEXT, TEXT, TEXTS, TEXTS, TEXTS, TEXT)
EPISODE = st.builds(Episode, st.lists(DOCUMENT, max_size=2).map(tuple), st.lists(EXAMPLE, max_size=2).map(tuple))
LABELS = (("b", "a"), ())
SINGLE_PROCESS = Stream(
    "one",
    [Task("t", 0, [Example("0", "Q?", " A", ("A",), (" A", " B")), Example("1", "R?", " B", ("B",), (" A", " B"))])],
    [TestSet("t", [Example("2", "S?", " A")], "em", 0, gives_task=True, labels_by_task=(("A", "B"),))],
    Episodes(),
    Provenance("one", "real", "none", {"b": "1", "a": "2"}, "a note", "validation"),
)


def plain(stream: Stream) -> Stream:
    """Return a stream with lists for all its sequences, to compare."""
    tasks = [
        replace(task, train=list(task.train), validation=list(task.validation), documents=list(task.documents))
        for task in stream.tasks
    ]
    tests = [replace(test, examples=list(test.examples)) for test in stream.tests]
    episodes = Episodes(list(stream.episodes.train), list(stream.episodes.validation))
    return replace(stream, tasks=tasks, tests=tests, episodes=episodes)


class Source:
    """A stream of made-up files, with a count of how often they were read."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        (self.files / "train.csv").write_text("Q?,A\n")
        self.cache = folder / "cache"
        self.num_reads = 0
        self.settings: dict[str, Any] = {"_target_": "cmt_cli.data.one.one", "path": str(self.files), "source": "auto"}

    def get(self, **changes: Any) -> Stream:
        return cached({**self.settings, **changes}, self._build, cache=self.cache)

    def _build(self) -> Stream:
        self.num_reads += 1
        return SINGLE_PROCESS

    @property
    def kept(self) -> list[Path]:
        return sorted((self.cache / "streams").glob("*")) if self.cache.exists() else []


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(stream_cache, "MIN_BYTES", 1)
    return Source(tmp_path)


@settings(max_examples=40, deadline=None)
@given(
    tasks=st.lists(st.tuples(st.lists(EXAMPLE, max_size=4), st.lists(DOCUMENT, max_size=3)), max_size=3),
    episodes=st.lists(EPISODE, max_size=2),
)
def test_every_stream_is_read_as_it_was_written(
    tasks: list[tuple[list[Example], list[Document]]], episodes: list[Episode], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    made = Stream(
        "s",
        [Task(str(i), i, train, train[:1], documents) for i, (train, documents) in enumerate(tasks)],
        [TestSet(str(i), train, "em", i, labels_by_task=LABELS) for i, (train, _) in enumerate(tasks)],
        Episodes(episodes, episodes[:1]),
        SINGLE_PROCESS.provenance,
    )
    write_stream(made, folder)
    assert plain(read_stream(folder, folder)) == plain(made)


def test_stored_rows_are_a_sequence(tmp_path: Path) -> None:
    examples = [Example(str(i), f"prompt {i}", "t") for i in range(2500)]  # more than are read at once
    write_stream(replace(SINGLE_PROCESS, tasks=[Task("t", 0, examples)]), tmp_path)
    (task,) = read_stream(tmp_path, tmp_path).tasks
    assert isinstance(task.train, StoredRows) and task.validation == ()
    assert list(task.train) == examples
    assert (task.train[0], task.train[-1], task.train[2000]) == (examples[0], examples[-1], examples[2000])
    assert task.train[5:1500:700] == examples[5:1500:700]
    with pytest.raises(IndexError):
        task.train[2500]
    shutil.rmtree(tmp_path)
    assert task.train[1234] == examples[1234]  # an open file outlives its name


def test_files_are_read_once(source: Source) -> None:
    first, second = source.get(), source.get()
    assert source.num_reads == 1
    assert plain(first) == plain(second) == plain(SINGLE_PROCESS)


@pytest.mark.parametrize(
    "change",
    [
        lambda files: (files / "train.csv").write_text("Q?,B\n"),
        lambda files: (files / "dev.csv").write_text("x"),
        lambda files: (files / "train.csv").rename(files / "test.csv"),
        lambda files: (files / "GENERATED").write_text(""),
    ],
)
def test_other_files_are_read_anew(source: Source, change: Callable[[Path], object]) -> None:
    source.get()
    change(source.files)
    source.get()
    assert source.num_reads == 2


def test_settings_except_the_cache_path_are_read_anew(source: Source) -> None:
    source.get(limits={"max_train": 1}, cache="here", auto_may_generate=True)
    source.get(limits={"max_train": 2}, cache="here", auto_may_generate=True)
    source.get(limits={"max_train": 1}, cache="there", auto_may_generate=False)
    assert source.num_reads == 2


def test_a_changed_reader_reads_anew(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.get()
    monkeypatch.setattr(stream_cache, "_code_fingerprint", lambda: "mended")
    source.get()
    assert source.num_reads == 2


def test_small_generated_and_foreign_streams_are_not_kept(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.get(source="generated")
    source.get(_target_="mine.stream")  # code that the key does not cover
    source.get(path=str(source.files / "absent"))
    monkeypatch.setattr(stream_cache, "MIN_BYTES", 2**20)
    source.get()
    assert source.num_reads == 4 and not source.kept


@pytest.mark.parametrize("name", ["rows.json", "offsets.npy", "stream.json"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-3], lambda content: b"", None, lambda content: content[::-1]]
)
def test_a_damaged_stream_is_read_anew_with_a_warning(
    source: Source, name: str, damage: Callable[[bytes], bytes] | None
) -> None:
    source.get()
    (folder,) = source.kept
    file = folder / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DamagedFile):
        read_stream(folder, source.cache)
    with pytest.warns(UserWarning, match="damaged"):
        assert plain(source.get()) == plain(SINGLE_PROCESS)
    assert plain(source.get()) == plain(SINGLE_PROCESS)
    assert source.num_reads == 2


@pytest.mark.parametrize(("old", "new"), [('"em"', '"f1"'), ('"index": 0', '"index": 1'), ('"b": "1"', '"b": "2"')])
def test_a_stream_record_with_another_value_is_not_believed(source: Source, old: str, new: str) -> None:
    source.get()
    file = source.kept[0] / "stream.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.warns(UserWarning, match="damaged"):
        assert plain(source.get()) == plain(SINGLE_PROCESS)


def test_files_changing_during_reading_are_not_kept(source: Source) -> None:
    def build() -> Stream:
        (source.files / "train.csv").write_text("Q?,C\n")
        return SINGLE_PROCESS

    assert cached(source.settings, build, cache=source.cache) is SINGLE_PROCESS
    assert not source.kept


def test_a_cache_that_cannot_be_written_costs_nothing(source: Source) -> None:
    source.cache.mkdir()
    (source.cache / "streams").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="held in memory"):
        assert source.get() is SINGLE_PROCESS
    shutil.rmtree(source.cache)
    source.cache.write_text("the same")
    with pytest.warns(UserWarning, match="held in memory"):
        assert source.get() is SINGLE_PROCESS


def test_a_stream_of_the_cache_may_be_copied(source: Source) -> None:
    # Methods keep tasks; a copy of one must not fail.
    source.get()
    task = copy.deepcopy(source.get().tasks[0])
    assert list(task.train) == list(SINGLE_PROCESS.tasks[0].train)

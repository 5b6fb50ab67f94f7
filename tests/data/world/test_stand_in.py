"""The stand-in: the generated world in real layouts, read back by the readers of real files."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.origin import is_generated, origin
from cmt_cli.data.knowledge import archivalqa, documents, squad, streamingqa
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat
from cmt_cli.data.knowledge.qa_stream import QALayout, qa_stream
from cmt_cli.data.world.stand_in import StandIn
from tests.data.files.test_archives import everything_below
from tests.data.written_files import selection

LAYOUTS = [streamingqa.LAYOUT, squad.LAYOUT, archivalqa.LAYOUT, documents.LAYOUT]
any_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@any_layout
def test_what_was_generated_is_what_is_read(layout: QALayout, small_world: StandIn, tmp_path: Path) -> None:
    corpus, problems = layout.read(small_world.write(layout, tmp_path))
    assert problems == []
    articles = small_world.articles()
    for split, count in (("train", 12), ("validation", 4), ("test", 9)):
        part = corpus.part(split)
        assert len(part.documents) == count
        texts = {document.id: document.text for document in part.documents}
        read = {(texts[question.document_id], question.text, question.references[0]) for question in part.questions}
        written = {
            (article.document.text, question.question, question.answers[0])
            for article in articles[split]
            for question in article.questions
        }
        assert read == written


@any_layout
def test_equal_settings_give_equal_bytes_and_the_same_folder(
    layout: QALayout, small_world: StandIn, tmp_path: Path
) -> None:
    first, second = (small_world.write(layout, tmp_path / name) for name in ("a", "b"))
    assert first.name == second.name
    assert everything_below(first) == everything_below(second)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    assert is_generated(first)


def test_dates_and_order_of_the_world_pass_through(small_world: StandIn, tmp_path: Path) -> None:
    expected = [article.document.date for article in small_world.articles()["test"]]
    for layout in (streamingqa.LAYOUT, archivalqa.LAYOUT, documents.LAYOUT):
        corpus, _ = layout.read(small_world.write(layout, tmp_path))
        assert [document.date for document in corpus.part("test").documents] == expected


def test_every_setting_has_its_own_folder(small_world: StandIn, tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"num_train_documents": 13},
        {"facts_per_document": 4},
        {"changing_facts": True},
    ]
    folders = {small_world.write(streamingqa.LAYOUT, tmp_path).name}
    for change in others:
        folders.add(dataclasses.replace(small_world, **change).write(streamingqa.LAYOUT, tmp_path).name)
    assert len(folders) == 5


def test_a_written_folder_is_used_again(small_world: StandIn, tmp_path: Path) -> None:
    folder = small_world.write(streamingqa.LAYOUT, tmp_path)
    before = (folder / "test.csv").stat().st_mtime_ns
    assert small_world.write(streamingqa.LAYOUT, tmp_path) == folder
    assert (folder / "test.csv").stat().st_mtime_ns == before


def test_an_interrupted_write_leaves_nothing_that_would_be_read(small_world: StandIn, tmp_path: Path) -> None:
    def fail(folder: Path, articles: object) -> None:
        (folder / "train.csv").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_world.write(dataclasses.replace(streamingqa.LAYOUT, write=fail), tmp_path)
    assert everything_below(tmp_path) == ["generated"]


def test_test_questions_are_capped_and_training_questions_are_not(small_world: StandIn) -> None:
    articles = small_world.articles()
    assert {len(article.questions) for article in articles["test"]} == {2}
    assert {len(article.questions) for article in articles["train"]} == {3}


@pytest.mark.parametrize(("cap", "expected"), [(None, 2), (1, 1), (3, 2)])
def test_validation_documents_get_as_many_questions_as_test_documents(
    small_world: StandIn, tmp_path: Path, cap: int | None, expected: int
) -> None:
    built = {
        split: qa_stream(
            streamingqa.LAYOUT,
            origin(path="no", default_path="no", source="generated", auto_may_generate=True, cache=str(tmp_path)),
            generated=small_world,
            selection=selection(stream_split=split, max_test_questions_per_document=cap),
            num_tasks=2,
            questions=QuestionFormat(prompt_template="{question}", capitalize_answers=False),
        )
        for split in ("test", "validation")
    }
    for split, count in (("test", 9), ("validation", 4)):
        queried = Counter(e.document_ids[0] for test in built[split].tests for e in test.examples)
        assert list(queried.values()) == [expected] * count
    assert built["test"].provenance.files == built["validation"].provenance.files


def test_sizes_below_one_are_refused(small_world: StandIn) -> None:
    with pytest.raises(UserError, match=r"data\.generated\.num_test_documents=0 is too small"):
        dataclasses.replace(small_world, num_test_documents=0)

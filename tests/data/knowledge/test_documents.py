"""A user's own stream: two jsonl files, with splits or without."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_cli.data.files.origin import Shares
from cmt_cli.data.knowledge import archivalqa, documents, squad, streamingqa
from cmt_cli.data.knowledge.documents import read
from cmt_cli.data.knowledge.qa_stream import QALayout
from tests.data.written_files import faults, put_jsonl


def put_stream(folder: Path, found: list[dict[str, Any]], queried: list[dict[str, Any]]) -> Path:
    put_jsonl(folder / "documents.jsonl", found)
    put_jsonl(folder / "questions.jsonl", queried)
    return folder


def document(id_: str, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "text": f"The text of {id_}.", **changes}


def question(document_id: str, **changes: Any) -> dict[str, Any]:
    return {"question": f"What is {document_id}?", "answers": ["a text", "text"], "document_id": document_id, **changes}


def test_documents_and_questions_are_joined_by_id(tmp_path: Path) -> None:
    found = [document("a", date="2024-05-17", title="A"), document("b", title=None)]
    queried = [question("b", split="test"), question("a", id="mine", split="test", answers="one")]
    corpus, problems = read(put_stream(tmp_path, found, queried))
    assert problems == []
    part = corpus.part("test")
    assert [(item.id, item.date, item.title) for item in part.documents] == [
        ("a", "2024-05-17", "A"),
        ("b", None, None),
    ]
    assert [(item.id, item.document_id, item.references) for item in part.questions] == [
        ("question-1", "b", ("a text", "text")),
        ("mine", "a", ("one",)),
    ]


def test_splits_of_the_questions_are_those_of_the_documents(tmp_path: Path) -> None:
    found = [document(name) for name in "abcd"]
    queried = [question("c", split="train"), question("a", split="test"), question("b", split="validation")]
    corpus, problems = read(put_stream(tmp_path, found, queried))
    assert problems == []
    ids = {split: [item.id for item in corpus.part(split).documents] for split in ("train", "validation", "test")}
    assert ids == {"train": ["c"], "validation": ["b"], "test": ["a", "d"]}  # nobody asks about d: it is learned


def test_without_splits_documents_are_divided(tmp_path: Path) -> None:
    put_stream(tmp_path, [document(str(n)) for n in range(10)], [question(str(n)) for n in range(10)])
    corpus = read(tmp_path)[0].divided(Shares(train=6, validation=1, test=3, seed=0))
    assert [len(corpus.part(split).documents) for split in ("train", "validation", "test")] == [6, 1, 3]


def test_questions_on_a_repeated_text_join_its_first_document(tmp_path: Path) -> None:
    found = [document("a", text="same"), document("b", text="same ")]
    corpus, problems = read(put_stream(tmp_path, found, [question("a"), question("b")]))
    assert problems == []
    assert [item.document_id for item in corpus.parts[0].questions] == ["a", "a"]
    assert corpus.parts[0].num_duplicates == 1


def test_problems_of_both_files_are_listed_with_lines(tmp_path: Path) -> None:
    found = [document("a"), document("a", text="again"), document("b", text=""), document("c", date="x"), {"id": "d"}]
    queried = [
        question("a", id="1", split="test"),
        question("a", id="1", split="test"),
        question("a", split="train"),
        question("a", split="testing"),
        question("a"),
        question("aa", split="test"),
        question("a", answers=[], split="test"),
    ]
    put_stream(tmp_path, found, queried)
    with (tmp_path / "questions.jsonl").open("a") as stream:
        stream.write("{\n")
    assert [(name, line, re.split("[;(]", message)[0]) for name, line, message in faults(read, tmp_path)] == [
        ("documents.jsonl", 2, "the document id 'a' occurs twice, first on line 1"),
        ("documents.jsonl", 3, "'text' is empty"),
        ("documents.jsonl", 4, "'date' is no date: 'x'"),
        ("documents.jsonl", 5, "the key 'text' is missing"),
        (
            "questions.jsonl",
            4,
            "'split' is 'testing', which is not one of train, validation, test. Did you mean 'test'?",
        ),
        ("questions.jsonl", 6, "the document 'aa' is not in documents.jsonl. Did you mean 'a'?"),
        ("questions.jsonl", 7, "the question has no answer"),
        ("questions.jsonl", 8, "is not valid json "),
        ("questions.jsonl", 3, "the document 'a' is evaluated in train and in test"),
        ("questions.jsonl", 5, "the key 'split' is missing"),
        ("questions.jsonl", 2, "the question id '1' occurs twice"),
    ]


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert faults(read, tmp_path) == [("documents.jsonl", None, "is missing"), ("questions.jsonl", None, "is missing")]


FILES = {
    "streamingqa": ("train.csv", "val.csv", "test.csv"),
    "squad": ("dev-v1.1.json",),
    "archivalqa": ("train.csv", "val.csv", "test.csv"),
    "documents": ("documents.jsonl", "questions.jsonl"),
}
LAYOUTS = [streamingqa.LAYOUT, squad.LAYOUT, archivalqa.LAYOUT, documents.LAYOUT]
json_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
likely = st.sampled_from(["id", "text", "question", "answers", "document_id", "split", "data", "paragraphs", "qas"])
json_rows = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(likely, inner, max_size=4), max_leaves=15
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_problems_in_every_layout(
    layout: QALayout, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in FILES[layout.name]:
        (folder / name).write_bytes(content)
    assert layout.read(folder)[1]


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.dictionaries(likely, json_rows, max_size=6), min_size=1, max_size=4))
def test_objects_of_any_shape_are_read_or_reported(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shapes")
    put_stream(folder, rows, rows)
    corpus, problems = read(folder)
    assert problems or len(corpus.parts[0].documents) > 0
    put_jsonl(folder / "one.json", [{"data": rows}])
    corpus, problems = squad.read(folder / "one.json")
    assert problems or len(corpus.parts[0].documents) > 0


plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda text: text.strip())


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(plain, min_size=1, max_size=4, unique_by=str.strip), answer=plain)
def test_arbitrary_unicode_texts_come_back(
    texts: list[str], answer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    found = [document(str(n), text=text) for n, text in enumerate(texts)]
    put_stream(folder, found, [question(str(n), answers=[answer]) for n in range(len(texts))])
    corpus, problems = read(folder)
    assert problems == []
    assert [item.text for item in corpus.parts[0].documents] == [text.strip() for text in texts]
    assert {item.references for item in corpus.parts[0].questions} == {(answer.strip(),)}

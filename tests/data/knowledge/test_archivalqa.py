"""ArchivalQA: paragraphs or whole articles by their ids."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cmt_cli.data.knowledge.archivalqa import read
from tests.data.written_files import faults, put_csv


def row(question: str = "Who?", **changes: str) -> dict[str, str]:
    columns = {
        "question": question,
        "answer": "Gorbachev",
        "ans_paragraph": "Gorbachev spoke.",
        "ans_text": "Gorbachev spoke. Others too.",
        "doc_id": "17",
        "para_num": "3",
        "year": "1991",
    }
    return columns | changes


def put_archivalqa(folder: Path, test: list[dict[str, str]]) -> Path:
    put_csv(folder / "train.csv", [row()])
    put_csv(folder / "val.csv", [row()])
    put_csv(folder / "test.csv", test)
    return folder


def test_paragraphs_are_documents_named_by_article_and_number(tmp_path: Path) -> None:
    rows = [row("a?"), row("b?", answer="None"), row("c?", para_num="4", ans_paragraph="Another.")]
    corpus, problems = read(put_archivalqa(tmp_path, rows))
    assert problems == []
    part = corpus.part("test")
    assert [(document.id, document.text) for document in part.documents] == [
        ("17/3", "Gorbachev spoke."),
        ("17/4", "Another."),
    ]
    assert [(question.id, question.document_id, question.references) for question in part.questions] == [
        ("test-00000", "17/3", ("Gorbachev",)),
        ("test-00001", "17/3", ("None",)),
        ("test-00002", "17/4", ("Gorbachev",)),
    ]


def test_full_passages_are_documents_named_by_article(tmp_path: Path) -> None:
    rows = [row("a?"), row("b?", para_num="4", ans_paragraph="Another.")]
    corpus, problems = read(put_archivalqa(tmp_path, rows), full_passages=True)
    assert problems == []
    assert [(document.id, document.text) for document in corpus.part("test").documents] == [
        ("17", "Gorbachev spoke. Others too.")
    ]


def test_all_problems_are_listed_with_their_lines(tmp_path: Path) -> None:
    rows = [row(), row(ans_paragraph="A different text."), row(answer=""), row(doc_id=""), row(date="long ago")]
    put_archivalqa(tmp_path, [found | {"date": found.get("date", "")} for found in rows])
    put_csv(tmp_path / "val.csv", [{"question": "?", "answer": "a", "ans_text": "t", "doc_id": "1", "para_num": "0"}])
    put_csv(tmp_path / "qa_lt.csv", [{"question": "", "answer": "a"}])
    assert [(name, line, message.split(";")[0]) for name, line, message in faults(read, tmp_path)] == [
        ("val.csv", 1, "the column 'ans_paragraph' is missing"),
        ("test.csv", 3, "the document id '17/3' occurs twice, with different texts"),
        ("test.csv", 4, "'answer' is empty"),
        ("test.csv", 5, "'doc_id' is empty"),
        ("test.csv", 6, "'date' is no date: 'long ago'"),
        ("qa_lt.csv", 2, "'question' is empty"),
    ]


def test_whole_articles_need_their_column(tmp_path: Path) -> None:
    put_archivalqa(tmp_path, [{key: value for key, value in row().items() if key != "ans_text"}])
    ((name, line, message),) = faults(partial(read, full_passages=True), tmp_path)
    assert (name, line) == ("test.csv", 1)
    assert message.startswith("the column 'ans_text' is missing")

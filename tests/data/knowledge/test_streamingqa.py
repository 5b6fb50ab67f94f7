"""StreamingQA: the csv folder of CaMeLS and MAC, and the official jsonl files with their articles."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.data.knowledge.qa_corpus import document_id_of
from cmt_cli.data.knowledge.streamingqa import read
from cmt_cli.data.knowledge.wmt import readable_id
from tests.data.written_files import faults, put_csv, put_jsonl, put_streamingqa

OFFICIAL = ("streaminqa_train.jsonl", "streaminqa_valid.jsonl", "streaminqa_eval.jsonl")


def official_row(**changes: Any) -> dict[str, Any]:
    return {
        "qa_id": "eval-1",
        "question": "Who won?",
        "answers": ["Celtic.", "Celtic"],
        "answers_additional": ["Celtic FC"],
        "evidence_ts": 1582531200,
        "evidence_id": "20200224000000000000\x00\x01ab\x00\x01",
        **changes,
    }


def put_official(folder: Path, eval_rows: list[dict[str, Any]]) -> Path:
    put_jsonl(folder / OFFICIAL[0], [official_row(qa_id="train-1")])
    put_jsonl(folder / OFFICIAL[1], [official_row(qa_id="valid-1")])
    put_jsonl(folder / OFFICIAL[2], eval_rows)
    put_jsonl(
        folder / "documents.jsonl",
        [{"id": official_row()["evidence_id"], "text": "Celtic won."}, {"id": "other", "text": "x"}],
    )
    return folder


def test_backslashes_separate_answers_and_na_is_an_answer(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "text": "A text.", "answers": "NA\\None\\\\ None "}]
    corpus, problems = read(put_streamingqa(tmp_path, test=rows))
    assert problems == []
    (question,) = corpus.part("test").questions
    assert question.references == ("NA", "None")
    assert question.id == "test-00000"


def test_rows_about_one_text_share_a_document(tmp_path: Path) -> None:
    rows = [{"text": text, "question": f"{n}?", "answers": "a"} for n, text in enumerate(["A", "B", "A ", "B", "A"])]
    corpus, _ = read(put_streamingqa(tmp_path, test=rows))
    part = corpus.part("test")
    assert [document.text for document in part.documents] == ["A", "B"]
    queried = {id_: [question.text for question in found] for id_, found in part.questions_by_document().items()}
    assert queried == {document_id_of("A"): ["0?", "2?", "4?"], document_id_of("B"): ["1?", "3?"]}


def test_documents_are_dated_where_a_column_says_when(tmp_path: Path) -> None:
    rows = [{"text": "A", "question": "?", "answers": "a", "evidence_ts": "1582531200", "date": ""}]
    corpus, _ = read(put_streamingqa(tmp_path, test=rows))
    assert corpus.part("test").documents[0].date == "2020-02-24"


def test_problems_of_all_files_are_listed_with_lines(tmp_path: Path) -> None:
    put_streamingqa(tmp_path)
    put_csv(tmp_path / "train.csv", [{"text": "A", "question": "?", "answer": "a"}])
    (tmp_path / "val.csv").unlink()
    (tmp_path / "test.csv").write_bytes(b'text,question,answers\n"A\nB",who?,\\ \\\n,who?,a\nA, ,a\n\xffA,who?,a\n')
    put_csv(tmp_path / "qa_train.csv", [{"question": "?", "answers": ""}])
    assert faults(read, tmp_path) == [
        (
            "train.csv",
            1,
            "the column 'answers' is missing; there are 'text', 'question', 'answer'. Did you mean 'answer'?",
        ),
        ("val.csv", None, "is missing"),
        ("test.csv", 2, "the question has no answer"),
        ("test.csv", 4, "'text' is empty"),
        ("test.csv", 5, "'question' is empty"),
        ("test.csv", 6, "is not UTF-8 (byte 0xff at 0 of the line)"),
        ("qa_train.csv", 2, "the question has no answer"),
    ]


def test_tuning_questions_are_not_part_of_the_corpus(tmp_path: Path) -> None:
    put_streamingqa(tmp_path)
    plain, _ = read(tmp_path)
    put_csv(tmp_path / "qa_train.csv", [{"question": "Tuning?", "answers": "yes"}])
    corpus, problems = read(tmp_path)
    assert (corpus, problems) == (plain, [])


def test_official_questions_find_their_articles(tmp_path: Path) -> None:
    corpus, problems = read(put_official(tmp_path, [official_row()]))
    assert problems == []
    part = corpus.part("test")
    (document,) = part.documents
    assert (document.id, document.text, document.date) == ("20200224000000000000-ab", "Celtic won.", "2020-02-24")
    (question,) = part.questions
    assert (question.id, question.references) == ("eval-1", ("Celtic.", "Celtic", "Celtic FC"))
    assert [file.name for file in corpus.files] == [*OFFICIAL, "documents.jsonl"]


def test_faults_of_the_official_layout_are_listed(tmp_path: Path) -> None:
    rows = [
        official_row(),
        official_row(),
        official_row(qa_id="eval-2", evidence_id="unknown"),
        official_row(qa_id="eval-3", answers=[], answers_additional=[]),
        official_row(qa_id="eval-4", evidence_ts="soon"),
    ]
    put_official(tmp_path, rows)
    assert faults(read, tmp_path) == [
        (OFFICIAL[2], 4, "the question has no answer"),
        (
            OFFICIAL[2],
            5,
            "'evidence_ts' is no date: 'soon'; give 2020-05-17, 2020-05-17T08:30:00 or seconds since 1970",
        ),
        (OFFICIAL[2], 2, "the question id 'eval-1' occurs twice"),
        (OFFICIAL[2], 3, "its article (evidence_id unknown) is not in the document file"),
    ]


def test_official_questions_without_articles_name_the_missing_file(tmp_path: Path) -> None:
    put_official(tmp_path, [official_row()])
    (tmp_path / "documents.jsonl").unlink()
    ((name, line, message),) = faults(read, tmp_path)
    assert (name, line) == ("documents.jsonl", None)
    assert "run `cmt data prepare streamingqa`" in message


def test_a_file_instead_of_the_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "test.csv").touch()
    assert "is not a folder" in faults(read, tmp_path / "test.csv")[0][2]


def test_the_real_sample_is_read(tmp_path: Path, real_data: Path) -> None:
    sample = real_data / "streamingqa" / "streaminqa_eval.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(sample.read_bytes()).splitlines()]
    put_official(tmp_path, [])
    (tmp_path / OFFICIAL[2]).unlink()
    (tmp_path / sample.name).write_bytes(sample.read_bytes())
    articles = [{"id": id_, "text": f"Article {id_}"} for id_ in {row["evidence_id"] for row in rows}]
    put_jsonl(tmp_path / "documents.jsonl", [*articles, {"id": official_row()["evidence_id"], "text": "Celtic won."}])
    corpus, problems = read(tmp_path)
    assert problems == []
    part = corpus.part("test")
    assert len(part.questions) == len(rows) == 21
    dates = {document.id: document.date for document in part.documents}
    for row in rows:
        day = row["evidence_id"]
        assert dates[readable_id(row["evidence_id"])] == f"{day[:4]}-{day[4:6]}-{day[6:8]}"


@pytest.mark.slow
def test_five_thousand_documents_load_in_a_second(tmp_path: Path) -> None:
    rows = [{"text": f"Article {n} " + "word " * 300, "question": f"{n}?", "answers": "a\\b"} for n in range(5000)]
    put_streamingqa(tmp_path, test=rows)
    start = time.perf_counter()
    corpus, _ = read(tmp_path)
    assert len(corpus.part("test").documents) == 5000
    assert time.perf_counter() - start < 1

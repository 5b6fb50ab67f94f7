"""ArchivalQA (Wang et al. 2022, arXiv 2109.03438) joined with New York Times articles, as CaMeLS lays it out.

train.csv, val.csv and test.csv with the columns question, answer, ans_paragraph, doc_id, para_num; with
`full_passages` the column ans_text (the whole article) is the document instead of the paragraph. qa_lt.csv and
qa_lt_val.csv (question, answer) are for tuning a base model: they are checked here and not used. An optional column
`date` dates the documents. The question files are public; the articles are licensed by the LDC (LDC2008T19).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from cmt_cli.core.stream import Document, Stream
from cmt_cli.data.files.fields import date_field, text_field
from cmt_cli.data.files.generated import write_csv
from cmt_cli.data.files.origin import Layout, origin
from cmt_cli.data.files.problems import Problem, Row
from cmt_cli.data.files.reading import find, read_csv
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection
from cmt_cli.data.knowledge.qa_corpus import Ids, Part, PartBuilder, QACorpus, Question
from cmt_cli.data.knowledge.qa_stream import qa_stream
from cmt_cli.data.world.stand_in import StandIn
from cmt_cli.data.world.world import Article

FILES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
TUNING_FILES = ("qa_lt.csv", "qa_lt_val.csv")


def archivalqa(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    full_passages: bool,
    num_tasks: int,
    selection: Selection,
    prompt_template: str,
    capitalize_answers: bool,
    generated: StandIn,
) -> Stream:
    """Return the ArchivalQA stream: batches of paragraphs (or whole articles), questions on each batch."""
    return qa_stream(
        dataclasses.replace(LAYOUT, read=partial(read, full_passages=full_passages)),
        origin(path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache),
        generated=generated,
        selection=selection,
        num_tasks=num_tasks,
        questions=QuestionFormat(prompt_template=prompt_template, capitalize_answers=capitalize_answers),
    )


def read(path: Path, *, full_passages: bool = False) -> tuple[QACorpus, list[Problem]]:
    """Read the folder; the documents are paragraphs unless `full_passages` asks for articles."""
    problems: list[Problem] = []
    ids = Ids()
    parts: list[Part] = []
    files: list[Path] = []
    if not path.is_dir():
        problems.append(Problem(path, None, "is not a folder; give the folder that holds train.csv, val.csv, test.csv"))
        return QACorpus((), ()), problems
    for split, name in FILES.items():
        file = find(path, name)
        if file is None:
            problems.append(Problem(path / name, None, "is missing"))
            continue
        files.append(file)
        parts.append(_read_file(file, PartBuilder((split,), problems, ids), full_passages=full_passages))
    for name in TUNING_FILES:
        if file := find(path, name):
            for row in read_csv(file, ("question", "answer"), problems):
                text_field(row, "question", problems)
                text_field(row, "answer", problems)
    return QACorpus(tuple(parts), tuple(files)), problems


def _read_file(file: Path, builder: PartBuilder, *, full_passages: bool) -> Part:
    column = "ans_text" if full_passages else "ans_paragraph"
    columns = ("question", "answer", column, "doc_id", *(() if full_passages else ("para_num",)))
    for index, row in enumerate(read_csv(file, columns, builder.problems)):
        _add_row(row, column, f"{builder.splits[0]}-{index:05d}", builder)
    return builder.build()


def _add_row(row: Row, column: str, question_id: str, builder: PartBuilder) -> None:
    problems = builder.problems
    text = text_field(row, column, problems)
    question = text_field(row, "question", problems)
    answer = text_field(row, "answer", problems)
    document_id = text_field(row, "doc_id", problems)
    number = text_field(row, "para_num", problems) if column == "ans_paragraph" else None
    date = date_field(row, "date", problems)
    if text is None or document_id is None or (number is None and column == "ans_paragraph"):
        return
    name = f"{document_id}/{number}" if number else document_id
    kept = builder.add_document(row, Document(name, text, date), document_id)
    if kept and question and answer:
        builder.add_question(row, Question(question_id, question, (answer,), kept))


def write(folder: Path, articles: Mapping[str, Sequence[Article]]) -> None:
    """Write articles as the csv folder, one row for each question, every article being a paragraph of its own."""
    header = ("question", "answer", "ans_paragraph", "doc_id", "para_num", "date")
    for split, name in FILES.items():
        rows = (
            (question.question, question.answers[0], document.text, document.id, "0", document.date or "")
            for document, questions in ((article.document, article.questions) for article in articles[split])
            for question in questions
        )
        write_csv(folder / name, header, rows)


LAYOUT = Layout(
    name="archivalqa",
    license="questions for research; articles New York Times, LDC2008T19",
    how_to_get=(
        "Get the questions (ArchivalQA_val.csv, drive.google.com/drive/folders/15JMtkJAqtZsKr_P-0jH4iFy2EOri4GbR) and "
        "the New York Times corpus (LDC2008T19, licensed by the LDC), join them with the notebook of "
        "github.com/nathanhu0/CaMeLS, and put its train.csv, val.csv and test.csv (columns question, answer, "
        "ans_paragraph, doc_id, para_num) into {path}."
    ),
    read=read,
    write=write,
)

"""Your own knowledge stream: documents and questions about them, one json object on each line of two files.

documents.jsonl: {"id": "a1", "text": "...", "date": "2024-05-17", "title": "..."}; date and title are optional.
questions.jsonl: {"question": "...", "answers": ["...", "..."], "document_id": "a1"}; optional are "id" and "split",
which is train, validation or test and given for all questions or for none. Without splits whole documents are divided
by the shares in `split` of the configuration. Documents without questions are part of the stream that is learned.
Both files may be gzipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmt_cli.core.exceptions import nearest
from cmt_cli.core.stream import Document, Stream
from cmt_cli.data.files.fields import (
    answers_field,
    date_field,
    id_field,
    optional_id_field,
    optional_text_field,
    text_field,
)
from cmt_cli.data.files.generated import write_jsonl
from cmt_cli.data.files.origin import Layout, Shares, origin
from cmt_cli.data.files.problems import Problem, Row
from cmt_cli.data.files.reading import find, missing_name, read_jsonl
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection
from cmt_cli.data.knowledge.qa_corpus import SPLITS, Ids, Part, PartBuilder, QACorpus, Question
from cmt_cli.data.knowledge.qa_stream import qa_stream
from cmt_cli.data.world.stand_in import StandIn
from cmt_cli.data.world.world import Article

DOCUMENT_FILE, QUESTION_FILE = "documents.jsonl", "questions.jsonl"


def documents(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    num_tasks: int,
    split: Shares,
    selection: Selection,
    prompt_template: str,
    capitalize_answers: bool,
    generated: StandIn,
) -> Stream:
    """Return the stream of a user's own documents. `split` is used where questions.jsonl names no splits."""
    return qa_stream(
        dataclasses.replace(LAYOUT, shares=split),
        origin(path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache),
        generated=generated,
        selection=selection,
        num_tasks=num_tasks,
        questions=QuestionFormat(prompt_template=prompt_template, capitalize_answers=capitalize_answers),
    )


def read(path: Path) -> tuple[QACorpus, list[Problem]]:
    """Read the folder that holds documents.jsonl and questions.jsonl."""
    problems: list[Problem] = []
    files = [find(path, name) for name in (DOCUMENT_FILE, QUESTION_FILE)]
    for file, name in zip(files, (DOCUMENT_FILE, QUESTION_FILE), strict=True):
        if file is None:
            problems.append(Problem(path / name, None, "is missing"))
    document_file, question_file = files
    if document_file is None or question_file is None:
        return QACorpus((), ()), problems
    found = _documents(document_file, problems)
    question_rows = _questions(question_file, found, problems)
    parts = _parts(found, question_rows, problems)
    return QACorpus(tuple(parts), (document_file, question_file)), problems


Found = Mapping[str, tuple[Row, Document]]
QuestionRows = Sequence[tuple[Row, Question, str | None]]  # the last is the split


def _documents(file: Path, problems: list[Problem]) -> dict[str, tuple[Row, Document]]:
    found: dict[str, tuple[Row, Document]] = {}
    for row in read_jsonl(file, problems):
        document_id = id_field(row, "id", problems)
        text = text_field(row, "text", problems)
        date = date_field(row, "date", problems)
        title = optional_text_field(row, "title", problems)
        if document_id in found:
            first = found[document_id][0].line
            problems.append(row.problem(f"the document id '{document_id}' occurs twice, first on line {first}"))
        elif document_id and text:
            found[document_id] = row, Document(document_id, text, date, title)
    return found


def _questions(file: Path, found: Found, problems: list[Problem]) -> list[tuple[Row, Question, str | None]]:
    question_rows: list[tuple[Row, Question, str | None]] = []
    for row in read_jsonl(file, problems):
        question_id = optional_id_field(row, "id", problems) or f"question-{row.line}"
        text = text_field(row, "question", problems)
        references = answers_field(row, ("answers",), problems)
        document_id = id_field(row, "document_id", problems)
        split = optional_text_field(row, "split", problems)
        if split is not None and split not in SPLITS:
            near = nearest(split, SPLITS)
            problems.append(row.problem(f"'split' is '{split}', which is not one of {', '.join(SPLITS)}.{near}"))
        elif document_id and document_id not in found:
            message = f"the document '{document_id}' is not in {DOCUMENT_FILE}.{nearest(document_id, found)}"
            problems.append(row.problem(message))
        elif text and references and document_id:
            question_rows.append((row, Question(question_id, text, references, document_id), split))
    return question_rows


def _parts(found: Found, question_rows: QuestionRows, problems: list[Problem]) -> list[Part]:
    split_of = _split_of_documents(question_rows, problems)
    if split_of is None:
        return [_part(SPLITS, list(found.values()), question_rows, problems, Ids())]
    ids = Ids()
    parts: list[Part] = []
    for split in SPLITS:
        kept = [item for item in found.values() if split_of.get(item[1].id, "test") == split]
        questions = [item for item in question_rows if item[2] == split]
        parts.append(_part((split,), kept, questions, problems, ids))
    return parts


def _split_of_documents(question_rows: QuestionRows, problems: list[Problem]) -> dict[str, str] | None:
    """Return the split of each document that has questions; None where no question names one."""
    if all(split is None for _, _, split in question_rows):
        return None
    split_of: dict[str, str] = {}
    for row, question, split in question_rows:
        if split is None:
            message = missing_name("split", list(row.values), kind="key")
            problems.append(row.problem(f"{message} Give it for all questions or for none"))
        elif split_of.setdefault(question.document_id, split) != split:
            other = split_of[question.document_id]
            message = f"the document '{question.document_id}' is evaluated in {split} and in {other}"
            problems.append(row.problem(message))
    return split_of


def _part(
    splits: tuple[str, ...],
    found: Sequence[tuple[Row, Document]],
    question_rows: QuestionRows,
    problems: list[Problem],
    ids: Ids,
) -> Part:
    builder = PartBuilder(splits, problems, ids)
    for row, document in found:
        builder.add_document(row, document, document.id)
    for row, question, _ in question_rows:
        kept = builder.kept_id(question.document_id)
        if kept is not None:
            builder.add_question(row, dataclasses.replace(question, document_id=kept))
    return builder.build()


def write(folder: Path, articles: Mapping[str, Sequence[Article]]) -> None:
    """Write articles as the two files, with their splits."""
    every = [(split, article) for split in SPLITS for article in articles[split]]
    write_jsonl(
        folder / DOCUMENT_FILE,
        ({"id": d.id, "text": d.text, "date": d.date, "title": d.title} for d in (a.document for _, a in every)),
    )
    write_jsonl(
        folder / QUESTION_FILE,
        (
            {
                "id": question.id,
                "question": question.question,
                "answers": list(question.answers),
                "document_id": article.document.id,
                "split": split,
            }
            for split, article in every
            for question in article.questions
        ),
    )


LAYOUT = Layout(
    name="documents",
    license="not stated",
    how_to_get=(
        "Put documents.jsonl (one object on each line: id, text, and optionally date and title) and questions.jsonl "
        "(question, answers, document_id, and optionally id and split) into {path}, or give another folder with "
        "data.path."
    ),
    read=read,
    write=write,
)

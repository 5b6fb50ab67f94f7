"""SQuAD v1.1 (Rajpurkar et al. 2016, arXiv 1606.05250) and every file of its json layout, such as XQuAD or COVID-QA.

`path` is one of
- a folder with train-v1.1.json and dev-v1.1.json. The test split is the whole dev file. With the 87,599 questions of
  SQuAD v1.1 the train file is cut as CaMeLS, MAC and MBC do, by question in the order of the file: [0:42118) is for
  tuning a base model on questions and unused here, [42118:82011) is train, [82011:87599) validation. With
  validation-v1.1.json beside it, or any other number of questions, the file is not cut this way: the validation file is
  taken, or else whole articles of the train file by the shares in `split`;
- one json file (dev-v1.1.json), or a folder that holds only one: its articles are divided by the shares in `split`.

Of SQuAD 2.0 (arXiv 1806.03822) the questions without an answer are left out, or get one that the user states.
A paragraph's id is its article's title and its number there. An article without a title is its own group.
MAC shuffles articles with a seed before streaming them; here the order is that of the file.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Document, Stream
from cmt_cli.data.files.fields import id_field, present_answers, text_field
from cmt_cli.data.files.json_document import JsonDocument, JsonRecord, Keys, read_json
from cmt_cli.data.files.origin import Layout, Shares, origin
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import json_type
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection
from cmt_cli.data.knowledge.qa_corpus import Ids, Part, PartBuilder, QACorpus, Question
from cmt_cli.data.knowledge.qa_stream import qa_stream
from cmt_cli.data.knowledge.squad_files import HUB, TEST_FILE, TRAIN_FILE, VALIDATION_FILE, write
from cmt_cli.data.world.stand_in import StandIn

NUM_TRAIN_QUESTIONS = 87_599
SPLIT_BY = ("article", "paragraph")
SKIP = "skip"
_TOO_FEW = " Or let paragraphs of one article be in several splits: data.split_by=paragraph."
TRAIN_CUT, VALIDATION_CUT = slice(42_118, 82_011), slice(82_011, 87_599)


def squad(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    num_tasks: int,
    unanswerable: str,
    split_by: str,
    split: Shares,
    selection: Selection,
    prompt_template: str,
    capitalize_answers: bool,
    generated: StandIn,
) -> Stream:
    """Return the SQuAD stream: batches of paragraphs, questions on each batch.

    `split` divides files that name no splits, by whole articles or by paragraphs (`split_by`). Questions that SQuAD 2.0
    marks as unanswerable are left out and counted ("skip"), or have `unanswerable` for their answer.
    """
    one_of(split_by, SPLIT_BY, "data.split_by")
    if not unanswerable.strip():
        raise UserError("data.unanswerable is empty: set it to skip, or to the answer of unanswerable questions.")
    read_as_set = partial(read, unanswerable=unanswerable, by_paragraph=split_by == "paragraph")
    return qa_stream(
        dataclasses.replace(LAYOUT, shares=split, read=read_as_set),
        origin(path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache),
        generated=generated,
        selection=selection,
        num_tasks=num_tasks,
        questions=QuestionFormat(prompt_template=prompt_template, capitalize_answers=capitalize_answers),
    )


def read(path: Path, unanswerable: str = SKIP, by_paragraph: bool = False) -> tuple[QACorpus, list[Problem]]:
    """Read one json file, or a folder of them as the module says."""
    problems: list[Problem] = []
    files = _files(path, problems)
    titles: Counter[str] = Counter()
    rows: dict[str, list[_Row]] = {}
    how = _How(unanswerable, by_paragraph)
    for role, file in files.items():
        document = read_json(file, problems)
        if document is not None:
            rows[role] = list(_rows(document, titles, problems, how))
            if not rows[role] and not problems:
                problems.append(Problem(file, None, "has no paragraphs"))
    ids = Ids()
    parts = [_part(splits, found, problems, ids) for splits, found in _splits(rows)]
    notes = (f"{counted(how.num_unanswerable, 'unanswerable question')} left out",) if how.num_unanswerable else ()
    return QACorpus(tuple(parts), tuple(files.values()), notes, "" if by_paragraph else _TOO_FEW), problems


@dataclass(slots=True)
class _How:
    """How files are read, and how many questions were left out for it."""

    unanswerable: str
    by_paragraph: bool
    num_unanswerable: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """A paragraph with one of its questions, or with none if it has none."""

    paragraph: JsonRecord
    document: Document
    group: str
    question_record: JsonRecord | None
    question: Question | None


def _files(path: Path, problems: list[Problem]) -> dict[str, Path]:
    """Return the files to read by their role: train, validation, test, or "all" for a single one."""
    if path.is_file():
        return {"all": path}
    names = {"train": TRAIN_FILE, "validation": VALIDATION_FILE, "test": TEST_FILE}
    files = {role: path / name for role, name in names.items() if (path / name).is_file()}
    if "train" in files and "test" in files:
        return files
    single = sorted(path.glob("*.json"))
    if len(single) == 1:
        return {"all": single[0]}
    there = ", ".join(file.name for file in single) or "no json file"
    fault = f"must hold {TRAIN_FILE} and {TEST_FILE}, or a single json file; it holds {there}"
    problems.append(Problem(path, None, fault if path.exists() else "does not exist"))
    return {}


def _splits(rows: Mapping[str, list[_Row]]) -> Iterator[tuple[tuple[str, ...], list[_Row]]]:
    """Yield the rows of each part and the splits it is for."""
    if "all" in rows:
        yield ("train", "validation", "test"), rows["all"]
    if "train" in rows:
        if "validation" in rows:
            yield ("train",), rows["train"]
            yield ("validation",), rows["validation"]
        elif len(rows["train"]) == NUM_TRAIN_QUESTIONS:
            yield ("train",), rows["train"][TRAIN_CUT]
            yield ("validation",), rows["train"][VALIDATION_CUT]
        else:
            yield ("train", "validation"), rows["train"]
    if "test" in rows:
        yield ("test",), rows["test"]


def _part(splits: tuple[str, ...], rows: Iterable[_Row], problems: list[Problem], ids: Ids) -> Part:
    builder = PartBuilder(splits, problems, ids)
    for row in rows:
        kept = builder.add_document(row.paragraph, row.document, row.group)
        if kept and row.question_record and row.question:
            builder.add_question(row.question_record, dataclasses.replace(row.question, document_id=kept))
    return builder.build()


def _rows(document: JsonDocument, titles: Counter[str], problems: list[Problem], how: _How) -> Iterator[_Row]:
    """Yield paragraphs and questions in the order of the file, which is the order of the hub's rows too."""
    for keys, article in _objects(document, (), document.value, "data", problems):
        title = article.get("title")
        title = title.strip() if isinstance(title, str) else ""
        group = title or f"{document.file.name.split('.')[0]}-{keys[1]}"
        for place, paragraph in _objects(document, keys, article, "paragraphs", problems):
            record = JsonRecord(document, place, paragraph)
            if (text := text_field(record, "context", problems)) is None:
                continue
            found = Document(f"{group}/{titles[group]}", text, title=title.replace("_", " ") or None)
            titles[group] += 1
            questions = list(_questions(document, record, found.id, problems, how))
            for question_record, question in questions or [(None, None)]:
                yield _Row(record, found, found.id if how.by_paragraph else group, question_record, question)


def _questions(
    document: JsonDocument, paragraph: JsonRecord, document_id: str, problems: list[Problem], how: _How
) -> Iterator[tuple[JsonRecord | None, Question | None]]:
    """Yield the questions of a paragraph; one without an id of its own is named by its paragraph and its number."""
    for keys, qa in _objects(document, paragraph.keys, paragraph.values, "qas", problems):
        record = JsonRecord(document, keys, qa)
        question_id = f"{document_id}/{keys[-1]}" if qa.get("id") is None else id_field(record, "id", problems)
        text = text_field(record, "question", problems)
        if qa.get("is_impossible") is True:
            if how.unanswerable == SKIP:
                how.num_unanswerable += 1
            elif question_id and text:
                yield record, Question(question_id, text, (how.unanswerable,), "")
            continue
        answers = [
            answer
            for place, value in _objects(document, keys, qa, "answers", problems)
            if (answer := _answer(JsonRecord(document, place, value), problems)) is not None
        ]
        references = present_answers(record, answers, problems)
        if question_id and text and references:
            yield record, Question(question_id, text, references, "")


def _answer(record: JsonRecord, problems: list[Problem]) -> str | None:
    """Return the answer's text, which may be empty where other answers are not."""
    return "" if record.values.get("text") == "" else text_field(record, "text", problems)


def _objects(
    document: JsonDocument, keys: Keys, parent: Any, name: str, problems: list[Problem]
) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Yield the objects of the list `parent[name]` with their places; anything else there is a problem."""
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, list):
        given = "it is missing" if value is None else f"it is {json_type(value)}"
        problems.append(document.problem(keys, f"needs a list '{name}'; {given}"))
        return
    for index, item in enumerate(value):
        place = (*keys, name, index)
        if isinstance(item, dict):
            yield place, item
        else:
            problems.append(document.problem((*keys, name), f"item {index} must be an object, not {json_type(item)}"))


LAYOUT = Layout(
    name="squad",
    license="CC BY-SA 4.0",
    how_to_get=(
        "Put train-v1.1.json and dev-v1.1.json (rajpurkar.github.io/SQuAD-explorer) into {path}; a single file works "
        "too: data.path=dev-v1.1.json."
    ),
    read=read,
    write=write,
    hub=HUB,
)

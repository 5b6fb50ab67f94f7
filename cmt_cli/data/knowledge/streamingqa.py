"""StreamingQA: dated news articles and questions (Liska et al. 2022, arXiv 2205.11388), in the two layouts people have.

1. The csv folder of CaMeLS and MAC: train.csv, val.csv and test.csv with the columns text, question, answers (accepted
   answers separated by backslashes); qa_train.csv and qa_val.csv (question, answers) are for tuning a base model on
   questions without documents: they are checked here and not used. An optional column `date` or `evidence_ts` dates
   the documents.
2. The official files streaminqa_{train,valid,eval}.jsonl.gz (the spelling is theirs) with documents.jsonl beside them:
   one article on each line, `id` being the question's evidence_id. `cmt data prepare streamingqa` makes that file
   from the WMT archives news-docs.*.gz. Official answers and answers_additional are all accepted.

Any of the files may be gzipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.stream import Document, Stream
from cmt_cli.data.files.fetched import Progress
from cmt_cli.data.files.fields import (
    answers_field,
    date_field,
    id_field,
    optional_text_field,
    present_answers,
    text_field,
)
from cmt_cli.data.files.generated import write_csv
from cmt_cli.data.files.origin import Layout, origin
from cmt_cli.data.files.problems import Problem, Record, Row
from cmt_cli.data.files.reading import find, read_csv, read_jsonl
from cmt_cli.data.knowledge import wmt
from cmt_cli.data.knowledge.knowledge_stream import QuestionFormat, Selection
from cmt_cli.data.knowledge.qa_corpus import Ids, Part, PartBuilder, QACorpus, Question, document_id_of
from cmt_cli.data.knowledge.qa_stream import qa_stream
from cmt_cli.data.world.stand_in import StandIn
from cmt_cli.data.world.world import Article

CSV_FILES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
TUNING_FILES = ("qa_train.csv", "qa_val.csv")
JSONL_FILES = {
    "train": ("streaminqa_train.jsonl", "streamingqa_train.jsonl"),
    "validation": ("streaminqa_valid.jsonl", "streamingqa_valid.jsonl"),
    "test": ("streaminqa_eval.jsonl", "streamingqa_eval.jsonl"),
}
DOCUMENT_FILES = ("documents.jsonl", "wmt_docs.jsonl")


def streamingqa(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    num_tasks: int,
    selection: Selection,
    prompt_template: str,
    capitalize_answers: bool,
    generated: StandIn,
) -> Stream:
    """Return the StreamingQA stream: batches of articles in the order of the test file, questions on each batch."""
    return qa_stream(
        LAYOUT,
        origin(path=path, default_path=default_path, source=source, auto_may_generate=auto_may_generate, cache=cache),
        generated=generated,
        selection=selection,
        num_tasks=num_tasks,
        questions=QuestionFormat(prompt_template=prompt_template, capitalize_answers=capitalize_answers),
    )


def read(path: Path) -> tuple[QACorpus, list[Problem]]:
    """Read a folder in either layout; csv files go first where both are present."""
    problems: list[Problem] = []
    if not path.is_dir():
        problems.append(Problem(path, None, "is not a folder; give the folder that holds train.csv, val.csv, test.csv"))
        return QACorpus((), ()), problems
    official = any(find(path, name) for names in JSONL_FILES.values() for name in names)
    if official and not any(find(path, name) for name in CSV_FILES.values()):
        return _read_official(path, problems), problems
    return _read_csv_folder(path, problems), problems


def _read_csv_folder(folder: Path, problems: list[Problem]) -> QACorpus:
    ids = Ids()
    parts: list[Part] = []
    files: list[Path] = []
    for split, name in CSV_FILES.items():
        file = find(folder, name)
        if file is None:
            problems.append(Problem(folder / name, None, "is missing"))
            continue
        files.append(file)
        builder = PartBuilder((split,), problems, ids)
        for index, row in enumerate(read_csv(file, ("text", "question", "answers"), problems)):
            _add_csv_row(row, f"{split}-{index:05d}", builder)
        parts.append(builder.build())
    for name in TUNING_FILES:
        if file := find(folder, name):
            for row in read_csv(file, ("question", "answers"), problems):
                text_field(row, "question", problems)
                present_answers(row, row.values["answers"].split("\\"), problems)
    return QACorpus(tuple(parts), tuple(files))


def _add_csv_row(row: Row, question_id: str, builder: PartBuilder) -> None:
    problems = builder.problems
    text = text_field(row, "text", problems)
    question = text_field(row, "question", problems)
    answers = present_answers(row, row.values["answers"].split("\\"), problems)
    date = date_field(row, "date", problems) or _evidence_day(row, problems)
    if text is None:
        return
    document_id = document_id_of(text)
    kept = builder.add_document(row, Document(document_id, text, date), document_id)
    if kept and question and answers:
        builder.add_question(row, Question(question_id, question, answers, kept))


def _evidence_day(record: Record, problems: list[Problem]) -> str | None:
    """Return the day of evidence_ts; its time of day is an artifact of the time zone it was made in."""
    moment = date_field(record, "evidence_ts", problems)
    return moment[:10] if moment else None


@dataclass(frozen=True, slots=True)
class _OfficialQuestion:
    """A row of the official question files, before its article is known."""

    record: Record
    id: str
    text: str
    references: tuple[str, ...]
    evidence_id: str
    date: str | None


def _read_official(folder: Path, problems: list[Problem]) -> QACorpus:
    questions: dict[str, list[_OfficialQuestion]] = {}
    files: list[Path] = []
    for split, names in JSONL_FILES.items():
        file = next(filter(None, (find(folder, name) for name in names)), None)
        if file is None:
            problems.append(Problem(folder / f"{names[0]}.gz", None, "is missing"))
            continue
        files.append(file)
        questions[split] = _official_questions(file, problems)
    articles = _articles(folder, {item.evidence_id for found in questions.values() for item in found}, files, problems)
    ids = Ids()
    parts: list[Part] = []
    for split, found in questions.items():
        builder = PartBuilder((split,), problems, ids)
        for item in found if articles is not None else ():
            _add_official(item, articles or {}, builder)
        parts.append(builder.build())
    return QACorpus(tuple(parts), tuple(files))


def _official_questions(file: Path, problems: list[Problem]) -> list[_OfficialQuestion]:
    found: list[_OfficialQuestion] = []
    for row in read_jsonl(file, problems):
        question_id = id_field(row, "qa_id", problems)
        text = text_field(row, "question", problems)
        references = answers_field(row, ("answers", "answers_additional"), problems)
        evidence_id = text_field(row, "evidence_id", problems)
        date = _evidence_day(row, problems)
        if question_id and text and references and evidence_id:
            found.append(_OfficialQuestion(row, question_id, text, references, evidence_id, date))
    return found


def _add_official(item: _OfficialQuestion, articles: Mapping[str, Row], builder: PartBuilder) -> None:
    row = articles.get(item.evidence_id)
    if row is None:
        name = wmt.readable_id(item.evidence_id)
        builder.problems.append(item.record.problem(f"its article (evidence_id {name}) is not in the document file"))
        return
    if (text := text_field(row, "text", builder.problems)) is None:
        return
    document_id = wmt.readable_id(item.evidence_id)
    title = optional_text_field(row, "title", builder.problems)
    kept = builder.add_document(item.record, Document(document_id, text, item.date, title), document_id)
    if kept:
        builder.add_question(item.record, Question(item.id, item.text, item.references, kept))


def _articles(folder: Path, wanted: set[str], files: list[Path], problems: list[Problem]) -> dict[str, Row] | None:
    """Return the wanted articles by evidence id, from the first document file there is."""
    file = next(filter(None, (find(folder, name) for name in DOCUMENT_FILES)), None)
    if file is None:
        archives = "the WMT archives are there: " if wmt.archives(folder) else "put the WMT archives beside it and "
        message = f"is missing; {archives}run `cmt data prepare streamingqa` to make it"
        problems.append(Problem(folder / DOCUMENT_FILES[0], None, message))
        return None
    files.append(file)
    found: dict[str, Row] = {}
    for row in read_jsonl(file, problems):
        key = next((key for key in ("id", "evidence_id", "sorting_key") if key in row.values), "id")
        article_id = text_field(row, key, problems)
        if article_id is None or article_id not in wanted:
            continue
        if article_id in found:
            problems.append(row.problem(f"the document id '{wmt.readable_id(article_id)}' occurs twice"))
        found[article_id] = row
    return found


def fetch(path: Path, progress: Progress) -> bool:
    """Make documents.jsonl from the WMT archives beside the official question files; False where nothing is to do."""
    if not path.is_dir() or not wmt.archives(path) or any(find(path, name) for name in DOCUMENT_FILES):
        return False
    problems: list[Problem] = []
    files = [file for names in JSONL_FILES.values() for name in names if (file := find(path, name))]
    wanted = {item.evidence_id for file in files for item in _official_questions(file, problems)}
    if wanted:
        wmt.write_documents(path / DOCUMENT_FILES[0], wanted, progress)
    return bool(wanted)


def write(folder: Path, articles: Mapping[str, Sequence[Article]]) -> None:
    """Write articles as the csv folder, one row for each question."""
    for split, name in CSV_FILES.items():
        rows = (
            (article.document.text, question.question, "\\".join(question.answers), article.document.date or "")
            for article in articles[split]
            for question in article.questions
        )
        write_csv(folder / name, ("text", "question", "answers", "date"), rows)


LAYOUT = Layout(
    name="streamingqa",
    license="questions CC BY 4.0; articles of the WMT News Crawl, for research",
    how_to_get=(
        "Either put train.csv, val.csv and test.csv of CaMeLS (columns text, question, answers; "
        "drive.google.com/drive/folders/1Xod97TmnjmbGDiyOHfuEUZ14tSL3qA-X) into {path}; or put the official "
        "streaminqa_train.jsonl.gz, streaminqa_valid.jsonl.gz and streaminqa_eval.jsonl.gz "
        "(links in github.com/google-deepmind/streamingqa) and the WMT archives news-docs.2007.en.filtered.gz to "
        "news-docs.2021.en.filtered.gz (data.statmt.org/news-crawl) there and run `cmt data prepare streamingqa`."
    ),
    read=read,
    write=write,
    fetch=fetch,
)

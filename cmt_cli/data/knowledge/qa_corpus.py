"""A question-answering corpus as the loaders read it: documents, and questions with all their accepted answers.

Documents of equal text are one document. The released code of MAC keeps one bank entry for each *question* instead
(SQuAD's 1,665 contexts become about 8,500 entries); here a repeated text is merged and its questions re-pointed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Change, Document
from cmt_cli.data.files.origin import Shares
from cmt_cli.data.files.problems import Problem, Record

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one document; `references` are all accepted answers, in the order of the file.

    Of a fact that editions state again, `change` tells what became of it and `earlier` its former answers.
    """

    id: str
    text: str
    references: tuple[str, ...]
    document_id: str
    change: Change = ""
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Documents and questions that belong to one split, or are to be divided between several.

    `groups` names for each document id what a division must keep together (a SQuAD article). `editions` names the task
    that a document belongs to where the data themselves come in editions; then a limit takes whole groups.
    """

    splits: tuple[str, ...]
    documents: tuple[Document, ...] = ()
    questions: tuple[Question, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    num_duplicates: int = 0
    editions: Mapping[str, str] = field(default_factory=dict)

    def questions_by_document(self) -> dict[str, list[Question]]:
        """Return every document's questions, also where there are none."""
        found: dict[str, list[Question]] = {document.id: [] for document in self.documents}
        for question in self.questions:
            found[question.document_id].append(question)
        return found

    def restricted_to(self, documents: Iterable[Document], splits: tuple[str, ...]) -> Part:
        """Return the part with these documents only, and the questions about them."""
        kept = tuple(documents)
        ids = {document.id for document in kept}
        questions = tuple(question for question in self.questions if question.document_id in ids)
        return Part(splits, kept, questions, self.groups, self.num_duplicates, self.editions)


@dataclass(frozen=True, slots=True)
class QACorpus:
    """All that a loader found, and the files it read.

    `notes` say what was left out; `if_too_few` says what to set where there are too few groups to divide.
    """

    parts: tuple[Part, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    if_too_few: str = ""

    def part(self, split: str) -> Part:
        """Return one split; empty where the files have none."""
        for part in self.parts:
            if part.splits == (split,):
                return part
        return Part((split,))

    def division_note(self, shares: Shares) -> str:
        """Return how `divided` cuts the corpus, or an empty string where the files bring their own splits."""
        if all(len(part.splits) == 1 for part in self.parts):
            return ""
        cut = f"{shares.train:.4g}/{shares.validation:.4g}/{shares.test:.4g}"
        return f"whole groups of documents divided {cut} into train/validation/test with seed {shares.seed}"

    def divided(self, shares: Shares) -> QACorpus:
        """Return the corpus with each undivided part cut by groups, the same way whatever the order of the file."""
        parts: list[Part] = []
        for part in self.parts:
            parts += divide(part, shares, self.if_too_few) if len(part.splits) > 1 else [part]
        return QACorpus(tuple(parts), self.files, self.notes)


class PartBuilder:
    """Collects one part record by record, merging documents of equal text and reporting what is wrong.

    Builders of one corpus share `ids`, so that a document or question id means one thing in all of its files.
    """

    def __init__(self, splits: tuple[str, ...], problems: list[Problem], ids: Ids) -> None:
        self.splits = splits
        self.problems = problems
        self._ids = ids
        self._documents: dict[str, Document] = {}  # by text
        self._questions: list[Question] = []
        self._groups: dict[str, str] = {}
        self._merged: dict[str, str] = {}
        self._editions: dict[str, str] = {}

    def add_document(self, record: Record, document: Document, group: str, edition: str = "") -> str | None:
        """Add a document unless its text is known; return the id under which it is kept, None after a problem."""
        if self._ids.documents.setdefault(document.id, document.text) != document.text:
            self.problems.append(record.problem(f"the document id '{document.id}' occurs twice, with different texts"))
            return None
        kept = self._documents.setdefault(document.text, document)
        if kept is document:
            self._groups[document.id] = group
            if edition:
                self._editions[document.id] = edition
        elif kept.id != document.id:
            self._merged[document.id] = kept.id
        return kept.id

    def add_question(self, record: Record, question: Question) -> None:
        """Add a question about a document that was added before; a repeated question id is a problem."""
        if question.id in self._ids.questions:
            self.problems.append(record.problem(f"the question id '{question.id}' occurs twice"))
            return
        self._ids.questions.add(question.id)
        self._questions.append(question)

    def kept_id(self, document_id: str) -> str | None:
        """Return the id under which a document is kept; None for an unknown one."""
        merged = self._merged.get(document_id, document_id)
        return merged if merged in self._groups else None

    def build(self) -> Part:
        """Return what was collected."""
        documents = tuple(self._documents.values())
        return Part(self.splits, documents, tuple(self._questions), self._groups, len(self._merged), self._editions)


@dataclass(slots=True)
class Ids:
    """The ids that are in use in the files of one corpus."""

    questions: set[str] = field(default_factory=set)
    documents: dict[str, str] = field(default_factory=dict)  # text by document id


def divide(part: Part, shares: Shares, if_too_few: str = "") -> list[Part]:
    """Cut a part into its splits. Groups are put in the order of sha256(seed/group) and counted off by share.

    A group without any question goes to the last split, where it is learned. Every split with a share above 0 gets a
    group; raises UserError where there are fewer groups than that.
    """
    with_questions = {part.groups[question.document_id] for question in part.questions}
    groups = sorted(with_questions, key=lambda group: _order_key(shares.seed, group))
    wanted = [split for split in part.splits if shares.of(split) > 0]
    if len(groups) < len(wanted):
        raise UserError(
            f"{counted(len(groups), 'group')} of documents with questions cannot be divided into {', '.join(wanted)}: "
            "the documents of a group (an article, or one document of your own) stay together. Give more of them, or "
            f"set data.split.train and data.split.validation to 0.{if_too_few}"
        )
    counts = apportion(len(groups), [shares.of(split) for split in wanted])
    parts: list[Part] = []
    for split, count in zip(wanted, counts, strict=True):
        chosen, groups = set(groups[:count]), groups[count:]
        if split == wanted[-1]:
            chosen |= set(part.groups.values()) - with_questions
        documents = [document for document in part.documents if part.groups[document.id] in chosen]
        parts.append(part.restricted_to(documents, (split,)))
    return parts


def apportion(count: int, shares: list[float]) -> list[int]:
    """Divide `count` by largest remainder, at least 1 for each of the positive shares; the result sums to `count`."""
    exact = [count * share / sum(shares) for share in shares]
    counts = [max(1, int(value)) for value in exact]
    while sum(counts) != count:
        step = 1 if sum(counts) < count else -1
        room = [index for index in range(len(counts)) if step > 0 or counts[index] > 1]
        neediest = max(room, key=lambda index: step * (exact[index] - counts[index]))
        counts[neediest] += step
    return counts


def document_id_of(text: str) -> str:
    """Return the id of a document that has none: "doc-" and 16 hexadecimal digits of its text's sha256."""
    return f"doc-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _order_key(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()

"""Builds a knowledge stream from a question-answering corpus: batches of new documents, and questions about them.

The test split becomes the tasks, in order; train and validation become meta-learning episodes of one document each.
To choose settings, the validation split is streamed in its place: then nothing of the test split is used.
The target is the shortest accepted answer (the first of several equally short), as in CaMeLS, MAC (Tack et al. 2024,
arXiv 2403.04317) and MBC; metrics see all accepted answers. MBC takes the first 1,665 different documents of the test
file (`pick: first`); CaMeLS samples 1,665 *rows*, and MAC reads two published files with questions of its own choice,
so the numbers of the three papers are not on identical questions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.data.knowledge.qa_corpus import SPLITS, Part, QACorpus, Question

ORDERS = ("file", "date")
PICKS = ("first", "random")
STREAM_SPLITS = ("test", "validation")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which documents are used and in which order. A limit of None takes all.

    `stream_split` is the split whose documents are learned and evaluated on, "test" or "validation"; the limits
    `max_test_*` hold for it, whichever it is. With "validation" there are no episodes of that split, hence nothing for
    `max_validation_documents` to limit. `order` is "file" or "date" (stable; every streamed document then needs a
    date). `pick` takes the "first" documents of a split, or "random" ones by `pick_seed`, which keep their order.
    Questions are capped on streamed documents only, the first of each document being kept. Of documents that come in
    editions whole groups are taken, at least one and as many as fit the limit, so that no history is cut.
    """

    stream_split: Literal["test", "validation"]
    order: str
    pick: str
    pick_seed: int
    max_train_documents: int | None
    max_validation_documents: int | None
    max_test_documents: int | None
    max_test_questions_per_document: int | None

    def __post_init__(self) -> None:
        one_of(self.stream_split, STREAM_SPLITS, "data.selection.stream_split")
        one_of(self.order, ORDERS, "data.selection.order")
        one_of(self.pick, PICKS, "data.selection.pick")
        for name in ("train_documents", "validation_documents", "test_documents", "test_questions_per_document"):
            _check_limit(f"max_{name}", dataclasses.asdict(self)[f"max_{name}"])
        if self.stream_split == "validation" and self.max_validation_documents is not None:
            raise UserError(
                f"data.selection.max_validation_documents={self.max_validation_documents} limits episodes of the "
                "validation split, and data.selection.stream_split=validation streams that split instead. Set "
                "data.selection.max_test_documents, which limits what is streamed."
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits of which anything is used, in their order."""
        return SPLITS[: SPLITS.index(self.stream_split) + 1]

    def asking_at_most(self, num_questions: int | None) -> Selection:
        """Return the selection with at most `num_questions` about a streamed document; None caps nothing."""
        caps = [cap for cap in (self.max_test_questions_per_document, num_questions) if cap is not None]
        return dataclasses.replace(self, max_test_questions_per_document=min(caps, default=None))

    def documents_of(self, part: Part) -> list[Document]:
        """Return the documents that a split keeps, in the order of the file."""
        limits = {"train": self.max_train_documents, "validation": self.max_validation_documents}
        limit = (limits | {self.stream_split: self.max_test_documents})[part.splits[0]]
        documents = list(part.documents)
        if limit is None or limit >= len(documents):
            return documents
        if part.editions:
            return self._whole_groups(part, limit)
        if self.pick == "first":
            return documents[:limit]
        chosen = random.Random(self.pick_seed).sample(range(len(documents)), limit)
        return [documents[index] for index in sorted(chosen)]

    def _whole_groups(self, part: Part, limit: int) -> list[Document]:
        sizes = Counter(part.groups[document.id] for document in part.documents)
        groups = list(sizes)
        if self.pick == "random":
            random.Random(self.pick_seed).shuffle(groups)
        total, chosen = 0, set(groups[:1])
        for group in groups:
            total += sizes[group]
            if total > limit:
                break
            chosen.add(group)
        return [document for document in part.documents if part.groups[document.id] in chosen]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionFormat:
    """How a question becomes model input. `capitalize_answers` raises the first letter of the target, as MAC does."""

    prompt_template: str
    capitalize_answers: bool

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt_template:
            raise UserError(
                f"data.prompt_template={self.prompt_template!r} has no place for the question; "
                "write {question} where it belongs, as in 'Question: {question}\\nAnswer:'."
            )

    def example(self, question: Question) -> Example:
        """Return the question as an example whose target is a space and the shortest reference."""
        answer = min(question.references, key=len)
        if self.capitalize_answers:
            answer = answer[0].upper() + answer[1:]
        return Example(
            id=question.id,
            prompt=self.prompt_template.replace("{question}", question.text),
            target=f" {answer}",
            references=question.references,
            change=question.change,
            earlier=question.earlier,
            document_ids=(question.document_id,),
        )


def knowledge_stream(
    corpus: QACorpus, selection: Selection, *, num_tasks: int | None, questions: QuestionFormat, provenance: Provenance
) -> Stream:
    """Return the stream of a divided corpus. Raises UserError where the streamed split cannot fill the tasks.

    `num_tasks` of None makes a task of each edition.
    """
    splits = {split: corpus.part(split) for split in selection.splits}
    chosen = {split: part.restricted_to(selection.documents_of(part), (split,)) for split, part in splits.items()}
    streamed = chosen[selection.stream_split]
    documents = in_order(streamed.documents, selection.order)
    evaluated = {
        document_id: [questions.example(question) for question in found[: selection.max_test_questions_per_document]]
        for document_id, found in streamed.questions_by_document().items()
    }
    divided = _by_edition(documents, streamed.editions) if num_tasks is None else _numbered(documents, num_tasks)
    tasks, tests = _tasks(divided, evaluated)
    if not tests:
        raise UserError(
            f"data={provenance.name} has no question about a document of the {selection.stream_split} split, "
            "so nothing could be measured."
        )
    held_out = _episodes(chosen["validation"], questions) if selection.stream_split == "test" else []
    episodes = Episodes(_episodes(chosen["train"], questions), held_out)
    provenance = dataclasses.replace(provenance.noted(*_facts(chosen, tests)), split=selection.stream_split)
    return Stream(provenance.name, tasks, tests, episodes, provenance)


def _numbered(documents: Sequence[Document], num_tasks: int) -> dict[str, Sequence[Document]]:
    """Return consecutive batches by name."""
    width = max(2, len(str(num_tasks - 1)))
    return {f"batch_{index:0{width}d}": batch for index, batch in enumerate(batches(documents, num_tasks))}


def _by_edition(documents: Sequence[Document], editions: Mapping[str, str]) -> dict[str, Sequence[Document]]:
    """Return the documents of each edition, in the order of their names, which begin with a date."""
    found: dict[str, list[Document]] = {}
    for document in documents:
        found.setdefault(editions[document.id], []).append(document)
    return {name: found[name] for name in sorted(found)}


def _tasks(
    divided: Mapping[str, Sequence[Document]], evaluated: Mapping[str, Sequence[Example]]
) -> tuple[list[Task], list[TestSet]]:
    """Return the batches as tasks, and the questions about each batch that has any as its test set."""
    tasks: list[Task] = []
    tests: list[TestSet] = []
    for index, (name, batch) in enumerate(divided.items()):
        tasks.append(Task(name, index, [document.as_example() for document in batch], documents=tuple(batch)))
        examples = [example for document in batch for example in evaluated[document.id]]
        if examples:
            tests.append(TestSet(name, examples, metric="em", learned_at=index))
    return tasks, tests


def batches(documents: Sequence[Document], num_tasks: int) -> list[Sequence[Document]]:
    """Cut documents into `num_tasks` consecutive batches whose sizes differ by at most one."""
    if not 1 <= num_tasks <= len(documents):
        raise UserError(
            f"data.num_tasks={num_tasks} does not fit {counted(len(documents), 'document')} to stream; give 1 to "
            f"{len(documents)}, or more documents: data.selection.max_test_documents, and of generated ones "
            "data.generated.num_test_documents (with data.selection.stream_split=validation "
            "data.generated.num_validation_documents)."
        )
    bounds = [len(documents) * index // num_tasks for index in range(num_tasks + 1)]
    return [documents[start:stop] for start, stop in pairwise(bounds)]


def in_order(documents: Iterable[Document], order: str) -> list[Document]:
    """Return documents in the order of the file, or stably by date. Raises UserError where a date is missing."""
    documents = list(documents)
    if order == "file":
        return documents
    undated = [document.id for document in documents if document.date is None]
    if undated:
        raise UserError(
            f"data.selection.order=date needs the date of every streamed document; {len(undated)} of {len(documents)} "
            f"have none (the first is '{undated[0]}'). Add dates to the files, or set data.selection.order=file."
        )
    return sorted(documents, key=lambda document: document.date or "")


def _episodes(part: Part, questions: QuestionFormat) -> list[Episode]:
    """Return one episode for each document that has questions."""
    found = part.questions_by_document()
    return [
        Episode((document,), tuple(questions.example(question) for question in found[document.id]))
        for document in part.documents
        if found[document.id]
    ]


def _facts(chosen: dict[str, Part], tests: Sequence[TestSet]) -> list[str]:
    """Return what a reader of the result must know: what is streamed, sizes, fingerprints, merged and shared texts."""
    *learned_before, streamed = chosen
    facts = [f"the {streamed.upper()} split is streamed, so this is no test result"] if streamed != "test" else []
    facts += [
        f"{split} {counted(len(part.documents), 'document')}, {counted(len(part.questions), 'question')}, "
        f"ids {_fingerprint(part.questions)}"
        for split, part in chosen.items()
    ]
    facts.append(counted(sum(len(test.examples) for test in tests), "test question"))
    if merged := sum(part.num_duplicates for part in chosen.values()):
        facts.append(f"{counted(merged, 'document')} of equal text merged")
    learned = {document.text for split in learned_before for document in chosen[split].documents}
    if shared := sum(document.text in learned for document in chosen[streamed].documents):
        facts.append(
            f"{counted(shared, f'{streamed} document')} also {'occurs' if shared == 1 else 'occur'} in "
            f"{' or '.join(learned_before)}"
        )
    return facts


def _fingerprint(questions: Sequence[Question]) -> str:
    """Return 12 hexadecimal digits that change with any question id or its place."""
    return hashlib.sha256("\n".join(question.id for question in questions).encode()).hexdigest()[:12]


def _check_limit(name: str, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError(f"selection.{name}={limit} takes nothing; give 1 or more, or null for all.")

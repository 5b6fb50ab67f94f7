"""The nouns of a task stream: documents, examples, tasks, test sets, meta-learning episodes and where they came from.

A method sees `Task` (no test data in reach) and `Episodes`; only the evaluator sees `TestSet`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Change = Literal["", "new", "unchanged", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a knowledge stream. `date` is ISO 8601 (`2020-05-17`) or None; ids are unique within a stream."""

    id: str
    text: str
    date: str | None = None
    title: str | None = None

    def as_example(self) -> Example:
        """Return the document as a language-modelling example: an empty prompt whose target is the text."""
        return Example(id=self.id, prompt="", target=self.text, document_ids=(self.id,))


@dataclass(frozen=True, slots=True)
class Example:
    """One item to learn from or to score.

    `prompt` is the complete model input, or a user turn where there is a chat template; `target` is what follows it
    (a leading space belongs to the target).
    `references` are all accepted answers, without a leading space. Non-empty `choices` are scored by log-likelihood.
    `document_ids` name the gold documents. `source` is the part of the prompt that is to be rewritten, which SARI
    compares with; where it is empty, that is the whole prompt. A question about a fact of a dated source has `change`,
    what became of the fact since it was last stated, and `earlier`, the answers that were right before.
    """

    id: str
    prompt: str
    target: str
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    source: str = ""
    change: Change = ""
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a predictor is given: an example without its answer.

    `text` is the templated model input.
    `document_ids` name the gold documents; only oracle controls (`full_context`, gold-only banks) may read them.
    `task` is the index of the task that the question belongs to, None where the stream does not tell.
    `is_running_text` says that the text is continued as it stands, as other harnesses have it: without a chat template,
    cut at its beginning where it is too long, its target ends with no end token, and white space around a generated
    answer is kept. Its generation may stop once one of the texts `until` is there, which the answer then holds.
    """

    id: str
    text: str
    choices: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    task: int | None = None
    is_running_text: bool = False
    until: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor returns: text, and the documents it used, best first, with weights that sum to <= 1.

    `ended` says whether generation reached the end token or the stop text rather than its largest number of tokens;
    None for text that was not generated.
    """

    text: str
    documents: tuple[tuple[str, float], ...] = ()
    ended: bool | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """All that a method may see of one task.

    `documents` is empty for labelled tasks; for a knowledge stream it holds the batch of new documents, and `train`
    is the same texts as language-modelling examples.
    """

    name: str
    index: int
    train: Sequence[Example]
    validation: Sequence[Example] = ()
    documents: Sequence[Document] = ()


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What the answers to a test set look like, which says how much may be generated.

    An answer may have `max_new_tokens` where that is more than the evaluator's own number; None: the evaluator's is
    enough, or the longest choice where there are choices. One that `is_one_line` ends at the evaluator's stop text
    unless its gold text holds that, any other at the end token only.
    """

    max_new_tokens: int | None = None
    is_one_line: bool = True

    def within(self, max_new_tokens: int) -> AnswerForm:
        """Return the form of answers that are one line and take at most so many tokens."""
        return AnswerForm(None if self.max_new_tokens is None else min(self.max_new_tokens, max_new_tokens))


@dataclass(frozen=True, slots=True)
class TestSet:
    """One column of the score matrix. `learned_at` is the index of its task; None marks a general-ability probe.

    `gives_task` lets every prompt of the set carry that index (task-incremental learning). `labels_by_task` holds the
    labels that each task of the stream brings, as choices: after a task those of all tasks so far compete, or with
    `gives_task` the test's own task's only. `answers` says what is generated.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: str
    examples: Sequence[Example]
    metric: str
    learned_at: int | None
    gives_task: bool = False
    labels_by_task: tuple[tuple[str, ...], ...] = ()
    answers: AnswerForm = AnswerForm()


@dataclass(frozen=True, slots=True)
class Episode:
    """A meta-learning pair: documents, and questions that they answer."""

    support: tuple[Document, ...]
    query: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Episodes:
    """The meta-training split of a stream and the split that settings are chosen on."""

    train: Sequence[Episode] = ()
    validation: Sequence[Episode] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the data came from. `source` is "real" or "generated"; `files` maps each file's name to its sha256.

    `split` is the one that is learned and evaluated: "validation" where settings are chosen, which is no test result.
    `generator` is the version of what made generated data; `content` is the sha256 of all that the stream holds, ""
    until it is taken.
    """

    name: str
    source: Literal["real", "generated"]
    license: str
    files: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    split: Literal["test", "validation"] = "test"
    generator: str = ""
    content: str = field(default="", compare=False)  # follows from the stream, which is compared itself

    def noted(self, *texts: str) -> Provenance:
        """Return the provenance with more said in its note; empty texts say nothing."""
        return replace(self, note="; ".join(filter(None, [self.note, *texts])))


@dataclass(frozen=True, slots=True)
class Stream:
    """Ordered tasks, their test sets, meta-learning episodes, and where all of it came from."""

    name: str
    tasks: Sequence[Task]
    tests: Sequence[TestSet]
    episodes: Episodes
    provenance: Provenance

    @property
    def gives_task(self) -> bool:
        """Return whether every question of a task says which task it belongs to."""
        of_tasks = [test for test in self.tests if test.learned_at is not None]
        return bool(of_tasks) and all(test.gives_task for test in of_tasks)

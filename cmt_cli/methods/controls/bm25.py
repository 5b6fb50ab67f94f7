"""Retrieval of text: the frozen model reads the passages that BM25 ranks highest for a question.

Robertson and Zaragoza 2009 (The Probabilistic Relevance Framework); the ranking is `memory/lexical_index.py`. The
control that a compressed memory must be compared with, since it needs no training and keeps every word. Documents are
cut into passages of `passage_words` words; an answer's document weights are its passages' scores over their sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.stream import Prompt, Task
from cmt_cli.memory.lexical_index import Bm25 as Bm25Index
from cmt_cli.methods.controls.passages import Passage, PassagePredictor, StoredTexts, check_template


class Bm25(StoredTexts):
    """Keeps every document as text and puts the best passages into the prompt."""

    def __init__(
        self, *, num_passages: int, passage_words: int | None, k1: float, b: float, context_template: str
    ) -> None:
        """`passage_words` None keeps documents whole; `context_template` holds {document} and {prompt}."""
        super().__init__()
        for name, value in (("num_passages", num_passages), ("passage_words", passage_words)):
            if value is not None and value < 1:
                raise UserError(f"method.{name}={value}, but it must be at least 1.")
        self._num_passages = num_passages
        self._passage_words = passage_words
        self._k1, self._b = k1, b
        self._template = check_template(context_template)
        self._rebuild()

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Index the task's documents; a document with a known id replaces the old text."""
        replaces = any(document.id in self._texts for document in task.documents)
        super().learn(learner, task, fit)
        if replaces:
            self._rebuild()
            return
        for document in task.documents:
            self._add(document.id, document.text)

    def _rebuild(self) -> None:
        self._index = Bm25Index(k1=self._k1, b=self._b)
        self._passages: dict[str, tuple[str, str]] = {}
        for name, text in self._texts.items():
            self._add(name, text)

    def _add(self, document_id: str, text: str) -> None:
        for number, passage in enumerate(split(text, self._passage_words)):
            key = f"{document_id}#{number}"
            self._passages[key] = (document_id, passage)
            self._index.add(key, passage)

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return PassagePredictor(learner, self._template, self._retrieve)

    def _retrieve(self, prompt: Prompt) -> Sequence[Passage]:
        found = [(key, score) for key, score in self._index.search(prompt.text, self._num_passages) if score > 0.0]
        total = sum(score for _, score in found)
        return [Passage(*self._passages[key], score / total) for key, score in found]

    @override
    def load_state_dict(self, state: State) -> None:
        """Take the documents; the index is rebuilt from them."""
        super().load_state_dict(state)
        self._rebuild()


def split(text: str, passage_words: int | None) -> list[str]:
    """Cut a text into passages of at most `passage_words` words."""
    if passage_words is None:
        return [text]
    words = text.split()
    return [" ".join(words[start : start + passage_words]) for start in range(0, len(words), passage_words)]

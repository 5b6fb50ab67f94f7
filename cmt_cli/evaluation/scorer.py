"""What a way to answer and to score must offer, and what all scorers of generated text share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.stream import Answer, Example, Prompt, TestSet
from cmt_cli.evaluation.span_metrics import LabelSpace

Scores = dict[str, float | None]
Pair = tuple[Example, Answer]
GENERATED = ("answer_words", "empty_rate", "eos_rate")  # beside every score of generated text


class Scorer(Protocol):
    """A way to answer prompts and to score the answers, one by one and together.

    It keeps nothing: the same scorer serves all test sets.
    """

    metrics: ClassVar[tuple[str, ...]]  # those that a test set may declare to be scored so
    names: ClassVar[tuple[str, ...]]  # the scores that it gives, `metrics` among them
    labels_are_choices: ClassVar[bool] = True  # labels of a task are possible answers rather than types of entities

    def answer(self, predictor: Predictor, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer a batch of prompts."""

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score one answer; None where a score does not apply. More than `names` may be kept here for the record."""

    def total(self, pairs: Sequence[Pair], scores: Sequence[Scores], labels: LabelSpace) -> Scores:
        """Return the scores `names` of examples that `score` has scored; by default each is their mean."""
        return means(scores, self.names)

    def joined(self, tests: Sequence[TestSet], pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Return the answers to several test sets as examples of one; by default each example stays as it is."""
        return pairs

    def signatures(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """Return what numbers must be quoted with to be comparable, by score."""
        return {}


class Generating(Scorer, Protocol):
    """A scorer of generated text."""

    def answer(self, predictor: Predictor, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Generate an answer to each prompt."""
        return predictor.generate(prompts, decoding)


def references_of(example: Example) -> tuple[str, ...]:
    """Return the accepted answers: the references, or the target where there are none."""
    return example.references or (example.target.strip(),)


def about_text(answer: Answer) -> Scores:
    """Return the scores `GENERATED`; `eos_rate` is None for text that was not generated token by token."""
    return {
        "answer_words": float(len(answer.text.split())),
        "empty_rate": float(not answer.text.strip()),
        "eos_rate": None if answer.ended is None else float(answer.ended),
    }


def means(scores: Sequence[Scores], names: Sequence[str]) -> Scores:
    """Return the mean of each score over the examples that have it."""
    found: Scores = {}
    for name in names:
        values = [value for score in scores if (value := score.get(name)) is not None]
        found[name] = sum(values) / len(values) if values else None
    return found

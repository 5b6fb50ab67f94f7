"""How the examples of a test set are answered and scored, by the metric that the data declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.errors import UserError, nearest
from cmt_cli.core.learner import Predictor
from cmt_cli.core.stream import Answer, Example, Prompt
from cmt_cli.evaluation.answer_metrics import em_prefix, exact_match, f1_shortest, token_f1

Scores = dict[str, float | None]


class Scorer(Protocol):
    """A way to answer prompts and to score the answers."""

    names: ClassVar[tuple[str, ...]]  # the scores that it gives, the test set's own metric among them

    def answer(self, predictor: Predictor, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer a batch of prompts."""

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score one answer; None where a score does not apply."""


class GeneratedAnswer:
    """A short free answer: generated, compared with all references."""

    names: ClassVar[tuple[str, ...]] = ("em", "em_prefix", "f1", "f1_shortest", "answer_words", "empty_rate")

    def answer(self, predictor: Predictor, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Generate an answer to each prompt."""
        return predictor.generate(prompts, decoding)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score the text against `example.references`, or against the target where there are none."""
        references = example.references or (example.target.strip(),)
        return {
            "em": exact_match(answer.text, references),
            "em_prefix": em_prefix(answer.text, references),
            "f1": token_f1(answer.text, references),
            "f1_shortest": f1_shortest(answer.text, references),
            "answer_words": float(len(answer.text.split())),
            "empty_rate": float(not answer.text.strip()),
        }


class Choice:
    """One of several given choices: the likeliest by summed log-likelihood, end token included."""

    names: ClassVar[tuple[str, ...]] = ("accuracy",)

    def answer(self, predictor: Predictor, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Return the likeliest of each prompt's choices, the first of equals; raise UserError where there are none."""
        for prompt in prompts:
            if not prompt.choices:
                raise UserError(f"The example '{prompt.id}' has no choices, but its test set declares 'accuracy'.")
        pairs = [(prompt, choice) for prompt in prompts for choice in prompt.choices]
        scores = iter(predictor.loglikelihood([p for p, _ in pairs], [choice for _, choice in pairs]))
        answers = []
        for prompt in prompts:
            by_choice = {choice: next(scores) for choice in prompt.choices}
            answers.append(Answer(max(by_choice, key=lambda choice: by_choice[choice])))
        return answers

    def score(self, example: Example, answer: Answer) -> Scores:
        """Return 1 where the chosen text is the target."""
        return {"accuracy": float(answer.text.strip() == example.target.strip())}


_GENERATED_ANSWER = GeneratedAnswer()
SCORERS: Mapping[str, Scorer] = {"em": _GENERATED_ANSWER, "f1": _GENERATED_ANSWER, "accuracy": Choice()}
RECALLS = ("recall_at_1", "recall_at_k")


def scorer_of(metric: str) -> Scorer:
    """Return how a test set with this metric is scored; raise UserError for a metric that does not exist."""
    if metric not in SCORERS:
        raise UserError(
            f"A test set declares the metric '{metric}'; allowed are {', '.join(SCORERS)}.{nearest(metric, SCORERS)}"
        )
    return SCORERS[metric]


def recall(example: Example, answer: Answer) -> Scores:
    """Return whether a gold document comes first, and whether one is among all, of the documents that were used.

    Both are None for an example without gold documents; an answer without documents scores 0.
    """
    if not example.document_ids:
        return dict.fromkeys(RECALLS)
    gold, used = set(example.document_ids), [document for document, _ in answer.documents]
    return {
        "recall_at_1": float(bool(gold.intersection(used[:1]))),
        "recall_at_k": float(bool(gold.intersection(used))),
    }

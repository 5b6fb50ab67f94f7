"""How the examples of a test set are answered and scored, by the metric that the data declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.stream import Answer, Example, Prompt
from cmt_cli.evaluation import translation_metrics
from cmt_cli.evaluation.answer_metrics import (
    em_prefix,
    exact_match,
    f1_shortest,
    first_choice,
    label_f1,
    same_label,
    token_f1,
)
from cmt_cli.evaluation.extraction_scorers import Entities, Triples
from cmt_cli.evaluation.generation_metrics import edit_similarity, rouge_l, rouge_l_summary, rouge_signature, sari
from cmt_cli.evaluation.scorer import GENERATED, Generating, Pair, Scorer, Scores, about_text, means, references_of
from cmt_cli.evaluation.span_metrics import LabelSpace
from cmt_cli.evaluation.unspaced import unspaced


class GeneratedAnswer(Generating):
    """A short free answer: generated, compared with all references; one that is among given choices, as a label."""

    metrics = ("em", "f1")
    names = ("em", "em_prefix", "f1", "f1_shortest", *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score the text against the references."""
        references = references_of(example)
        if example.choices:
            equal = max(same_label(answer.text, label, example.choices) for label in references)
            f1 = max(label_f1(answer.text, label, example.choices) for label in references)
            return {"em": equal, "em_prefix": equal, "f1": f1, "f1_shortest": f1, **about_text(answer)}
        return {
            "em": exact_match(answer.text, references),
            "em_prefix": em_prefix(answer.text, references),
            "f1": token_f1(answer.text, references),
            "f1_shortest": f1_shortest(answer.text, references),
            **about_text(answer),
        }

    def signatures(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """Return that F1 is of characters where most references are in a script without spaces."""
        is_unspaced = unspaced(text for example, _ in pairs for text in references_of(example))
        return dict.fromkeys(("f1", "f1_shortest"), "tok:char") if is_unspaced else {}


class GeneratedLabel(Generating):
    """A label: generated, compared with the target."""

    metrics = ("accuracy_generated", "first_choice")
    names = (*metrics, *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Return whether the whole text, and whether its first character, is the target's."""
        return {
            "accuracy_generated": same_label(answer.text, example.target, example.choices),
            "first_choice": first_choice(answer.text, example.target),
            **about_text(answer),
        }


class GeneratedText(Generating):
    """A longer text or a line of code: generated, compared with the best of the references."""

    metrics: ClassVar[tuple[str, ...]] = ("rouge_l", "edit_similarity")
    names: ClassVar[tuple[str, ...]] = ("rouge_l", "edit_similarity", *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score the text by common subsequences of words and of characters."""
        references = references_of(example)
        return {
            "rouge_l": rouge_l(answer.text, references),
            "edit_similarity": edit_similarity(answer.text, references),
            **about_text(answer),
        }

    def signatures(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """Return how ROUGE-L was computed."""
        return _rouge_signatures(pairs)


class Summary(GeneratedText):
    """A summary of several sentences: generated, compared sentence by sentence."""

    metrics = ("rouge_l_summary",)
    names = ("rouge_l_summary", *GeneratedText.names)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score the text by common subsequences of its sentences' words, and of the whole."""
        return {
            "rouge_l_summary": rouge_l_summary(answer.text, references_of(example)),
            **super().score(example, answer),
        }


class Rewriting(Generating):
    """A simpler form of a text: generated, compared with the text and its references."""

    metrics = ("sari",)
    names = ("sari", "rouge_l", *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score the text by SARI and ROUGE-L."""
        references = references_of(example)
        return {
            "sari": sari(example.source or example.prompt, answer.text, references),
            "rouge_l": rouge_l(answer.text, references),
            **about_text(answer),
        }

    def signatures(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """Return how ROUGE-L was computed."""
        return _rouge_signatures(pairs)


def _rouge_signatures(pairs: Sequence[Pair]) -> dict[str, str]:
    texts = [text for example, _ in pairs for text in references_of(example)]
    return {"rouge_l": rouge_signature(texts)} if texts else {}


class Translation(Generating):
    """A translation: generated; BLEU and chrF are of the whole test set, and need only the texts that records hold."""

    metrics = ("bleu", "chrf")
    names = (*metrics, *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Score nothing but the text's length and end."""
        return about_text(answer)

    def total(self, pairs: Sequence[Pair], scores: Sequence[Scores], labels: LabelSpace) -> Scores:
        """Return BLEU and chrF over all examples."""
        texts = [answer.text for _, answer in pairs], [references_of(example) for example, _ in pairs]
        found = {"bleu": translation_metrics.bleu(*texts), "chrf": translation_metrics.chrf(*texts)}
        return {**found, **means(scores, GENERATED)}

    def signatures(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """Return sacrebleu's signatures."""
        return translation_metrics.signatures([a.text for _, a in pairs], [references_of(e) for e, _ in pairs])


class Choice(Scorer):
    """One of several given choices: the likeliest by summed log-likelihood, end token included."""

    metrics = ("accuracy",)
    names = ("accuracy",)

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


_ALL: tuple[Scorer, ...] = (
    GeneratedAnswer(),
    Choice(),
    GeneratedLabel(),
    Entities(),
    Triples(),
    Translation(),
    GeneratedText(),
    Summary(),
    Rewriting(),
)
SCORERS: Mapping[str, Scorer] = {metric: scorer for scorer in _ALL for metric in scorer.metrics}
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

"""How extracted entities and triples are scored: counts in each record, F1 over all examples of a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.spans import Entity, entity_answer, read_entities
from cmt_cli.core.stream import Answer, Example, TestSet
from cmt_cli.evaluation.scorer import GENERATED, Generating, Pair, Scores, about_text, means
from cmt_cli.evaluation.span_metrics import NONE, Counts, LabelSpace, macro_f1, micro_f1, span_counts, summed
from cmt_cli.evaluation.triple_metrics import read_triples, triple_counts


class Entities(Generating):
    """The entities of a sentence as text, see core/spans.py; each record holds its counts, `tp/<type>` and so on."""

    metrics = ("span_f1", "span_f1_macro")
    names = (*metrics, "malformed_rate", *GENERATED)
    labels_are_choices = False

    def score(self, example: Example, answer: Answer) -> Scores:
        """Count entities of all types by type; raise UserError for a target that is no list of entities."""
        gold, is_wrong = read_entities(example.target)
        if is_wrong or not example.target.strip():
            raise UserError(f"The target of '{example.id}' is no list of entities, 'type: words; ...' or 'none'.")
        predicted, malformed = read_entities(answer.text)
        counts: Scores = {}
        for kind, count in span_counts(gold, predicted).items():
            counts |= {f"tp/{kind}": count.tp, f"fp/{kind}": count.fp, f"fn/{kind}": count.fn}
        return {**counts, "malformed_rate": float(malformed > 0), **about_text(answer)}

    def total(self, pairs: Sequence[Pair], scores: Sequence[Scores], labels: LabelSpace) -> Scores:
        """Return F1 over all entities of all examples."""
        counts = summed(map(counts_of, scores))
        found = {"span_f1": micro_f1(counts, labels), "span_f1_macro": macro_f1(counts, labels)}
        return {**found, **means(scores, ("malformed_rate", *GENERATED))}

    def joined(self, tests: Sequence[TestSet], pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Return one example for each sentence, with the entities of all the test sets that ask about it.

        A sentence may be evaluated in several tasks, each with the entities of its own types as target.
        """
        gold: dict[str, Counter[Entity]] = {}
        for example in (example for test in tests for example in test.examples):  # those that a limit leaves out too
            found = Counter(read_entities(example.target)[0])
            gold[example.prompt] = gold.get(example.prompt, Counter()) | found
        first = {example.prompt: (example, answer) for example, answer in reversed(pairs)}
        return [
            (replace(example, target=entity_answer(list(gold[prompt].elements()))), answer)
            for prompt, (example, answer) in first.items()
        ]


class Triples(Generating):
    """The relation triples of a text, see evaluation/triple_metrics.py; each record holds its tp, fp and fn."""

    metrics = ("triple_f1",)
    names = ("triple_f1", "triple_precision", "triple_recall", "malformed_rate", *GENERATED)

    def score(self, example: Example, answer: Answer) -> Scores:
        """Count triples."""
        predicted, malformed = read_triples(answer.text)
        count = triple_counts(read_triples(example.target)[0], predicted)
        counts: Scores = {"tp": count.tp, "fp": count.fp, "fn": count.fn}
        return {**counts, "malformed_rate": float(malformed > 0), **about_text(answer)}

    def total(self, pairs: Sequence[Pair], scores: Sequence[Scores], labels: LabelSpace) -> Scores:
        """Return F1, precision and recall of all triples of all texts."""
        counts = sum((Counts(*(score[name] or 0.0 for name in ("tp", "fp", "fn"))) for score in scores), NONE)
        found = {"triple_f1": counts.f1, "triple_precision": counts.precision, "triple_recall": counts.recall}
        return {**found, **means(scores, ("malformed_rate", *GENERATED))}


def counts_of(scores: Scores) -> dict[str, Counts]:
    """Return the counts of entities by type that `Entities.score` put into a record's scores."""
    kinds = [name.removeprefix("tp/") for name in scores if name.startswith("tp/")]
    values = {name: value or 0.0 for name, value in scores.items()}
    return {kind: Counts(*(values[f"{part}/{kind}"] for part in ("tp", "fp", "fn"))) for kind in kinds}

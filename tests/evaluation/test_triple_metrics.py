"""Triples by hand: what counts as one, sets per text, and F1 of counts over all texts."""

from __future__ import annotations

import pytest

from cmt_cli.core.stream import Example, TestSet
from cmt_cli.evaluation.span_metrics import Counts
from cmt_cli.evaluation.triple_metrics import read_triples, triple_counts
from tests.evaluation.predictors import TablePredictor, evaluate

ADA, BO = ("Ada", "pet", "gecko"), ("Bo", "job", "vet")


def test_triples_are_read_in_any_order_and_spacing() -> None:
    assert read_triples("Ada | pet | gecko; Bo | job | vet") == ({ADA, BO}, 0)
    assert read_triples(" Bo|job |  vet;\nAda | pet | gecko; ") == ({ADA, BO}, 0)
    assert read_triples("") == (set(), 0)


def test_pieces_without_three_parts_are_malformed_false_alarms() -> None:
    said, malformed = read_triples("Ada | pet; Ada | | gecko; Bo | job | vet")
    assert malformed == 2
    assert triple_counts({ADA, BO}, said) == Counts(1, 2, 1)


def test_repeated_triples_count_once_and_all_parts_must_match() -> None:
    assert triple_counts(
        *(read_triples(text)[0] for text in ("Ada | pet | gecko", "Ada|pet|gecko; Ada|pet|gecko"))
    ) == (Counts(1, 0, 0))
    assert triple_counts({ADA}, {("gecko", "pet", "Ada")}) == Counts(0, 1, 1)
    assert triple_counts({ADA}, {("ada", "pet", "gecko")}) == Counts(0, 1, 1)


def test_f1_is_over_summed_counts_not_averaged_over_texts() -> None:
    targets = {"p": "Ada | pet | gecko; Bo | job | vet; Cy | pet | owl", "q": "Di | pet | newt"}
    examples = tuple(Example(prompt, prompt, f" {target}") for prompt, target in targets.items())
    answers = {"p": "Bo | job | vet; Ada | pet | gecko", "q": "Di | pet | goat; Di | pet"}
    (found,) = evaluate(TablePredictor(answers), [TestSet("texts", examples, "triple_f1", 0)])
    # tp 2, fp 2, fn 2; the mean over texts would be (0.8 + 0) / 2
    assert found.scores["triple_f1"] == pytest.approx(0.5)
    assert found.scores["triple_precision"] == pytest.approx(0.5)
    assert found.scores["triple_recall"] == pytest.approx(0.5)
    assert found.scores["malformed_rate"] == pytest.approx(0.5)
    assert found.predictions[1]["scores"]["fp"] == 2.0


def test_an_empty_answer_has_no_precision_but_zero_f1() -> None:
    (found,) = evaluate(
        TablePredictor({"p": ""}), [TestSet("t", (Example("a", "p", " Ada | pet | gecko"),), "triple_f1", 0)]
    )
    assert found.scores["triple_f1"] == 0.0 and found.scores["triple_recall"] == 0.0
    assert found.scores["triple_precision"] is None

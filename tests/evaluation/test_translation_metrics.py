"""BLEU and chrF of whole test sets, by hand; the signature says how they were computed."""

from math import exp

import pytest

from cmt_cli.evaluation.translation_metrics import bleu, chrf, signatures


def test_bleu_divides_the_counts_of_the_whole_set() -> None:
    predictions, references = ["a b c d e", "a b c d x"], [["a b c d e"], ["a b c d y"]]
    # matches of 1- to 4-grams: 9/10, 7/8, 5/6, 3/4; as long as the references
    assert bleu(predictions, references) == pytest.approx((9 / 10 * 7 / 8 * 5 / 6 * 3 / 4) ** 0.25)
    mean = (bleu(predictions[:1], references[:1]) + bleu(predictions[1:], references[1:])) / 2
    assert bleu(predictions, references) != pytest.approx(mean, abs=1e-3)


def test_a_short_translation_pays_for_its_brevity() -> None:
    assert bleu(["a b c d"], [["a b c d e"]]) == pytest.approx(exp(1 - 5 / 4))


def test_examples_may_have_different_numbers_of_references() -> None:
    assert bleu(["a b c d e", "f g h i j"], [["x", "a b c d e"], ["f g h i j"]]) == pytest.approx(1.0)


def test_chrf_by_hand() -> None:
    # characters "abc" against "abd": 2/3 of them, 1/2 of the pairs, 0 of the triples, precision and recall alike
    assert chrf(["abc"], [["abd"]]) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert chrf(["abc"], [["abc"]]) == 1.0


def test_signatures_tell_references_and_tokens() -> None:
    found = signatures(["a"], [["a", "b"]])
    assert found["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")

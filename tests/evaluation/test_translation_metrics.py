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
    found = signatures(["a"], [["a", "b c d e"]])
    assert found["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_exact_answers_under_four_tokens_score_one() -> None:
    answers = ["on foot", "a red house", "yes"]
    references = [[answer] for answer in answers]
    assert bleu(answers, references) == pytest.approx(1.0)
    # 5/6 words, 2/3 pairs, 0 of 1 triple, smoothed to 1/2; no 4-grams
    assert bleu(["on foot", "a red car", "yes"], references) == pytest.approx((5 / 6 * 2 / 3 * 1 / 2) ** (1 / 3))
    assert "|eff:yes|" in signatures(answers, references)["bleu"]
    assert "|eff:no|" in signatures(answers, [*references[:2], ["yes it is so"]])["bleu"]


@pytest.mark.parametrize(
    ("answer", "reference", "tokens"),
    [
        ("他在东京学习日语。", "他在东京学习英语。", "zh"),
        ("彼は東京で日本語を勉強する。", "彼は東京で英語を勉強する。", "char"),
        ("เขาเรียนภาษาไทย", "เขาเรียนภาษาลาว", "char"),
    ],
)
def test_scripts_without_spaces_are_scored_by_characters(answer: str, reference: str, tokens: str) -> None:
    found = signatures([answer], [[reference]])["bleu"]
    assert f"|tok:{tokens}|" in found and "|eff:no|" in found
    assert 0.2 < bleu([answer], [[reference]]) < bleu([reference], [[reference]]) == 1.0


def test_chinese_bleu_by_hand() -> None:
    # The seventh of nine characters is wrong: it is in one of them, 2 of 8 pairs, 3 of 7 triples and 3 of 6 of four.
    expected = (8 / 9 * 6 / 8 * 4 / 7 * 3 / 6) ** 0.25
    assert bleu(["他在东京学习日语。"], [["他在东京学习英语。"]]) == pytest.approx(expected)

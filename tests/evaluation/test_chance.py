"""The level of one constant answer, and what a score below it is worth."""

from __future__ import annotations

import pytest

from cmt_cli.core.result import ScoreMatrix
from cmt_cli.core.stream import Example, TestSet
from cmt_cli.evaluation.chance import Chance, chance
from cmt_cli.evaluation.sequence_metrics import sequence_metrics


def made_set(answers: list[tuple[str, ...]], metric: str = "em", learned_at: int | None = 0) -> TestSet:
    examples = [Example(str(i), "p", f" {accepted[0]}", accepted) for i, accepted in enumerate(answers)]
    return TestSet("tests", examples, metric, learned_at)


def test_chance_is_the_share_of_the_most_frequent_answer() -> None:
    tests = made_set([("Turin",), ("turin ", "Torino"), ("Lagos", "Turin"), ("Paris",)])
    assert chance([tests], 0, "em") == Chance(3 / 4, 4)
    assert chance([tests, made_set([("x",), ("y",)])], 0, "f1") == Chance((3 / 4 + 1 / 2) / 2, 6)
    assert chance([tests], 0, None) == Chance(3 / 4, 4)
    assert chance([tests], 1, "em") is None and chance([tests], 0, "rouge_l") is None
    assert chance([made_set([("a",)], "bleu")], 0, None) is None


def test_chance_of_a_multiple_choice_is_a_guess() -> None:
    # Four questions whose answers all differ: two with two choices, two with four.
    examples = [
        Example(f"{i}", "p", f" yes {i}", (f"yes {i}",), tuple(f" {word} {i}" for word in words))
        for i, words in enumerate([("yes", "no")] * 2 + [("yes", "no", "both", "none")] * 2)
    ]
    assert chance([TestSet("tests", examples, "accuracy", 0)], 0, None) == Chance((2 / 2 + 2 / 4) / 4, 4)


def test_a_score_is_above_chance_beyond_its_error() -> None:
    level = Chance(0.2, 100)  # standard error 0.04; 0.2 + 1.645 * 0.04 = 0.2658
    assert not level.is_below(0.26) and level.is_below(0.27)
    assert not Chance(0.0, 50).is_below(0.0) and Chance(0.0, 50).is_below(0.02)


def test_retention_at_chance_is_null_with_a_reason() -> None:
    matrix = ScoreMatrix("em", ("a", "b"), (0, 1), ((0.03, 0.0), (0.03, 0.0), (0.04, 0.5)))
    assert sequence_metrics(matrix)["retention"].value == pytest.approx(4 / 3)
    found = sequence_metrics(matrix, chance=Chance(0.04, 100))["retention"]
    assert found.value is None
    assert found.reason == (
        "the score right after task 1, 0.030, is not above chance: the best single answer or a guess scores 0.040 on "
        "its 100 questions"
    )
    assert sequence_metrics(matrix, chance=Chance(0.01, 400))["retention"].value == pytest.approx(4 / 3)

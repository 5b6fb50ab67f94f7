"""Spread and paired tests against numbers worked out by hand or with other code."""

from __future__ import annotations

import itertools
import random
from math import comb

import numpy as np
import pytest
from scipy import stats

from cmt_cli.analysis.compare_runs import ranks
from cmt_cli.analysis.statistics import bootstrap_interval, deviation, holm, is_narrow, mean, sign_flip_test
from cmt_cli.core.exceptions import UserError


def test_mean_and_deviation_are_of_what_is_there() -> None:
    assert (mean([]), deviation([]), deviation([0.5])) == (None, None, None)
    assert mean([2.0, 4.0, 9.0]) == 5.0
    assert deviation([2.0, 4.0, 9.0]) == pytest.approx(13**0.5)  # (9 + 1 + 16) / 2


def test_three_pairs_cannot_be_significant_and_say_so() -> None:
    found = sign_flip_test([0.1, 0.2, 0.3])
    assert found is not None
    assert (found.p, found.smallest_p, found.num_pairs, found.is_exact) == (0.25, 0.25, 3, True)
    assert found.mean_difference == pytest.approx(0.2)


def test_the_exact_test_counts_every_sign_pattern() -> None:
    differences = [0.3, -0.1, 0.25, 0.0, 0.4, 0.05, -0.2]
    patterns = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    expected = sum(value >= abs(sum(differences)) - 1e-12 for value in sums) / len(sums)
    found = sign_flip_test(differences)
    assert found is not None and found.p == expected
    assert found.smallest_p == 2 ** (1 - 6)  # the zero has no sign to flip


def test_darwins_maize_gives_fishers_number() -> None:
    # Darwin's 15 pairs of plants (in eighths of an inch), Fisher 1935, section 21: 1,726 of 32,768 patterns, two-sided.
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    found = sign_flip_test(darwin)
    assert found is not None and found.is_exact
    assert found.p == 1726 / 32768
    assert found.mean_difference == pytest.approx(20.933, abs=1e-3)


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 9, 12])
def test_the_exact_p_is_scipys(num_pairs: int) -> None:
    draw = random.Random(num_pairs)
    for values in (
        [draw.gauss(0.1, 1) for _ in range(num_pairs)],
        [draw.choice((-0.5, 0.5)) for _ in range(num_pairs)],
    ):
        expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
        found = sign_flip_test(values)
        assert found is not None and found.is_exact and found.p == expected


def test_ranks_are_scipys() -> None:
    scores = dict(zip("abcdefg", (0.3, 0.5, 0.3, 0.1, 0.5, 0.5, 0.9), strict=True))
    expected = stats.rankdata([-score for score in scores.values()])
    assert list(ranks(scores).values()) == list(expected)


def test_many_questions_are_drawn_and_agree_with_the_binomial() -> None:
    # 40 questions won and 20 lost of 100: the sign test's exact p is 2 * P(Binomial(60, 1/2) >= 40).
    exact = 2 * sum(comb(60, k) for k in range(40, 61)) / 2**60
    found = sign_flip_test([1.0] * 40 + [-1.0] * 20 + [0.0] * 40, num_resamples=200_000, seed=1)
    assert found is not None and not found.is_exact and found.num_pairs == 100
    assert found.p == pytest.approx(exact, rel=0.05)
    assert found.smallest_p == 1 / 200_001
    assert found == sign_flip_test([1.0] * 40 + [-1.0] * 20 + [0.0] * 40, num_resamples=200_000, seed=1)


def test_no_difference_is_no_evidence() -> None:
    found = sign_flip_test([0.0, 0.0, 0.0])
    assert found is not None and (found.p, found.smallest_p) == (1.0, 1.0)
    assert sign_flip_test([]) is None


def test_bootstrap_agrees_with_the_normal_interval_of_many_values() -> None:
    draw = random.Random(3)
    values = [draw.gauss(0.5, 0.1) for _ in range(200)]
    found = bootstrap_interval(values, level=0.95, num_resamples=8_000, seed=0)
    middle, spread = mean(values), deviation(values)
    assert found is not None and middle is not None and spread is not None
    assert found.low == pytest.approx(middle - 1.96 * spread / 200**0.5, abs=7e-4)
    assert found.high == pytest.approx(middle + 1.96 * spread / 200**0.5, abs=7e-4)
    assert found == bootstrap_interval(values, level=0.95, num_resamples=8_000, seed=0)


def test_bootstrap_of_two_values_spans_both_and_is_narrow() -> None:
    found = bootstrap_interval([0.2, 0.4], num_resamples=500)
    assert found is not None and (found.low, found.high, found.num_resamples) == (0.2, 0.4, 500)
    assert bootstrap_interval([0.2]) is None and is_narrow(3) and not is_narrow(20)
    with pytest.raises(UserError, match="between 0 and 1"):
        bootstrap_interval([0.1, 0.2], level=95)


def test_holm_steps_down_and_never_decreases() -> None:
    # 4 x 0.01, 3 x 0.02 = 0.06, then 2 x 0.022 = 0.044 is raised to 0.06, then 1 x 0.2.
    found = holm({"d": 0.2, "b": 0.02, "a": 0.01, "c": 0.022})
    assert found == pytest.approx({"d": 0.2, "b": 0.06, "a": 0.04, "c": 0.06})
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0} and holm({}) == {}

"""Spread and paired tests of scores: pure functions of lists of numbers, every draw from a seed that is passed in.

    deviation            sample standard deviation (n - 1)
    bootstrap interval   percentile interval of the mean over `num_resamples` samples with replacement (Efron 1979)
    sign-flip test       two-sided permutation test of paired differences (Fisher 1935): under the null hypothesis each
                         difference has either sign, so p is the share of the 2^n sign patterns whose mean is at least
                         as far from zero. Exact up to `EXACT_PAIRS` differences; beyond, p = (1 + hits) / (1 + draws)
                         over random patterns (Phipson and Smyth 2010), which is never 0.
    Holm                 step-down correction of several p-values (Holm 1979)

Few pairs cannot give a small p: with n differences that are not zero the smallest is 2^(1 - n), so 3 seeds never fall
below 0.25. `PairedTest.smallest_p` says so. Differences of equal size are drawn together (binomial and multinomial
counts), which is the same distribution and makes ten thousand questions cheap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from cmt_cli.core.exceptions import UserError

EXACT_PAIRS = 16  # 65,536 sign patterns
LEVEL = 0.95
NUM_RESAMPLES = 10_000
SEED = 0
_NUMBERS_AT_ONCE = 2_000_000
_SAME = 1e-12  # relative; sums of the same numbers in another order differ by rounding


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of a mean at a confidence `level`, from so many resamples."""

    low: float
    high: float
    level: float
    num_resamples: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What paired differences say: their mean, the two-sided p, and the smallest p that so many pairs can give."""

    mean_difference: float
    p: float
    smallest_p: float
    num_pairs: int
    is_exact: bool


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1), None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def bootstrap_interval(
    values: Sequence[float], *, level: float = LEVEL, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Interval | None:
    """Return the percentile interval of the mean, None for fewer than two values.

    Of a handful of values it is too narrow; `is_narrow` tells when. Raises UserError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise UserError(f"The confidence level {level} must lie between 0 and 1, such as 0.95.")
    if num_resamples < 1:
        raise UserError(f"The number of resamples {num_resamples} must be at least 1.")
    if len(values) < 2:
        return None
    found, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            generator.multinomial(len(values), counts / len(values), size=size) @ found / len(values)
            for size in _chunks(num_resamples, len(found))
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, num_resamples)


def is_narrow(num_values: int) -> bool:
    """Return whether a percentile bootstrap of so few values covers clearly less than its level."""
    return num_values < 8


def sign_flip_test(
    differences: Sequence[float], *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> PairedTest | None:
    """Return the test of paired differences against zero, None without any pair."""
    if not differences:
        return None
    sizes, counts = np.unique(np.abs(np.asarray(differences, dtype=np.float64)), return_counts=True)
    counts, sizes = counts[sizes > 0], sizes[sizes > 0]
    num_moving = int(counts.sum())
    observed = abs(math.fsum(differences))
    limit = observed - _SAME * max(1.0, float(sizes @ counts))
    is_exact = num_moving <= EXACT_PAIRS
    if is_exact:
        p = float(np.mean(np.abs(_all_sums(np.repeat(sizes, counts))) >= limit))
    else:
        hits = _random_hits(sizes, counts, limit, num_resamples, seed)
        p = (1 + hits) / (1 + num_resamples)
    floor = 2.0 ** (1 - num_moving) if num_moving else 1.0
    smallest = floor if is_exact else max(floor, 1 / (1 + num_resamples))
    return PairedTest(fmean(differences), p, smallest, len(differences), is_exact)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values, by the same names: the largest of (m - k) p over the k-th smallest so far."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for k, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - k) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _all_sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums `[2^n]` of all sign patterns of `sizes` `[n]`."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_hits(
    sizes: NDArray[np.float64], counts: NDArray[np.int64], limit: float, num_resamples: int, seed: int
) -> int:
    """Return how many random sign patterns have a sum at least `limit` from zero."""
    generator = np.random.default_rng(seed)
    hits = 0
    for size in _chunks(num_resamples, len(sizes)):
        positive = generator.binomial(counts, 0.5, size=(size, len(sizes)))
        hits += int(np.count_nonzero(np.abs((2 * positive - counts) @ sizes) >= limit))
    return hits


def _chunks(total: int, width: int) -> list[int]:
    """Split `total` rows of `width` numbers so that few enough are held at once."""
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, width))
    return [min(at_once, total - start) for start in range(0, total, at_once)]

"""Robust statistics of timing samples: an interval on the median, shifts between two sets, trend, modes, outliers."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FENCE = 1.5  # Tukey's factor on the interquartile range
LEVEL = 0.95  # of every interval
MIN_SAMPLES = 6  # from here on there is such an interval between order statistics


def median_interval(samples: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Median of `samples` and its confidence interval, interpolated between order statistics.

    With x_(1) ≤ … ≤ x_(n) the sorted samples, [x_(r), x_(n+1-r)] holds the population median with
    probability 1 - 2 P(B ≤ r-1), B ~ Binomial(n, 1/2), whatever the (continuous) distribution. These
    probabilities are far apart for small n (n = 10: 0.979 and 0.891), so both ends are taken between those of
    the last r with at least `level` and the next, weighted after Hettmansperger & Sheather, Statistics &
    Probability Letters 4 (1986) 75-79: then the coverage is near `level` for any distribution, and never
    outside the two.

    Parameters
    ----------
    samples : (n,) values, all finite, any unit.
    level : confidence asked for, in (0, 1). Where even [min, max] falls short of it (n < 6 at 0.95),
        [min, max] is given.

    Returns:
    -------
    (median, low, high), in the unit of `samples`; for n == 1 the sample itself three times.

    Raises:
    ------
    ValueError : no samples, a non-finite sample, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    x = np.sort(_finite(samples))
    r, weight = _rank(x.size, level)
    low, high = x[r - 1], x[x.size - r]
    if weight:
        low, high = low + weight * (x[r] - low), high - weight * (high - x[x.size - r - 1])
    return float(np.median(x)), float(low), float(high)


@functools.cache
def _rank(n: int, level: float) -> tuple[int, float]:
    """The last r ≥ 1 with P(r ≤ B ≤ n-r) ≥ level, B ~ Binomial(n, 1/2), and the weight of r + 1 beside it.

    r is 1 where there is none; the weight is 0 there, and where x_(r) and x_(n+1-r) are next to the median.
    """
    term = below = 1  # C(n, r-1), and the sum of C(n, k) over k < r: exact integers
    r, covered = 1, 1 - 2 / 2**n
    if covered < level:
        return 1, 0.0
    while True:
        term = term * (n - r + 1) // r
        following = 1 - 2 * (below + term) / 2**n
        if following < level:
            break
        below, covered = below + term, following
        r += 1
    if 2 * (r + 1) > n + 1:
        return r, 0.0
    share = (covered - level) / (covered - following)
    return r, (n - r) * share / (r + (n - 2 * r) * share)


@dataclass(frozen=True)
class Shift:
    """By how much one set of values lies above another: the estimate, its interval, and the chance of it by chance."""

    estimate: float
    low: float
    high: float
    p: float


def shift(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Shift:
    """By how much y (m,) lies above x (n,), for samples that have nothing to do with each other.

    The Hodges-Lehmann estimate, the median of all y_j - x_i; the interval and the two-sided p are those of the
    Mann-Whitney test. Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3rd ed., Wiley 2014, ch. 4.
    """
    from scipy import stats

    first, second = _finite(x), _finite(y)
    n, m = first.size, second.size
    p = 1.0 if np.ptp(np.concatenate([first, second])) == 0 else stats.mannwhitneyu(first, second).pvalue
    return _hodges_lehmann(np.subtract.outer(second, first).ravel(), n * m * (n + m + 1) / 12, float(p), level)


def mean_shift(d: Sequence[float], level: float = LEVEL) -> Shift:
    """By how much differences d (n,), n ≥ 2, lie above 0: their mean, with the interval and p of Student's t."""
    from scipy import stats

    differences = _finite(d)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return Shift(mean, mean, mean, float(mean == 0))
    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(level)
    return Shift(mean, float(low), float(high), float(test.pvalue))


def _hodges_lehmann(values: np.ndarray, variance: float, p: float, level: float) -> Shift:
    """The median of values, and those that lie as far from both ends as the normal approximation of the ranks says."""
    from scipy import stats

    values = np.sort(values)
    outer = math.floor(values.size / 2 - stats.norm.ppf((1 + level) / 2) * math.sqrt(variance))
    outer = min(max(outer, 1), (values.size + 1) // 2)
    return Shift(float(np.median(values)), float(values[outer - 1]), float(values[values.size - outer]), p)


def trend(samples: Sequence[float]) -> tuple[float, float]:
    """How samples (n,) drift in the order they were taken: (change, p).

    The change from first to last is Theil and Sen's slope times n - 1, as a share of the median; p is Mann's and
    Kendall's, two-sided. Fewer than 4 samples have none: (0, 1).
    """
    from scipy import stats

    x = _finite(samples)
    if x.size < 4 or np.ptp(x) == 0:
        return 0.0, 1.0
    place = np.arange(x.size)
    slope = stats.theilslopes(x, place).slope
    return float(slope * (x.size - 1) / np.median(x)), float(stats.kendalltau(place, x).pvalue)


def modes(samples: Sequence[float]) -> tuple[float, float, float]:
    """Whether samples (n,), all above 0, are of two kinds: (ratio, share, p).

    p is that of Hartigan's dip test of one mode (Annals of Statistics 13 (1985) 70-84). The two kinds are those of
    the split with the least squares about its two means; ratio is that of the medians of the slow and the fast ones,
    share that of the rarer kind.
    """
    import diptest

    x = np.sort(_finite(samples))
    n = x.size
    if n < 4 or x[0] == x[-1]:
        return 1.0, 0.0, 1.0
    p = diptest.diptest(x)[1]
    first, sums = np.arange(1, n), np.cumsum(x)[:-1]
    between = (sums / first - (x.sum() - sums) / (n - first)) ** 2 * first * (n - first)
    split = int(np.argmax(between)) + 1
    return float(np.median(x[split:]) / np.median(x[:split])), min(split, n - split) / n, float(p)


def outliers(samples: Sequence[float]) -> np.ndarray:
    """Mask (n,) of the samples outside Tukey's fences: beyond 1.5 interquartile ranges from the quartiles.

    Tukey, Exploratory Data Analysis, 1977, ch. 2. The mask labels; nothing is dropped.

    Raises:
    ------
    ValueError : no samples, or a non-finite sample.
    """
    x = _finite(samples)
    q1, q3 = np.percentile(x, [25, 75])
    reach = FENCE * (q3 - q1)
    return (x < q1 - reach) | (x > q3 + reach)


def _finite(samples: Sequence[float]) -> np.ndarray:
    x = np.asarray(samples, dtype=float).ravel()
    if x.size == 0:
        raise ValueError("no samples: at least one is needed")
    if not np.isfinite(x).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(x))} of {x.size} samples are not finite")
    return x

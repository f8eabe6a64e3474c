"""Robust summaries of timing samples: an interval on the median, and labels on outliers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FENCE = 1.5  # Tukey's factor on the interquartile range


def median_interval(samples: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Median of `samples` and its distribution-free confidence interval.

    With x_(1) ≤ … ≤ x_(n) the sorted samples, [x_(r), x_(n+1-r)] holds the population median with
    probability at least 1 - 2 P(B ≤ r-1), B ~ Binomial(n, 1/2), whatever the distribution (equality for a
    continuous one); r is the largest rank for which that is at least `level`. David & Nagaraja,
    Order Statistics, 3rd ed., Wiley 2003, sec. 7.1.

    Parameters
    ----------
    samples : (n,) values, all finite, any unit.
    level : confidence asked for, in (0, 1). Where even [min, max] falls short of it (n < 6 at 0.95),
        [min, max] is given.

    Returns
    -------
    (median, low, high), in the unit of `samples`; for n == 1 the sample itself three times.

    Raises
    ------
    ValueError : no samples, a non-finite sample, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    x = np.sort(_finite(samples))
    r = _rank(x.size, level)
    return float(np.median(x)), float(x[r - 1]), float(x[x.size - r])


def outliers(samples: Sequence[float]) -> np.ndarray:
    """Mask (n,) of the samples outside Tukey's fences: beyond 1.5 interquartile ranges from the quartiles.

    Tukey, Exploratory Data Analysis, 1977, ch. 2. The mask labels; nothing is dropped.

    Raises
    ------
    ValueError : no samples, or a non-finite sample.
    """
    x = _finite(samples)
    q1, q3 = np.percentile(x, [25, 75])
    reach = FENCE * (q3 - q1)
    return (x < q1 - reach) | (x > q3 + reach)


def _rank(n: int, level: float) -> int:
    """Return the largest r ≥ 1 with P(r ≤ B ≤ n-r) ≥ level, B ~ Binomial(n, 1/2); 1 where there is none."""
    term = below = 1  # C(n, r-1), and the sum of C(n, k) over k < r: exact integers
    r = 1
    while True:
        term = term * (n - r + 1) // r
        if 1 - 2 * (below + term) / 2**n < level:
            return r
        below += term
        r += 1


def _finite(samples: Sequence[float]) -> np.ndarray:
    x = np.asarray(samples, dtype=float).ravel()
    if x.size == 0:
        raise ValueError("no samples: at least one is needed")
    if not np.isfinite(x).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(x))} of {x.size} samples are not finite")
    return x

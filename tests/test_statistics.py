"""The interval on the median covers what it promises, no wider than the binomial makes it."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnbench.measure.statistics import median_interval, outliers


def _coverage(n, r):
    """P(x_(r) ≤ median ≤ x_(n+1-r)) for a continuous distribution, from first principles."""
    return sum(comb(n, k) for k in range(r, n - r + 1)) / 2**n


def _bimodal(rng, shape):
    """Two modes of unequal weight, as turbo and throttled steps give; the median lies in the first."""
    return np.where(rng.random(shape) < 0.7, rng.normal(0, 1, shape), rng.normal(20, 1, shape))


# P(bimodal ≤ m) = 1/2 at Φ(m) = 0.5/0.7, up to the second mode's weight at 20 standard deviations
DRAWS = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "log-normal": (lambda rng, shape: rng.lognormal(0, 1.5, shape), 1.0),
    "bimodal": (_bimodal, 0.5659488219328631),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("n", [6, 7, 25, 60])
def test_covers_the_median_at_its_exact_rate(draw, n):
    sample, median = DRAWS[draw]
    trials = 4000
    x = sample(np.random.default_rng(n), (trials, n))
    intervals = np.array([median_interval(row) for row in x])
    rate = np.mean((intervals[:, 1] <= median) & (median <= intervals[:, 2]))
    r = max(r for r in range(1, n // 2 + 1) if _coverage(n, r) >= 0.95)
    noise = 4 * np.sqrt(0.05 * 0.95 / trials)
    assert rate >= 0.95 - noise
    assert abs(rate - _coverage(n, r)) < noise
    np.testing.assert_array_equal(intervals[:, 0], np.median(x, axis=1))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 8, 9, 11, 12, 40, 41, 500, 3000])
def test_ranks_are_the_tightest_that_are_conservative(n, level):
    _, low, high = median_interval(np.arange(1, n + 1), level)
    r = int(low)
    assert high == n + 1 - r
    assert r == 1 or _coverage(n, r) >= level
    assert r + 1 > (n + 1) / 2 or _coverage(n, r + 1) < level


def test_ranks_of_published_tables():
    # Conover, Practical Nonparametric Statistics; David & Nagaraja 2003, sec. 7.1
    for n, r in {6: 1, 8: 1, 9: 2, 10: 2, 15: 4, 20: 6, 25: 8, 30: 10, 50: 18, 100: 40}.items():
        assert median_interval(np.arange(1, n + 1))[1] == r


def test_small_samples():
    assert median_interval([3.5]) == (3.5, 3.5, 3.5)
    assert median_interval([2, 1]) == (1.5, 1, 2)
    assert median_interval([5, 1, 2, 9, 3]) == (3, 1, 9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.randoms())
def test_order_does_not_matter_and_the_median_is_inside(samples, random):
    shuffled = random.sample(samples, len(samples))
    median, low, high = median_interval(shuffled)
    assert (median, low, high) == median_interval(samples)
    assert min(samples) <= low <= median <= high <= max(samples)


def test_the_input_is_left_alone():
    samples = np.array([3.0, 1.0, 2.0])
    median_interval(samples)
    outliers(samples)
    assert samples.tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
@pytest.mark.parametrize("function", [median_interval, outliers])
def test_unusable_samples_are_refused(function, samples):
    with pytest.raises(ValueError, match="sample"):
        function(samples)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match="level"):
        median_interval([1.0, 2.0], level)


def test_outliers_are_those_beyond_the_fences_on_both_sides():
    # quartiles of 1..9 are 3 and 7, so the fences are -3 and 13
    samples = np.array([13.01, *range(2, 9), -3.01])
    assert outliers(samples).tolist() == [True, *[False] * 7, True]
    assert not outliers([13.0, *range(2, 9), -3.0]).any()
    assert not outliers([1.0]).any()
    assert not outliers([2.0, 2.0, 2.0]).any()

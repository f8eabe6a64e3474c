"""Intervals cover what they promise; shifts, trends and modes are found where they are and nowhere else."""

from math import comb

import numpy as np
import pytest
from cases import covering
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import bnbench
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.measurement import Measurement
from bnbench.measure.statistics import mean_shift, median_interval, modes, outliers, shift, trend
from bnbench.record import Cell, Record

TRIALS = 10_000


def _coverage(n, r):
    """P(x_(r) ≤ median ≤ x_(n+1-r)) for a continuous distribution, from first principles."""
    return sum(comb(n, k) for k in range(r, n - r + 1)) / 2**n


def _bimodal(rng, shape):
    """Two modes of unequal weight, as turbo and throttled steps give; the median lies in the first."""
    return np.where(rng.random(shape) < 0.7, rng.normal(0, 1, shape), rng.normal(20, 1, shape))


def _with_outliers(rng, shape):
    """One in twenty is far off, to one side."""
    return np.where(rng.random(shape) < 0.05, 30 + rng.exponential(30, shape), rng.normal(0, 1, shape))


# P(x ≤ m) = 1/2 at Φ(m) = 0.5/0.7 and 0.5/0.95, up to the far mode's weight at 20 standard deviations
DRAWS = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "log-normal": (lambda rng, shape: rng.lognormal(0, 1.5, shape), 1.0),
    "bimodal": (_bimodal, 0.5659488219328631),
    "outliers": (_with_outliers, 0.0660118123),
}


@pytest.mark.parametrize(
    ("n", "draw"),
    covering(
        [(n, draw) for n in (10, 11, 12, 25, 60, 200) for draw in DRAWS],
        [(10, "normal"), (11, "outliers"), (12, "bimodal"), (25, "log-normal"), (60, "outliers"), (200, "bimodal")],
    ),
)
def test_intervals_cover_the_median_as_often_as_they_say(n, draw, capsys):
    # catches: a wrong rank, a wrong weight between two ranks, ends that are swapped
    sample, median = DRAWS[draw]
    x = sample(np.random.default_rng(n), (TRIALS, n))
    intervals = np.array([median_interval(row) for row in x])
    rate = np.mean((intervals[:, 1] <= median) & (median <= intervals[:, 2]))
    with capsys.disabled():
        print(f"{draw}, n = {n}: {rate:.4f} of {TRIALS} intervals hold the median")
    assert 0.93 <= rate <= 0.97
    np.testing.assert_array_equal(intervals[:, 0], np.median(x, axis=1))


@pytest.mark.parametrize("trials", covering([500, 2000], [500]))
def test_intervals_cover_where_a_sweep_stops(trials):
    # catches: a sweep that looks at the interval until it likes it: then 0.90 of these hold the median
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(trials):
        blank = Record(variant="variant", cell=Cell(bnbench.Problem(10, 1, 1)), status="ok")
        measurement = Measurement("variant", blank.cell, blank)
        while not measurement.tight:
            measurement.samples.append(Sample(rng.lognormal(0, 0.03), Interference()))
        _, low, high = median_interval([sample.step_s for sample in measurement.samples])
        hits += low <= 1 <= high
    assert 0.925 <= hits / trials <= 0.97


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 8, 9, 11, 12, 40, 41, 500, 3000])
def test_ends_lie_between_the_two_ranks_whose_coverage_encloses_the_level(n, level):
    # catches: a weight outside [0, 1], a rank too far in
    _, low, high = median_interval(np.arange(1, n + 1), level)
    r = int(low)
    assert low + high == pytest.approx(n + 1)
    assert r == 1 or _coverage(n, r) >= level
    assert r + 1 > (n + 1) / 2 or _coverage(n, r + 1) < level or (r == 1 and _coverage(n, 1) < level)


def test_ranks_of_published_tables():
    # Conover, Practical Nonparametric Statistics; David & Nagaraja 2003, sec. 7.1
    for n, r in {6: 1, 8: 1, 9: 2, 10: 2, 15: 4, 20: 6, 25: 8, 30: 10, 50: 18, 100: 40}.items():
        assert int(median_interval(np.arange(1, n + 1))[1]) == r


def test_weight_of_a_worked_case():
    # n = 10: ranks 2 and 3 cover 1002/1024 and 912/1024; by hand, the share is 0.3306, the weight 0.6639
    covered, following = 1002 / 1024, 912 / 1024
    share = (covered - 0.95) / (covered - following)
    assert median_interval(np.arange(1, 11))[1] == pytest.approx(2 + 8 * share / (2 + 6 * share))


@pytest.mark.parametrize("n", [6, 7, 10, 25, 60, 100])
def test_intervals_are_scipys(n):
    # catches: a weight or a rank that is another than theirs
    x = np.random.default_rng(n).lognormal(size=n)
    assert median_interval(x)[1:] == pytest.approx(stats.mstats.median_cihs(x, 0.05), rel=1e-9)


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


@pytest.mark.parametrize("draws", covering([500, 2000], [500]))
def test_shifts_cover_and_reject_as_often_as_they_say(draws):
    # catches: a one-sided p, ranks of the wrong variance, a sign, samples that are taken for pairs
    rng = np.random.default_rng(3)
    covered, rejected = np.zeros(2), np.zeros(2)
    for _ in range(draws):
        x, y = rng.lognormal(size=12), rng.lognormal(size=17) + 0.5
        d = rng.normal(0.5, 1, 10)
        for place, found in enumerate((shift(x, y), mean_shift(d))):
            covered[place] += found.low <= 0.5 <= found.high
            rejected[place] += (shift(x, y - 0.5) if place == 0 else mean_shift(d - 0.5)).p < 0.05
    assert np.all(abs(covered / draws - 0.95) < 0.02)
    assert np.all(abs(rejected / draws - 0.05) < 0.02)
    assert shift([1, 2, 3], [11, 12, 13]).estimate == 10
    assert mean_shift([0.0, 0.0]).p == 1
    assert mean_shift([0.1, 0.1]).p == 0


@pytest.mark.parametrize("draws", covering([400, 1000], [400]))
def test_trend_and_modes_are_found_and_not_invented(draws):
    # catches: a trend over sorted samples, a split that calls outliers a mode
    rng = np.random.default_rng(4)
    false = np.zeros(2)
    for _ in range(draws):
        x = rng.lognormal(0, 0.03, 40)
        false += trend(x)[1] < 1e-3, modes(x)[2] < 1e-3
    assert np.all(false <= draws / 200)
    x = rng.normal(1, 0.01, 60)
    change, p = trend(x + np.linspace(0, 0.1, 60))
    assert change == pytest.approx(0.1, abs=0.02)
    assert p < 1e-6
    ratio, share, p = modes(np.where(rng.random(60) < 0.3, 1.3, 1.0) * x)
    assert ratio == pytest.approx(1.3, abs=0.03)
    assert 0.1 < share < 0.5
    assert p < 1e-3


def test_the_ratio_of_two_kinds_is_that_of_their_medians():
    # catches: one kind held against all samples
    ratio, share, p = modes([1.0 + 0.001 * i for i in range(30)] + [2.0 + 0.001 * i for i in range(20)])
    assert ratio == pytest.approx(2.0095 / 1.0145, rel=1e-12)
    assert share == 0.4
    assert p < 0.01

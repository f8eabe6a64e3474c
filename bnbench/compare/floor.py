"""This machine's noise floor: what the same code twice, side by side, says about what can be told apart here."""

import math
from dataclasses import dataclass

import numpy as np

from bnbench.compare.verdicts import Comparison, pass_ratios
from bnbench.record import Record

POWER, LEVEL = 0.8, 0.95
SIZES = ((10, 7, 4), (1000, 32, 64), (20_000, 32, 64))
VARIANTS = ("fused-numba", "loops-numba", "matrix-numpy")


@dataclass(frozen=True)
class Floor:
    """What one variant and cell says of the noise; every figure is a share (0.01 is 1 %).

    Attributes:
        verdict: of the comparison of the code with itself; anything but same or unclear is a false one.
        rounds: scatter of the ratio from round to round, in robust standard deviations.
        passes: standard deviation of the ratio from pass to pass.
        interleaved: the smallest difference that `compare --interleaved` finds in 4 of 5 cases, for one cell alone.
        apart: by how much two runs one after the other differ in 1 of 20 cases, though nothing is different.
    """

    verdict: Comparison
    rounds: float
    passes: float
    interleaved: float
    apart: float


def floor(verdict: Comparison, old: Record, new: Record) -> Floor:
    """The noise floor at one cell, from its two records of an interleaved sweep of the same code, and the verdict."""
    from scipy import stats

    ratios = pass_ratios(old, new)
    within = np.log(new.samples_s) - np.log(old.samples_s)
    medians = [math.log(np.median(samples)) for record in (old, new) for samples in record.by_pass]
    passes = float(np.std(ratios, ddof=1))
    free = len(ratios) - 1
    reach = stats.t.ppf((1 + LEVEL) / 2, free) + stats.t.ppf(POWER, free)
    return Floor(
        verdict,
        rounds=math.expm1(stats.median_abs_deviation(within, scale="normal")),
        passes=math.expm1(passes),
        interleaved=math.expm1(reach * passes / math.sqrt(len(ratios))),
        apart=math.expm1(stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(2) * np.std(medians, ddof=1)),
    )

"""What is wrong with a cell's samples, in a word each, from what its journal record holds.

A word needs two gates, as a verdict of `compare` does: that it is no accident, and that it is large enough to matter.
"""

import math
import statistics

from bnbench.measure.statistics import median_interval, modes, trend

CHANCE = 1e-3  # p below which a trend or a second mode is no accident: a sweep has hundreds of cells
DRIFT = 0.02  # change from the first sample to the last, of the median
MODES_RATIO, MODES_SHARE = 1.05, 0.1  # a second mode so far off, with so many of the samples
INTERFERENCE = 0.05  # of the processors' time, stolen or used by others
FORCED_PER_S = 20.0  # forced switches a second of a worker that has its processor to itself: quiet machines have 2 to 7
CLOCK = 1.05  # highest over lowest
NOISY = 0.05  # half the interval over the median, from which a cell says nothing of its rank

WORDS = {
    "drift": f"the samples rise or fall by more than {DRIFT:.0%} from first to last",
    "bimodal": f"the samples are of two kinds, more than {MODES_RATIO - 1:.0%} apart",
    "interference": f"other processes, other machines or a quota took more than {INTERFERENCE:.0%} of the processors' "
    "time",
    "clock": f"the processor's clock changed by more than {CLOCK - 1:.0%}",
    "noisy": f"the interval is wider than ±{NOISY:.0%}: too noisy to rank",
}


def steal_share(record: dict) -> float:
    """The share of the processors' time that a hypervisor or a quota withheld meanwhile; NaN if unknown."""
    return _share(record, "stolen_s")


def others_share(record: dict) -> float:
    """The share of the processors' time that other processes used meanwhile; NaN if unknown."""
    return _share(record, "others_s")


def switches_per_s(record: dict) -> float:
    """How often a second a thread of the worker was made to give up its processor; NaN if unknown."""
    elapsed = record.get("elapsed_s")
    return sum(record.get("switches") or ()) / elapsed if elapsed else math.nan


def page_faults(record: dict) -> float:
    """How many pages of memory a step touched that the system had yet to give it, the median; NaN if unknown."""
    return statistics.median(record.get("faults") or [math.nan])


def _elbowed(record):
    """Whether others wanted the processor that workers of an interleaved comparison are held to.

    A worker that has slept is let in before what has run all the time, so that little of a short sample may be taken;
    but it is made to give way again and again. Workers that are held to none give way to each other's threads as well.
    """
    return bool(record.get("passes")) and switches_per_s(record) > FORCED_PER_S


def _share(record, name):
    elapsed = record.get("elapsed_s")
    return max(0.0, record.get(name) or 0.0) / elapsed if elapsed else math.nan


def noise(record: dict) -> list[str]:
    """The words of `WORDS` that hold of a record; none where it has no samples."""
    samples = record.get("samples_s") or []
    if not samples:
        return []
    change, p = trend(samples)
    ratio, share, p_modes = modes(samples)
    clock = record.get("clock_mhz")
    median, low, high = median_interval(samples)
    found = {
        "drift": abs(change) > DRIFT and p < CHANCE,
        "bimodal": ratio > MODES_RATIO and share > MODES_SHARE and p_modes < CHANCE,
        "interference": steal_share(record) + others_share(record) > INTERFERENCE or _elbowed(record),
        "clock": bool(clock) and clock[1] > CLOCK * clock[0],
        "noisy": (high - low) / 2 > NOISY * median,
    }
    return [word for word in WORDS if found[word]]

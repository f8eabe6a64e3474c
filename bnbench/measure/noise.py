"""What is wrong with a cell's samples, in a word each, from what its journal record holds.

A word needs two gates, as a verdict of `compare` does: that it is no accident, and that it is large enough to matter.
"""

from bnbench.measure.statistics import modes, trend
from bnbench.record import Record

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


def _elbowed(record: Record) -> bool:
    """Whether others wanted the processor that a worker is held to.

    A worker that has slept is let in before what has run all the time, so that little of a short sample may be taken;
    but it is made to give way again and again. Workers that are held to none give way to each other's threads as well.
    Comparisons of before 2026-12 do not say that they held their workers, but have passes.
    """
    held = bool(record.passes) if record.held is None else record.held
    return held and record.switches_per_s > FORCED_PER_S


def noise(record: Record) -> list[str]:
    """The words of `WORDS` that hold of a record; none where it has no times."""
    if not record.timed:
        return []
    # by how much a process is off as a whole is no drift within it, nor a second kind of samples
    samples = [step_s / median for part, median in zip(record.by_pass, record.pass_medians_s, strict=True)
               for step_s in part]  # fmt: skip
    change, p = trend(samples)
    ratio, share, p_modes = modes(samples)
    clock = record.clock_mhz
    holds = {
        "drift": abs(change) > DRIFT and p < CHANCE,
        "bimodal": ratio > MODES_RATIO and share > MODES_SHARE and p_modes < CHANCE,
        "interference": record.steal_share + record.others_share > INTERFERENCE or _elbowed(record),
        "clock": clock is not None and clock[1] > CLOCK * clock[0],
        "noisy": (record.ci_high_s - record.ci_low_s) / 2 > NOISY * record.median_s,
    }
    return [word for word in WORDS if holds[word]]

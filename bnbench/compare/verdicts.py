"""The verdict on each cell of two runs: faster, slower, same or unclear; its validity, errors and memory besides.

A difference passes two gates. *Significance*: the test's p, adjusted for the number of cells after Benjamini and
Hochberg (Journal of the Royal Statistical Society B 57 (1995) 289-300), is below `ALPHA`. *Size*: the ratio of the
times is beyond the threshold. `same` is not the lack of a difference but the finding that there is none to speak of:
the interval of the ratio lies within the threshold. Everything else is unclear.

Runs made one after the other are compared by Mann and Whitney's test on their samples, with the Hodges-Lehmann estimate
of the ratio. Runs made side by side give a ratio for each pass, the median of those within its rounds, and Student's t
on these. All of it is on logarithms: twice and half as long are as far from 1.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from bnbench import store
from bnbench.measure.noise import noise
from bnbench.measure.statistics import Shift, mean_shift, shift
from bnbench.record import FAULTS, Record

FASTER, SLOWER, SAME, UNCLEAR = VERDICTS = ("faster", "slower", "same", "unclear")
BETTER, WORSE, MISSING = "better", "worse", "missing"  # and SAME: of validity, errors and memory
ALPHA = 0.01  # of the cells found faster or slower, the share that may be so by chance; of nothing, the chance of any
THRESHOLD, THRESHOLD_INTERLEAVED = 1.05, 1.01
LEAST_SAMPLES = 6
BROKEN = (*FAULTS, "timeout", "out-of-memory")  # what an ok cell must not become
ERRORS_FACTOR, ERRORS_FROM = 3.0, 0.1  # so many times the error, and at least that share of the tolerance
MEMORY_FACTOR, MEMORY_FROM = 1.1, 2**23  # so many times the bytes, and so many more


@dataclass(frozen=True)
class Verdict:
    """One variant at one cell in two runs.

    Attributes:
        cell: the axes of the cell, as in the journal.
        verdict: one of `VERDICTS`; reason: why it is unclear, where more is to be said.
        ratio, low, high: time of a step in NEW over that in OLD, with its 95 % interval; None where one has none.
        p: of the test, adjusted for all cells.
        old_s, new_s: the medians, seconds.
        validity, errors, memory: same, better or worse; validity may be missing (not tried in NEW).
        was, now: status in OLD and in NEW.
        noise: the words of measure/noise.py that hold of either.
    """

    variant: str
    cell: dict
    verdict: str
    reason: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    old_s: float | None = None
    new_s: float | None = None
    validity: str = SAME
    errors: str = SAME
    memory: str = SAME
    was: str = "ok"
    now: str = "ok"
    noise: str = ""

    @property
    def regression(self) -> bool:
        """Whether NEW is worse in anything."""
        return self.verdict == SLOWER or WORSE in (self.validity, self.errors, self.memory)

    def plain(self) -> dict:
        """As a flat dict, for JSON."""
        found = asdict(self)
        return {"variant": found.pop("variant")} | found.pop("cell") | found | {"regression": self.regression}


def compare(old: list[Record], new: list[Record], *, threshold: float, paired: bool) -> list[Verdict]:
    """The verdicts on all that both runs have a record of, in NEW's order.

    Args:
        old, new: the records of two runs.
        threshold: the ratio from which on a difference matters, above 1.
        paired: whether sample i of the one was taken beside sample i of the other, in passes.
    """
    from scipy.stats import false_discovery_control

    before = {key(record): record for record in old}
    pairs = [(before[key(record)], record) for record in new if key(record) in before]
    shifts = [_shift(*pair, paired) for pair in pairs]
    adjusted = iter(false_discovery_control([found.p for found in shifts if found]))
    return [
        _verdict(*pair, found, float(next(adjusted)) if found else None, threshold, paired)
        for pair, found in zip(pairs, shifts, strict=True)
    ]


def unmatched(old: list[Record], new: list[Record]) -> tuple[int, int]:
    """How many records are in OLD alone, and in NEW alone."""
    keys = [{key(record) for record in records} for records in (old, new)]
    return len(keys[0] - keys[1]), len(keys[1] - keys[0])


def key(record: Record) -> tuple:
    """Variant and cell; the seed is left out, which forced comparisons may have two of."""
    return record.variant, *record.cell.axes.values()


def pass_ratios(old: Record, new: Record) -> list[float]:
    """The logarithm of each pass's ratio, the median of those within its rounds, of two records made side by side.

    Raises:
        StoreError: they have not the same passes.
    """
    if not new.passes or old.passes != new.passes:
        raise store.StoreError(f"{new.variant} at {new.cell} has no passes in common: the runs were not side by side")
    rounds = np.log(new.samples_s) - np.log(old.samples_s)
    return [float(np.median(part)) for part in np.split(rounds, np.cumsum(new.passes)[:-1])]


def _shift(old, new, paired) -> Shift | None:
    """By how much log times lie above the old ones; None where there are too few samples."""
    if old.status != "ok" or new.status != "ok":
        return None
    if paired:
        ratios = pass_ratios(old, new)
        return mean_shift(ratios) if len(ratios) > 1 else None
    x, y = (np.log(record.samples_s) for record in (old, new))
    return shift(x, y) if min(x.size, y.size) >= LEAST_SAMPLES else None


def _verdict(old, new, found, p, threshold, paired):
    words = sorted({word for record in (old, new) for word in noise(record)})
    common = {
        "variant": new.variant,
        "cell": new.cell.axes,
        "validity": _validity(old.status, new.status),
        "was": old.status,
        "now": new.status,
        "noise": ", ".join(words),
    }
    if old.status == new.status == "ok":
        common |= {"errors": _errors(old, new), "memory": _memory(old, new)}
    if found is None:
        timed = old.status == new.status == "ok"
        reason = f"fewer than {LEAST_SAMPLES} samples" if timed else f"was {old.status}, is {new.status}"
        return Verdict(verdict=UNCLEAR, reason=reason, **common)
    reason, verdict = "", UNCLEAR
    ratio, low, high = (math.exp(value) for value in (found.estimate, found.low, found.high))
    if 1 / threshold < low and high < threshold:
        verdict = SAME
    elif p < ALPHA and not 1 / threshold < ratio < threshold:
        verdict = SLOWER if ratio > 1 else FASTER
        if not paired and "interference" in words:
            verdict, reason = UNCLEAR, "something else was running"
    return Verdict(
        verdict=verdict, reason=reason, ratio=ratio, low=low, high=high, p=p,
        old_s=old.median_s, new_s=new.median_s, **common,
    )  # fmt: skip


def _validity(was, now):
    if (was == "ok") == (now == "ok"):
        return SAME
    if now == "ok":
        return BETTER
    return WORSE if now in BROKEN else MISSING


def _errors(old, new):
    was, now = (record.max_error_ratio or 0.0 for record in (old, new))
    return _grown(was, now, max(ERRORS_FROM, ERRORS_FACTOR * was), max(ERRORS_FROM, ERRORS_FACTOR * now))


def _memory(old, new):
    was, now = ((record.peak_bytes or 0) - (record.baseline_bytes or 0) for record in (old, new))
    return _grown(was, now, MEMORY_FACTOR * was + MEMORY_FROM, MEMORY_FACTOR * now + MEMORY_FROM)


def _grown(was, now, limit_now, limit_was):
    if now > limit_now:
        return WORSE
    return BETTER if was > limit_was else SAME

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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

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
NOT_TRIED = ("unavailable", "unsupported", "pruned")
ERRORS_FACTOR, ERRORS_FROM = 3.0, 0.1  # so many times the error, and at least that share of the tolerance
MEMORY_FACTOR, MEMORY_FROM = 1.1, 2**23  # so many times the bytes, and so many more


@dataclass(frozen=True)
class Comparison:
    """One variant at one cell in two runs.

    Attributes:
        cell: the axes of the cell, as in the journal, and the host of a sweep over several.
        verdict: one of `VERDICTS`; reason: why it is unclear, where more is to be said.
        ratio, low, high: time of a step in NEW over that in OLD, with its 95 % interval; None where one has none. It is
            estimated from all samples, and need not be the quotient of the medians.
        p: of the test, adjusted for all cells.
        old_s, new_s: the medians, seconds.
        validity, errors, memory: same, better or worse; validity may be missing (not tried in NEW).
        was, now: status in OLD and in NEW.
        noise: the words of measure/noise.py that hold of either.
        cause: why the time moved, one of causes.CAUSES; "" where it did not.
        own, own_low, own_high: the ratio over that of the controls at the cell, with its 95 % interval; None where
            there is no control.
        again: the ratio when it was measured once more in new processes; None where it was not.
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
    cause: str = ""
    own: float | None = None
    own_low: float | None = None
    own_high: float | None = None
    again: float | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """As `key` of a record."""
        return self.variant, self.cell.get("host"), *(value for name, value in self.cell.items() if name != "host")

    @property
    def slowed(self) -> bool:
        """Whether NEW is slower by what is not the machine's, nor the measuring's."""
        return self.verdict == SLOWER and self.cause not in ("machine", "method")

    @property
    def regression(self) -> bool:
        """Whether NEW is worse in anything."""
        return self.slowed or WORSE in (self.validity, self.errors, self.memory)

    def moved(self, threshold: float) -> bool:
        """Whether the time is another, whatever moved it."""
        return self.p is not None and self.p < ALPHA and not 1 / threshold < (self.ratio or 1.0) < threshold

    @property
    def measured(self) -> bool:
        """Whether either run has measured it; else there is nothing to compare."""
        return "ok" in (self.was, self.now)

    def plain(self) -> dict[str, Any]:
        """As a flat dict, for JSON."""
        fields = asdict(self)
        own = {"regression": self.regression, "measured": self.measured}
        return {"variant": fields.pop("variant")} | fields.pop("cell") | fields | own


def compare(old: Sequence[Record], new: Sequence[Record], *, threshold: float, paired: bool) -> list[Comparison]:
    """All that both runs have a record of, compared, in NEW's order.

    Args:
        old, new: the records of two runs.
        threshold: the ratio from which on a difference matters, above 1.
        paired: whether sample i of the one was taken beside sample i of the other, in passes.
    """
    from scipy.stats import false_discovery_control

    before = {key(record): record for record in old}
    pairs = [(before[key(record)], record) for record in new if key(record) in before]
    shifts = [_shift(*pair, paired) for pair in pairs]
    adjusted = iter(false_discovery_control([moved.p for moved in shifts if moved]))
    return [
        _compared(*pair, moved, float(next(adjusted)) if moved else None, threshold, paired)
        for pair, moved in zip(pairs, shifts, strict=True)
    ]


def confirmed(
    cells: Sequence[Comparison], old: Sequence[Record], new: Sequence[Record], *, threshold: float
) -> list[Comparison]:
    """The comparisons; of those that were slower and measured again, those that were not slower again are unclear.

    Args:
        cells: the comparisons of the first time.
        old, new: the records of the second, made side by side as well.
        threshold: the ratio from which on a difference matters.
    """
    second = {each.key: each for each in compare(old, new, threshold=threshold, paired=True)}
    given = []
    for each in cells:
        again = second.get(each.key)
        if again is None:
            given.append(each)
        elif again.verdict == SLOWER:
            given.append(replace(each, again=again.ratio))
        else:
            said = f"{again.ratio:.3f}" if again.ratio else again.reason
            reason = f"slower at first, and not when measured again ({said})"
            given.append(replace(each, verdict=UNCLEAR, reason=reason, again=again.ratio, cause=""))
    return given


def threshold(*, paired: bool) -> float:
    """The ratio from which on a difference matters, by default."""
    return THRESHOLD_INTERLEAVED if paired else THRESHOLD


def alone(one: Sequence[Record], other: Sequence[Record]) -> dict[str, int]:
    """By variant, at how many cells one run has measured what the other has no record of."""
    keys = {key(record) for record in other}
    names = [record.variant for record in one if record.status == "ok" and key(record) not in keys]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def gone(old: Sequence[Record], new: Sequence[Record]) -> list[str]:
    """The variants that OLD has measured, and that NEW has not even tried at any cell."""
    tried = {record.variant for record in new if record.status not in NOT_TRIED}
    return [name for name in dict.fromkeys(r.variant for r in old if r.status == "ok") if name not in tried]


def key(record: Record) -> tuple[Any, ...]:
    """Variant, host and cell; the seed is left out, which forced comparisons may have two of."""
    return record.variant, record.host, *record.cell.axes.values()


def pass_ratios(old: Record, new: Record) -> list[float]:
    """The logarithm of each pass's ratio, the median of those within its rounds, of two records made side by side.

    Raises:
        StoreError: they have not the same passes.
    """
    if not new.passes or old.passes != new.passes:
        raise store.StoreError(f"{new.variant} at {new.cell} has no passes in common: the runs were not side by side")
    pairs = zip(old.by_pass, new.by_pass, strict=True)
    return [float(np.median(np.log(now) - np.log(before))) for before, now in pairs]


def _shift(old: Record, new: Record, paired: bool) -> Shift | None:
    """By how much log times lie above the old ones; None where there are too few samples."""
    if old.status != "ok" or new.status != "ok":
        return None
    if paired:
        ratios = pass_ratios(old, new)
        return mean_shift(ratios) if len(ratios) > 1 else None
    before, now = (np.log(record.samples_s).tolist() for record in (old, new))
    return shift(before, now) if min(len(before), len(now)) >= LEAST_SAMPLES else None


def _compared(
    old: Record, new: Record, moved: Shift | None, p: float | None, threshold: float, paired: bool
) -> Comparison:
    words = sorted({word for record in (old, new) for word in noise(record)})
    common: dict[str, Any] = {
        "variant": new.variant,
        "cell": new.cell.axes | ({"host": new.host} if new.host else {}),
        "validity": _validity(old.status, new.status),
        "was": old.status,
        "now": new.status,
        "noise": ", ".join(words),
    }
    if old.status == new.status == "ok":
        common |= {"errors": _errors(old, new), "memory": _memory(old, new)}
    if moved is None or p is None:
        timed = old.status == new.status == "ok"
        reason = f"fewer than {LEAST_SAMPLES} samples" if timed else f"was {old.status}, is {new.status}"
        return Comparison(verdict=UNCLEAR, reason=reason, **common)
    reason, verdict = "", UNCLEAR
    ratio, low, high = (math.exp(value) for value in (moved.estimate, moved.low, moved.high))
    if 1 / threshold < low and high < threshold:
        verdict = SAME
    elif p < ALPHA and not 1 / threshold < ratio < threshold:
        verdict = SLOWER if ratio > 1 else FASTER
        if not paired and "interference" in words:
            verdict, reason = UNCLEAR, "something else was running"
    return Comparison(
        verdict=verdict, reason=reason, ratio=ratio, low=low, high=high, p=p,
        old_s=old.median_s, new_s=new.median_s, **common,
    )  # fmt: skip


def _validity(was: str, now: str) -> str:
    if (was == "ok") == (now == "ok"):
        return SAME
    if now == "ok":
        return BETTER
    return WORSE if now in BROKEN else MISSING


def _errors(old: Record, new: Record) -> str:
    was, now = (record.max_error_ratio or 0.0 for record in (old, new))
    return _grown(was, now, max(ERRORS_FROM, ERRORS_FACTOR * was), max(ERRORS_FROM, ERRORS_FACTOR * now))


def _memory(old: Record, new: Record) -> str:
    was, now = (record.step_bytes or 0 for record in (old, new))
    return _grown(was, now, MEMORY_FACTOR * was + MEMORY_FROM, MEMORY_FACTOR * now + MEMORY_FROM)


def _grown(was: float, now: float, limit_now: float, limit_was: float) -> str:
    if now > limit_now:
        return WORSE
    return BETTER if was > limit_was else SAME

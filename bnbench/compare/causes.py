"""Why a time moved from one run to another: the machine, or the variant itself.

Variants that have not changed are *controls*: what moved them is the machine, or the way of measuring. A variant's time
is then two factors, that of the controls at the same cells and its own:

    NEW / OLD = controls × own.

The controls' factor at a cell is the median over them, so that one control which did change unnoticed does no harm; a
variant's own is the median over its cells. Both have intervals from a bootstrap that draws controls and cells anew, and
each ratio within its own interval. An unchanged variant of two separate runs differs from the others all the same, by
the luck of its process: by as much as the controls differ among each other, and by `LUCK` at least.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bnbench.compare import runs, verdicts
from bnbench.compare.runs import Run
from bnbench.compare.verdicts import ALPHA, Comparison
from bnbench.measure.fingerprints import of_others

CHANGE, MACHINE, METHOD, UNCLEAR = CAUSES = ("change", "machine", "method", "unclear")
NOT_OURS = (MACHINE, METHOD)  # causes that are no fault of the variant's
LUCK = 0.02  # standard deviation of an unchanged variant's ratio between two runs, one process each, of the logarithm
DRAWS = 1000
MOSTLY = 0.95  # share of the draws in which the controls moved farther than what is left, for the cause to be theirs
NORMAL = 1.959964  # half a 95 % interval, in standard deviations
MAD = 1.482602  # a normal distribution's standard deviation over its median absolute deviation


@dataclass(frozen=True)
class Decomposition:
    """By how much a variant moved, and the controls at the same cells.

    Attributes:
        cells: how many it shares with a control.
        ratio: NEW over OLD, the median over these cells; controls: the same of the controls.
        own, low, high: of the variant against the controls, with its 95 % interval.
        cause: one of `CAUSES` where it moved beyond the threshold, else "".
    """

    variant: str
    cells: int
    ratio: float
    controls: float
    own: float
    low: float
    high: float
    cause: str = ""

    def plain(self) -> dict[str, Any]:
        """As a dict, for JSON."""
        return asdict(self)


def controls(old: Run, new: Run) -> list[str]:
    """The variants that both runs have timed, and that are known or taken to be the same in both.

    Known is what both runs have a fingerprint of. Runs of before 2026-12 have none: there frameworks and R are taken to
    be the same, and `matrix-numpy` where NumPy is.
    """
    timed = [[record.variant for record in run.records if record.timed] for run in (old, new)]
    return [name for name in dict.fromkeys(timed[1]) if name in timed[0] and _unchanged(name, old, new)]


def known_same(name: str, old: Run, new: Run) -> bool:
    """Whether a variant has the same fingerprint in two runs."""
    made = [run.fingerprints.get(name) for run in (old, new)]
    return bool(made[0]) and made[0] == made[1]


def _unchanged(name: str, old: Run, new: Run) -> bool:
    if old.fingerprints.get(name) and new.fingerprints.get(name):
        return known_same(name, old, new)
    versions = [[run.environment.get("software", {}).get(name) for name in ("python", "numpy")] for run in (old, new)]
    numpy = name == "matrix-numpy" and all(versions[0]) and versions[0] == versions[1]
    return numpy or of_others(name)


@dataclass(frozen=True)
class Explained:
    """Two runs compared: the cells with their causes, a decomposition of each variant, the controls' names."""

    cells: list[Comparison]
    variants: list[Decomposition]
    controls: list[str]


def compare(
    old: Run, new: Run, *, threshold: float, whole: tuple[Run, Run] | None = None, by_variant: bool = True
) -> Explained:
    """The verdict on each cell of two runs, and why it and its variant moved.

    Args:
        old, new: two runs, with those of their records that are compared.
        threshold: the ratio from which on a difference matters.
        whole: the runs with all their records, among which the controls are; None where these are all.
        by_variant: whether variants are decomposed as well.

    Of runs made side by side the machine is never the cause, since it meets both alike: what moves the controls there
    is what all variants share.
    """
    paired = runs.paired(old, new)
    names = controls(*(whole or (old, new)))
    cells = verdicts.compare(old.records, new.records, threshold=threshold, paired=paired)
    beside = [each for each in cells if each.variant in names]
    if whole:
        known = [[record for record in run.records if record.variant in names] for run in whole]
        beside = verdicts.compare(*known, threshold=threshold, paired=paired)
    common = METHOD if paired or runs.measured_otherwise(old, new) else MACHINE
    judge = Judge(
        Ratios(beside), threshold, frozenset(name for name in names if known_same(name, old, new)),
        luck=0.0 if paired else LUCK, common=common, alone=CHANGE if paired else UNCLEAR,
    )  # fmt: skip
    variants = dict.fromkeys(each.variant for each in cells) if by_variant else ()
    decomposed = [judge.variant(name, cells) for name in variants]
    return Explained([judge.cell(each) for each in cells], [each for each in decomposed if each], names)


class Ratios:
    """The logarithms of ratios, by variant and cell, with their standard deviations."""

    def __init__(self, cells: Iterable[Comparison]) -> None:
        self.of: dict[str, dict[tuple, tuple[float, float]]] = {}
        for each in cells:
            if each.ratio and each.low and each.high:
                sd = math.log(each.high / each.low) / (2 * NORMAL)
                self.of.setdefault(each.variant, {})[place(each)] = math.log(each.ratio), sd


def place(each: Comparison) -> tuple[Any, ...]:
    """A comparison's cell."""
    return tuple(each.cell.values())


@dataclass(frozen=True)
class Judge:
    """Finds causes against the ratios of the controls.

    Attributes:
        same: variants that are known not to have changed: what moves one of them alone is unclear.
        luck: `LUCK`, or 0 where a ratio's interval holds it already.
        common: the cause where the controls moved alike; alone: where there are none.
    """

    controls: Ratios
    threshold: float
    same: frozenset[str]
    luck: float
    common: str
    alone: str

    def cell(self, each: Comparison) -> Comparison:
        """The comparison with its cause and what is its own, where it moved."""
        if not each.moved(self.threshold):
            return each
        found = self.decomposed(each.variant, [each])
        if found is None:
            return replace(each, cause=self.alone)
        return replace(each, cause=found.cause, own=found.own, own_low=found.low, own_high=found.high)

    def variant(self, name: str, cells: Sequence[Comparison]) -> Decomposition | None:
        """The decomposition of a variant; None where it has no cell with a control beside it."""
        return self.decomposed(name, [each for each in cells if each.variant == name])

    def decomposed(self, name: str, cells: Sequence[Comparison]) -> Decomposition | None:
        """The decomposition of a variant over some of its cells."""
        own = Ratios(cells).of.get(name, {})
        others = [known for control, known in self.controls.of.items() if control != name]
        shared = [where for where in own if any(where in known for known in others)]
        others = [known for known in others if any(where in known for where in shared)]
        if not shared:
            return None
        r, r_sd = np.array([own[where] for where in shared]).T
        lacking = (math.nan, math.nan)
        k, k_sd = np.moveaxis(np.array([[known.get(where, lacking) for where in shared] for known in others]), 2, 0)
        middle = np.nanmedian(k, axis=0)
        drawn_k, drawn_own = _drawn(r, r_sd, k, k_sd, self.scatter(k, middle))
        ratio, common, estimate = (float(np.median(values)) for values in (r, middle, r - middle))
        low, high = (float(end) for end in np.quantile(drawn_own, [0.025, 0.975]))
        exp = math.exp
        found = Decomposition(name, len(shared), exp(ratio), exp(common), exp(estimate), exp(low), exp(high))
        cause = self.cause(ratio, common, estimate, drawn_k, drawn_own)
        return replace(found, cause=UNCLEAR if cause == CHANGE and name in self.same else cause)

    def scatter(self, k: np.ndarray, middle: np.ndarray) -> float:
        """By how much an unchanged variant differs from the others, a standard deviation of the logarithm."""
        if not self.luck:
            return 0.0
        each = np.nanmedian(k - middle, axis=1)
        return max(self.luck, MAD * float(np.median(np.abs(each - np.median(each)))))

    def cause(self, ratio: float, common: float, own: float, drawn_k: np.ndarray, drawn_own: np.ndarray) -> str:
        """The cause, from logarithms: significant and large enough is what is the variant's own, as any verdict."""
        limit = math.log(self.threshold)
        if abs(ratio) < limit:
            return ""
        if abs(own) >= limit and own * ratio > 0 and _beyond(drawn_own, own):
            return CHANGE
        mostly = float(np.mean(np.abs(drawn_own) < np.abs(drawn_k))) > MOSTLY
        if mostly and common * ratio > 0 and _beyond(drawn_k, common):
            return self.common
        return UNCLEAR


def _beyond(drawn: np.ndarray, estimate: float) -> bool:
    """Whether so few draws lie on the other side of 0 that the estimate's sign is no accident."""
    return float(np.mean(drawn * np.sign(estimate) <= 0)) < ALPHA / 2


def _drawn(
    r: np.ndarray, r_sd: np.ndarray, k: np.ndarray, k_sd: np.ndarray, scatter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (`DRAWS`,) of the controls' typical ratio and of a variant's own, of r (cells,) and k (controls, cells)."""
    random = np.random.default_rng(0)
    controls, cells = k.shape
    chosen = random.integers(controls, size=(DRAWS, controls))
    drawn = k[chosen] + k_sd[chosen] * random.standard_normal((DRAWS, controls, cells))
    everywhere = not np.isnan(drawn).any()
    middle = np.median(drawn, axis=1) if everywhere else _nanmedian(drawn, np.nanmedian(k, axis=0))
    own = r + r_sd * random.standard_normal((DRAWS, cells)) - middle
    taken = random.integers(cells, size=(DRAWS, cells))
    middle, own = (np.median(np.take_along_axis(values, taken, axis=1), axis=1) for values in (middle, own))
    luck = scatter * random.standard_normal(DRAWS)
    return middle + luck / math.sqrt(controls), own + luck


def _nanmedian(drawn: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The median over controls of draws (draws, controls, cells); otherwise (cells,) where a draw has none there."""
    absent = np.isnan(drawn).all(axis=1, keepdims=True)
    return np.nanmedian(np.where(absent, otherwise, drawn), axis=1)

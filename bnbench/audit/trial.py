"""What a formula is tried on: a problem, its true gradients, and those that known mistakes give."""

import functools
from typing import Any

import numpy as np

from bnbench.audit import reading
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import Mistake, mistaken
from bnbench.problem import DTYPES, Batch, Gradients, Problem
from bnbench.validation import derivation_problem

CERTIFIED_WORK = 100_000  # N p1 p2 up to which the truth is certified (about a second); beyond, the reference
ROUNDINGS = 4096  # that two computations of a formula may differ by, up to 1000 rows; beyond, it grows as √N
TINY = float(np.finfo(float).tiny)
UNITS = {dtype: float(np.finfo(dtype).eps) / 2 for dtype in DTYPES}  # of rounding
MOST_CANCELLED = 64  # a gradient this much smaller than its terms is held to their rounding, not to its own

Parts = dict[str, Any]  # of an answer, by name: "dG1", or "dG1[0]" of several layers


class Trial:
    """A problem, its batch, the true gradients, and those of sets of known mistakes, computed when asked for."""

    def __init__(self, batch: Batch, problem: Problem, place: str) -> None:
        self.batch, self.problem, self.place = batch, problem, place
        truth, self.rounding = truth_of(batch, problem)
        self.truth = (truth if place == VARIANCE else mistaken(batch, problem, frozenset(), place)).parts()
        self.made: dict[tuple[frozenset[Mistake], str], Parts] = {(frozenset(), place): self.truth}

    def known(self, made: frozenset[Mistake], place: str) -> Parts:
        """The gradients with these mistakes; none where their shapes do not fit, so that code with them would raise."""
        if (made, place) not in self.made:
            try:
                self.made[made, place] = mistaken(self.batch, self.problem, made, place).parts()
            except ValueError:
                self.made[made, place] = {}
        return self.made[made, place]

    @functools.cached_property
    def letters(self) -> list[reading.Letters]:
        """N, γ, s and the terms of ∂R/∂Γ of every layer."""
        return reading.letters(self.batch, self.problem, self.place)

    def same(self, name: str, answer: Parts, right: Any, wider: float = 1.0) -> bool:
        """Whether an answer's part is this one, to rounding."""
        terms = self.terms(name) if name.startswith("dG1") else 0.0
        return same(answer[name], right, self.problem, wider, terms, self.rounding.get(name, 0.0))

    def terms(self, name: str) -> float:
        """The size of what is added up in ∂R/∂Γ: with eps = 0 and one input, say, it cancels to nothing."""
        terms = self.letters[layer_of(name)].terms
        return max((float(np.linalg.norm(term)) for term in terms), default=0.0)

    @functools.cached_property
    def cancels(self) -> float:
        """By how much E[z²] - μ² loses more digits than Σ(z - μ)² does: the largest (μ/s)² of a node."""
        if self.problem.normalization != "batch":
            return 0.0
        return max(float(np.max((one.mu / one.s) ** 2, initial=0.0)) for one in self.letters)


def layer_of(name: str) -> int:
    """The layer that a part is of, by its name; 0 where there is but one."""
    return int(name.partition("[")[2].rstrip("]") or 0)


@functools.lru_cache(maxsize=32)
def ordinary_trial(problem: Problem, place: str = VARIANCE) -> Trial:
    """The trial of a problem on its own sample."""
    return Trial(problem.sample(), problem, place)


@functools.lru_cache(maxsize=128)
def hard_trial(
    number: int, ddof: int, eps: float, activation: str, normalization: str, place: str = VARIANCE, **network: Any
) -> Trial:
    """The trial of a derivation problem; network as there."""
    return Trial(*derivation_problem(number, activation, normalization, ddof, eps, **network), place)


def truth_of(batch: Batch, problem: Problem) -> tuple[Gradients, Parts]:
    """The gradients to float64's last digit; and of a network, how far rounding may move each, in the 2-norm."""
    if problem.plain and problem.work <= CERTIFIED_WORK:
        from bnbench.reference.certified import certify

        enclosed = certify(batch, problem).gradients
        midpoint = np.vectorize(lambda ball: float(ball.mid()), otypes=[float])
        return Gradients._make(None if part is None else midpoint(part) for part in enclosed), {}
    from bnbench.reference import reference

    known = reference(batch, problem)
    if problem.plain:
        return known.high, {}
    allowed, kink = known.allowed.parts(), known.kink.parts()
    moved = {name: float(np.linalg.norm(part - kink[name])) for name, part in allowed.items() if part is not None}
    return known.high, {name: size if size < np.inf else 0.0 for name, size in moved.items()}


def tolerance(problem: Problem) -> float:
    """The relative difference, in the 2-norm, up to which two computations of one formula count as the same."""
    return ROUNDINGS * UNITS[problem.dtype] * max(1.0, (problem.N / 1000) ** 0.5)


def same(
    answer: Any, right: Any, problem: Problem, wider: float = 1.0, terms: float = 0.0, rounding: float = 0.0
) -> bool:
    """Whether two computations of one formula agree; terms is the size of what cancels in it.

    rounding is how far they may be apart beyond what their sizes say.
    """
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
        return False
    if np.ndim(right) == 0 and answer.ndim == 1:  # a sum without its axis, handed out once for each node
        right = np.full(answer.shape, right)
    if answer.shape != np.shape(right):
        return False
    size = float(np.linalg.norm(right))
    if not size < np.inf:  # a mistake that divides by 0, say, does so in the same places
        finite = np.isfinite(right)
        if not np.array_equal(finite, np.isfinite(answer)):
            return False
        answer, right = answer[finite], np.asarray(right)[finite]
        size = float(np.linalg.norm(right))
    difference = float(np.linalg.norm(answer - right))
    size = max(size, terms / MOST_CANCELLED)
    return difference <= max(wider * tolerance(problem) * size, rounding, TINY)

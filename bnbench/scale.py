"""Whether the variance of every hidden node is a number that the arrays' dtype holds.

Where s² overflows, X̂ is 0 and the gradient is finite and wrong; where it underflows, its digits are lost. No test of
the answer detects either, so s itself is checked: by a bound that costs next to nothing; where that does not suffice,
by the s that a step computed, if it lies far from every limit; else exactly, with numbers split into fraction and
exponent.
"""

import math

import numpy as np

from bnbench.problem import Problem
from bnbench.variants.base import read_only

ROOM = 3  # powers of two between N (Z - μ)² and the largest number
CLEAR = 16  # times what rounding may make of a constant column, from which a computed s is that of one that varies
LIMITS = {  # of a dtype: the largest number less that room, and what eps must be for smaller variances to be nothing
    info.dtype: (float(info.max) / 2**ROOM, float(info.tiny) / float(info.eps) ** 2)
    for info in (np.finfo(np.float64), np.finfo(np.float32))
}


class Scale:
    """The check for one X (N,p1), whose |X_ik| are at most `largest`, under a problem's conventions.

    Attributes:
        enough: every variance is in range by the bound alone for a Γ1 whose |Γ1_kj| add up to less.
    """

    def __init__(self, X: np.ndarray, largest: float, problem: Problem) -> None:
        self.problem = problem
        most, nothing = LIMITS[X.dtype]
        self.safe = math.sqrt(most / problem.N)
        self.eps_counts = problem.eps > nothing
        self.ends, self.none = ends(problem, problem.p1), np.zeros(0)
        self.take(X, largest)

    def take(self, X: np.ndarray, largest: float) -> None:
        """Check with another X of this shape from here on."""
        self.X = X
        self.tops: np.ndarray | None = None
        self.bound(largest)

    def bound(self, largest: float) -> None:
        """Take a bound of |X_ik|."""
        self.largest = largest
        self.enough = 0.0
        if self.problem.normalization != "batch":
            self.enough = math.inf
        elif self.eps_counts:
            self.enough = self.safe / largest if largest else math.inf

    def fits(self, total: float) -> bool:
        """Whether every variance is in range by the bound alone, for a Γ1 whose |Γ1_kj| add up to total."""
        return total < self.enough

    def judge(self, s: np.ndarray, G1: np.ndarray, total: float) -> None:
        """As `check`, after a step that computed s (p2,)."""
        from bnbench.sums import all_between

        least, highest, rounding = self.ends
        lowest = rounding * self.largest * total
        if all_between(s, max(least, lowest * lowest), highest, 0.0, self.none, G1):
            return
        if self.tops is None:
            self.tops = tops(self.X)
        if not all_between(s, least, highest, rounding, self.tops, G1):
            exactly(self.X, G1, self.problem)

    def check(self, G1: np.ndarray, total: float) -> None:
        """Refuse Γ1 (p1,p2), whose |Γ1_kj| add up to total at most, where a column of X Γ1 is out of range.

        Raises:
            ValueError: a column is constant and eps is 0, or its variance is no number of this dtype; it names it.
        """
        if self.eps_counts:
            if self.fits(total):
                return
            self.bound(max(abs(float(self.X.max())), abs(float(self.X.min()))))
            if self.fits(total):
                return
        exactly(self.X, G1, self.problem)


def tops(X: np.ndarray) -> np.ndarray:
    """The largest |X_ik| of each column (p1,), in float64."""
    from bnbench.sums import largest

    found = np.zeros(X.shape[1])
    largest(read_only(X), found)
    return found


def ends(problem: Problem, p_in: int) -> tuple[float, float, float]:
    """When a computed s says that `exactly` would not refuse a column: least < s² < highest, and s > rounding × scale.

    scale is Σ_k |A_ik Γ_kj| at its largest, for a layer with p_in inputs A: of a constant column, rounding makes one
    with deviations of some ulps of it. s² has to be far from the ends of what the dtype holds. NaN is refused.
    """
    dtype = np.dtype(problem.dtype)
    N, rows, info = problem.N, problem.N - problem.ddof, np.finfo(dtype)
    highest, nothing = LIMITS[dtype]
    least, rounding = -1.0, 0.0
    if problem.eps <= nothing:
        least = 4 * max(float(info.tiny), problem.eps)
        rounding = CLEAR * float(info.eps) * p_in**0.5 * (N / rows) ** 0.5
    return least, highest / N / rows, rounding  # N times any (Z - μ)² is at most N times that of them all


def clear(s: np.ndarray, G: np.ndarray, most: np.ndarray, problem: Problem) -> bool:
    """Whether `exactly` would refuse no column, by the s (p_out,) that a step computed.

    most (p_in,), float64, is at least the largest |A_ik| of each column of the layer's input A.
    """
    from bnbench.sums import all_between

    return all_between(s, *ends(problem, len(most)), most, read_only(G))


def exactly(X: np.ndarray, G1: np.ndarray, problem: Problem, of: str = "X G1", factors: str = "X or G1") -> None:
    """`Scale.check` by X Γ1 itself; a message names it, and what to rescale, by these words."""
    N, eps, info = problem.N, problem.eps, np.finfo(X.dtype)
    _, of_X = np.frexp(np.abs(X).max(axis=0).astype(np.float64))
    fraction, of_G1 = np.frexp(G1.astype(np.float64))
    exponents = np.where(fraction == 0, np.iinfo(of_G1.dtype).min, of_G1 + of_X[:, None])
    E = np.maximum(exponents.max(axis=0), -(2**20))
    W = np.ldexp(fraction, np.maximum(exponents - E, -2000))
    Z = np.ldexp(X.astype(np.float64, copy=False), -of_X) @ W  # times 2^E
    Z -= Z[0].copy()  # or what rounding leaves of a long sum would be taken for variance
    deviation = np.abs(Z - Z.mean(axis=0))
    spread = deviation.max(axis=0)
    constant = spread <= float(info.eps) * X.shape[1] ** 0.5 * np.abs(W).sum(axis=0)
    if eps == 0 and constant.any():
        raise ValueError(
            f"column {constant.argmax()} of {of} has zero variance and eps is 0 ({np.count_nonzero(constant)} such "
            "columns); allowed is eps > 0, or hidden nodes that vary over the rows"
        )
    with np.errstate(divide="ignore"):
        bits = np.log2((deviation**2).sum(axis=0) / (N - problem.ddof)) + 2.0 * E  # of the variance
        largest = np.log2(N) + 2 * (np.log2(spread) + E)
        least = np.log2(float(info.tiny))
        negligible = constant | (bits < np.log2(eps * float(info.eps))) if eps > 0 else constant
    for wrong, words in (
        (largest > np.log2(float(info.max)) - ROOM, "more"),
        ((bits < least) & ~negligible, "less"),
    ):
        if wrong.any():
            j = int(wrong.argmax())
            raise ValueError(
                f"column {j} of {of} has a variance of about 10^{bits[j] * np.log10(2):.0f}, {words} than {X.dtype} "
                f"can work with ({np.count_nonzero(wrong)} such columns); rescale {factors} so that it is nearer "
                "to 1"
            )

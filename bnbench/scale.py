"""Whether the variance of every hidden node is a number that the arrays' dtype holds.

Where s² overflows, X̂ is 0 and the gradient is finite and wrong; where it underflows, its digits are lost. No test of
the answer detects either, so s itself is checked: by a bound that costs next to nothing and, where that does not
suffice, exactly, with numbers split into fraction and exponent.
"""

import math

import numpy as np

from bnbench.problem import Problem

ROOM = 3  # powers of two between N (Z - μ)² and the largest number
LIMITS = {  # of a dtype: the largest number less that room, and what eps must be for smaller variances to be nothing
    info.dtype: (float(info.max) / 2**ROOM, float(info.tiny) / float(info.eps) ** 2)
    for info in (np.finfo(np.float64), np.finfo(np.float32))
}


class Scale:
    """The check for one X (N,p1), whose |X_ik| are at most `largest`, under a problem's conventions."""

    def __init__(self, X: np.ndarray, largest: float, problem: Problem) -> None:
        self.X, self.problem, self.largest = X, problem, largest
        most, nothing = LIMITS[X.dtype]
        self.safe = math.sqrt(most / problem.N)
        self.eps_counts = problem.eps > nothing

    def fits(self, total: float) -> bool:
        """Whether every variance is in range by the bound alone, for a Γ1 whose |Γ1_kj| add up to total."""
        return self.eps_counts and self.largest * total < self.safe

    def check(self, G1: np.ndarray, total: float) -> None:
        """Refuse Γ1 (p1,p2), whose |Γ1_kj| add up to total at most, where a column of X Γ1 is out of range.

        Raises:
            ValueError: a column is constant and eps is 0, or its variance is no number of this dtype; it names it.
        """
        if self.eps_counts:
            if self.fits(total):
                return
            self.largest = max(abs(float(self.X.max())), abs(float(self.X.min())))
            if self.fits(total):
                return
        exactly(self.X, G1, self.problem)


def exactly(X: np.ndarray, G1: np.ndarray, problem: Problem, of: str = "X G1", factors: str = "X or G1") -> None:
    """`Scale.check` by X Γ1 itself; a message names it, and what to rescale, by these words."""
    N, eps, info = problem.N, problem.eps, np.finfo(X.dtype)
    _, of_X = np.frexp(np.abs(X).max(axis=0).astype(np.float64))
    fraction, of_G1 = np.frexp(G1.astype(np.float64))
    exponents = np.where(fraction == 0, np.iinfo(of_G1.dtype).min, of_G1 + of_X[:, None])
    E = np.maximum(exponents.max(axis=0), -(2**20))
    W = np.ldexp(fraction, np.maximum(exponents - E, -2000))
    Z = np.ldexp(X.astype(np.float64, copy=False), -of_X) @ W  # times 2^E
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

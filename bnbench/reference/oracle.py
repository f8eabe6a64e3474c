"""The reference: every gradient in double-double arithmetic, and how much a correct answer may differ.

Two questions are answered in one pass over the data.

*What is the gradient?* The formulas (`bnbench docs gradient`), two-pass statistics, every operation in double-double
(about 31 digits). The bound on its own error, `Reference.bound`, is the propagation below with `DOUBLE_DOUBLE` for the
rounding unit and every sum at its worst case.

*How far may a correct implementation in the problem's dtype be off?* A running error analysis, first order
in the rounding unit u, element by element: each operation adds its own rounding, each sum of n terms
φ(n) u Σ|terms|, and what came before is carried through the derivative of what comes after. So the bound
grows where the problem is ill-conditioned (|μ|/s, a variance that cancels) and only there. Where rounding may lose
the variance altogether, s is known from below by √eps alone, and by nothing where the dtype has no such eps: then the
bound is infinite, and so it is where the gradient itself is beyond the dtype's range: nothing can be judged there. φ(n)
is n up to 16 terms and 4 √n beyond: the probabilistic bound of Higham and Mary (A new approach to probabilistic
rounding error analysis, SIAM J. Sci. Comput. 41, 2019, Theorem 2.4) with λ = 4.

*Kinks.* Where |B| of a ReLU is within its own error bound of 0, a'(B) may be judged either way, which moves
the gradients by far more than rounding. Such an element (i,j) moves S_ij by ±t, t = -(2/N) ε̂_i Γ2_j, and with
it ∂R/∂β_j by t, ∂R/∂γ_j by t X̂_ij and ∂R/∂Γ1_kj by t (γ_j/s_j)(X_ik - x̄_k - X̂_ij (XᵀX̂)_kj/(N - ddof)). The
allowance of an entry is the largest sum that any subset of its ambiguous elements makes: the positive moves
together or the negative ones together, no more.
"""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Problem
from bnbench.reference import doubledouble as dd
from bnbench.reference import kernels

DOUBLE_DOUBLE = 2.0**-100  # above the relative error of every double-double operation used here
LAMBDA = 4.0
ROUNDED_FACTORS = 4  # units a term of a product may lose: of two factors, each cut off where it is not rounded
BLOCK_ROWS = 4096
CHUNK_ROWS = 1024  # of a thread's task; fixed, so that the sums do not depend on the number of threads
Z_BYTES_KEPT = 2**30  # Z and |X||Γ1| are kept up to this size and computed three times beyond


@dataclass(frozen=True)
class Reference:
    """The gradient of a problem and the errors that are allowed around it; each field a `Gradients`.

    Attributes:
        high, low: their sum is the reference, as double-doubles.
        allowed: the largest error, entry by entry, of a correct implementation in the problem's dtype, kink
            allowance included; infinite where nothing bounds it. Above 0 and never NaN.
        kink: the kink allowance alone.
        bound: a bound on the reference's own error; infinite where rounding to the dtype may lose a variance.
        ambiguous: how many elements of B a correct implementation may judge either way (a number).
    """

    high: Gradients
    low: Gradients
    allowed: Gradients
    kink: Gradients
    bound: Gradients
    ambiguous: int


def phi(n: int) -> float:
    """The growth of rounding errors in a sum of n terms, in units of u Σ|terms|."""
    return min(float(n), LAMBDA * math.sqrt(n))


def worst_sum(n: int) -> float:
    """The relative growth in the reference's own sums of n terms, in units of Σ|terms|."""
    return n * DOUBLE_DOUBLE + dd.dot_bound(min(n, BLOCK_ROWS))


def reference(batch: Batch, problem: Problem, factor_unit: float = 0.0) -> Reference:
    """The gradient of a batch in double-double, and how much a correct answer may differ.

    Shapes as in `Batch`. factor_unit is for hardware that rounds the factors of matrix products to fewer digits than
    the dtype has: that format's rounding unit (TF32: 2⁻¹¹). Takes 24 N p2 bytes, or blocks of 4096 rows where that is
    more than 1 GiB.
    """
    double = [None if array is None else np.ascontiguousarray(array, np.float64) for array in batch]
    X, y, G1, gamma, beta, G2 = Batch._make(double)
    N, p1, p2, ddof = problem.N, problem.p1, problem.p2, problem.ddof
    normalize = problem.normalization == "batch"
    limits = np.finfo(problem.dtype)
    u, tiny = float(limits.eps) / 2, float(limits.tiny)
    product = ROUNDED_FACTORS * factor_unit / u
    rounding = (u, phi(p1) + product, phi(p2 + 1) + product, phi(N), phi(N) + product)
    minus_two_over_N = kernels.quotient(-2.0, float(N))
    blocks = _Blocks(X, G1, tiny / u)
    if normalize:
        xbar, statistics, lost = _statistics(X, G1, blocks, problem, u, tiny, rounding[1])
        nodes = np.vstack([*statistics[:4], gamma, beta, G2, *statistics[4:]])
    else:
        xbar, nodes, lost = np.zeros(p1), np.zeros((9, p2)), False
        nodes[6] = G2
    forward, backward = kernels.forward_and_backward(CODES[problem.activation], normalize)

    e = np.empty((3, N))
    sums, errors = np.zeros((3, 2, p2)), np.zeros((3, p2))  # of ∂R/∂β, ∂R/∂γ, ∂R/∂Γ2
    moved = np.zeros((2, 2, p2))
    slope = np.zeros((p1, p2))
    dG1, error_G1, moved_G1 = np.zeros((2, p1, p2)), np.zeros((p1, p2)), np.zeros((2, p1, p2))
    ambiguous = 0

    def pass_forward(rows: slice, Z: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return forward(*Z, y[rows], nodes, minus_two_over_N, rounding, e[:, rows])

    for rows, (Xhat, part_sums, part_errors, part_moved) in blocks.each(pass_forward):
        for total, part in zip(sums, part_sums, strict=True):
            kernels.add_pairs(total, part)
        errors += part_errors
        moved += part_moved
        if normalize:
            slope += (X[rows] - xbar).T @ Xhat / (N - ddof)

    over_N, over_Nd = kernels.quotient(1.0, float(N)), kernels.quotient(1.0, float(N - ddof))

    def pass_backward(rows: slice, Z: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return backward(*Z, e[:, rows], nodes, sums, errors, over_N, over_Nd, minus_two_over_N, rounding)

    for rows, (dZh, dZl, W, flips, Xhat) in blocks.each(pass_backward):
        kernels.add_to(dG1, *dd.tmatmul(X[rows], dZh, dZl))
        error_G1 += np.abs(X[rows]).T @ W
        count = int(np.count_nonzero(flips))
        if count:
            ambiguous += count
            kernels.move(X[rows] - xbar, flips, Xhat, slope, moved_G1)

    *loss, error_loss = kernels.loss(e, float(N), u, rounding[3])
    own = max(worst_sum(n) / (phi(n) * u) for n in (1, p1, p2 + 1, N))

    def gradients(loss: Any, dG1: np.ndarray, dgamma: np.ndarray, dbeta: np.ndarray, dG2: np.ndarray) -> Gradients:
        return Gradients(loss, dG1, dgamma if normalize else None, dbeta if normalize else None, dG2)

    errors_all = gradients(error_loss, error_G1, errors[1], errors[0], errors[2])
    kink = gradients(0.0, moved_G1.max(axis=0), moved[1].max(axis=0), moved[0].max(axis=0), np.zeros(p2))
    high = gradients(loss[0], dG1[0], sums[1, 0], sums[0, 0], sums[2, 0])

    def allow(value: Any, error: Any, kinks: Any) -> np.ndarray:
        allowed = error * (1 + own) + kinks + N * tiny
        return np.where(abs(value) + allowed <= float(limits.max), allowed, np.inf)  # which NaN is not

    return Reference(
        high=high,
        low=gradients(loss[1], dG1[1], sums[1, 1], sums[0, 1], sums[2, 1]),
        allowed=_each(allow, high, errors_all, kink),
        kink=kink,
        bound=_each(lambda error: error * np.inf if lost else error * own, errors_all),
        ambiguous=ambiguous,
    )


class _Blocks:
    """Blocks of rows with their Z = X Γ1 as a double-double and |X||Γ1| + least, kept where memory allows.

    What underflows in a product is rounded by u times least.
    """

    def __init__(self, X: np.ndarray, G1: np.ndarray, least: float) -> None:
        self.X, self.G1, self.least = X, G1, least
        self.kept: dict[int, tuple[np.ndarray, ...]] | None = {} if 24 * len(X) * G1.shape[1] <= Z_BYTES_KEPT else None

    def __iter__(self) -> Iterator[tuple[slice, tuple[np.ndarray, ...]]]:
        for rows in _slices(0, len(self.X), BLOCK_ROWS):
            Z = self.kept.get(rows.start) if self.kept is not None else None
            if Z is None:
                Z = (*dd.matmul(self.X[rows], self.G1), np.abs(self.X[rows]) @ np.abs(self.G1) + self.least)
                if self.kept is not None:
                    self.kept[rows.start] = Z
            yield rows, Z

    def each(self, function: Callable) -> Iterator[tuple[slice, tuple[np.ndarray, ...]]]:
        """(rows, function(rows, Z)) of chunks of rows, in order; the chunks of a block run in threads."""
        for block, Z in self:
            chunks = list(_slices(block.start, block.stop, CHUNK_ROWS))
            parts = [[half[c.start - block.start : c.stop - block.start] for half in Z] for c in chunks]
            spread = map if len(chunks) == 1 else _threads().map
            yield from zip(chunks, spread(function, chunks, parts), strict=True)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.get_num_threads(), "reference")


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _statistics(
    X: np.ndarray, G1: np.ndarray, blocks: "_Blocks", problem: Problem, u: float, tiny: float, phi_p1: float
) -> tuple[np.ndarray, tuple[np.ndarray, ...], bool]:
    """x̄ (p1,); rows of p2: the halves of μ and of 1/s, the error of μ, the relative one of 1/s; whether s may be lost.

    Squares below tiny may be lost. A computed s² is at least eps, but for rounding, where the dtype has eps.
    """
    N, free = problem.N, problem.N - problem.ddof
    ones = np.ones((BLOCK_ROWS, 1))
    columns = np.zeros((2, problem.p1, 1))
    squares, size, size2 = np.zeros((2, problem.p2)), np.zeros(problem.p2), np.zeros(problem.p2)
    for rows in _slices(0, N, BLOCK_ROWS):
        one = ones[: rows.stop - rows.start]
        kernels.add_to(columns, *dd.tmatmul(X[rows], one, np.zeros_like(one)))
    mu = kernels.means(columns[0, :, 0], columns[1, :, 0], G1, float(N))
    for _, (Zh, Zl, M) in blocks:
        kernels.add_pairs(squares, kernels.sum_squares(Zh, Zl, mu))
        size += M.sum(axis=0)
        size2 += np.einsum("ij,ij->j", M, M)
    s, over_s = kernels.roots(squares, float(free), problem.eps)
    variance = squares[0] / free
    error_mu = u * ((phi(N) + phi_p1) * size / N + np.abs(mu[0]))
    spread = u * phi_p1 * np.sqrt(size2 / free)  # root mean square error of Z
    error_variance = (
        u * ((phi(N) + 6) * variance + problem.eps)
        + 2 * np.sqrt(variance) * spread
        + ((spread + error_mu) ** 2 + tiny) * (N / free)
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rho = error_variance / (2 * s * s) + 2 * u
        lost = not (rho < 0.5).all()
        rho = np.where(rho < 0.5, rho / (1 - 2 * rho), np.inf)
        if problem.eps >= tiny:
            rho = np.minimum(rho, np.maximum(s / problem.eps**0.5 - 1, 1) + 2 * u)
    return columns[0, :, 0] / N, (*mu, *over_s, error_mu, rho), lost


def _each(function: Callable, *gradients: Any) -> Gradients:
    return Gradients._make(None if parts[0] is None else function(*parts) for parts in zip(*gradients, strict=True))

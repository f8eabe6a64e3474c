"""The gradient as a theorem: every entry a ball that provably holds the true value.

Nothing here knows a formula for a gradient. The loss is written down from its definition over truncated power
series whose coefficients are balls (python-flint's `arb_series`: midpoint and radius, every rounding counted in
the radius), a parameter is replaced by parameter + t, and the derivative is the coefficient of t in R. What the
closed forms say, the chain rule through μ and s included, is therefore no part of the argument; it can be put on
trial by it. A direction in column j of Γ1, γ, β or Γ2 moves column j of Z and no other, so only that column is
a series: N p1 p2 steps for all of ∂R/∂Γ1.

Source of the arithmetic: F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic",
IEEE Transactions on Computers 66, 2017.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx

from bnbench.activations import DEFINITIONS, functions
from bnbench.problem import Batch, Gradients, Problem
from bnbench.reference.balls import BALLS

RADIUS = 1e-25
FIRST_BITS, LAST_BITS = 128, 2048
SERIES_TERMS = 2  # value and first derivative


@dataclass(frozen=True)
class Enclosure:
    """The gradients of a problem as balls that hold them.

    Attributes:
        gradients: a `Gradients` whose entries are `flint.arb`, in object arrays.
        dX: ∂R/∂X (N,p1), or None where it was not asked for.
        radius: the largest radius of an entry, relative to the largest entry of its array; for an array that
            cannot be told from 0, relative to the loss.
        bits: the precision that reached it.
        kinks: the elements (i, j) of B at which a ReLU is not differentiable, or cannot be told from one that
            is not. Where B is exactly 0 the enclosed value is that of a'(0) = 0; where it cannot be told, the
            ball holds the values of both sides.
    """

    gradients: Gradients
    dX: np.ndarray | None
    radius: float
    bits: int
    kinks: tuple[tuple[int, int], ...]


def certify(batch: Batch, problem: Problem, *, radius: float = RADIUS, inputs: bool = False) -> Enclosure:
    """Enclose the loss and its gradients at a batch, to a radius relative to each array's largest entry.

    Args:
        batch: shapes as in `Batch`; entries are floats (taken as the exact numbers that they are), integers,
            `flint.fmpq` or `flint.arb`.
        problem: its conventions; the dtype plays no part.
        radius: precision is doubled until every ball's relative radius is at most this.
        inputs: whether ∂R/∂X is wanted too, at a cost of N² p1 p2.

    Raises:
        ValueError: 2048 bits do not tell s from 0 (eps = 0 and a column of XΓ1 without variance), or do not reach
            the radius although the batch is on no kink (its own balls are too wide).
    """
    bits = FIRST_BITS
    while True:
        try:
            with ctx.workprec(bits):
                enclosure = _Network(batch, problem).differentiate(inputs, bits)
            if enclosure.radius <= radius or (bits >= LAST_BITS and enclosure.kinks):
                return enclosure
            reason = f"the radius is {enclosure.radius:.2g}, asked is {radius:g}"
        except ZeroDivisionError:
            reason = "a column of X G1 has no variance and eps is 0; allowed are columns with variance"
        if bits >= LAST_BITS:
            raise ValueError(f"with {bits} bits {reason}")
        bits *= 2


def balls(values: Any) -> np.ndarray:
    """An object array of exact balls from an array of numbers, arb or fmpq, or nested lists of them."""
    values = np.asarray(values, object)
    out = np.empty(values.shape, object)
    for index, value in np.ndenumerate(values):
        out[index] = arb(float(value)) if isinstance(value, np.floating | float) else arb(value)
    return out


def normalise(z: list[Any], ddof: int, eps: arb) -> list[Any]:
    """x̂ of one column (a list of series): (z - μ)/s by the definitions of μ and s."""
    N = len(z)
    mu = sum(z) / N
    variance = sum((value - mu) * (value - mu) for value in z) / (N - ddof) + eps
    if not variance[0] > 0:
        raise ZeroDivisionError("s cannot be told from 0")
    s = variance.sqrt()
    return [(value - mu) / s for value in z]


def activate(name: str, column: list[Any]) -> tuple[list[Any], list[int]]:
    """a(b) of a column of series, and the places of those that sit on a kink."""
    a, _ = functions(name, BALLS)
    found = [value if isinstance(value, arb_series) else _series(value, 0) for value in a(np.fromiter(column, object))]
    if not DEFINITIONS[name].jump:
        return found, []
    return found, [i for i, b in enumerate(column) if b[0].is_finite() and not (b[0] > 0 or b[0] < 0)]


def _series(value: Any, slope: Any) -> arb_series:
    return arb_series([value, slope], prec=SERIES_TERMS)


class _Network:
    """The network at one batch and precision, and its loss along a direction."""

    def __init__(self, batch: Batch, problem: Problem) -> None:
        self.problem = problem
        self.kinks: set[tuple[int, int]] = set()
        exact = Batch._make(None if array is None else balls(array) for array in batch)
        self.X, self.y, self.G1, self.gamma, self.beta, self.G2 = exact
        self.eps = arb(problem.eps)
        self.Z = self.X @ self.G1
        self.A = np.empty(self.Z.shape, object)
        for j in range(problem.p2):
            column = self.column(j, [_series(z, 0) for z in self.Z[:, j]])
            self.A[:, j] = [a[0] for a in column]
        self.e = self.y - self.A @ self.G2

    def column(self, j: int, z: list[Any], gamma: Any = None, beta: Any = None) -> list[Any]:
        """Column j of A as series, from column j of Z and, where they are moved, γ_j and β_j."""
        if self.problem.normalization == "batch":
            gamma = self.gamma[j] if gamma is None else gamma
            beta = self.beta[j] if beta is None else beta
            z = [gamma * x + beta for x in normalise(z, self.problem.ddof, self.eps)]
        activated, kinks = activate(self.problem.activation, z)
        self.kinks |= {(i, j) for i in kinks}
        return activated

    def slope(self, moved: list[Any]) -> arb:
        """The derivative of R, given ŷ's moved part as a list of series."""
        return sum(((e - (part - part[0])) ** 2)[1] for e, part in zip(self.e, moved, strict=True)) / self.problem.N

    def differentiate(self, inputs: bool, bits: int) -> Enclosure:
        """All derivatives, one direction at a time, with the radius they reached."""
        N, p1, p2 = self.problem.N, self.problem.p1, self.problem.p2
        normalize = self.problem.normalization == "batch"
        dG1, dgamma, dbeta, dG2 = (np.empty(shape, object) for shape in ((p1, p2), p2, p2, p2))
        for j in range(p2):
            z = self.Z[:, j]
            still = [_series(value, 0) for value in z]
            for k in range(p1):
                dG1[k, j] = self.along(j, [_series(*pair) for pair in zip(z, self.X[:, k], strict=True)])
            dG2[j] = self.slope([a * _series(self.G2[j], 1) for a in self.column(j, still)])
            if normalize:
                dgamma[j] = self.along(j, still, gamma=_series(self.gamma[j], 1))
                dbeta[j] = self.along(j, still, beta=_series(self.beta[j], 1))
        dX = np.empty((N, p1), object) if inputs else None
        if dX is not None:
            for i, k in np.ndindex(N, p1):
                dX[i, k] = self.slope(self.moved_row(i, k))
        loss = sum(e * e for e in self.e) / N
        arrays = [dG1, dG2, np.array([loss])] + [dgamma, dbeta] * normalize + ([] if dX is None else [dX])
        gradients = Gradients(loss, dG1, dgamma if normalize else None, dbeta if normalize else None, dG2)
        reached = max(_relative(array, loss) for array in arrays)
        return Enclosure(gradients, dX, reached, bits, tuple(sorted(self.kinks)))

    def along(self, j: int, z: list[Any], gamma: Any = None, beta: Any = None) -> arb:
        """The derivative of R along a direction in column j."""
        return self.slope([a * self.G2[j] for a in self.column(j, z, gamma, beta)])

    def moved_row(self, i: int, k: int) -> list[Any]:
        """ŷ as series where X_ik is moved: every column of Z changes in row i, and all of B with it."""
        total = [_series(0, 0)] * self.problem.N
        for j in range(self.problem.p2):
            z = [_series(z, self.G1[k, j] if row == i else 0) for row, z in enumerate(self.Z[:, j])]
            total = [sum_ + a * self.G2[j] for sum_, a in zip(total, self.column(j, z), strict=True)]
        return total


def _relative(array: np.ndarray, loss: arb) -> float:
    """The largest radius over the largest entry; over the loss where no entry can be told from 0."""
    entries = list(array.flat)
    if not all(entry.is_finite() for entry in entries):
        return float("inf")
    widest = max(entry.rad() for entry in entries)
    if widest.is_zero():
        return 0.0
    largest = max(entry.abs_lower() for entry in entries)
    return float((widest / (largest if largest > 0 else loss)).abs_upper())

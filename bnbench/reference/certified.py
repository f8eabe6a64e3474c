"""The gradient as a theorem: every entry a ball that provably holds the true value.

Nothing here knows a formula for a gradient: `balls.enclose` differentiates the definition. What the closed forms say,
the chain rule through μ and s included, is therefore no part of the argument; it can be put on trial by it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import ctx

from bnbench.activations import DEFINITIONS
from bnbench.problem import Batch, Gradients, Problem
from bnbench.reference.balls import balls, balls_of, enclose, passed

__all__ = ["RADIUS", "Enclosure", "balls", "certify"]

RADIUS = 1e-25
FIRST_BITS, LAST_BITS = 128, 2048


@dataclass(frozen=True)
class Enclosure:
    """The gradients of a problem as balls that hold them.

    Attributes:
        gradients: a `Gradients` whose entries are `flint.arb`, in object arrays; dX where it was asked for.
        radius: the largest radius of an entry, relative to the largest entry of its array; for an array that
            cannot be told from 0, relative to the loss.
        bits: the precision that reached it.
        kinks: the elements of B at which a ReLU is not differentiable, or cannot be told from one that is not: (i, j),
            or (layer, i, j) where there are several. Where B is exactly 0 the enclosed value is that of a'(0) = 0;
            where it cannot be told, the ball holds the values of both sides.
    """

    gradients: Gradients
    radius: float
    bits: int
    kinks: tuple[tuple[int, ...], ...]


def certify(batch: Batch, problem: Problem, *, radius: float = RADIUS, inputs: bool = False) -> Enclosure:
    """Enclose the loss and its gradients at a batch, to a radius relative to each array's largest entry.

    Args:
        batch: shapes as in `Batch`; entries are floats (taken as the exact numbers that they are), integers,
            `flint.fmpq` or `flint.arb`.
        problem: its conventions; the dtype plays no part.
        radius: precision is doubled until every ball's relative radius is at most this.
        inputs: whether ∂R/∂X is wanted too, at a cost of N² p1² p2.

    Raises:
        ValueError: 2048 bits do not tell s from 0 (eps = 0 and a column of XΓ1 without variance), or do not reach
            the radius although the batch is on no kink (its own balls are too wide).
    """
    bits, spec, deep = FIRST_BITS, problem.spec, isinstance(batch.G1, list)
    while True:
        try:
            found = Gradients.of(enclose(batch.theta, batch.data, spec, inputs=inputs, bits=bits), deep)
            reached = max(_relative(part, found.loss) for part in found.parts().values() if part is not None)
            reason = f"the radius is {reached:.2g}, asked is {radius:g}"
        except (ZeroDivisionError, ValueError) as error:
            reached, reason = np.inf, str(error)
        if reached <= radius or bits >= LAST_BITS:
            kinks = _kinks(batch, problem, bits)
            if reached <= radius or (kinks and reached < np.inf):
                return Enclosure(found, reached, bits, kinks)
            if reached == np.inf and not spec.eps and spec.normalization == "batch":
                reason = "a column of X G1 has no variance and eps is 0; allowed are columns with variance"
            raise ValueError(f"with {bits} bits {reason}")
        bits *= 2


def _kinks(batch: Batch, problem: Problem, bits: int) -> tuple[tuple[int, ...], ...]:
    """The elements of B that are 0, or cannot be told from it, where there is a kink."""
    if not DEFINITIONS[problem.activation].jump:
        return ()
    with ctx.workprec(bits):
        _, before = passed(*balls_of(batch.theta, batch.data, problem.spec))
        found = [
            (place, *index) for place, B in enumerate(before) for index, b in np.ndenumerate(B) if not (b > 0 or b < 0)
        ]
    return tuple(found if problem.depth > 1 else (index[1:] for index in found))


def _relative(part: Any, loss: Any) -> float:
    """The largest radius over the largest entry; over the loss where no entry can be told from 0."""
    entries = list(np.ravel(np.asarray(part, object)))
    if not all(entry.is_finite() for entry in entries):
        return np.inf
    widest = max(entry.rad() for entry in entries)
    if widest.is_zero():
        return 0.0
    largest = max(entry.abs_lower() for entry in entries)
    return float((widest / (largest if largest > 0 else loss)).abs_upper())

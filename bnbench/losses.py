"""The losses R = Σℓ(y, η)/N, each defined once: value, slope, mean, domain and unit effect, over a table of operations.

η (N,) is the head's output; the mean is ŷ on the scale of y. A loss knows nothing of layers. A unit's effect α is what
minimises R where α is added to η in the rows of that unit.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bnbench.operations import NUMPY, Operations

NONE_EXISTS = "no effect minimises the loss there"


class Loss(NamedTuple):
    """A loss.

    Attributes:
        name: as in `Problem`.
        of: a table of operations to ℓ(y, η), ∂ℓ/∂η (y, η) and the mean (η), of a row each, elementwise.
        effect: (y, η, unit, units, table) to α (U,), as in `formula.head`.
        least, most: the domain of y.
        domain: the same in words.
        extremes: whether a unit whose every y is at the same end of the domain has no effect.
    """

    name: str
    of: Callable
    effect: Callable
    least: float = -np.inf
    most: float = np.inf
    domain: str = "numbers"
    extremes: bool = False


def rows_of(unit, units):
    """How many rows each unit has, (U,), in a dtype that makes no array wider."""
    return np.bincount(unit, minlength=units).astype(np.float32)


def squared(m):
    """(y - η)²."""

    def value(y, eta):
        return (y - eta) * (y - eta)

    def slope(y, eta):
        return (eta - y) + (eta - y)

    def mean(eta):
        return eta

    return value, slope, mean


def squared_effect(y, eta, unit, units, m):
    """The mean of y - η."""
    return m.by_unit(y - eta, unit, units) / rows_of(unit, units)


def logistic(m):
    """log(1 + exp(η)) - yη: minus the log-likelihood of y, a share or a 0 or 1, at probability σ(η)."""

    def value(y, eta):
        return m.softplus(eta) - y * eta

    def slope(y, eta):
        return m.sigmoid(eta) - y

    def mean(eta):
        return m.sigmoid(eta)

    return value, slope, mean


def logistic_effect(y, eta, unit, units, m):
    """The root of Σ(σ(η + α) - y), by Newton's method in one number."""
    one = m.number(eta, 1)

    def function(alpha):
        p = m.sigmoid(eta + alpha[unit])
        return m.by_unit(p - y, unit, units), m.by_unit(p * (one - p), unit, units)

    rows = rows_of(unit, units)
    share = m.by_unit(y, unit, units) / rows
    return m.root(function, m.log(share / (one - share)) - m.by_unit(eta, unit, units) / rows)


def poisson(m):
    """exp(η) - yη: minus the log-likelihood of a count y, but for log y!, at rate exp(η)."""

    def value(y, eta):
        return m.exp(eta) - y * eta

    def slope(y, eta):
        return m.exp(eta) - y

    def mean(eta):
        return m.exp(eta)

    return value, slope, mean


def poisson_effect(y, eta, unit, units, m):
    """log(Σy / Σexp(η))."""
    return m.log(m.by_unit(y, unit, units) / m.by_unit(m.exp(eta), unit, units))


DEFINITIONS = {
    one.name: one
    for one in (
        Loss("squared", squared, squared_effect),
        Loss("logistic", logistic, logistic_effect, 0.0, 1.0, "numbers from 0 to 1", extremes=True),
        Loss("poisson", poisson, poisson_effect, 0.0, domain="numbers of at least 0", extremes=True),
    )
}


@functools.cache
def functions(loss: str, operations: Operations = NUMPY) -> tuple[Callable, Callable, Callable]:
    """ℓ(y, η), ∂ℓ/∂η (y, η) and the mean (η) over a table of operations."""
    return DEFINITIONS[loss].of(operations)


def check(loss: str, y: np.ndarray, unit: np.ndarray | None = None, labels=None):
    """Refuse y (N,) outside the loss's domain, and a unit that has no effect.

    Raises:
        ValueError: it names the first entry of y, or the first unit by its label.
    """
    one = DEFINITIONS[loss]
    outside = ~((y >= one.least) & (y <= one.most))
    if outside.any():
        i, count = int(outside.argmax()), np.count_nonzero(outside)
        raise ValueError(f"y[{i}] is {y[i]} ({count} such entries); with loss={loss!r} allowed are {one.domain}")
    if unit is None or not one.extremes:
        return
    for end in (one.least, one.most):
        alone = np.bincount(unit) == np.bincount(unit, y == end)
        if alone.any():
            u = int(alone.argmax())
            raise ValueError(
                f"every y of unit {u if labels is None else labels[u]} is {end:g} ({np.count_nonzero(alone)} such "
                f"units); with loss={loss!r} {NONE_EXISTS}, allowed are units with other values too"
            )

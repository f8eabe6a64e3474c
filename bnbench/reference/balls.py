"""The definition and the formula over balls: every value an interval that provably holds the true one.

`enclose` differentiates `definition.risk` and knows no gradient: R is evaluated over truncated power series whose
coefficients are balls (python-flint's `arb_series`), a parameter is replaced by parameter + t, and the derivative is
the coefficient of t. `formula.gradients` with `BALLS` and arrays from `ball_array` is the formula's gradient, enclosed.
Where both are right they overlap.

Source of the arithmetic: F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic",
IEEE Transactions on Computers 66, 2017.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx

from bnbench.definition import Tensors, risk
from bnbench.formula import gradients
from bnbench.problem import Data, NetworkGradients, Spec, Theta, leaves, rebuilt

BITS = 256
SERIES_TERMS = 2  # value and first derivative
FIRST_RADIUS, CLOSE_STEPS = 1e-9, 8  # of the interval in which a unit's effect is looked for; its square each step


def elementwise(function):
    """A function of one ball or series as one of an object array."""
    return np.frompyfunc(function, 1, 1)


def ball_array(values) -> np.ndarray:
    """An object array of exact balls from numbers; what holds balls already is copied."""
    exact = elementwise(lambda x: x if isinstance(x, arb | arb_series) else arb(x if isinstance(x, int) else float(x)))
    return np.asarray(exact(np.asarray(values)), object)


def constant(x) -> arb:
    """The ball of a number or of a series' value."""
    return x[0] if isinstance(x, arb_series) else x


def along(x: arb) -> arb_series:
    """x + t."""
    return arb_series([x, 1], prec=SERIES_TERMS)


def _relu(x):
    b = constant(x)
    if b > 0:
        return x
    if b < 0 or (b.is_zero() and b.is_exact()):
        return arb(0)
    if not b.is_finite():
        return x
    either, value = arb(0).union(arb(1)), b.nonnegative_part()
    return arb_series([value, either * x[1]], prec=SERIES_TERMS) if isinstance(x, arb_series) else value


def _choose(b, above, below):
    """Of one element; the union of both where the sign of b cannot be told, as at a kink."""
    value = constant(b)
    if value > 0:
        return above
    if value < 0 or (value.is_zero() and value.is_exact()):
        return below
    if not isinstance(b, arb_series):
        return arb(above).union(arb(below))
    both = [[x[0], x[1]] if isinstance(x, arb_series) else [arb(x), arb(0)] for x in (above, below)]
    return arb_series([one.union(other) for one, other in zip(*both, strict=True)], prec=SERIES_TERMS)


@lambda step: np.frompyfunc(step, 2, 1)
def _stepped(x, step):
    """The ball x with the derivative of a last step of Newton's method from there."""
    return arb_series([x, -step[1]], prec=SERIES_TERMS) if isinstance(step, arb_series) else x


class Balls(Tensors):
    """The operations of object arrays of balls, or of power series of them."""

    exp = staticmethod(elementwise(lambda x: x.exp()))
    log = staticmethod(elementwise(lambda x: x.log()))
    sqrt = staticmethod(elementwise(lambda x: x.sqrt()))
    tanh = staticmethod(elementwise(lambda x: 1 - 2 / ((2 * x).exp() + 1)))
    relu = staticmethod(elementwise(_relu))
    choose = staticmethod(np.frompyfunc(_choose, 3, 1))
    constant = staticmethod(ball_array)

    def number(self, like, x):
        """The double x, exactly."""
        return arb(x)

    def sigmoid(self, b):
        """1/(1 + exp(-b))."""
        return 1 / (1 + self.exp(-b))

    def softplus(self, b):
        """log(1 + exp(b))."""
        return self.log(1 + self.exp(b))

    def total(self, M, *others):
        """1ᵀ(M ⊙ others)."""
        for other in others:
            M = M * other
        return M.sum(axis=0)

    def by_unit(self, v, unit, units):
        """The sums of v (N,) within each unit, (U,)."""
        found = np.full(units, arb(0), object)
        np.add.at(found, unit, v)
        return found

    def root(self, function, start):
        """The root of F, where function(α) is (F, F') of each unit: by Newton's method over intervals.

        Where N(A) = mid A - F(mid A)/F'(A) lies within A, the one root of F in A lies in N(A) (Moore 1966). Of series,
        a step from there has the derivative, by the implicit function theorem.

        Raises:
            ValueError: no interval was found that holds a root.
        """
        middle = self.middle(elementwise(constant)(start))
        for _ in range(100):  # from a rough start to one that is right to float64's precision
            F, slope = (elementwise(constant)(part) for part in function(middle))
            step = self.middle(F / slope)
            middle = self.middle(middle - elementwise(lambda x: min(max(x, arb(-2)), arb(2)))(step))
            if all(abs(x) < FIRST_RADIUS**2 for x in step):
                break
        wide, held = elementwise(lambda x: arb(x.mid(), FIRST_RADIUS))(middle), False
        for _ in range(CLOSE_STEPS):
            F, _ = (elementwise(constant)(part) for part in function(middle))
            _, slope = (elementwise(constant)(part) for part in function(wide))
            found = middle - F / slope
            if not all(one.contains(other) for one, other in zip(wide, found, strict=True)):
                break  # as narrow as the precision allows
            wide, middle, held = found, self.middle(found), True
        if not held:
            raise ValueError("no interval was found that holds a unit's effect")
        F, slope = function(wide)
        return _stepped(wide, F / slope)

    @staticmethod
    def middle(values):
        """The exact midpoints."""
        return elementwise(lambda x: arb(x.mid()))(values)


BALLS = Balls()


def balls_of(theta: Theta, data: Data, spec: Spec) -> tuple[Theta, Data, Spec]:
    """A network's arrays and eps as exact balls."""
    eps: Any = arb(spec.eps)  # a number of another type
    W, statistics = data.W, tuple(tuple(map(ball_array, pair)) for pair in data.statistics)
    data = data._replace(
        X=ball_array(data.X), y=ball_array(data.y), W=None if W is None else ball_array(W), statistics=statistics
    )
    return rebuilt(theta, map(ball_array, leaves(theta))), data, replace(spec, eps=eps)


def enclose(theta: Theta, data: Data, spec: Spec, *, inputs=False, bits=BITS) -> NetworkGradients:
    """R and its derivatives as balls, from the definition alone; shapes as in `Theta` and `Data`.

    Every entry of every parameter takes a forward pass of its own: for small networks.

    Raises:
        ZeroDivisionError, ValueError: a ball that is divided by, or whose effect is looked for, is too wide.
    """
    with ctx.workprec(bits):
        theta, data, spec = balls_of(theta, data, spec)
        arrays = ([data.X] if inputs else []) + leaves(theta)
        loss, alpha = risk(theta, data, spec, BALLS)
        found = [np.empty(array.shape, object) for array in arrays]
        for array, slopes in zip(arrays, found, strict=True):
            for index in itertools.product(*map(range, array.shape)):
                kept, array[index] = array[index], along(array[index])
                moved, _ = risk(theta, data, spec, BALLS)
                slopes[index] = moved[1] if isinstance(moved, arb_series) else arb(0)
                array[index] = kept
    dX, found = (found[0], found[1:]) if inputs else (None, found)
    return NetworkGradients(loss, rebuilt(theta, found), dX, alpha)


def formula_enclosed(theta: Theta, data: Data, spec: Spec, *, inputs=False, bits=BITS) -> NetworkGradients:
    """The same by the formula, as balls that hold what it gives in exact arithmetic."""
    with ctx.workprec(bits):
        theta, data, spec = balls_of(theta, data, spec)
        return gradients(theta, data, spec, inputs=inputs, m=BALLS)

"""The definition and the formula over balls: every value an interval that provably holds the true one.

`enclose` differentiates `definition` and knows no gradient: R is evaluated over truncated power series whose
coefficients are balls (python-flint's `arb_series`), a parameter is replaced by parameter + t, and the derivative is
the coefficient of t. `formula.gradients` with `BALLS` and arrays from `balls` is the formula's gradient, enclosed.
Where both are right they overlap.

Source of the arithmetic: F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic",
IEEE Transactions on Computers 66, 2017.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx

from bnbench.activations import functions
from bnbench.definition import Tensors, preactivation, risk
from bnbench.formula import gradients
from bnbench.problem import Data, Layer, NetworkGradients, Spec, Theta, leaves, rebuilt

BITS = 256
SERIES_TERMS = 2  # value and first derivative
FIRST_RADIUS, CLOSE_STEPS = 1e-9, 8  # of the interval in which a unit's effect is looked for; its square each step


def elementwise(function):
    """A function of one ball or series as one of an object array."""
    return np.frompyfunc(function, 1, 1)


@elementwise
def _exact(x):
    if isinstance(x, arb | arb_series):
        return x
    return arb(float(x)) if isinstance(x, float | np.floating) else arb(x)


def balls(values) -> np.ndarray:
    """An object array of exact balls from numbers, `fmpq` or nested lists of them, or of balls as they are."""
    return np.asarray(_exact(np.asarray(values, object)), object)


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
    constant = staticmethod(balls)

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
    W, statistics = data.W, tuple(tuple(map(balls, pair)) for pair in data.statistics)
    data = data._replace(X=balls(data.X), y=balls(data.y), W=None if W is None else balls(W), statistics=statistics)
    return rebuilt(theta, map(balls, leaves(theta))), data, replace(spec, eps=eps)


def enclose(theta: Theta, data: Data, spec: Spec, *, inputs=False, bits=BITS) -> NetworkGradients:
    """R and its derivatives as balls, from the definition alone; shapes as in `Theta` and `Data`.

    Every entry of every parameter takes a forward pass of its own, of no more than its direction moves. Layers below
    are constant: the network then begins with their output. So are the other nodes of the last layer: a linear term of
    the head has their share of η. And of one of its nodes with Z_j, Γ_kj + t is the network with the two inputs Z_j and
    A_k and the weights 1 and t.

    Raises:
        ZeroDivisionError, ValueError: a ball that is divided by, or whose effect is looked for, is too wide.
    """
    with ctx.workprec(bits):
        theta, data, spec = balls_of(theta, data, spec)
        loss, alpha = risk(theta, data, spec, BALLS)
        outputs, _ = passed(theta, data, spec)
        found = []
        for place, layer in enumerate(theta.layers[:-1]):
            of = (
                theta._replace(layers=theta.layers[place:]),
                data._replace(X=outputs[place], statistics=data.statistics[place:]),
            )
            found += [slopes(array, *of, spec) for array in layer if array is not None]
        found += _of_last_layer(theta, outputs[-2], outputs[-1], data, spec)
        head = theta._replace(layers=()), data._replace(X=outputs[-1])
        found += [slopes(array, *head, spec) for array in leaves(head[0])]
        dX = slopes(data.X, theta, data, spec) if inputs else None
    return NetworkGradients(loss, rebuilt(theta, found), dX, alpha)


def passed(theta: Theta, data: Data, spec: Spec) -> tuple[list, list]:
    """The input and every layer's output A, and every layer's B."""
    a, _ = functions(spec.activation, BALLS)
    outputs, before = [data.X], []
    for place, layer in enumerate(theta.layers):
        given = data.statistics[place] if spec.normalization == "frozen" else None
        before.append(preactivation(outputs[-1], layer, given, spec, BALLS))
        outputs.append(a(before[-1]))
    return outputs, before


def slopes(array: Any, theta: Theta, data: Data, spec: Spec) -> np.ndarray:
    """The derivatives of R along the entries of an array of the network's, each of which is moved in its place."""
    found = np.empty(array.shape, object)
    for index in itertools.product(*map(range, array.shape)):
        kept, array[index] = array[index], along(array[index])
        moved, _ = risk(theta, data, spec, BALLS)
        found[index] = moved[1] if isinstance(moved, arb_series) else arb(0)
        array[index] = kept
    return found


def _of_last_layer(theta: Theta, below: np.ndarray, A: np.ndarray, data: Data, spec: Spec) -> list:
    """The derivatives of R along the parameters of the last layer, over its input and with its output."""
    layer, one = theta.layers[-1], balls([1])
    found = Layer(*(None if part is None else np.empty(part.shape, object) for part in layer))
    for j in range(len(theta.out)):
        others = np.arange(len(theta.out)) != j
        share = A[:, others] @ theta.out[others] + (0 if data.W is None else data.W @ theta.delta)
        of = data._replace(
            W=share[:, None], statistics=tuple((mean[[j]], var[[j]]) for mean, var in data.statistics[-1:])
        )
        Z = below @ layer.G[:, [j]]
        affine = [None if part is None else part[[j]] for part in layer[1:]]
        for k in range(len(layer.G)):
            G = np.array([[arb(1)], [arb(0)]], object)
            node = Theta((Layer(G, *affine),), theta.out[[j]], one)
            found.G[k, j] = slopes(G[1:], node, of._replace(X=np.hstack([Z, below[:, [k]]])), spec)[0, 0]
        node = Theta((Layer(one[:, None], *affine),), theta.out[[j]], one)
        for part, array in zip(found[1:], affine, strict=True):
            if part is not None:
                part[j] = slopes(array, node, of._replace(X=Z), spec)[0]
    return [part for part in found if part is not None]


def formula_enclosed(theta: Theta, data: Data, spec: Spec, *, inputs=False, bits=BITS) -> NetworkGradients:
    """The same by the formula, as balls that hold what it gives in exact arithmetic."""
    with ctx.workprec(bits):
        theta, data, spec = balls_of(theta, data, spec)
        return gradients(theta, data, spec, inputs=inputs, m=BALLS)

"""The activations a(b), each defined once: its value and its slope over a table of `operations`.

NumPy, compiled code, double-doubles, balls, arrays that round at random and the frameworks all draw on these. To add an
activation is to add one function here, and its name to `problem.ACTIVATIONS`. A NaN passes through all of them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bnbench.operations import NUMPY, Operations
from bnbench.problem import ACTIVATIONS

LEAK = 0.01  # PyTorch's


class Activation(NamedTuple):
    """An activation.

    Attributes:
        name: as in `Problem`.
        of: a table of operations to a(b) and a'(b, v), where v = a(b); both elementwise, in b's dtype.
        needs_b: whether a' needs b, and not v alone.
        jump: of a' at b = 0, where there is a kink; a' is the left one there.
    """

    name: str
    of: Callable
    needs_b: bool = False
    jump: float = 0.0


def relu(m):
    """max(b, 0), with a'(0) = 0, the convention of PyTorch and JAX."""

    def value(b):
        return m.relu(b)

    def slope(b, v):
        return m.choose(v, m.number(v, 1), m.number(v, 0))

    return value, slope


def sigmoid(m):
    """1/(1 + exp(-b))."""

    def value(b):
        return m.sigmoid(b)

    def slope(b, v):
        return v * (m.number(v, 1) - v)

    return value, slope


def tanh(m):
    """tanh(b)."""

    def value(b):
        return m.tanh(b)

    def slope(b, v):
        return m.number(v, 1) - v * v

    return value, slope


def gaussian(m):
    """exp(-b²/2)."""

    def value(b):
        return m.gaussian(b)

    def slope(b, v):
        return -b * v

    return value, slope


def identity(m):
    """b."""

    def value(b):
        return b

    def slope(b, v):
        return m.number(v, 1)

    return value, slope


def softplus(m):
    """log(1 + exp(b)), a smooth ReLU; its slope is the sigmoid."""

    def value(b):
        return m.softplus(b)

    def slope(b, v):
        return m.sigmoid(b)

    return value, slope


def leaky_relu(m):
    """b where b > 0, and `LEAK` times b elsewhere."""

    def value(b):
        return m.choose(b, b, m.number(b, LEAK) * b)

    def slope(b, v):
        return m.choose(v, m.number(v, 1), m.number(v, LEAK))

    return value, slope


DEFINITIONS = {
    one.name: one
    for one in (
        Activation("relu", relu, jump=1.0),
        Activation("sigmoid", sigmoid),
        Activation("tanh", tanh),
        Activation("gaussian", gaussian, needs_b=True),
        Activation("identity", identity),
        Activation("softplus", softplus, needs_b=True),
        Activation("leaky-relu", leaky_relu, jump=1 - LEAK),
    )
}
NEEDS_B = frozenset(code for code, one in enumerate(DEFINITIONS.values()) if one.needs_b)  # of those codes
CODES = {name: code for code, name in enumerate(DEFINITIONS)}  # of kernels
RELU, SIGMOID, TANH, GAUSSIAN, IDENTITY, SOFTPLUS, LEAKY_RELU = (CODES[name] for name in ACTIVATIONS)


@functools.cache
def functions(activation: str, operations: Operations = NUMPY) -> tuple[Callable, Callable]:
    """a(b) and a'(b, v) over a table of operations."""
    return DEFINITIONS[activation].of(operations)


def value(activation: str, B: np.ndarray) -> np.ndarray:
    """a(B), elementwise, in B's dtype."""
    return functions(activation)[0](B)


def derivative(activation: str, B: np.ndarray) -> np.ndarray:
    """a'(B), elementwise, in B's dtype."""
    a, slope = functions(activation)
    return np.broadcast_to(slope(B, a(B)), B.shape)

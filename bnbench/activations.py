"""The activations a(b) and their derivatives a'(b), once for NumPy arrays and once for Numba scalars.

relu max(b, 0) with a'(0) = 0 (the convention of PyTorch and JAX), sigmoid 1/(1 + exp(-b)), tanh, gaussian
exp(-b²/2), identity. A NaN passes through all of them.
"""

import functools

import numpy as np

from bnbench import elementary
from bnbench.jit import njit
from bnbench.problem import ACTIVATIONS

RELU, SIGMOID, TANH, GAUSSIAN, IDENTITY = range(5)
CODES = {name: code for code, name in enumerate(ACTIVATIONS)}


def value(activation: str, B: np.ndarray) -> np.ndarray:
    """a(B), elementwise, in B's dtype."""
    if activation == "relu":
        return np.maximum(B, 0)
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # exp(-b) = inf gives the right limit, 0
            return 1 / (1 + np.exp(-B))
    if activation == "tanh":
        return np.tanh(B)
    if activation == "gaussian":
        return np.exp(-0.5 * B * B)
    return B


def derivative(activation: str, B: np.ndarray) -> np.ndarray:
    """a'(B), elementwise, in B's dtype."""
    if activation == "relu":
        return (B > 0).astype(B.dtype)
    if activation == "sigmoid":
        A = value("sigmoid", B)
        return A * (1 - A)
    if activation == "tanh":
        return 1 - np.tanh(B) ** 2
    if activation == "gaussian":
        return -B * np.exp(-0.5 * B * B)
    return np.ones_like(B)


@functools.cache
def compiled(code):
    """a(b) and a'(b) of one number in its own dtype, to be called in compiled code.

    code is the activation's place in `ACTIVATIONS`. The second is da(b, v) with v = a(b); it uses b for the Gaussian
    alone.
    """
    if code == RELU:

        def a(b):
            return b if not b <= 0 else type(b)(0)

        def da(b, v):
            return type(v)(1) if v > 0 else type(v)(0)

    elif code == SIGMOID:

        def a(b):
            return elementary.sigmoid(b)

        def da(b, v):
            return v * (type(v)(1) - v)

    elif code == TANH:

        def a(b):
            return elementary.tanh(b)

        def da(b, v):
            return type(v)(1) - v * v

    elif code == GAUSSIAN:

        def a(b):
            return elementary.gaussian(b)

        def da(b, v):
            return -b * v

    else:

        def a(b):
            return b

        def da(b, v):
            return type(v)(1)

    inlined = njit(forceinline=True, inner=True)
    return inlined(a), inlined(da)

"""The activations a(b) and their derivatives a'(b) for NumPy arrays; `elementary` has them for Numba's scalars.

relu max(b, 0) with a'(0) = 0 (the convention of PyTorch and JAX), sigmoid 1/(1 + exp(-b)), tanh, gaussian
exp(-b²/2), identity. A NaN passes through all of them.
"""

import numpy as np

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

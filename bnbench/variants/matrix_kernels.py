"""The matrix form for Numba, of `matrix-numba`."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  - what np.dot calls here, loaded before a step is timed
from numba.extending import overload

from bnbench.elementary import compiled, outcome
from bnbench.jit import REASSOCIATE, njit


@njit(fastmath=REASSOCIATE)
def column_sums(M):
    """1ᵀ M, row by row, in float64."""
    total = np.zeros(M.shape[1])
    for i in range(M.shape[0]):
        total += M[i]
    return total


@njit(fastmath=REASSOCIATE)
def column_products(M, other):
    """1ᵀ (M ⊙ other), row by row, in float64."""
    total = np.zeros(M.shape[1])
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            total[j] += np.float64(M[i, j]) * other[i, j]
    return total


@njit(fastmath=REASSOCIATE)
def weighted_rows(weights, M):
    """Mᵀ weights in float64."""
    total = np.zeros(M.shape[1])
    for k in range(M.shape[0]):
        for j in range(M.shape[1]):
            total[j] += weights[k] * M[k, j]
    return total


def rounded(row: Any, M: Any) -> Any:
    """A row of float64 in M's dtype."""
    return row.astype(M.dtype, copy=False)


@overload(rounded)
def _rounded(row, M):
    """In compiled code no copy either where the dtype is the same."""
    return (lambda row, M: row) if row.dtype == M.dtype else (lambda row, M: row.astype(M.dtype))


@functools.cache
def activation(code: int) -> Callable:
    """What computes a(B) and a'(B) for one activation."""
    a, da = compiled(code)

    @njit(inner=True)
    def activate(B, A, D):
        """a(B) into A and a'(B) into D."""
        for i in range(B.shape[0]):
            for j in range(B.shape[1]):
                A[i, j] = a(B[i, j])
                D[i, j] = da(B[i, j], A[i, j])

    return activate


@functools.cache
def forward(code: int, normalization: str, fixed: bool) -> Callable:
    """A layer's forward pass for one activation and normalization; fixed says that the mean of its input is given."""
    activate = activation(code)
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE)
    def layer(X, xbar, G, gamma, beta, mean, variance, over_N, over_Nd, eps):
        """s, X̂, A and a'; mean and variance are read where they are given, xbar where it is fixed."""
        Z = np.dot(X, G)
        if normalized:
            if batch:
                mu = weighted_rows(xbar, G) if fixed else column_sums(Z) * over_N
                Zc = Z - rounded(mu, Z)
                s = rounded(np.sqrt(column_products(Zc, Zc) * over_Nd + eps), Z)
            else:
                Zc = Z - mean
                s = rounded(np.sqrt(variance + eps), Z)
            Xhat = Zc / s
            B = gamma * Xhat + beta
        else:
            s, Xhat, B = gamma, Z, Z
        A, D = np.empty_like(B), np.empty_like(B)
        activate(B, A, D)
        return s, Xhat, A, D

    return layer


@functools.cache
def backward(normalization: str) -> Callable:
    """A layer's backward pass from ∂R/∂A for one normalization."""
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE)
    def layer(X, upstream, gamma, s, Xhat, D, over_N, over_Nd):
        """dZ, ∂R/∂Γ, ∂R/∂γ and ∂R/∂β; the last two are those of no use where nothing is normalised."""
        S = upstream * D
        dbeta = rounded(column_sums(S), S) if normalized else s
        dgamma = rounded(column_products(S, Xhat), S) if normalized else s
        if batch:
            rest = S - Xhat * (dgamma * over_Nd)
            dZ = (gamma / s) * (rest - rounded(column_sums(rest) * over_N, rest))  # as a mean, so that 1ᵀ dZ = 0
        elif normalized:
            dZ = (gamma / s) * S
        else:
            dZ = S
        return dZ, np.dot(X.T, dZ), dgamma, dbeta

    return layer


@njit()
def below(G, dZ):
    """∂R/∂(a layer's input), dZ Γᵀ."""
    return np.dot(dZ, G.T)


@njit()
def outputs(A, out):
    """η = A Γ_out."""
    return np.dot(A, out)


@njit()
def weighed(A, r):
    """∂R/∂Γ_out = Aᵀ r."""
    return np.dot(A.T, r)


@functools.cache
def step(code: int, normalization: str, loss: str, fixed: bool) -> Callable:
    """The whole step of one hidden layer in one call."""
    layer_forward, layer_backward, rest = forward(code, normalization, fixed), backward(normalization), outcome(loss)

    @njit(fastmath=REASSOCIATE)
    def whole(X, xbar, y, mean, variance, G1, gamma, beta, G2, over_N, over_Nd, eps):
        s, Xhat, A, D = layer_forward(X, xbar, G1, gamma, beta, mean, variance, over_N, over_Nd, eps)
        r = np.dot(A, G2)
        loss = rest(y, r)
        _, dG1, dgamma, dbeta = layer_backward(X, np.outer(r, G2), gamma, s, Xhat, D, over_N, over_Nd)
        return loss, dG1, dgamma, dbeta, np.dot(A.T, r)

    return whole

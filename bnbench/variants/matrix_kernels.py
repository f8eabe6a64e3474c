"""The matrix form for Numba, of `matrix-numba`."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  - what np.dot calls here, loaded before a step is timed
from numba.extending import overload

from bnbench.elementary import compiled
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
def normalized(code: int, fixed: bool) -> Callable:
    """The step with batch normalisation for one activation; fixed says that x̄ is given."""
    activate = activation(code)

    @njit(fastmath=REASSOCIATE)
    def step(X, xbar, y, G1, gamma, beta, G2, over_N, over_Nd, eps):
        Z = np.dot(X, G1)
        mu = weighted_rows(xbar, G1) if fixed else column_sums(Z) * over_N
        Zc = Z - rounded(mu, Z)
        s = rounded(np.sqrt(column_products(Zc, Zc) * over_Nd + eps), Z)
        Xhat = Zc / s
        B = gamma * Xhat + beta
        A, D = np.empty_like(B), np.empty_like(B)
        activate(B, A, D)
        e = y - np.dot(A, G2)

        S = np.outer(e, -(over_N + over_N) * G2) * D
        dbeta = rounded(column_sums(S), S)
        dgamma = rounded(column_products(S, Xhat), S)
        dG2 = -(over_N + over_N) * np.dot(A.T, e)
        D = S - Xhat * (dgamma * over_Nd)
        dZ = (gamma / s) * (D - rounded(column_sums(D) * over_N, D))  # as a mean, so that 1ᵀ dZ = 0
        return np.dot(e, e) * over_N, np.dot(X.T, dZ), dgamma, dbeta, dG2

    return step


@functools.cache
def unnormalized(code: int) -> Callable:
    """The step without normalisation for one activation."""
    activate = activation(code)

    @njit(fastmath=REASSOCIATE)
    def step(X, xbar, y, G1, gamma, beta, G2, over_N, over_Nd, eps):
        Z = np.dot(X, G1)
        A, D = np.empty_like(Z), np.empty_like(Z)
        activate(Z, A, D)
        e = y - np.dot(A, G2)
        S = np.outer(e, -(over_N + over_N) * G2) * D
        dG2 = -(over_N + over_N) * np.dot(A.T, e)
        return np.dot(e, e) * over_N, np.dot(X.T, S), None, None, dG2

    return step

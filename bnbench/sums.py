"""What the library's checks compile; apart, so that Numba is imported when there are arrays to look at."""

import contextlib
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from bnbench.jit import REASSOCIATE, njit


@njit(fastmath=REASSOCIATE)
def absolute_sum(values):
    """Σ |v|; no finite number where one of them is none."""
    total = values.dtype.type(0)
    for i in range(values.size):
        total += abs(values[i])
    return total


@njit(fastmath=REASSOCIATE, plain=True)
def absolute_sums(one, other):
    """Σ |v| of two matrices."""
    total = abs(one.dtype.type(0))
    for matrix in (one, other):
        for i in range(matrix.shape[0]):
            for j in range(matrix.shape[1]):
                total += abs(matrix[i, j])
    return total


@njit(fastmath=REASSOCIATE, plain=True)
def load(G, per_node, G1, gamma, beta, G2):
    """Copy Γ1, γ, β and Γ2 into G (p1,p2) and per_node (3,p2), which has Γ2 last; Σ of all their |entries|.

    gamma and beta are None where there are none. NaN where a shape is another; no finite number where an entry is none.
    """
    p1, p2 = G.shape
    total = abs(G.dtype.type(0))
    if G1.shape[0] != p1 or G1.shape[1] != p2 or G2.size != p2:
        return total + np.nan
    if gamma is not None:
        if gamma.size != p2 or beta.size != p2:
            return total + np.nan
        for j in range(p2):
            per_node[0, j], per_node[1, j] = gamma[j], beta[j]
            total += abs(gamma[j]) + abs(beta[j])
    for k in range(p1):
        for j in range(p2):
            G[k, j] = G1[k, j]
            total += abs(G1[k, j])
    for j in range(p2):
        per_node[2, j] = G2[j]
        total += abs(G2[j])
    return total


@njit(fastmath=REASSOCIATE, plain=True)
def largest(X, most):
    """Take into most (p1,) the largest |X_ik| of each column of X (N,p1)."""
    N, p1 = X.shape
    for i in range(N):
        for k in range(p1):
            value = abs(X[i, k])
            most[k] = value if value > most[k] else most[k]


@njit(fastmath=REASSOCIATE, plain=True)
def deviations(A, near, total):
    """Add to total (p,) the sums over the rows of A (N,p) less near (p,)."""
    N, p = A.shape
    for i in range(N):
        for k in range(p):
            total[k] += A[i, k] - near[k]


@njit(fastmath=REASSOCIATE, plain=True)
def all_between(s, least, highest, rounding, most, G):
    """Whether every s_j² lies between two numbers, and every s_j above rounding Σ_k most_k |G_kj|."""
    for j in range(s.size):
        variance = s[j] * s[j]
        if not (least < variance < highest):
            return False
        if rounding > 0:
            total = 0.0
            for k in range(most.size):
                total += most[k] * abs(G[k, j])
            if not s[j] > rounding * total:
                return False
    return True


def loader(parameters: list[Any]) -> Any:
    """`load`, compiled for parameters like these; of other types it raises TypeError and compiles nothing."""
    G1, gamma, beta, G2 = parameters
    given = np.empty_like(G1), np.empty((3, len(G2)), G1.dtype), G1, gamma, beta, G2
    with contextlib.suppress(TypeError):
        if load.signatures:  # and no others are compiled
            load(*given)
            return load
    with global_compiler_lock:
        load.disable_compile(False)
        load(*given)
        load.disable_compile()
    return load

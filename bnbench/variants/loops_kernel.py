"""The node-by-node computation for Numba, of `loops-numba` and `loops-numba-parallel`.

One source for both: in the serial variant `prange` is `range`. Sums over the rows are kept in float64, which
costs nothing beside the inner products and keeps float32 statistics sound.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba import prange

from bnbench.elementary import compiled
from bnbench.jit import REASSOCIATE, njit

ROWS = 1024  # rows of a block in the loop that adds up ŷ


@functools.cache
def kernel(code: int, normalize: bool, parallel: bool) -> Callable:
    """The step for one activation, with or without batch normalisation."""
    a, da = compiled(code)

    @njit(fastmath=REASSOCIATE, parallel=parallel)
    def step(X, y, G1, gamma, beta, G2, ddof, eps, scale, Xhat, A, D, e, dG1, dgamma, dbeta, dG2):
        N, p1 = X.shape
        p2 = G1.shape[1]
        number = X.dtype.type
        s = np.empty(p2, X.dtype)

        for j in prange(p2):
            g = G1[:, j].copy()
            for i in range(N):
                z = number(0)
                for k in range(p1):
                    z += X[i, k] * g[k]
                A[j, i] = z
            if normalize:
                total = 0.0
                for i in range(N):
                    total += A[j, i]
                mu = number(total / N)
                total = 0.0
                for i in range(N):
                    total += (A[j, i] - mu) ** 2
                s[j] = math.sqrt(total / (N - ddof) + eps)
                for i in range(N):
                    Xhat[j, i] = (A[j, i] - mu) / s[j]
                    A[j, i] = gamma[j] * Xhat[j, i] + beta[j]
            for i in range(N):
                b = A[j, i]
                A[j, i] = a(b)
                D[j, i] = da(b, A[j, i])

        for block in prange((N + ROWS - 1) // ROWS):
            first, last = block * ROWS, min(N, (block + 1) * ROWS)
            for i in range(first, last):
                e[i] = y[i]
            for j in range(p2):
                for i in range(first, last):
                    e[i] -= A[j, i] * G2[j]
        loss = 0.0
        for i in range(N):
            loss += e[i] * e[i]

        for j in prange(p2):
            db, dg, d2, left = 0.0, 0.0, 0.0, number(0)
            for i in range(N):
                D[j, i] *= scale * e[i] * G2[j]
                db += D[j, i]
                d2 += A[j, i] * e[i]
            dG2[j] = scale * d2
            if normalize:
                for i in range(N):
                    dg += D[j, i] * Xhat[j, i]
                dbeta[j], dgamma[j] = db, dg
                weight, mean, slope = gamma[j] / s[j], number(db / N), number(dg / (N - ddof))
                total = 0.0
                for i in range(N):
                    D[j, i] = weight * (D[j, i] - mean - Xhat[j, i] * slope)
                    total += D[j, i]
                left = number(total / N)  # by rounding; X may have an offset that multiplies it
            column = np.zeros(p1, X.dtype)
            for i in range(N):
                d = D[j, i] - left
                for k in range(p1):
                    column[k] += X[i, k] * d
            dG1[:, j] = column
        return loss / N

    return step

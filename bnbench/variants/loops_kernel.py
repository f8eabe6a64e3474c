"""The node-by-node computation for Numba, of `loops-numba` and `loops-numba-parallel`: a layer, a head, a whole step.

One source for both: in the serial variant `prange` is `range`. What belongs to a layer lies node by node: X̂, A and D
are (p_out,N), D first a' and then dZ. Sums over the rows are kept in float64, which costs nothing beside the inner
products and keeps float32 statistics sound.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba import prange

from bnbench import elementary
from bnbench.jit import REASSOCIATE, njit

ROWS = 1024  # rows of a block, where all nodes meet


@functools.cache
def forward(code: int, normalization: str, parallel: bool) -> Callable:
    """A layer's forward pass for one activation and normalization."""
    a, da = elementary.compiled(code)
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE, parallel=parallel, forceinline=not parallel)
    def layer(X, G, gamma, beta, ddof, eps, nodes, Xhat, A, D):
        """s, X̂, A and a' of X (N,p_in); nodes (3,p_out) are mean and variance, where they are given, and s."""
        N, p_in = X.shape
        number, s = X.dtype.type, nodes[2]
        for j in prange(G.shape[1]):
            g = G[:, j].copy()
            for i in range(N):
                z = number(0)
                for k in range(p_in):
                    z += X[i, k] * g[k]
                A[j, i] = z
            if normalized:
                if batch:
                    total = 0.0
                    for i in range(N):
                        total += A[j, i]
                    mu = number(total / N)
                    total = 0.0
                    for i in range(N):
                        total += (A[j, i] - mu) ** 2
                    s[j] = math.sqrt(total / (N - ddof) + eps)
                else:
                    mu = nodes[0, j]
                    s[j] = math.sqrt(nodes[1, j] + eps)
                for i in range(N):
                    Xhat[j, i] = (A[j, i] - mu) / s[j]
                    A[j, i] = gamma[j] * Xhat[j, i] + beta[j]
            for i in range(N):
                b = A[j, i]
                A[j, i] = a(b)
                D[j, i] = da(b, A[j, i])

    return layer


@functools.cache
def outputs(parallel: bool) -> Callable:
    """What gives η = A Γ_out."""

    @njit(fastmath=REASSOCIATE, parallel=parallel, forceinline=not parallel)
    def compute(A, out, eta):
        N = eta.size
        for block in prange((N + ROWS - 1) // ROWS):
            first, last = block * ROWS, min(N, (block + 1) * ROWS)
            for i in range(first, last):
                eta[i] = 0
            for j in range(out.size):
                for i in range(first, last):
                    eta[i] += A[j, i] * out[j]

    return compute


@functools.cache
def backward(normalization: str, under_head: bool, parallel: bool) -> Callable:
    """A layer's backward pass, under the head or under another layer."""
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE, parallel=parallel, forceinline=not parallel)
    def layer(X, r, out, upstream, gamma, ddof, nodes, Xhat, A, D, dG, dgamma, dbeta, dout):
        """dZ in place of a', and the gradients; upstream is ∂R/∂A (p_out,N), or r ⊗ Γ_out, which is never formed."""
        N, p_in = X.shape
        number, s = X.dtype.type, nodes[2]
        for j in prange(D.shape[0]):
            db, dg, d2, left = 0.0, 0.0, 0.0, number(0)
            if under_head:
                for i in range(N):
                    D[j, i] *= r[i] * out[j]
                    db += D[j, i]
                    d2 += A[j, i] * r[i]
                dout[j] = d2
            else:
                for i in range(N):
                    D[j, i] *= upstream[j, i]
                    db += D[j, i]
            if normalized:
                for i in range(N):
                    dg += D[j, i] * Xhat[j, i]
                dbeta[j], dgamma[j] = db, dg
                weight = gamma[j] / s[j]
                if batch:
                    mean, slope = number(db / N), number(dg / (N - ddof))
                    total = 0.0
                    for i in range(N):
                        D[j, i] = weight * (D[j, i] - mean - Xhat[j, i] * slope)
                        total += D[j, i]
                    left = number(total / N)  # by rounding; X may have an offset that multiplies it
                else:
                    for i in range(N):
                        D[j, i] *= weight
            column = np.zeros(p_in, X.dtype)
            for i in range(N):
                d = D[j, i] - left
                for k in range(p_in):
                    column[k] += X[i, k] * d
            dG[:, j] = column

    return layer


@functools.cache
def below(parallel: bool) -> Callable:
    """What gives ∂R/∂(a layer's input), (p_in,N), from dZ."""

    @njit(fastmath=REASSOCIATE, parallel=parallel, forceinline=not parallel)
    def compute(G, dZ, upstream):
        p_in, p_out = G.shape
        N = dZ.shape[1]
        for block in prange((N + ROWS - 1) // ROWS):
            first, last = block * ROWS, min(N, (block + 1) * ROWS)
            for k in range(p_in):
                for i in range(first, last):
                    upstream[k, i] = 0
                for j in range(p_out):
                    for i in range(first, last):
                        upstream[k, i] += G[k, j] * dZ[j, i]

    return compute


@functools.cache
def row_by_row(parallel: bool) -> Callable:
    """What copies a matrix that lies node by node to one that lies row by row."""

    @njit(parallel=parallel)
    def compute(A, rows):
        p, N = A.shape
        for block in prange((N + ROWS - 1) // ROWS):
            for i in range(block * ROWS, min(N, (block + 1) * ROWS)):
                for j in range(p):
                    rows[i, j] = A[j, i]

    return compute


@functools.cache
def step(code: int, normalization: str, loss: str, parallel: bool) -> Callable:
    """The whole step of one hidden layer in one call."""
    layer_forward, layer_backward = forward(code, normalization, parallel), backward(normalization, True, parallel)
    head, rest = outputs(parallel), elementary.outcome(loss)

    @njit(fastmath=REASSOCIATE)
    def whole(X, y, G1, gamma, beta, G2, ddof, eps, nodes, Xhat, A, D, r, dG1, dgamma, dbeta, dG2):
        layer_forward(X, G1, gamma, beta, ddof, eps, nodes, Xhat, A, D)
        head(A, G2, r)
        loss = rest(y, r)
        layer_backward(X, r, G2, D, gamma, ddof, nodes, Xhat, A, D, dG1, dgamma, dbeta, dG2)
        return loss

    return whole

"""`loops-numba` and `loops-numba-parallel`: the node-by-node computation, compiled.

One source for both: in the serial variant `prange` is `range`. Sums over the rows are kept in float64, which
costs nothing beside the inner products and keeps float32 statistics sound.
"""

import functools
import math

import numpy as np
from numba import prange

from bnbench.activations import CODES, compiled
from bnbench.jit import REASSOCIATE, njit
from bnbench.problem import Gradients
from bnbench.threads import alone, guard
from bnbench.variants import formulas
from bnbench.variants.base import Variant

ROWS = 1024  # rows of a block in the loop that adds up ŷ


class LoopsNumba(Variant):
    """Node by node in Numba, on one thread: inner products, statistics and gradients as plain loops."""

    name = "loops-numba"
    family = "loops"
    formula = formulas.LOOPS
    arrays_like_Z = 3
    compile_allowance_s = 60.0
    parallel = False
    load = Variant.load_in_place

    def prepare(self, batch, problem, regime="fresh"):
        """Allocate what a step writes: X̂, A and a' node by node, and the gradients."""
        super().prepare(batch, problem, regime)
        N, p1, p2, dtype = problem.N, problem.p1, problem.p2, batch.X.dtype
        normalize = problem.normalization == "batch"
        step = kernel(CODES[problem.activation], normalize, self.parallel and not alone())
        number = dtype.type
        constants = (problem.ddof, problem.eps, number(-2 / N))
        rows = N if normalize else 0
        nodes = (np.zeros((p2, rows), dtype), np.zeros((p2, N), dtype), np.zeros((p2, N), dtype))
        work = (*nodes, np.zeros(N, dtype))
        self.gradients = [np.zeros((p1, p2), dtype), *(np.zeros(p2, dtype) for _ in range(3))]
        empty = np.zeros(0, dtype)
        X, y, G1, *affine, G2 = self.batch
        affine = affine if normalize else (empty, empty)
        self.compute = functools.partial(step, X, y, G1, *affine, G2, *constants, *work, *self.gradients)

    def step(self):
        """One call of the compiled loops."""
        self.loss = self.compute()

    def result(self):
        """Copies of the last step's gradients."""
        dG1, dgamma, dbeta, dG2 = (array.copy() for array in self.gradients)
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        return Gradients(self.loss, dG1, dgamma, dbeta, dG2)


class LoopsNumbaParallel(LoopsNumba):
    """Node by node in Numba, the nodes shared out to threads with prange."""

    name = "loops-numba-parallel"
    family = "loops"
    parallel = True

    def step(self):
        """One call of the compiled loops; in turns where threads must take them."""
        with guard():
            self.loss = self.compute()


@functools.cache
def kernel(code, normalize, parallel):
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

"""`matrix-numba`: the matrix form compiled by Numba, GEMMs by BLAS."""

import functools

import numpy as np
from numba.extending import overload

from bnbench.activations import CODES, compiled
from bnbench.jit import REASSOCIATE, njit
from bnbench.problem import Gradients
from bnbench.variants import formulas
from bnbench.variants.base import Variant
from bnbench.variants.matrix_numpy import near_zero


class MatrixNumba(Variant):
    """The matrix form in one Numba function: np.dot for the GEMMs, elementwise passes between them.

    With a fixed design it keeps x̄, as `matrix-numpy` does.
    """

    name = "matrix-numba"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z, arrays_like_G1 = 5, 2
    keeps_X = True
    compile_allowance_s = 60.0
    load = Variant.load_in_place

    def prepare(self, batch, problem, regime="fresh"):
        """Keep the arrays; look at X once where the design is fixed."""
        super().prepare(batch, problem, regime)
        fixed = regime == "fixed" and problem.normalization == "batch"
        number = batch.X.dtype.type
        N, ddof = problem.N, problem.ddof
        self.constants = (number(1 / N), number(1 / (N - ddof)), problem.eps)
        X, xbar = near_zero(batch.X) if fixed else (batch.X.view(), np.zeros(0))
        X.flags.writeable = False  # as where it is given by `bnbench.prepare`: to Numba that is another type
        self.data = X, xbar, self.batch.y
        if problem.normalization == "batch":
            self.kernel = normalized(CODES[problem.activation], fixed)
        else:
            self.kernel = plain(CODES[problem.activation])

    def step(self):
        """One call of the compiled step."""
        self.answer = self.kernel(*self.data, *self.batch[2:], *self.constants)

    def result(self):
        """The last step's gradients; every step makes new arrays."""
        return Gradients(*self.answer)


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


def rounded(row, M):
    """A row of float64 in M's dtype."""
    return row.astype(M.dtype, copy=False)


@overload(rounded)
def _rounded(row, M):
    """In compiled code no copy either where the dtype is the same."""
    return (lambda row, M: row) if row.dtype == M.dtype else (lambda row, M: row.astype(M.dtype))


@functools.cache
def activation(code):
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
def normalized(code, fixed):
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
def plain(code):
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

"""`matrix-numba`: the matrix form compiled by Numba, GEMMs by BLAS."""

import functools

import numpy as np

from bnbench.activations import CODES, a, da
from bnbench.jit import REASSOCIATE, njit
from bnbench.problem import Gradients
from bnbench.variants import formulas
from bnbench.variants.base import Variant
from bnbench.variants.matrix_numpy import centre


class MatrixNumba(Variant):
    """The matrix form in one Numba function: np.dot for the GEMMs, elementwise passes between them.

    With a fixed design it keeps X - 1x̄ᵀ, as `matrix-numpy` does.
    """

    name = "matrix-numba"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z = 7
    compile_allowance_s = 60.0
    load = Variant.load_in_place

    def prepare(self, batch, problem, regime="fresh"):
        """Keep the arrays; centre X once where the design is fixed."""
        super().prepare(batch, problem, regime)
        centred = regime == "fixed" and problem.normalization == "batch"
        number = batch.X.dtype.type
        N, ddof = problem.N, problem.ddof
        self.constants = (number(1 / N), number(1 / (N - ddof)), problem.eps)
        self.X = centre(batch.X) if centred else batch.X
        if problem.normalization == "batch":
            self.kernel = normalized(CODES[problem.activation], centred)
        else:
            self.kernel = plain(CODES[problem.activation])

    def step(self):
        """One call of the compiled step."""
        self.answer = self.kernel(self.X, *self.batch[1:], *self.constants)

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
def rounded(row, M):
    """A row of float64 in M's dtype."""
    return row.astype(M.dtype)


@functools.cache
def normalized(code, centred):
    """The step with batch normalisation for one activation; centred says that X's columns have mean 0."""

    @njit(fastmath=REASSOCIATE)
    def step(X, y, G1, gamma, beta, G2, over_N, over_Nd, eps):
        Z = np.dot(X, G1)
        Zc = Z if centred else Z - rounded(column_sums(Z) * over_N, Z)
        s = rounded(np.sqrt(column_products(Zc, Zc) * over_Nd + eps), Z)
        Xhat = Zc / s
        B = gamma * Xhat + beta
        A, D = activate(code, B)
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

    @njit(fastmath=REASSOCIATE)
    def step(X, y, G1, gamma, beta, G2, over_N, over_Nd, eps):
        A, D = activate(code, np.dot(X, G1))
        e = y - np.dot(A, G2)
        S = np.outer(e, -(over_N + over_N) * G2) * D
        dG2 = -(over_N + over_N) * np.dot(A.T, e)
        return np.dot(e, e) * over_N, np.dot(X.T, S), None, None, dG2

    return step


@njit()
def activate(code, B):
    """a(B) and a'(B)."""
    A = np.empty_like(B)
    D = np.empty_like(B)
    for i in range(B.shape[0]):
        for j in range(B.shape[1]):
            A[i, j] = a(code, B[i, j])
            D[i, j] = da(code, B[i, j], A[i, j])
    return A, D

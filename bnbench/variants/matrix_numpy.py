"""`matrix-numpy`: the matrix form, line by line as the README has it."""

import numpy as np

from bnbench import activations
from bnbench.problem import Gradients
from bnbench.variants import formulas
from bnbench.variants.base import Variant


class MatrixNumpy(Variant):
    """The matrix form in plain NumPy: two GEMMs, everything between them elementwise.

    With a fixed design it keeps X - 1x̄ᵀ: then Z comes out centred, and Xᵀ dZ is the same since 1ᵀ dZ = 0.
    """

    name = "matrix-numpy"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z = 9
    load = Variant.load_in_place

    def prepare(self, batch, problem, regime="fresh"):
        """Keep the arrays; centre X once where the design is fixed."""
        super().prepare(batch, problem, regime)
        self.centred = regime == "fixed" and problem.normalization == "batch"
        self.X = centre(batch.X) if self.centred else batch.X

    def step(self):
        """The gradient by the README's formulas, the letters its own."""
        X = self.X
        _, y, G1, gamma, beta, G2 = self.batch
        N, ddof, eps, activation = len(y), self.problem.ddof, self.problem.eps, self.problem.activation
        normalize = self.problem.normalization == "batch"

        Z = X @ G1
        if normalize:
            Zc = Z if self.centred else Z - mean(Z)
            s = root(Zc, N - ddof, eps)
            Xhat = Zc / s
            B = gamma * Xhat + beta
        else:
            B = Z
        A = activations.value(activation, B)
        e = y - A @ G2

        S = np.outer((-2 / N) * e, G2) * activations.derivative(activation, B)
        dG2 = (-2 / N) * (A.T @ e)
        if normalize:
            dbeta = S.sum(axis=0)
            dgamma = (S * Xhat).sum(axis=0)
            D = S - Xhat * (dgamma / (N - ddof))
            dZ = (gamma / s) * (D - mean(D))
        else:
            dbeta = dgamma = None
            dZ = S
        self.answer = Gradients(e @ e / N, X.T @ dZ, dgamma, dbeta, dG2)

    def result(self):
        """The last step's gradients; every step makes new arrays."""
        return self.answer


def mean(M):
    """The mean of each column in M's dtype, added up in float64.

    That of S - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof) is (∂R/∂β)/N, the μ-term: as a mean it leaves columns that add up to 0, or else
    Xᵀ dZ would have what rounding left of their sums times the offset of X.
    """
    return M.mean(axis=0, dtype=np.float64).astype(M.dtype)


def root(Zc, divisor, eps):
    """s of centred columns in their dtype, squares and sums in float64."""
    return np.sqrt(np.square(Zc, dtype=np.float64).sum(axis=0) / divisor + eps).astype(Zc.dtype)


def centre(X):
    """X - 1x̄ᵀ in X's dtype; the means are added up in float64."""
    return (X - X.mean(axis=0, dtype=np.float64)).astype(X.dtype)

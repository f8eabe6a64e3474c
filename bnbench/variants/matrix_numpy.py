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
            Zc = Z if self.centred else Z - Z.mean(axis=0)
            s = np.sqrt((Zc * Zc).sum(axis=0) / (N - ddof) + eps)
            Xhat = Zc / s
            B = gamma * Xhat + beta
        else:
            B = Z
        A = activations.value(activation, B)
        e = y - A @ G2

        S = (-2 / N) * np.outer(e, G2) * activations.derivative(activation, B)
        dG2 = (-2 / N) * (A.T @ e)
        if normalize:
            dbeta = S.sum(axis=0)
            dgamma = (S * Xhat).sum(axis=0)
            dZ = (gamma / s) * (S - dbeta / N - Xhat * (dgamma / (N - ddof)))
        else:
            dbeta = dgamma = None
            dZ = S
        self.answer = Gradients(e @ e / N, X.T @ dZ, dgamma, dbeta, dG2)

    def result(self):
        """The last step's gradients; every step makes new arrays."""
        return self.answer


def centre(X):
    """X - 1x̄ᵀ in X's dtype; the means are added up in float64."""
    return (X - X.mean(axis=0, dtype=np.float64)).astype(X.dtype)

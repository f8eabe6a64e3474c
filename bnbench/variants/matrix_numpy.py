"""`matrix-numpy`: the matrix form, line by line as `bnbench docs gradient` has it."""

import numpy as np

from bnbench import activations, formula
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant

FEW = 64  # rows


class MatrixNumpy(Variant):
    """The matrix form in plain NumPy: two GEMMs, everything between them elementwise.

    With a fixed design it keeps x̄, so that μ = Γ1ᵀx̄ takes no pass over Z; and columns of X that lie far from 0 less
    their mean, which changes nothing since 1ᵀ dZ = 0. Beyond one layer under the squared loss it is `formula`, layer by
    layer.
    """

    name = "matrix-numpy"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z, arrays_like_G1 = 9, 2
    keeps_X = True
    supports = ANY_NETWORK
    load = Variant.load_in_place

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Keep the arrays; look at X once where the design is fixed."""
        super().prepare(batch, problem, regime)
        self.network = None if problem.plain and not self.inputs else (self.batch.theta, self.batch.data)
        self.functions = activations.functions(problem.activation)
        fixed = regime == "fixed" and problem.normalization == "batch" and not self.network
        self.X: np.ndarray = batch.X
        self.xbar: np.ndarray | None = None
        if fixed:
            self.X, self.xbar = near_zero(batch.X)

    def step(self) -> None:
        """The gradient by the formulas of `bnbench docs gradient`, in their letters."""
        if self.network:
            found = formula.gradients(*self.network, self.problem.spec, inputs=self.inputs)
            self.answer = Gradients.of(found if self.inputs else found._replace(dX=None), self.problem.depth > 1)
            return
        X = self.X
        _, y, G1, gamma, beta, G2 = self.batch
        N, ddof, eps = len(y), self.problem.ddof, self.problem.eps
        normalize = self.problem.normalization == "batch"

        Z = X @ G1
        if normalize:
            Zc = Z - (mean(Z) if self.xbar is None else (self.xbar @ G1).astype(Z.dtype))
            s = root(Zc, N - ddof, eps)
            Xhat = Zc / s
            B = gamma * Xhat + beta
        else:
            B = Z
        a, da = self.functions
        A = a(B)
        e = y - A @ G2

        S = (-2 / N * e)[:, None] * G2 * da(B, A)
        dG2 = (-2 / N) * (A.T @ e)
        if normalize:
            dbeta = column_sums(S).astype(S.dtype, copy=False)
            dgamma = column_products(S, Xhat).astype(S.dtype, copy=False)
            D = S - Xhat * (dgamma / (N - ddof))
            dZ = (gamma / s) * (D - mean(D))
        else:
            dbeta, dgamma = None, None
            dZ = S
        self.answer = Gradients(e @ e / N, X.T @ dZ, dgamma, dbeta, dG2)

    def result(self) -> Gradients:
        """The last step's gradients; every step makes new arrays."""
        return self.answer


def column_sums(M: np.ndarray) -> np.ndarray:
    """1ᵀ M, added up in float64: of many short rows `einsum` takes a third of `sum`'s time, of few it takes more."""
    return M.sum(axis=0, dtype=np.float64) if len(M) < FEW else np.einsum("ij->j", M, dtype=np.float64)


def column_products(M: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1ᵀ (M ⊙ other), likewise."""
    if len(M) < FEW:
        return np.multiply(M, other, dtype=np.float64).sum(axis=0)
    return np.einsum("ij,ij->j", M, other, dtype=np.float64)


def mean(M: np.ndarray) -> np.ndarray:
    """The mean of each column in M's dtype, added up in float64.

    That of S - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof) is (∂R/∂β)/N, the μ-term: as a mean it leaves columns that add up to 0, or else
    Xᵀ dZ would have what rounding left of their sums times the offset of X.
    """
    return (column_sums(M) / len(M)).astype(M.dtype, copy=False)


def root(Zc: np.ndarray, divisor: int, eps: float) -> np.ndarray:
    """s of centred columns, in their dtype."""
    return np.sqrt(column_products(Zc, Zc) / divisor + eps).astype(Zc.dtype, copy=False)


def near_zero(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X less the mean of columns that lie far from 0 beside their range, and the mean of what is left (float64).

    There the difference is exact (Sterbenz 1974); elsewhere it would cost digits that X has, and X Γ1 may need.
    """
    xbar = X.mean(axis=0, dtype=np.float64)
    shift = np.where(np.abs(xbar) > 2 * np.ptp(X, axis=0), xbar, 0).astype(X.dtype)
    return X - shift, xbar - shift

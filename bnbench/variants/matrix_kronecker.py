"""`matrix-kronecker`: the textbook's vec and ⊗ form, every Jacobian built and multiplied out."""

import numpy as np

from bnbench import activations
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import formulas
from bnbench.variants.base import Variant
from bnbench.variants.matrix_numpy import mean, root

GUARD_BYTES = 2**30
KEPT_BYTES = 2**25  # glibc's largest mmap threshold


class MatrixKronecker(Variant):
    """The literal Jacobians of the vec/⊗ form, dense and multiplied out: right, and useless beyond toy sizes.

    With vec column by column and n = N p2, the row ∂R/∂(vec B)ᵀ is carried through I ⊗ 1_N, (I ⊗ X̂) K,
    diag(γ) ⊗ I_N, the block-diagonal ∂vec X̂/∂vec Z and I ⊗ X. Each Jacobian is built when it is needed and let go
    after it, so that the largest alone sets the memory. A fixed design keeps I ⊗ X.
    """

    name = "matrix-kronecker"
    family = "matrix"
    formula = formulas.KRONECKER
    load = Variant.load_in_place

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """Bytes beyond the batch: the largest Jacobian, and what the allocator keeps of smaller ones.

        Blocks up to 32 MiB stay with the process once they are freed, and are used again; larger ones go back.
        """
        N, p1, p2 = problem.N, problem.p1, problem.p2
        n, inputs = N * p2, p1 * p2
        design = [n * inputs, p2 * p2]  # I ⊗ X, made of I_p2
        stages = [
            [N * n, N * N],  # Γ2ᵀ ⊗ I_N
            [n * n],  # J_a
            [inputs * inputs],  # the commutation matrix
        ]
        if problem.normalization == "batch":
            stages.append([n * p2 * p2, p2**3, n * p2])  # I ⊗ X̂ and K, and their product
            stages.append([n * n, N * N, N * N, N * N])  # the block-diagonal, and a block in the making
        itemsize = np.dtype(problem.dtype).itemsize
        stages = [[size * itemsize for size in stage] for stage in (*stages, design)]
        large = max(sum(size for size in stage if size >= KEPT_BYTES) for stage in stages)
        small = max(sum(size for size in stage if size < KEPT_BYTES) for stage in stages)
        kept = n * inputs * itemsize if regime == "fixed" else 0
        return large + small + kept + 8 * n * itemsize

    @classmethod
    def unsupported(cls, problem: Problem, regime: str) -> str:
        """Refused where the Jacobians take more than 1 GiB."""
        if reason := cls.declines(problem):
            return reason
        needs = cls.needs_bytes(problem, regime)
        return "" if needs <= GUARD_BYTES else f"needs {needs / 2**30:.1f} GiB, allowed is {GUARD_BYTES / 2**30:g} GiB"

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Keep the arrays; with a fixed design I ⊗ X too, which depends on X alone."""
        super().prepare(batch, problem, regime)
        self.design = self.of_design() if regime == "fixed" else None

    def of_design(self) -> np.ndarray:
        """∂vec Z/∂(vec Γ1)ᵀ = I_p2 ⊗ X, (N p2, p1 p2).

        With normalisation of X less its first row, which is the same since 1ᵀ dZ = 0: an offset of a column would
        multiply what rounding leaves of that.
        """
        X = self.batch.X
        X = X - X[:1] if self.problem.normalization == "batch" else X
        return np.kron(identity(self.problem.p2, X.dtype), X)

    def step(self) -> None:
        """The row ∂R/∂(vec B)ᵀ times each Jacobian."""
        X, y, G1, gamma, beta, G2 = self.batch
        N, p1, p2, ddof, eps = (getattr(self.problem, name) for name in ("N", "p1", "p2", "ddof", "eps"))
        activation, dtype = self.problem.activation, X.dtype
        normalize = self.problem.normalization == "batch"
        one = np.ones((N, 1), dtype)

        Z = X @ G1
        if normalize:
            Zc = Z - mean(Z)
            s = root(Zc, N - ddof, eps)
            Xhat = Zc / s
            B = np.kron(gamma[None], one) * Xhat + np.kron(beta[None], one)
        else:
            B = Z
        A = activations.value(activation, B)
        e = y - A @ G2

        row = (-2 / N) * e  # ∂R/∂ŷᵀ
        dG2 = row @ A  # ŷ = A Γ2
        row = row @ np.kron(G2[None], identity(N, dtype))  # ŷ = (Γ2ᵀ ⊗ I_N) vec A
        row = row @ diagonal(vec(activations.derivative(activation, B)))  # J_a
        dbeta = dgamma = None
        if normalize:
            dbeta = row @ np.kron(identity(p2, dtype), one)  # ∂vec B/∂βᵀ = I_p2 ⊗ 1_N
            dgamma = row @ (np.kron(identity(p2, dtype), Xhat) @ selection(p2, dtype))  # (I_p2 ⊗ X̂) K
            row = row @ np.kron(diagonal(gamma), identity(N, dtype))  # ∂vec B/∂(vec X̂)ᵀ
            row = row @ block_diagonal(Xhat, s, ddof)  # ∂vec X̂/∂(vec Z)ᵀ
        row = row @ (self.of_design() if self.design is None else self.design)  # ∂R/∂(vec Γ1)ᵀ
        row = row @ commutation(p1, p2, dtype)  # ∂R/∂(vec Γ1ᵀ)ᵀ, which is Γ1's order of rows
        self.answer = Gradients(e @ e / N, row.reshape(p1, p2), dgamma, dbeta, dG2)

    def result(self) -> Gradients:
        """The last step's gradients; every step makes new arrays."""
        return self.answer


def vec(M: np.ndarray) -> np.ndarray:
    """vec M, column by column."""
    return M.ravel(order="F")


def zeros(rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """A matrix of zeros that are really written: what the system gives lazily would not count as memory."""
    return np.full((rows, columns), 0, dtype)


def identity(n: int, dtype: np.dtype) -> np.ndarray:
    """I_n."""
    return diagonal(np.ones(n, dtype))


def diagonal(v: np.ndarray) -> np.ndarray:
    """diag(v), dense."""
    D = zeros(len(v), len(v), v.dtype)
    np.fill_diagonal(D, v)
    return D


def selection(p: int, dtype: np.dtype) -> np.ndarray:
    """K (p²,p): keeps the columns of a Kronecker product of p by p columns that belong to one j, 1ₚ of each."""
    K = zeros(p * p, p, dtype)
    K[np.arange(p) * p + np.arange(p), np.arange(p)] = 1
    return K


def commutation(p: int, q: int, dtype: np.dtype) -> np.ndarray:
    """K (pq,pq) with (vec M)ᵀ K = (vec Mᵀ)ᵀ for M of shape (p,q)."""
    K = zeros(p * q, p * q, dtype)
    i, j = np.divmod(np.arange(p * q), q)
    K[i + j * p, np.arange(p * q)] = 1
    return K


def block_diagonal(Xhat: np.ndarray, s: np.ndarray, ddof: int) -> np.ndarray:
    """∂vec X̂/∂(vec Z)ᵀ: blocks (I - 11ᵀ/N - x̂_j x̂_jᵀ/(N - ddof))/s_j."""
    N, p2 = Xhat.shape
    J = zeros(N * p2, N * p2, Xhat.dtype)
    centre = identity(N, Xhat.dtype) - Xhat.dtype.type(1 / N)
    for j in range(p2):
        block = slice(j * N, (j + 1) * N)
        J[block, block] = (centre - np.outer(Xhat[:, j], Xhat[:, j] / (N - ddof))) / s[j]
    return J

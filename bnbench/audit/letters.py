"""Every letter of the derivation, computed over object arrays of balls."""

import functools
from typing import Any

import numpy as np

from bnbench.activations import functions
from bnbench.problem import Batch, Problem
from bnbench.reference.balls import BALLS


class Letters:
    """The letters of `derivation.md` at one batch, each computed from its displayed definition when asked for.

    Arrays are object arrays, so that `np.sqrt` and `np.exp` call the entries' own; shapes as in `Batch`.
    """

    def __init__(self, batch: Batch, problem: Problem, eps: Any) -> None:
        self.X, self.y, self.G1, self.gamma, self.beta, self.G2 = batch
        self.N, self.p1, self.p2 = problem.N, problem.p1, problem.p2
        self.free, self.eps = problem.N - problem.ddof, eps
        self.activation, self.normalize = problem.activation, problem.normalization == "batch"
        self.one = np.full((self.N, 1), 1, object)

    @functools.cached_property
    def Z(self) -> np.ndarray:
        """Pre-activations X Γ1."""
        return self.X @ self.G1

    @functools.cached_property
    def mu(self) -> np.ndarray:
        """Column means of Z."""
        return self.Z.sum(axis=0) / self.N

    @functools.cached_property
    def s(self) -> np.ndarray:
        """Root of the columns' variance plus eps."""
        centred = self.Z - self.mu
        return np.sqrt((centred * centred).sum(axis=0) / self.free + self.eps)

    @functools.cached_property
    def Xhat(self) -> np.ndarray:
        """Normalised pre-activations (Z - 1μᵀ)/s."""
        return (self.Z - self.mu) / self.s

    @functools.cached_property
    def B(self) -> np.ndarray:
        """What the activation is applied to."""
        return self.gamma * self.Xhat + self.beta if self.normalize else self.Z

    @functools.cached_property
    def A(self) -> np.ndarray:
        """Activations a(B)."""
        a, _ = functions(self.activation, BALLS)
        return a(self.B)

    @functools.cached_property
    def slope(self) -> np.ndarray:
        """a'(B)."""
        _, slope = functions(self.activation, BALLS)
        return np.broadcast_to(slope(self.B, self.A), self.B.shape)

    @functools.cached_property
    def e(self) -> np.ndarray:
        """The residual ε̂ = y - A Γ2."""
        return self.y - self.A @ self.G2

    @functools.cached_property
    def S(self) -> np.ndarray:
        """∂R/∂B, for the loss with its 1/N."""
        return -2 * np.outer(self.e, self.G2) * self.slope / self.N

    @functools.cached_property
    def stub(self) -> np.ndarray:
        """∂R/∂B for the loss Σε̂², without the 1/N: what the question calls the stub."""
        return -2 * np.outer(self.e, self.G2) * self.slope

    @functools.cached_property
    def dbeta(self) -> np.ndarray:
        """∂R/∂β = Sᵀ1."""
        return self.S.sum(axis=0)

    @functools.cached_property
    def dgamma(self) -> np.ndarray:
        """∂R/∂γ = diag(X̂ᵀ S)."""
        return (self.S * self.Xhat).sum(axis=0)

    @functools.cached_property
    def dG2(self) -> np.ndarray:
        """∂R/∂Γ2 = -(2/N) Aᵀ ε̂."""
        return -2 * (self.A.T @ self.e) / self.N

    @functools.cached_property
    def dZ(self) -> np.ndarray:
        """∂R/∂Z, through μ and through s."""
        if not self.normalize:
            return self.S
        return (self.gamma / self.s) * (self.S - self.dbeta / self.N - self.Xhat * (self.dgamma / self.free))

    @functools.cached_property
    def dG1(self) -> np.ndarray:
        """∂R/∂Γ1 = Xᵀ ∂R/∂Z."""
        return self.X.T @ self.dZ

    @functools.cached_property
    def dX(self) -> np.ndarray:
        """∂R/∂X = ∂R/∂Z Γ1ᵀ."""
        return self.dZ @ self.G1.T


def vec(M: np.ndarray) -> np.ndarray:
    """vec M, column by column, as a vector."""
    return M.T.reshape(-1)


def identity(n: int) -> np.ndarray:
    """I_n, of whole numbers."""
    return np.eye(n, dtype=int).astype(object)


def diagonal(v: np.ndarray) -> np.ndarray:
    """The diagonal matrix of a vector."""
    out = np.full((len(v), len(v)), 0, object)
    np.fill_diagonal(out, v)
    return out

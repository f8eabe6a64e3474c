"""Every letter of the derivation at one batch of balls, and the matrices that its Kronecker forms need."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from bnbench.formula import Known, network
from bnbench.problem import Batch, Problem
from bnbench.reference.balls import BALLS


class Letters:
    """The letters of `derivation.md` at one batch, as balls, read off `formula` when one is asked for.

    Shapes as in `Batch`; Z, μ, s, X̂, B, A, S, dγ, dβ, dZ and dG are the layer's own, the others are below.
    """

    def __init__(self, batch: Batch, problem: Problem, eps: Any) -> None:
        self.batch, self.spec, self.activation = batch, replace(problem.spec, eps=eps), problem.activation
        self.X, self.y, self.G1, self.gamma, self.beta, self.G2 = batch
        self.N, self.p1, self.p2 = problem.N, problem.p1, problem.p2
        self.free, self.eps = problem.N - problem.ddof, eps
        self.one = np.full((self.N, 1), 1, object)

    @functools.cached_property
    def computed(self) -> Known:
        """The formula over the batch."""
        return network(self.batch.theta, self.batch.data, self.spec, inputs=True, m=BALLS)

    def __getattr__(self, letter: str) -> Any:
        return getattr(self.computed.layers[0], letter)

    @property
    def slope(self) -> np.ndarray:
        """a'(B)."""
        return np.broadcast_to(self.computed.layers[0].slope, self.B.shape)

    @functools.cached_property
    def e(self) -> np.ndarray:
        """The residual ε̂ = y - A Γ2."""
        return self.y - self.computed.head.eta

    @functools.cached_property
    def stub(self) -> np.ndarray:
        """∂R/∂B for the loss Σε̂², without the 1/N: what the question calls the stub."""
        return self.N * self.S

    @property
    def dG2(self) -> np.ndarray:
        """∂R/∂Γ2."""
        return self.computed.head.dout

    @property
    def dG1(self) -> np.ndarray:
        """∂R/∂Γ1."""
        return self.dG

    @property
    def dX(self) -> np.ndarray:
        """∂R/∂X."""
        return self.dA


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

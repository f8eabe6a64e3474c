"""A network's parameters as one flat vector θ: where each stands, which are free, their penalties, start and scale.

Two things make one layout serve all networks. The intercept is a *bias node*: a last node of the last hidden layer
whose γ is 0 and whose β makes its output 1, so that its Γ_out is the intercept, and a step is what it is without linear
terms. A network without normalization is one whose statistics are given, mean 0 and variance 1, with γ = 1 held; its β
are biases.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# b with a(b) = 1; of sigmoid and tanh to the last digit of float64
ONE_AT = {"relu": 1.0, "leaky-relu": 1.0, "identity": 1.0, "gaussian": 0.0, "sigmoid": 40.0, "tanh": 20.0}
ONE_AT["softplus"] = math.log(math.e - 1)


class Parts(NamedTuple):
    """Views of a flat vector: lists of Γ, γ and β, a layer each; Γ_out; δ or None."""

    G: list[np.ndarray]
    gamma: list[np.ndarray]
    beta: list[np.ndarray]
    out: np.ndarray
    delta: np.ndarray | None

    def arguments(self) -> tuple:
        """(G1, gamma, beta, G2, delta) as the library takes them: lists where there are several layers."""
        lists: tuple = self[:3]
        return (*(part if len(part) > 1 else part[0] for part in lists), self.out, self.delta)

    def slots(self) -> list[np.ndarray]:
        """The views in the order in which they lie in the vector."""
        return [*self.G, *self.gamma, *self.beta, self.out, *([] if self.delta is None else [self.delta])]


class Places:
    """Where the parameters of a network lie in a flat vector.

    Args:
        p1: inputs.
        hidden: nodes of each hidden layer, without the bias node.
        q: linear terms, 0 for none.
        intercept: whether there is a bias node.
        normalized: whether γ is free.
    """

    def __init__(self, p1: int, hidden: Sequence[int], q: int, *, intercept: bool, normalized: bool) -> None:
        self.intercept, self.normalized = intercept, normalized
        self.widths = [*hidden[:-1], hidden[-1] + intercept]
        nodes = [(width,) for width in self.widths]
        self.shapes = [*itertools.pairwise([p1, *self.widths]), *nodes, *nodes, nodes[-1], *([(q,)] if q else [])]
        self.size = sum(math.prod(shape) for shape in self.shapes)

    def parts(self, flat: np.ndarray) -> Parts:
        """Views of a flat vector."""
        ends = itertools.accumulate(map(math.prod, self.shapes))
        pieces = [
            flat[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(self.shapes, ends, strict=True)
        ]
        depth = len(self.widths)
        G, gamma, beta = (pieces[depth * k : depth * (k + 1)] for k in range(3))
        return Parts(G, gamma, beta, pieces[3 * depth], pieces[-1] if len(pieces) > 3 * depth + 1 else None)

    def vector(self, dtype: Any, value: float = 0.0) -> tuple[np.ndarray, Parts]:
        """A flat vector of one number, and its views."""
        flat = np.full(self.size, value, dtype)
        return flat, self.parts(flat)

    def free(self, dtype: Any) -> np.ndarray:
        """1 for the parameters that are fitted, 0 for those that are held."""
        flat, parts = self.vector(dtype, 1.0)
        if self.intercept:
            for held in (parts.G[-1][:, -1], parts.gamma[-1][-1:], parts.beta[-1][-1:]):
                held[...] = 0
        if not self.normalized:
            for gamma in parts.gamma:
                gamma[...] = 0
        return flat

    def penalties(self, hidden: float, output: float, linear: float, dtype: Any) -> np.ndarray:
        """λ of every parameter: 0 for γ, β and the intercept."""
        flat, parts = self.vector(dtype)
        for G in parts.G:
            G[...] = hidden
        parts.out[...] = output
        if parts.delta is not None:
            parts.delta[...] = linear
        if self.intercept:
            parts.G[-1][:, -1] = parts.out[-1] = 0
        return flat

    def scales(self, X: np.ndarray, W: np.ndarray | None, spread: float, penalties: np.ndarray) -> np.ndarray:
        """What is to each parameter as 1 is to one of data with standard deviations of 1, and without its penalty.

        spread is y's, and what the risk is large in its square.
        """
        flat, parts = self.vector(penalties.dtype, 1.0)
        parts.G[0][...] = 1 / deviations(X)[:, None]
        parts.out[...] = spread
        if W is not None and parts.delta is not None:
            parts.delta[...] = spread / deviations(W)
        return flat / np.sqrt(1 + penalties * (flat / spread) ** 2)

    def start(
        self, random: np.random.RandomState, activation: str, X: np.ndarray, scales: np.ndarray, level: float
    ) -> np.ndarray:
        """θ to start from: weights after Glorot in X's and y's scale, γ = 1, β = 0, δ = 0, the intercept at a level."""
        flat, parts = self.vector(np.float64)
        for G in [*parts.G, parts.out[:, None]]:
            G[...] = random.uniform(-1, 1, G.shape) * math.sqrt(6 / sum(G.shape))
        for gamma in parts.gamma:
            gamma[...] = 1
        flat *= scales
        if not self.normalized:
            parts.beta[0][...] = -X.mean(axis=0) @ parts.G[0]
        if self.intercept:
            parts.gamma[-1][-1], parts.beta[-1][-1], parts.out[-1] = 0, ONE_AT[activation], level
        return flat.astype(scales.dtype)


def deviations(columns: np.ndarray) -> np.ndarray:
    """The standard deviation of each column, 1 where it is 0."""
    found = columns.std(axis=0, dtype=np.float64)
    return np.where(found > 0, found, 1)


def gradient_slots(found: Any) -> list[np.ndarray]:
    """The arrays of the library's `Gradients` in the order of `Parts.slots`."""
    _, dG1, dgamma, dbeta, dG2 = found
    several = [*dG1, *dgamma, *dbeta, dG2] if isinstance(dG1, list) else [dG1, dgamma, dbeta, dG2]
    return several if found.ddelta is None else [*several, found.ddelta]

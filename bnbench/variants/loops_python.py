"""`loops-python`: the node-by-node computation in the interpreter."""

import math
import operator
import sys
from collections.abc import Callable, Iterable

import numpy as np

from bnbench import activations, losses
from bnbench.operations import NUMPY, Operations
from bnbench.problem import Batch, Gradients, Layer, NetworkGradients, Problem, Theta
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant

MOST_EXPONENT = math.log(sys.float_info.max)
NUMBER_BYTES, LIST_BYTES = 32, 64  # of a float in a list: itself, and where it is; of a list beside its numbers


OF_FLOATS = Operations(
    exp=lambda b: math.inf if b > MOST_EXPONENT else math.exp(b),  # as arrays do; Python raises
    tanh=math.tanh,
    number=lambda like, x: x,
    choose=lambda b, above, below: above if b > 0 else below,
    relu=lambda b: max(b, 0.0),
    sigmoid=lambda b: 1 / (1 + math.exp(-b)) if b > -700 else 0.0,
    softplus=lambda b: max(b, 0.0) + math.log1p(math.exp(-abs(b))),
    gaussian=lambda b: math.exp(-b * b / 2),
)


class LoopsPython(Variant):
    """Node by node over Python lists. A Python number is a float64, so float32 is only rounded to at the end."""

    name = "loops-python"
    family = "loops"
    formula = formulas.LOOPS
    supports = ANY_NETWORK
    load = Variant.load_in_place

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """Lists of the rows of X; X̂, B and A by node; between layers dZ and two upstream; columns in the making."""
        between = 3 * problem.p2 * (problem.depth > 1)
        numbers = problem.p1 + problem.linear + between + 3 * problem.p2 * problem.depth + 6
        return problem.N * (LIST_BYTES + NUMBER_BYTES * numbers)

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Turn the data into lists; the parameters are few and are turned in every step."""
        super().prepare(batch, problem, regime)
        data = batch.data
        self.rows, self.y = batch.X.tolist(), batch.y.tolist()
        self.W, self.unit = ([] if part is None else part.tolist() for part in (data.W, data.unit))
        self.given = [[part.tolist() for part in pair] for pair in data.statistics] or [[]] * problem.depth

    def step(self) -> None:
        """Layer by layer, for each hidden node its column of Z, its statistics, its gradients."""
        theta, problem = self.batch.theta, self.problem
        a, da = activations.functions(problem.activation, OF_FLOATS)
        kept: list[tuple] = []
        for layer, given in zip(theta.layers, self.given, strict=True):
            rows = list(zip(*kept[-1][-1], strict=True)) if kept else self.rows
            G, gamma, beta = ([] if part is None else part.tolist() for part in layer)
            scale, Xhat, B, A = forward(rows, list(zip(*G, strict=True)), gamma, beta, given, a, problem)
            kept.append((rows, G, gamma, scale, Xhat, B, A))
        out = theta.out.tolist()
        loss, r, ddelta, alpha = self.head(A, out)
        dout = [sum(map(operator.mul, column, r)) for column in A]
        upstream: Iterable[list] = ([ri * w for ri in r] for w in out)
        found = []
        for place in reversed(range(problem.depth)):
            below = place > 0 or self.inputs
            gradient, dZ = backward(upstream, da, problem, below, *kept[place])
            found.append(gradient)
            if below:
                nodes = list(zip(*dZ, strict=True))
                upstream = [[sum(map(operator.mul, g, d)) for d in nodes] for g in kept[place][1]]
        dX = list(zip(*upstream, strict=True)) if self.inputs else None
        self.answer = loss, found[::-1], dX, dout, ddelta, alpha

    def head(self, A: list, out: list) -> tuple[float, list, list | None, list | None]:
        """The loss, r, ∂R/∂δ and α."""
        y, problem = self.y, self.problem
        N, units = problem.N, problem.units
        value, slope, _ = losses.functions(problem.loss, OF_FLOATS)
        eta = [0.0] * N
        for column, w in zip(A, out, strict=True):
            for i in range(N):
                eta[i] += column[i] * w
        if self.W:
            delta = self.batch.delta.tolist()
            for i, row in enumerate(self.W):
                eta[i] += sum(map(operator.mul, row, delta))
        alpha = None
        if units:
            alpha = (
                losses.DEFINITIONS[problem.loss]
                .effect(np.array(y), np.array(eta), np.array(self.unit), units, NUMPY)
                .tolist()
            )
            eta = [v + alpha[u] for v, u in zip(eta, self.unit, strict=True)]
        loss = sum(map(value, y, eta)) / N
        r = [slope(yi, v) / N for yi, v in zip(y, eta, strict=True)]
        ddelta = None
        if self.W:
            ddelta = [sum(map(operator.mul, column, r)) for column in zip(*self.W, strict=True)]
        return loss, r, ddelta, alpha

    def result(self) -> Gradients:
        """The last step's gradients as arrays of the problem's dtype."""
        dtype, problem = self.problem.dtype, self.problem
        loss, layers, *others = self.answer
        dX, out, delta, alpha = (None if part is None else np.array(part, dtype) for part in others)
        hidden = []
        for columns, dgamma, dbeta in layers:
            affine = (
                (None, None) if problem.normalization == "none" else (np.array(dgamma, dtype), np.array(dbeta, dtype))
            )
            hidden.append(Layer(np.array(np.array(columns).T, dtype, order="C"), *affine))
        return Gradients.of(NetworkGradients(loss, Theta(tuple(hidden), out, delta), dX, alpha), problem.depth > 1)


def forward(
    rows: list, columns: list, gamma: list, beta: list, given: list, a: Callable, problem: Problem
) -> tuple[list, list, list, list]:
    """A layer's s, X̂, B and A, node by node, of the rows of its input."""
    N, ddof, eps = problem.N, problem.ddof, problem.eps
    scale, Xhat, B, A = [], [], [], []
    for j, column in enumerate(columns):
        z = [sum(map(operator.mul, row, column)) for row in rows]
        if problem.normalization != "none":
            if given:
                mu, s = given[0][j], math.sqrt(given[1][j] + eps)
            else:
                mu = sum(z) / N
                s = math.sqrt(sum((v - mu) * (v - mu) for v in z) / (N - ddof) + eps) or math.nan  # not an exception
            scale.append(s)
            Xhat.append([(v - mu) / s for v in z])
            z = [gamma[j] * v + beta[j] for v in Xhat[j]]
        B.append(z)
        A.append([a(b) for b in z])
    return scale, Xhat, B, A


def backward(
    upstream: Iterable[list], da: Callable, problem: Problem, below: bool,
    rows: list, G: list, gamma: list, scale: list, Xhat: list, B: list, A: list,
) -> tuple[tuple[list, list, list], list]:  # fmt: skip
    """A layer's gradients (∂R/∂Γ by node, ∂R/∂γ, ∂R/∂β) and, where what is below asks for it, dZ, node by node."""
    N, ddof = problem.N, problem.ddof
    dG, dgamma, dbeta, dZ = [], [], [], []
    for j, above in enumerate(upstream):
        dz = [u * da(b, v) for u, b, v in zip(above, B[j], A[j], strict=True)]
        left = 0.0
        if problem.normalization != "none":
            dbeta.append(sum(dz))
            dgamma.append(sum(map(operator.mul, dz, Xhat[j])))
            weight = gamma[j] / scale[j]
            if problem.normalization == "batch":
                mean, slope = dbeta[j] / N, dgamma[j] / (N - ddof)
                dz = [weight * (v - mean - x * slope) for v, x in zip(dz, Xhat[j], strict=True)]
                left = sum(dz) / N  # by rounding; X may have an offset that multiplies it
            else:
                dz = [weight * v for v in dz]
        column = [0.0] * len(G)
        for row, v in zip(rows, dz, strict=True):
            v -= left
            for k in range(len(column)):
                column[k] += row[k] * v
        dG.append(column)
        if below:
            dZ.append(dz)
    return (dG, dgamma, dbeta), dZ

"""`loops-python`: the node-by-node computation in the interpreter."""

import math

import numpy as np

from bnbench import activations
from bnbench.operations import Operations
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import formulas
from bnbench.variants.base import Variant

NUMBER_BYTES, LIST_BYTES = 32, 64  # of a float in a list: itself, and where it is; of a list beside its numbers


OF_FLOATS = Operations(
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
    load = Variant.load_in_place

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """A list of a list a row of X; X̂, B and A by node; four columns of a node in the making; y and ε̂."""
        return problem.N * (LIST_BYTES + NUMBER_BYTES * (problem.p1 + 3 * problem.p2 + 6))

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Turn the data into lists; the parameters are few and are turned in every step."""
        super().prepare(batch, problem, regime)
        self.rows, self.y = batch.X.tolist(), batch.y.tolist()

    def step(self) -> None:
        """For each hidden node its column of Z, its statistics, its gradients."""
        X, y, problem = self.rows, self.y, self.problem
        N, p1, p2, ddof, eps = problem.N, problem.p1, problem.p2, problem.ddof, problem.eps
        a, da = activations.functions(problem.activation, OF_FLOATS)
        normalize = problem.normalization == "batch"
        columns, G2 = self.batch.G1.T.tolist(), self.batch.G2.tolist()
        if normalize:
            gamma, beta = self.batch.gamma.tolist(), self.batch.beta.tolist()

        residual = list(y)
        scale, Xhat, B, A = [], [], [], []
        for j in range(p2):
            z = [sum(x * g for x, g in zip(row, columns[j], strict=True)) for row in X]
            if normalize:
                mu = sum(z) / N
                s = math.sqrt(sum((v - mu) ** 2 for v in z) / (N - ddof) + eps)
                scale.append(s)
                Xhat.append([(v - mu) / s for v in z])
                z = [gamma[j] * v + beta[j] for v in Xhat[j]]
            B.append(z)
            A.append([a(b) for b in z])
            for i in range(N):
                residual[i] -= A[j][i] * G2[j]
        loss = sum(r * r for r in residual) / N

        dG1, dgamma, dbeta, dG2 = [], [], [], []
        for j in range(p2):
            dz = [-2 / N * r * G2[j] * da(b, v) for r, b, v in zip(residual, B[j], A[j], strict=True)]
            dG2.append(-2 / N * sum(v * r for v, r in zip(A[j], residual, strict=True)))
            if normalize:
                dbeta.append(sum(dz))
                dgamma.append(sum(v * x for v, x in zip(dz, Xhat[j], strict=True)))
                mean, slope = dbeta[j] / N, dgamma[j] / (N - ddof)
                weight = gamma[j] / scale[j]
                dz = [weight * (v - mean - x * slope) for v, x in zip(dz, Xhat[j], strict=True)]
            left = sum(dz) / N if normalize else 0.0  # by rounding; X may have an offset that multiplies it
            column = [0.0] * p1
            for row, v in zip(X, dz, strict=True):
                v -= left
                for k in range(p1):
                    column[k] += row[k] * v
            dG1.append(column)
        self.answer = loss, dG1, dgamma, dbeta, dG2

    def result(self) -> Gradients:
        """The last step's gradients as arrays of the problem's dtype."""
        dtype = self.problem.dtype
        loss, columns, *affine, dG2 = self.answer
        dG1 = np.array(np.array(columns).T, dtype, order="C")
        normalize = self.problem.normalization == "batch"
        dgamma, dbeta = (np.array(part, dtype) if normalize else None for part in affine)
        return Gradients(loss, dG1, dgamma, dbeta, np.array(dG2, dtype))

"""`loops-numba` and `loops-numba-parallel`: the node-by-node computation, compiled (`loops_kernel`)."""

import functools

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Problem
from bnbench.threads import alone, guard
from bnbench.variants import formulas
from bnbench.variants.base import Variant, read_only


class LoopsNumba(Variant):
    """Node by node in Numba, on one thread: inner products, statistics and gradients as plain loops."""

    name = "loops-numba"
    family = "loops"
    formula = formulas.LOOPS
    arrays_like_Z = 3
    compile_allowance_s = 60.0
    parallel = False
    load = Variant.load_in_place

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Allocate what a step writes: X̂, A and a' node by node, and the gradients."""
        from bnbench.variants.loops_kernel import kernel

        super().prepare(batch, problem, regime)
        N, p1, p2, dtype = problem.N, problem.p1, problem.p2, batch.X.dtype
        normalize = problem.normalization == "batch"
        step = kernel(CODES[problem.activation], normalize, self.parallel and not alone())
        number = dtype.type
        constants = (problem.ddof, problem.eps, number(-2 / N))
        rows = N if normalize else 0
        nodes = (np.zeros((p2, rows), dtype), np.zeros((p2, N), dtype), np.zeros((p2, N), dtype))
        work = (*nodes, np.zeros(N, dtype))
        self.gradients = [np.zeros((p1, p2), dtype), *(np.zeros(p2, dtype) for _ in range(3))]
        empty = np.zeros(0, dtype)
        X, y, G1, *affine, G2 = self.batch
        data = (read_only(X), read_only(y), G1, *(affine if normalize else (empty, empty)), G2)
        self.compute = functools.partial(step, *data, *constants, *work, *self.gradients)

    def step(self) -> None:
        """One call of the compiled loops."""
        self.loss = self.compute()

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        gradients = Gradients(self.loss, *(array.copy() for array in self.gradients))
        if self.problem.normalization == "none":
            return gradients._replace(dgamma=None, dbeta=None)
        return gradients


class LoopsNumbaParallel(LoopsNumba):
    """Node by node in Numba, the nodes shared out to threads with prange."""

    name = "loops-numba-parallel"
    family = "loops"
    parallel = True

    def step(self) -> None:
        """One call of the compiled loops; in turns where threads must take them."""
        with guard():
            self.loss = self.compute()

"""`loops-numba` and `loops-numba-parallel`: the node-by-node computation, compiled (`loops_kernel`)."""

import functools
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Layer, Problem, Spec
from bnbench.threads import alone, guard
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant, read_only
from bnbench.variants.layerwise import FormLayer, Network


class LoopsNumba(Variant):
    """Node by node in Numba, on one thread: inner products, statistics and gradients as plain loops."""

    name = "loops-numba"
    family = "loops"
    formula = formulas.LOOPS
    arrays_like_Z = 3
    compile_allowance_s = 60.0
    supports = ANY_NETWORK
    parallel = False
    load = Variant.load_in_place

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Allocate what a step writes: X̂, A and a' node by node, and the gradients."""
        super().prepare(batch, problem, regime)
        parallel = self.parallel and not alone()
        self.network: Network | None = None
        if problem.depth > 1 or problem.linear or problem.units or self.inputs:
            make = functools.partial(LoopsLayer, problem.N, problem.spec, batch.X.dtype, parallel)
            self.network = Network(make, self.batch, problem, inputs=self.inputs)
            self.compute: Any = self.network.step
            return
        from bnbench.variants.loops_kernel import step

        X, y, G1, *affine, G2 = self.batch
        empty = np.zeros(0, X.dtype)
        if problem.normalization == "none":
            affine = [empty, empty]
        of_nodes = buffers(problem.N, problem.p2, problem.spec, X.dtype, batch.statistics)
        self.gradients = [np.zeros(G1.shape, X.dtype), *(np.zeros(problem.p2, X.dtype) for _ in range(3))]
        self.compute = functools.partial(
            step(CODES[problem.activation], problem.normalization, problem.loss, parallel),
            *map(read_only, (X, y)), G1, *affine, G2, problem.ddof, problem.eps, *of_nodes,
            np.zeros(problem.N, X.dtype), *self.gradients,
        )  # fmt: skip

    def bind(self, X: np.ndarray, y: np.ndarray, W: Any = None, units: Any = None) -> None:
        """As `Variant.bind`; no array is copied."""
        if self.network:
            self.network.bind(X, y, W, units)
        else:
            _, _, *rest = self.compute.args
            self.compute = functools.partial(self.compute.func, *map(read_only, (X, y)), *rest)

    def step(self) -> None:
        """One call of the compiled loops."""
        self.loss = self.compute()

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        if self.network:
            return self.network.answer
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


def buffers(N: int, nodes: int, spec: Spec, dtype: np.dtype, given: tuple) -> tuple[np.ndarray, ...]:
    """Mean, variance and s, X̂, A and D of a layer, as `loops_kernel` has them; no X̂ where nothing is normalised."""
    rows = 0 if spec.normalization == "none" else N
    of_nodes = np.zeros((3, nodes), dtype)
    if given:
        of_nodes[:2] = given
    return of_nodes, np.zeros((nodes, rows), dtype), *np.zeros((2, nodes, N), dtype)


class LoopsLayer(FormLayer):
    """A layer node by node."""

    def __init__(
        self, N: int, spec: Spec, dtype: np.dtype, parallel: bool, place: int, fan_in: int, nodes: int, given: tuple
    ) -> None:
        from bnbench.variants import loops_kernel as kernels

        self.ddof, self.eps = spec.ddof, spec.eps
        self.nodes, self.Xhat, self.A, self.D = buffers(N, nodes, spec, dtype, given)
        self.empty, self.none = np.zeros(0, dtype), np.zeros((0, 0), dtype)
        self.rows, self.eta = np.zeros((N, nodes), dtype), np.zeros(N, dtype)
        self.upstream = np.zeros((fan_in, N), dtype)
        self.forward_kernel = kernels.forward(CODES[spec.activation], spec.normalization, parallel)
        self.outputs_kernel, self.row_by_row = kernels.outputs(parallel), kernels.row_by_row(parallel)
        self.below = kernels.below(parallel)
        self.backward_kernels = [kernels.backward(spec.normalization, under, parallel) for under in (False, True)]

    def forward(self, A: np.ndarray, parameters: Layer) -> np.ndarray:
        """As in `FormLayer`."""
        G, gamma, beta = parameters
        self.input, self.G, self.gamma = read_only(A), G, self.empty if gamma is None else gamma
        beta = self.empty if beta is None else beta
        self.forward_kernel(self.input, G, self.gamma, beta, self.ddof, self.eps, self.nodes, self.Xhat, self.A, self.D)
        self.row_by_row(self.A, self.rows)
        return self.rows

    def outputs(self, out: np.ndarray) -> np.ndarray:
        """As in `FormLayer`."""
        self.outputs_kernel(self.A, out, self.eta)
        return self.eta

    def backward(self, upstream: Any, inputs: bool) -> tuple[Layer, Any, np.ndarray | None]:
        """As in `FormLayer`; what goes down lies node by node."""
        under_head = isinstance(upstream, tuple)
        r, out = upstream if under_head else (self.empty, self.empty)
        dense = self.none if under_head else upstream
        nodes, dtype = len(self.A), self.A.dtype
        dG, dgamma, dbeta, dout = np.empty(self.G.shape, dtype), *np.empty((3, nodes), dtype)
        self.backward_kernels[under_head](
            self.input,
            r,
            out,
            dense,
            self.gamma,
            self.ddof,
            self.nodes,
            self.Xhat,
            self.A,
            self.D,
            dG,
            dgamma,
            dbeta,
            dout,
        )
        if inputs:
            self.below(self.G, self.D, self.upstream)
        affine = (dgamma, dbeta) if len(self.gamma) else (None, None)
        return Layer(dG, *affine), self.upstream, dout if under_head else None

    def by_row(self, below: np.ndarray) -> np.ndarray:
        """As in `FormLayer`."""
        return np.ascontiguousarray(below.T)

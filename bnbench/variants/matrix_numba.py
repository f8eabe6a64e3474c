"""`matrix-numba`: the matrix form compiled by Numba, GEMMs by BLAS (`matrix_kernels`)."""

import functools
from typing import Any

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Layer, Problem, Spec
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant, read_only
from bnbench.variants.layerwise import FormLayer, Network
from bnbench.variants.matrix_numpy import near_zero


class MatrixNumba(Variant):
    """The matrix form in one Numba function: np.dot for the GEMMs, elementwise passes between them.

    With a fixed design it keeps x̄, as `matrix-numpy` does. Several layers take a function each.
    """

    name = "matrix-numba"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z, arrays_like_G1 = 6, 2
    keeps_X = True
    compile_allowance_s = 60.0
    supports = ANY_NETWORK
    load = Variant.load_in_place

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Keep the arrays; look at X once where the design is fixed."""
        super().prepare(batch, problem, regime)
        self.network: Network | None = None
        if problem.depth > 1 or problem.linear or problem.units or self.inputs:
            make = functools.partial(MatrixLayer, problem.N, problem.spec, batch.X.dtype)
            self.network = Network(make, self.batch, problem, inputs=self.inputs)
            return
        from bnbench.variants.matrix_kernels import step

        fixed = regime == "fixed" and problem.normalization == "batch"
        empty = np.zeros(0, batch.X.dtype)
        X, xbar = near_zero(batch.X) if fixed else (batch.X, np.zeros(0))
        self.data = read_only(X), xbar, *map(read_only, (batch.y, *(batch.statistics or (empty, empty))))
        affine = (empty, empty) if problem.normalization == "none" else (self.batch.gamma, self.batch.beta)
        self.parameters = self.batch.G1, *affine, self.batch.G2
        self.constants = constants(problem.N, problem.spec, batch.X.dtype)
        self.kernel = step(CODES[problem.activation], problem.normalization, problem.loss, fixed)

    def bind(self, X: np.ndarray, y: np.ndarray, W: Any = None, units: Any = None) -> None:
        """As `Variant.bind`; no array is copied."""
        if self.network:
            self.network.bind(X, y, W, units)
        else:
            _, xbar, _, *given = self.data
            self.data = read_only(X), xbar, read_only(y), *given

    def step(self) -> None:
        """One call of the compiled step."""
        if self.network:
            self.network.step()
        else:
            self.answer = self.kernel(*self.data, *self.parameters, *self.constants)

    def result(self) -> Gradients:
        """The last step's gradients; every step makes new arrays."""
        if self.network:
            return self.network.answer
        loss, dG1, dgamma, dbeta, dG2 = self.answer
        if self.problem.normalization == "none":
            dgamma = dbeta = None
        return Gradients(loss, dG1, dgamma, dbeta, dG2)


def constants(N: int, spec: Spec, dtype: np.dtype) -> tuple[Any, Any, float]:
    """1/N and 1/(N - ddof) in a dtype, and eps."""
    return dtype.type(1 / N), dtype.type(1 / (N - spec.ddof)), spec.eps


class MatrixLayer(FormLayer):
    """A layer in matrix form."""

    def __init__(self, N: int, spec: Spec, dtype: np.dtype, place: int, fan_in: int, nodes: int, given: tuple) -> None:
        from bnbench.variants import matrix_kernels as kernels

        self.constants = constants(N, spec, dtype)
        self.empty, self.xbar = np.zeros(0, dtype), np.zeros(0)
        self.given = tuple(map(read_only, given or (self.empty, self.empty)))
        self.forward_kernel = kernels.forward(CODES[spec.activation], spec.normalization, False)
        self.backward_kernel, self.kernels = kernels.backward(spec.normalization), kernels

    def forward(self, A: np.ndarray, parameters: Layer) -> np.ndarray:
        """As in `FormLayer`."""
        G, gamma, beta = parameters
        self.input, self.G, self.gamma = read_only(A), G, self.empty if gamma is None else gamma
        beta = self.empty if beta is None else beta
        self.s, self.Xhat, self.A, self.D = self.forward_kernel(
            self.input, self.xbar, G, self.gamma, beta, *self.given, *self.constants
        )
        return self.A

    def outputs(self, out: np.ndarray) -> np.ndarray:
        """As in `FormLayer`."""
        return self.kernels.outputs(self.A, out)

    def backward(self, upstream: Any, inputs: bool) -> tuple[Layer, Any, np.ndarray | None]:
        """As in `FormLayer`; the matrix form has r ⊗ Γ_out as a matrix."""
        dout = None
        if isinstance(upstream, tuple):
            dout = self.kernels.weighed(self.A, upstream[0])
            upstream = np.multiply.outer(*upstream)
        dZ, dG, *affine = self.backward_kernel(
            self.input, upstream, self.gamma, self.s, self.Xhat, self.D, *self.constants[:2]
        )
        return (
            Layer(dG, *(affine if len(self.gamma) else (None, None))),
            self.kernels.below(self.G, dZ) if inputs else None,
            dout,
        )

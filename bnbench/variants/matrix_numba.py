"""`matrix-numba`: the matrix form compiled by Numba, GEMMs by BLAS (`matrix_kernels`)."""

import numpy as np

from bnbench.activations import CODES
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import formulas
from bnbench.variants.base import Variant, read_only
from bnbench.variants.matrix_numpy import near_zero


class MatrixNumba(Variant):
    """The matrix form in one Numba function: np.dot for the GEMMs, elementwise passes between them.

    With a fixed design it keeps x̄, as `matrix-numpy` does.
    """

    name = "matrix-numba"
    family = "matrix"
    formula = formulas.MATRIX
    arrays_like_Z, arrays_like_G1 = 5, 2
    keeps_X = True
    compile_allowance_s = 60.0
    load = Variant.load_in_place

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Keep the arrays; look at X once where the design is fixed."""
        from bnbench.variants.matrix_kernels import normalized, unnormalized

        super().prepare(batch, problem, regime)
        fixed = regime == "fixed" and problem.normalization == "batch"
        number = batch.X.dtype.type
        N, ddof = problem.N, problem.ddof
        self.constants = (number(1 / N), number(1 / (N - ddof)), problem.eps)
        X, xbar = near_zero(batch.X) if fixed else (batch.X, np.zeros(0))
        self.data = read_only(X), xbar, read_only(batch.y)
        if problem.normalization == "batch":
            self.kernel = normalized(CODES[problem.activation], fixed)
        else:
            self.kernel = unnormalized(CODES[problem.activation])

    def step(self) -> None:
        """One call of the compiled step."""
        self.answer = self.kernel(*self.data, *self.batch[2:], *self.constants)

    def result(self) -> Gradients:
        """The last step's gradients; every step makes new arrays."""
        return Gradients(*self.answer)

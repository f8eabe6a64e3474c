"""`loops-cuda`, `matrix-cuda` and `fused-cuda`: the step on an NVIDIA GPU, in Numba kernels."""

from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from bnbench.cuda.available import unavailable
from bnbench.problem import Batch, Gradients, Problem
from bnbench.variants import formulas
from bnbench.variants.base import Variant


class OnCuda(Variant):
    """What the variants on a GPU share; the steps themselves are in `bnbench.cuda.steps`."""

    device = "cuda"
    compile_allowance_s = 120.0
    arrays_like_Z = 0  # in the host's memory
    supports = MappingProxyType({"activations": ("relu", "sigmoid", "tanh", "gaussian", "identity")})
    kind: ClassVar[str]

    @classmethod
    def unavailable(cls) -> str:
        """Why no kernel can run here."""
        return unavailable()

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Copy the data to the device, allocate there, and set up the launches of a step."""
        super().prepare(batch, problem, regime)
        from bnbench.cuda import steps

        try:
            self.steps = getattr(steps, self.kind)(batch, problem, regime)
        except Exception as error:
            if "OUT_OF_MEMORY" in str(error):  # the driver's word, whichever library passes it on
                raise MemoryError(f"the device has no more memory: {error}") from error
            raise

    def load(self, G1: Any, gamma: Any, beta: Any, G2: np.ndarray, delta: np.ndarray | None = None) -> None:
        """Copy the parameters to the device."""
        self.steps.load(G1, gamma, beta, G2)

    def step(self) -> None:
        """Make the launches, and wait for the device."""
        self.steps.step()

    def time(self, count: int) -> float:
        """Seconds of so many steps by the device's events."""
        return self.steps.time(count)

    def device_times(self) -> dict[str, float]:
        """Times from a cold cache, and with the copies to the device and back."""
        return self.steps.device_times()

    def details(self) -> dict[str, str]:
        """The algorithm of the last step, and what did the products."""
        return self.steps.details()

    def result(self) -> Gradients:
        """Copies of the last step's gradients."""
        return self.steps.result()


class LoopsCuda(OnCuda):
    """Node by node on the GPU: a block of threads for each hidden node, plain Numba kernels, no library."""

    name = "loops-cuda"
    family = "loops"
    formula = formulas.LOOPS
    kind = "LoopsSteps"


class MatrixCuda(OnCuda):
    """The matrix form on the GPU: both products by cuBLAS through CuPy, all between them in fused Numba kernels.

    Where CuPy is absent the products are tiles in Numba too.
    """

    name = "matrix-cuda"
    family = "matrix"
    formula = formulas.MATRIX
    kind = "MatrixSteps"


class FusedCuda(OnCuda):
    """The fastest on the GPU: with a fixed design and up to 64 inputs and nodes one sweep over X, Z never stored.

    Elsewhere, and where a variance cancels, the stored form of `matrix-cuda`.
    """

    name = "fused-cuda"
    family = "fused"
    formula = formulas.FUSED
    kind = "FusedSteps"

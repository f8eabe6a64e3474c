"""A plug-in with compiled functions of its own: two that share a third, one compiled before it is asked for."""

import numba
import numpy as np

from bnbench.variants import variants


@numba.njit
def shared(values):
    """The mean, by a loop that takes a while to compile."""
    return np.sort(values).sum() / len(values)


@numba.njit
def one(values):
    """As `shared`, in a function that is compiled when it is first called."""
    return shared(values) + 1.0


@numba.njit(numba.float64(numba.types.Array(numba.float64, 1, "C", readonly=True)))
def two(values):
    """As `shared`, in a function that is compiled at once."""
    return shared(values) - 1.0


class OwnKernel(variants()["matrix-numpy"]):
    """matrix-numpy, with a compiled function that is called in `prepare` or in the step."""

    name = "kernel-one"
    family = "matrix"
    kernel = one

    def prepare(self, batch, problem, regime="fresh"):
        """Call it here where the design is fixed."""
        super().prepare(batch, problem, regime)
        if regime == "fixed":
            type(self).kernel(self.batch.y)

    def step(self):
        """Call it here where it is not."""
        if self.regime == "fresh":
            type(self).kernel(self.batch.y)
        super().step()


class OtherKernel(OwnKernel):
    """The same with the other function."""

    name = "kernel-two"
    family = "matrix"
    kernel = two

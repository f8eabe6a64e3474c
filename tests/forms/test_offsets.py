"""An offset of a layer's input, the first's or an inner one's, costs digits as μ/σ does, and not as its square."""

import numpy as np
import pytest
from cases import covering
from conftest import BUILT_IN

import bnbench
from bnbench.fused.layout import ALGORITHMS
from bnbench.reference import reference

OFFSETS = {"float64": (1e2, 1e4, 1e6), "float32": (1e1, 1e2, 1e3)}  # mean over standard deviation
UNITS = 64  # units of rounding, times the offset: three times what any form was seen to need
FORMS = [name for name in BUILT_IN if name != "matrix-kronecker"]
SETTINGS = [(activation, dtype) for activation in ("relu", "softplus", "identity") for dtype in OFFSETS]
FEW = [("softplus", "float64"), ("relu", "float32")]


def offset(batch, place, size):
    """The batch with such a mean over standard deviation in what the layer at that place takes."""
    if place == 0:
        return batch._replace(X=(batch.X + size).astype(batch.X.dtype))
    gamma, beta = [each.copy() for each in batch.gamma], [each.copy() for each in batch.beta]
    gamma[place - 1][:] = np.sign(gamma[place - 1]) / size
    beta[place - 1][:] = 1
    return batch._replace(gamma=gamma, beta=beta)


@pytest.mark.parametrize(
    ("name", "activation", "dtype"),
    covering(
        [(name, *setting) for name in FORMS for setting in SETTINGS],
        [(name, *setting) for name in FORMS for setting in FEW],
    ),
)
def test_digits_are_lost_in_proportion_to_the_offset_in_every_layer(name, activation, dtype):
    # catches: dZ whose columns add up to what rounding left of μ, in a layer's backward pass alone; a mean in float32
    unit = float(np.finfo(dtype).eps)
    algorithms = list(ALGORITHMS) if name == "fused-numba" else []
    for depth, place in ((1, 0), (2, 0), (2, 1)):
        problem = bnbench.Problem(200, 5, 4, activation, dtype=dtype, depth=depth, seed=3)
        for size in OFFSETS[dtype]:
            batch = offset(problem.sample(), place, size)
            true = reference(batch, problem).high.parts()
            for algorithm in algorithms if depth == 1 and algorithms else [""]:
                variant = bnbench.variants()[name](*([algorithm] if algorithm else []))
                variant.prepare(batch, problem)
                variant.step()
                for part, found in variant.result().parts().items():
                    if part.startswith("dG1"):
                        error = np.linalg.norm(found.astype(float) - true[part]) / np.linalg.norm(true[part])
                        assert error < UNITS * unit * size, (part, depth, place, size, algorithm)

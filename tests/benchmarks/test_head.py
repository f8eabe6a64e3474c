"""What linear terms and units add to a step, of rows that are sorted by unit and of rows that are not, side by side.

pytest tests/benchmarks/test_head.py --benchmark-only
"""

import numpy as np
import pytest

import bnbench
from bnbench.variants import variants

SIZES = [(1000, 16, 16), (10_000, 32, 64), (100_000, 8, 8)]
HEADS = [(0, 0, "sorted"), (8, 0, "sorted"), (0, 100, "sorted"), (0, 100, "unsorted"), (8, 100, "unsorted")]


@pytest.mark.parametrize(("linear", "units", "order"), HEADS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
@pytest.mark.parametrize("name", ["fused-numba", "matrix-numpy"])
def test_head(benchmark, name, size, linear, units, order):
    benchmark.group = f"{name}, N={size[0]}, p1={size[1]}, p2={size[2]}"
    problem = bnbench.Problem(*size, "tanh", linear=linear, units=units)
    batch = problem.sample()
    if units and order == "sorted":
        rows = np.argsort(batch.units, kind="stable")
        batch = batch._replace(X=batch.X[rows], y=batch.y[rows], units=batch.units[rows])
    variant = variants()[name]()
    variant.prepare(batch, problem, "fixed")
    variant.step()
    benchmark(variant.step)

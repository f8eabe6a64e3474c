"""Population statistics beside a step of fused-numba on the same rows, and the memory that they take beside the data.

`BNBENCH_ROWS=10000000 pytest tests/benchmarks/test_population_time.py --benchmark-only` shows the ratio at 10⁷ rows.
"""

import os

import numpy as np
import pytest

import bnbench
from bnbench.measure.memory import peak_bytes, reset_peak, resident_bytes
from bnbench.variants import variants

ROWS, MOST_BYTES = int(os.environ.get("BNBENCH_ROWS", 100_000)), 64 * 2**20
PROBLEM = bnbench.Problem(ROWS, 8, 64)


@pytest.fixture(scope="module")
def batch():
    return PROBLEM.sample()


def test_population(benchmark, batch):
    bnbench.population(batch.X[:1000], *batch[2:5])  # imports and compiles
    reset_peak()
    before = resident_bytes()
    (found,) = bnbench.population(batch.X, *batch[2:5])
    assert peak_bytes() - before < MOST_BYTES
    assert np.isfinite(found.var).all()
    benchmark.group = f"N={ROWS}, p1=8, p2=64"
    benchmark.pedantic(bnbench.population, (batch.X, *batch[2:5]), rounds=5)


@pytest.mark.parametrize("regime", ["fresh", "fixed"])
def test_step(benchmark, batch, regime):
    variant = variants()["fused-numba"]()
    variant.prepare(batch, PROBLEM, regime)
    variant.step()
    benchmark.group = f"N={ROWS}, p1=8, p2=64"
    benchmark.pedantic(variant.step, rounds=5)

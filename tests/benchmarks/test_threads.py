"""fused-numba by one thread and by two, side by side."""

import numba
import pytest

import bnbench
from bnbench.problem import REGIMES
from bnbench.variants import variants

SIZES = [(100_000, 32, 64), (10_000, 256, 256)]
CASES = [(size, regime, threads) for size in SIZES for regime in REGIMES for threads in (1, 2)]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="there is one processor")
@pytest.mark.parametrize(("size", "regime", "threads"), CASES)
def test_threads(benchmark, size, regime, threads):
    problem = bnbench.Problem(*size)
    benchmark.group = f"N={size[0]}, p1={size[1]}, p2={size[2]}, {regime}"
    variant = variants()["fused-numba"]()
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        variant.prepare(problem.sample(), problem, regime)
        variant.step()
        benchmark(variant.step)
    finally:
        numba.set_num_threads(before)

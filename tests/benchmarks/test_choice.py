"""fused-numba's algorithms side by side: the one that its cost model chooses is marked in the name."""

import pytest

import bnbench
from bnbench.fused.layout import NODES, ONE_PASS, STORED, THIN, choose
from bnbench.problem import REGIMES
from bnbench.variants import variants

SIZES = [(100, 32, 32), (1000, 16, 16), (1000, 256, 256), (10_000, 4, 4), (10_000, 32, 64), (10_000, 256, 32)]
SIZES += [(64, 256, 256), (256, 512, 512), (10_000, 256, 256), (100_000, 32, 64)]
CASES = [
    pytest.param(*size, regime, algorithm, id="-".join(map(str, (*size, regime, algorithm))))
    for size in SIZES
    for regime in REGIMES
    for algorithm in (ONE_PASS, STORED, NODES, THIN)
]


@pytest.mark.parametrize(("N", "p1", "p2", "regime", "algorithm"), CASES)
def test_algorithm(benchmark, N, p1, p2, regime, algorithm):
    problem = bnbench.Problem(N, p1, p2)
    benchmark.group = f"N={N}, p1={p1}, p2={p2}, {regime}: {choose(problem, regime)} is chosen"
    variant = variants()["fused-numba"](algorithm)
    variant.prepare(problem.sample(), problem, regime)
    variant.step()
    benchmark(variant.step)

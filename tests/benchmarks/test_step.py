"""Tracking of every variant's step: `pytest tests/benchmarks/test_step.py --benchmark-only --benchmark-autosave`."""

import pytest

import bnbench
from bnbench.problem import Problem

SIZES = ((10, 7, 4), (1000, 16, 16), (10_000, 32, 64))
LARGEST_FOR_THE_INTERPRETER = 300_000  # N p1 p2


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("name", list(bnbench.variants()))
def test_step(benchmark, name, sizes):
    problem = Problem(*sizes)
    if name == "loops-python" and problem.work > LARGEST_FOR_THE_INTERPRETER:
        pytest.skip("a step of the interpreter's loops takes seconds at this size")
    cls = bnbench.variants()[name]
    reason = cls.unavailable() or cls.unsupported(problem, "fresh")
    if reason:
        pytest.skip(reason)
    if cls.time is not bnbench.Variant.time:
        pytest.skip("its steps run under a clock of their own, which the sweep reads")
    variant = cls()
    variant.prepare(problem.sample(), problem)
    for _ in range(3):  # compiled and warm before anything is timed
        variant.step()
    benchmark.group = f"N={problem.N}, p1={problem.p1}, p2={problem.p2}"  # of what is compared with one another
    benchmark.extra_info.update(N=problem.N, p1=problem.p1, p2=problem.p2)
    benchmark(variant.step)

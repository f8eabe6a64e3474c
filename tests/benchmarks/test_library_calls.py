"""The library's calls, at sizes where a step takes microseconds and where it takes milliseconds, and the step itself.

`pytest tests/benchmarks/test_library_calls.py --benchmark-only --benchmark-autosave`
"""

import itertools

import pytest

import bnbench
from bnbench.problem import Problem

SIZES = ((10, 7, 4), (256, 20, 32), (1000, 8, 16), (10_000, 32, 64))
MINIBATCH = 256


def step(batch, p2, **conventions):
    """The step alone, of what the calls use."""
    prepared = bnbench.prepare(batch.X, batch.y, p2, **conventions)
    prepared.gradients(*batch[2:])
    return prepared.variant.step


def fresh(batch, p2, **conventions):
    """`bnbench.gradients`."""
    return lambda: bnbench.gradients(*batch, **conventions)


def prepared(batch, p2, **conventions):
    """`gradients` of a prepared object."""
    made = bnbench.prepare(batch.X, batch.y, p2, **conventions)
    return lambda: made.gradients(*batch[2:])


def at_theta(batch, p2, **conventions):
    """A prepared object called with a flat vector."""
    made = bnbench.prepare(batch.X, batch.y, p2, **conventions)
    theta = made.pack(*batch[2:])
    return lambda: made(theta)


def minibatches(batch, p2, **conventions):
    """A prepared object's minibatches, rows that lie one after the other."""
    made = bnbench.prepare(batch.X, batch.y, p2, **conventions)
    count = min(MINIBATCH, len(batch.y) // 2)
    starts = itertools.cycle(range(0, len(batch.y) - count + 1, count))

    def call():
        start = next(starts)
        made.gradients(*batch[2:], rows=slice(start, start + count))

    return call


def predicted(batch, p2, **conventions):
    """`bnbench.predict`."""
    return lambda: bnbench.predict(batch.X, *batch[2:], **conventions)


CALLS = (step, fresh, prepared, at_theta, minibatches, predicted)


@pytest.mark.parametrize("eps", [1e-5, 0.0], ids=["eps=1e-5", "eps=0"])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_call(benchmark, call, sizes, eps):
    problem = Problem(*sizes, eps=eps)
    made = call(problem.sample(), problem.p2, eps=eps)
    for _ in range(3):  # compiled and warm before anything is timed
        made()
    benchmark.group = f"N={problem.N}, p1={problem.p1}, p2={problem.p2}, eps={eps:g}"
    benchmark(made)

"""Whose running statistics these are: named where it can be known, never wrongly, and said where it cannot."""

import os

import numpy as np
import pytest

import bnbench
from bnbench.running import CONVENTIONS

STREAMS = int(os.environ.get("BNBENCH_STREAMS", 200))  # 2,000 once


def rule(name):
    """What tells conventions apart in numbers: their defaults aside."""
    return CONVENTIONS[name].weights, CONVENTIONS[name].ddof


def stream(seed):
    """(convention, momentum, start, batches, running), some in float32, with offsets, few batches, rows or columns."""
    random = np.random.default_rng(seed)
    held = CONVENTIONS[str(random.choice(list(CONVENTIONS)))]
    dtype = str(random.choice(["float64", "float32"]))
    p, K = int(random.integers(1, 9)), int(random.choice([1, 2, 3, 10, 100]))
    sizes = random.integers(2 if held.one_row == "refused" else 1, int(random.choice([3, 9, 65])), K)
    offset = float(random.choice([0, 1, 30]))
    batches = [((random.standard_normal((m, p)) + offset) * random.uniform(0.3, 3, p)).astype(dtype) for m in sizes]
    momentum = start = None
    if held.momentum is not None:
        momentum = [None, round(float(random.uniform(0.02, 0.98)), 3)][int(random.integers(2))]
        start = [None, (0.0, 0.0), (0.5, 2.0), (random.standard_normal(p), random.uniform(1, 2, p))][
            int(random.choice(4, p=(0.7, 0.1, 0.1, 0.1)))
        ]
    running = bnbench.RunningStatistics(held.name, momentum, start)
    for Z in batches:
        running.update(Z)
    return held, momentum, start, batches, running


def test_the_right_convention_in_every_stream_and_never_a_wrong_one():
    # catches: m for m - 1, a momentum in the other direction, a local minimum, a tolerance that lets another one in
    counts = {"one rule": 0, "several rules": 0, "unnamed": 0}
    for seed in range(STREAMS):
        held, momentum, start, batches, running = stream(seed)
        given = start if np.ndim(start and start[0]) else None
        found = bnbench.identify(batches, running.mean, running.var, start=given)
        text = f"{seed} {held.name} {momentum} {start}\n{found}"
        for fit in found.fits:  # what is named reproduces the numbers
            again = bnbench.RunningStatistics(fit.name, fit.momentum, fit.start)
            for Z in batches:
                again.update(Z)
            rounding = 1e-4 if batches[0].dtype == np.float32 else 1e-10
            size = max(abs(Z).max() for Z in batches)
            assert (abs(again.mean - running.mean) <= rounding * (1 + size)).all(), text
            assert (abs(again.var - running.var) <= rounding * (1 + running.var.max())).all(), text
        rules = {rule(name) for name in found.names}
        if not found.names:  # a start that is not given takes three columns
            assert start not in (None, given), text
            assert len(running.mean) < 3, text
            counts["unnamed"] += 1
            continue
        assert held.name in found.names, text
        if len(rules) > 1:
            counts["several rules"] += 1
            assert "cannot be told apart" in str(found) or "coincide" in str(found), text
            assert len(batches) == 1 or len(running.mean) < 3 or max(map(len, batches)) < 3 or held.weights == "rows", (
                text
            )
        else:
            counts["one rule"] += 1
        (fit,) = (fit for fit in found.fits if fit.name == held.name)
        if len(rules) == 1 and held.momentum is not None and len(batches) < 10:
            assert fit.momentum == pytest.approx(momentum or held.momentum, rel=1e-3, abs=1e-3), text
    print(counts)

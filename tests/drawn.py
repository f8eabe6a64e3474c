"""Problems drawn at random, and a variant's answers to them as a call and as a prepared object's later calls."""

import functools
import os

import numpy as np
import pytest
from cases import FEW, NORMALIZATIONS

import bnbench
from bnbench.problem import ACTIVATIONS, Problem
from bnbench.reference import reference
from bnbench.validation import judge, parts_of

COUNT = int(os.environ.get("BNBENCH_EVERYONE", 0))
WIDTHS = ["few", pytest.param("all", marks=pytest.mark.exhaustive)]  # of the conventions that problems are drawn from
FEW_PAIRS = [setting[:2] for setting in FEW if setting[2] == "float64"]


@functools.cache
def drawn(seed, width):
    """A problem, three sets of parameters of both signs and 0 for one X and y with offsets and a scale, references."""
    random = np.random.default_rng(seed)
    N, p1, p2 = (int(2 ** random.uniform(*powers)) for powers in ((1, 8), (0, 4.5), (0, 4.5)))
    pair = random.choice(ACTIVATIONS), NORMALIZATIONS[int(random.random() < 0.25)]
    problem = Problem(
        N, p1, p2, *(pair if width == "all" else FEW_PAIRS[seed % len(FEW_PAIRS)]),
        int(random.integers(0, min(3, N))), float(random.choice([1e-8, 1e-5, 1e-3, 0.5])), seed=seed,
    )  # fmt: skip
    batch = problem.sample()
    offset = random.choice([0, 0, 1, 100, 1e4]) if problem.normalization == "batch" else 0.0
    X = batch.X * 10 ** random.uniform(-2, 2) + offset * random.standard_normal(p1)
    y = batch.y * 10 ** random.uniform(-2, 2) + random.choice([0, 0, 50])
    sets = []
    for _ in range(3):
        parameters = [
            None if array is None else random.standard_normal(array.shape) * (random.random(array.shape) > 0.1)
            for array in batch[2:]
        ]
        parameters[0] /= np.abs(X - X.mean(axis=0)).max() * p1**0.5 if problem.normalization == "none" else 1
        sets.append(batch._replace(X=X, y=y, G1=parameters[0], G2=parameters[3]))
        if problem.normalization == "batch":
            sets[-1] = sets[-1]._replace(gamma=parameters[1], beta=parameters[2])
    return problem, sets, [reference(batch, problem) for batch in sets]


def every_call_is_right(name, count, width):
    """Judge every call of a variant on the first so many problems, or BNBENCH_EVERYONE of them, that it can take."""
    cls = bnbench.variants()[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    tried = 0
    for seed in range(COUNT or count):
        problem, sets, references = drawn(seed, width)
        if cls.unsupported(problem, "fresh") or cls.unsupported(problem, "fixed"):
            continue
        tried += 1
        conventions = {field: getattr(problem, field) for field in ("activation", "normalization", "ddof", "eps")}
        first = bnbench.gradients(*sets[0], variant=name, **conventions)
        regime = ("fresh", "fixed")[seed % 2]
        prepared = bnbench.prepare(*sets[0][:2], problem.p2, variant=name, regime=regime, **conventions)
        answers = [first, *(prepared.gradients(*batch[2:]) for batch in sets)]
        for place, (answer, known) in enumerate(zip(answers, [references[0], *references], strict=True)):
            verdict = judge(parts_of(answer), known, problem)
            assert verdict.valid, f"{problem}, {regime}, call {place}: {verdict.reason}"
    assert tried

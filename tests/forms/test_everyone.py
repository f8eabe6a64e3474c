"""Every variant that is available, as a call and as a prepared object's later calls, on problems drawn at random.

BNBENCH_EVERYONE=300 takes so many problems; by default a few, and a few of those where each is compiled for seconds.
"""

import os

import numpy as np
import pytest
from conftest import BUILT_IN, PEERS

import bnbench
from bnbench.problem import ACTIVATIONS, NORMALIZATIONS, Problem
from bnbench.reference import reference
from bnbench.validation import judge, plain

COUNT = int(os.environ.get("BNBENCH_EVERYONE", 0))
FEW = {"torch-compile": 2, "tensorflow-xla": 6, "jax-jit": 8, "r-loop": 12, "matrix-kronecker": 12}
FEWEST = 24


def drawn(seed):
    """A problem, and three sets of parameters of both signs and 0 for one X and y with offsets and a scale."""
    random = np.random.default_rng(seed)
    N, p1, p2 = (int(2 ** random.uniform(*powers)) for powers in ((1, 8), (0, 4.5), (0, 4.5)))
    problem = Problem(
        N, p1, p2, random.choice(ACTIVATIONS), NORMALIZATIONS[int(random.random() < 0.25)],
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
    return problem, sets


@pytest.fixture(scope="module")
def problems():
    """Problems and their references, computed when they are first asked for."""
    known = {}

    def get(seed):
        if seed not in known:
            problem, sets = drawn(seed)
            known[seed] = problem, sets, [reference(batch, problem) for batch in sets]
        return known[seed]

    return get


@pytest.mark.parametrize("name", [*BUILT_IN, *PEERS])
def test_every_call_is_right(name, problems):
    # catches: parameters that stay those of the set-up, signs, offsets, shapes and conventions that nobody tried
    cls = bnbench.variants()[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    tried = 0
    for seed in range(COUNT or FEW.get(name, FEWEST)):
        problem, sets, references = problems(seed)
        if cls.unsupported(problem, "fresh") or cls.unsupported(problem, "fixed"):
            continue
        tried += 1
        conventions = {field: getattr(problem, field) for field in ("activation", "normalization", "ddof", "eps")}
        first = bnbench.gradients(*sets[0], variant=name, **conventions)
        regime = ("fresh", "fixed")[seed % 2]
        prepared = bnbench.prepare(*sets[0][:2], problem.p2, variant=name, regime=regime, **conventions)
        answers = [first, *(prepared.gradients(*batch[2:]) for batch in sets)]
        for place, (answer, known) in enumerate(zip(answers, [references[0], *references], strict=True)):
            verdict = judge(plain(answer), known, problem)
            assert verdict.valid, f"{problem}, {regime}, call {place}: {verdict.reason}"
    assert tried

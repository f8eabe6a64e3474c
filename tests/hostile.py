"""Problems of one hidden layer whose data is hard on arithmetic, and every variant that runs on a processor."""

import numpy as np

from bnbench.problem import ACTIVATIONS, DTYPES, Problem
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

VARIANTS = (
    "loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "matrix-kronecker",
    "fused-numba", "autograd",
)  # fmt: skip
REGIMES = {"fused-numba": ("fresh", "fixed")}
KINDS = (
    "offset", "scales", "no variance", "saturated", "kinks", "duplicates", "denormal", "huge", "two rows", "collinear",
    "plain",
)  # fmt: skip


def hostile(seed):
    """(batch, problem, kind) of a seed: a kind of data, sizes, conventions and a dtype."""
    random = np.random.default_rng([seed, 7])
    kind, dtype = KINDS[seed % len(KINDS)], DTYPES[seed // len(KINDS) % 2]
    N, p1, p2 = (int(2 ** random.uniform(*powers)) for powers in ((1, 9), (0, 5), (0, 5)))
    if kind == "two rows":
        N = int(random.integers(1, 4))
    normalization = "none" if random.random() < 0.2 else "batch"
    ddof = int(random.integers(0, 2)) if N > 1 else 0
    eps = float(random.choice([0.0, 1e-12, 1e-8, 1e-5, 1e-3, 0.5]))
    problem = Problem(
        N, p1, p2, str(random.choice(ACTIVATIONS[:5])), normalization, ddof, eps, str(dtype), seed=seed % 2**16
    )
    batch = problem.sample().each(lambda array: array.astype(np.float64))
    X, y, G1, gamma, beta, _ = batch
    limits = np.finfo(dtype)
    if kind in ("offset", "collinear"):
        X = X + 10 ** random.uniform(0, 3 if dtype == "float32" else 6) * random.standard_normal(p1)
    if kind == "collinear":
        X[:, -1] = X[:, 0] * (1 + 1e-3 * random.standard_normal(N))
    elif kind == "scales":
        X, y = X * 10 ** random.uniform(-4, 4, p1), y * 10 ** random.uniform(-4, 4)
        G1 = G1 / np.abs(X).max(axis=0)[:, None] if random.random() < 0.5 else G1
    elif kind == "no variance":
        X[:, :] = X[:1] + 10 ** random.uniform(-6, -2) * random.standard_normal(X.shape)
    elif kind == "saturated":
        scale = 10 ** random.uniform(1, 3)
        G1, gamma = G1 * (scale if gamma is None else 1), None if gamma is None else gamma * scale
    elif kind == "kinks":
        G1[:, random.random(p2) < 0.5] = 0
        X[random.random(N) < 0.3] = 0
        if beta is not None:
            beta[random.random(p2) < 0.7] = 0
            gamma[random.random(p2) < 0.2] = 0
    elif kind == "duplicates":
        X[:] = X[random.integers(0, max(1, N // 3), N)]
        G1[:] = G1[:, random.integers(0, p2, p2)]
    elif kind == "denormal":
        X = X * float(limits.tiny) ** random.uniform(0.3, 1.05)
    elif kind == "huge":
        X = X * float(limits.max) ** random.uniform(0.2, 0.6)
        y = y * float(limits.max) ** random.uniform(0, 0.6)
    with np.errstate(all="ignore"):
        batch = batch._replace(X=X, y=y, G1=G1, gamma=gamma, beta=beta).each(lambda array: array.astype(dtype))
    return batch, problem, kind


def verdicts(batch, problem, known, names=VARIANTS):
    """(name, regime, verdict) of every variant that takes the problem."""
    for name in names:
        cls = variants()[name]
        for regime in REGIMES.get(name, ("fresh",)):
            if cls.unavailable() or cls.unsupported(problem, regime):
                continue
            variant = cls()
            with np.errstate(all="ignore"):
                variant.prepare(batch, problem, regime)
                variant.step()
                yield name, regime, judge(parts_of(variant.result()), known, problem)

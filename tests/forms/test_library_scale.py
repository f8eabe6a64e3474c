"""Zero variance, and what overflows on the way: refused by the s that a step computed as by X Γ1 itself, and named."""

import numpy as np
import pytest

import bnbench
from bnbench.problem import Problem
from bnbench.scale import exactly

CPU = ("loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "fused-numba")
MOST = {"float64": 300, "float32": 37}  # powers of ten


def said(call):
    """What a call is refused with, "" where it is answered."""
    try:
        call()
    except ValueError as error:
        return str(error).replace("layer 1", "X G1").replace("X or G1[0]", "X or G1")
    return ""


def hard(random, kind, dtype, shape, nodes):
    """X and Γ1 of a kind that is near a limit, or beyond it."""
    X, G1, most = random.standard_normal(shape), random.standard_normal((shape[1], nodes)), MOST[dtype]
    if kind == "constant":
        X[:] = X[0]
    elif kind == "constant up to rounding":
        X = X[0] * (1 + np.finfo(dtype).eps * random.integers(-1, 2, shape))
    elif kind == "offset":
        X += 10.0 ** random.integers(0, 16)
    elif kind == "adds up to a constant":
        X[:, -1], G1[:] = 1 - X[:, :-1].sum(axis=1), 1
    elif kind == "small or large":
        X *= 10.0 ** random.integers(-most, most)
    elif kind == "no weight":
        G1[:, 0] = 0
    elif kind == "one against the other":
        X, G1 = X * 10.0 ** random.integers(-most // 2, most // 2), G1 * 10.0 ** random.integers(-most // 2, most // 2)
    elif kind == "little spread":
        X = X[0] + X * 10.0 ** -random.integers(1, 18)
    with np.errstate(over="ignore"):
        return X.astype(dtype), G1.astype(dtype)


KINDS = ("plain", "constant", "constant up to rounding", "offset", "adds up to a constant", "small or large")
KINDS += ("no weight", "one against the other", "little spread")


@pytest.mark.parametrize("kind", KINDS)
def test_the_s_of_a_step_refuses_what_X_G1_itself_would(kind):
    # catches: a constant column whose s is rounding and is taken for variance; a large s that is refused
    refused = 0
    for seed in range(24):
        random = np.random.default_rng([seed, KINDS.index(kind)])
        dtype, N = str(random.choice(list(MOST))), int(random.choice([2, 9, 40, 300]))
        X, G1 = hard(random, kind, dtype, (N, int(random.integers(1, 9))), 3)
        if not (np.isfinite(X).all() and np.isfinite(G1).all()):
            continue
        eps, ddof = float(random.choice([0, 0, 1e-30, 1e-5])), int(random.integers(2))
        problem = Problem(*X.shape, 3, "tanh", ddof=ddof, eps=eps, dtype=dtype)
        y, rest = random.standard_normal(N).astype(dtype), random.standard_normal((3, 3)).astype(dtype)
        known = said(lambda: exactly(X, G1, problem))  # noqa: B023 - called at once
        conventions = {"ddof": ddof, "eps": eps, "activation": "tanh"}
        for widths, regime in ((3, "fixed"), (3, "fresh"), ([3], "fresh")):
            gamma, beta = rest[:2] if widths == 3 else ([rest[0]], [rest[1]])
            prepared = bnbench.prepare(X, y, widths, regime=regime, **conventions)
            parameters = G1 if widths == 3 else [G1], gamma, beta, rest[2]
            found = said(lambda: prepared.gradients(*parameters))  # noqa: B023
            assert found == known, (seed, widths, regime)
            refused += bool(found)
    assert (refused > 0) == (kind != "plain")


def test_the_mean_of_a_long_constant_column_is_no_variance():
    # catches: deviations of what rounding left of a mean, which are larger than those of the column
    for seed in range(20):
        row, *G1 = np.random.default_rng(seed).standard_normal((3, 2))
        X = np.repeat([row], 3000, axis=0)
        for variant in ("auto", "matrix-numpy"):
            with pytest.raises(ValueError, match="column 0 of X G1 has zero variance"):
                bnbench.gradients(X, X[:, 0], G1, *np.ones((3, 2)), eps=0.0, variant=variant)


@pytest.mark.parametrize("normalization", ["batch", "none", "frozen"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("variant", CPU)
def test_what_overflows_or_vanishes_on_the_way_is_named(variant, depth, normalization):
    # catches: a gradient of NaN that is handed out, a warning of NumPy's in place of the sentence
    for size, eps in ((1e300, 1e-5), (1e-200, 0.0)):
        problem = Problem(12, 3, 2, "identity", normalization, eps=eps or 0.0, depth=depth)
        batch = problem.sample()
        conventions = {"activation": "identity", "normalization": normalization, "eps": eps, "variant": variant}
        conventions |= {"statistics": batch.statistics}
        prepared = bnbench.prepare(batch.X * size, batch.y, [2] * depth if depth > 1 else 2, **conventions)
        for rows in (None, slice(0, 9)):
            found = said(lambda: prepared.gradients(*batch[2:6], rows=rows))  # noqa: B023
            if normalization == "batch":
                assert "column 0 of X G1 has a variance of about" in found
            else:
                assert ("the loss is not finite" in found) == (size > 1), found
        found = said(lambda: bnbench.gradients(batch.X * size, *batch[1:6], **conventions))  # noqa: B023
        assert bool(found) == (normalization == "batch" or size > 1)

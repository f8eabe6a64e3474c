"""The oracle against 60 digits and certified balls, both of them independent; its accounts of errors and kinks."""

import mpmath
import numba
import numpy as np
import pytest
from cases import FEW_PAIRS, PAIRS, covering
from certificates import SETTINGS, parts, problems
from flint import arb, ctx

from bnbench.problem import Gradients, Problem
from bnbench.reference import oracle, reference
from bnbench.reference.certified import RADIUS, certify
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

DIGITS = 60
ACTIVATE = {
    "relu": (lambda b: max(b, mpmath.mpf(0)), lambda b: mpmath.mpf(b > 0)),
    "sigmoid": (lambda b: 1 / (1 + mpmath.exp(-b)), lambda b: 1 / (2 + mpmath.exp(b) + mpmath.exp(-b))),
    "tanh": (mpmath.tanh, lambda b: mpmath.sech(b) ** 2),
    "gaussian": (lambda b: mpmath.exp(-b * b / 2), lambda b: -b * mpmath.exp(-b * b / 2)),
    "identity": (lambda b: b, lambda b: mpmath.mpf(1)),
}


def exact(batch, problem):
    """The gradients in 60 digits by the chain rule, node by node, through the full Jacobian of (Z - μ)/s.

    Not the closed dZ: ∂X̂_mj/∂Z_ij = ([m=i] - 1/N)/s_j - (Z_ij - μ_j)(Z_mj - μ_j)/((N - ddof) s_j³).
    """
    X, y, G1, gamma, beta, G2 = (None if a is None else a.astype(float).tolist() for a in batch)
    N, p1, p2, mp = problem.N, problem.p1, problem.p2, mpmath.mpf
    a, da = ACTIVATE[problem.activation]
    free, eps, normalize = problem.N - problem.ddof, mp(problem.eps), problem.normalization == "batch"
    rows, columns = range(N), range(p2)
    Z = [[mpmath.fsum(mp(X[i][k]) * G1[k][j] for k in range(p1)) for j in columns] for i in rows]
    mu = [mpmath.fsum(Z[i][j] for i in rows) / N for j in columns]
    s = [mpmath.sqrt(mpmath.fsum((Z[i][j] - mu[j]) ** 2 for i in rows) / free + eps) for j in columns]
    if normalize:
        Xhat = [[(Z[i][j] - mu[j]) / s[j] for j in columns] for i in rows]
        B = [[gamma[j] * Xhat[i][j] + beta[j] for j in columns] for i in rows]
    else:
        B = Z
    A = [[a(b) for b in row] for row in B]
    e = [y[i] - mpmath.fsum(A[i][j] * G2[j] for j in columns) for i in rows]
    S = [[-2 * e[i] * G2[j] * da(B[i][j]) / N for j in columns] for i in rows]
    dG2 = [-2 * mpmath.fsum(A[i][j] * e[i] for i in rows) / N for j in columns]
    loss = mpmath.fsum(r * r for r in e) / N
    if not normalize:
        dG1 = [[mpmath.fsum(X[i][k] * S[i][j] for i in rows) for j in columns] for k in range(p1)]
        return Gradients(loss, dG1, None, None, dG2)
    dZ = [[mp(0)] * p2 for _ in rows]
    for j in columns:
        for i in rows:
            dZ[i][j] = mpmath.fsum(
                S[m][j]
                * gamma[j]
                * ((mp(m == i) - mp(1) / N) / s[j] - (Z[i][j] - mu[j]) * (Z[m][j] - mu[j]) / (free * s[j] ** 3))
                for m in rows
            )
    dG1 = [[mpmath.fsum(X[i][k] * dZ[i][j] for i in rows) for j in columns] for k in range(p1)]
    dgamma = [mpmath.fsum(S[i][j] * Xhat[i][j] for i in rows) for j in columns]
    dbeta = [mpmath.fsum(S[i][j] for i in rows) for j in columns]
    return Gradients(loss, dG1, dgamma, dbeta, dG2)


def distances(found, known):
    """|reference - exact| entry by entry, as float64 arrays."""
    result = []
    for high, low, true in zip(found.high, found.low, known, strict=True):
        if true is None:
            continue
        triples = zip(np.ravel(high), np.ravel(low), np.ravel(np.array(true, dtype=object)), strict=True)
        result.append(np.array([float(abs(mpmath.mpf(h) + mpmath.mpf(l) - t)) for h, l, t in triples]))
    return result


@pytest.mark.parametrize(("activation", "normalization"), covering(PAIRS, FEW_PAIRS))
def test_reference_encloses_the_exact_gradient(activation, normalization):
    # catches: a wrong formula in the oracle, a bound on its own error that does not hold
    with mpmath.workdps(DIGITS):
        for seed, (N, p1, p2, ddof, eps, offset) in enumerate(
            [(2, 1, 1, 0, 1e-5, 0), (7, 3, 4, 1, 0.0, 0), (12, 2, 3, 2, 0.5, 1e4), (5, 7, 2, 0, 1e-3, -30)]
        ):
            problem = Problem(N, p1, p2, activation, normalization, ddof, eps, seed=seed)
            batch = problem.sample()
            batch = batch._replace(X=batch.X + (offset if normalization == "batch" else 0.01 * offset))
            found = reference(batch, problem)
            known = exact(batch, problem)
            for name, error, bound, size in zip(
                [n for n, value in zip(Gradients._fields, known, strict=True) if value is not None],
                distances(found, known),
                [b for b in found.bound if b is not None],
                [h for h in found.high if h is not None],
                strict=True,
            ):
                assert (error <= np.ravel(bound)).all(), (problem, name, error, bound)
                terms = np.linalg.norm(size) + 1e-300
                if offset == 0:
                    assert np.linalg.norm(bound) < 1e-20 * terms or np.linalg.norm(size) < 1e-10, (problem, name)


@pytest.mark.parametrize(("activation", "normalization", "ddof", "eps"), SETTINGS)
def test_the_sweeps_reference_lies_inside(activation, normalization, ddof, eps):
    """The double-double reference is within 1e-25 of the enclosure, and its own bound covers the distance.

    Catches a wrong closed formula in the reference (both cannot be wrong alike: one is the formulas, the other
    never saw one), a bound that is too small, and enclosures that are too wide.
    """
    for problem in problems(activation, normalization, ddof, eps):
        batch = problem.sample()
        enclosure = certify(batch, problem)
        assert enclosure.radius <= RADIUS
        assert not enclosure.kinks
        found = reference(batch, problem)
        highs, lows, bounds = (parts(part) for part in (found.high, found.low, found.bound))
        with ctx.workprec(256):
            for name, true in parts(enclosure.gradients).items():
                size = max(float(abs(ball).mid()) for ball in true)
                for ball, high, low, bound in zip(true, highs[name], lows[name], bounds[name], strict=True):
                    distance = float(abs(arb(float(high)) + arb(float(low)) - ball).abs_lower())
                    assert distance <= float(bound), (problem, name)
                    assert distance <= RADIUS * size or size < 1e-20, (problem, name)


def test_blocks_and_threads_change_no_bit(monkeypatch):
    # catches: sums in the order in which threads end, a Z that is computed anew in another way
    problem = Problem(5000, 5, 3, activation="tanh", dtype="float32", seed=3)
    batch = problem.sample()
    whole = reference(batch, problem)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    single = reference(batch, problem)
    numba.set_num_threads(before)
    monkeypatch.setattr(oracle, "Z_BYTES_KEPT", 0)
    recomputed = reference(batch, problem)
    for other in (single, recomputed):
        for name in Gradients._fields:
            assert np.array_equal(getattr(whole.high, name), getattr(other.high, name)), name
            assert np.array_equal(getattr(whole.low, name), getattr(other.low, name)), name
            assert np.array_equal(getattr(whole.allowed, name), getattr(other.allowed, name)), name


EXTREMES = {
    "one row, little eps": (Problem(1, 3, 1, "tanh", eps=1e-12, dtype="float32"), {}),
    "rows all alike": (Problem(30, 3, 2, "tanh", dtype="float32"), {"X": lambda X: 0 * X + 1.7e9}),
    "an eps that the dtype has not": (Problem(1, 2, 2, "relu", eps=1e-300, dtype="float32"), {}),
    "no variance, no eps": (Problem(9, 3, 2, "relu", eps=0.0), {"X": lambda X: 0 * X + 1}),
    "rounding may lose the variance": (Problem(9, 3, 2, "sigmoid", eps=0.0), {"X": lambda X: X * 1e-12 + 1.7e9}),
    "the same, behind weights of 0": (
        Problem(9, 3, 2, "relu", eps=0.0),
        {"X": lambda X: X * 1e-12 + 1.7e9, "gamma": lambda gamma: gamma * [0, 1], "G2": lambda G2: G2 * [1, 0]},
    ),
    "a kink on every row": (
        Problem(9, 3, 2, "relu"),
        {"gamma": lambda gamma: 0 * gamma, "beta": lambda beta: 0 * beta},
    ),
    "underflow": (Problem(9, 3, 2, "gaussian", eps=0.0), {"X": lambda X: X * 1e-160}),
    "overflow": (Problem(9, 3, 2, "sigmoid", "none"), {"X": lambda X: X * 1e170}),
    "overflow of a Gaussian": (Problem(9, 3, 2, "gaussian", "none"), {"X": lambda X: X * 1e170}),
    "a loss beyond the dtype's range": (Problem(9, 3, 2, dtype="float32"), {"y": lambda y: y * 1e25}),
    "the same, where all is linear": (Problem(9, 3, 2, "identity", dtype="float32"), {"y": lambda y: y * 1e25}),
}
COMPILED = [case for case, (of, _) in EXTREMES.items() if (of.activation, of.normalization) in FEW_PAIRS]


@pytest.mark.parametrize("case", covering(EXTREMES, COMPILED))
def test_no_allowance_is_nan_negative_or_0(case):
    """Catches 0·∞ in the error analysis, by which right answers were "nan times the tolerance"; and they pass.

    Where nothing bounds the rounding, or the gradient is beyond the dtype, the allowance is infinite, and that is said.
    """
    problem, changes = EXTREMES[case]
    batch = problem.sample()
    changed = {name: change(getattr(batch, name).astype(float)) for name, change in changes.items()}
    batch = batch._replace(**{name: values.astype(problem.dtype) for name, values in changed.items()})
    with np.errstate(all="ignore"):
        found = reference(batch, problem)
        for name, allowed in found.allowed._asdict().items():
            assert allowed is None or (np.asarray(allowed) > 0).all(), name
        variant = variants()["matrix-numpy"]()
        variant.prepare(batch, problem)
        variant.step()
    verdict = judge(parts_of(variant.result()), found, problem)
    assert verdict.valid, verdict
    assert all(0 <= value for entry in verdict.errors.values() for value in entry.values())
    bounded = all(np.isfinite(allowed).all() for allowed in found.allowed if allowed is not None)
    assert bounded or "cannot be judged" in verdict.caution


def kinked(flip):
    """A float64 problem with one B_ij within rounding of 0, moved by `flip` to either side of it."""
    problem = Problem(6, 2, 2, eps=0.3, ddof=1, seed=5)
    batch = problem.sample()
    Z = batch.X @ batch.G1
    Xhat = (Z - Z.mean(0)) / np.sqrt(((Z - Z.mean(0)) ** 2).sum(0) / 5 + 0.3)
    beta = batch.beta.copy()
    beta[1] = -batch.gamma[1] * Xhat[4, 1] + flip
    return batch._replace(beta=beta), problem


def test_kink_allowance_is_what_a_flip_moves():
    """Both sides of a kink are right for each other's data, by the kink allowance and by nothing wider."""
    # catches: a kink's allowance of the wrong element, sign or size
    (above, problem), (below, _) = kinked(1e-16), kinked(-1e-16)
    one, other = reference(above, problem), reference(below, problem)
    assert one.ambiguous == other.ambiguous == 1
    for name in ("dG1", "dgamma", "dbeta"):
        moved = np.abs(getattr(one.high, name) - getattr(other.high, name))
        kink = getattr(one.kink, name)
        assert moved.max() > 1e-3
        np.testing.assert_allclose(kink, moved, rtol=1e-9, atol=1e-13)
        rounding = getattr(one.allowed, name) - kink
        assert (rounding < 1e-11).all()
    clear = reference(kinked(1e-6)[0], problem)
    assert clear.ambiguous == 0
    assert not clear.kink.dG1.any()


def test_float32_allowance_is_five_hundred_million_times_wider():
    """The tolerance scales with the dtype's rounding unit and with nothing else."""
    # catches: an allowance that holds a constant of float64's
    wide = Problem(50, 4, 3, activation="tanh", dtype="float32", seed=1)
    narrow = Problem(50, 4, 3, activation="tanh", dtype="float64", seed=1)
    batch = wide.sample()
    ratio = reference(batch, wide).allowed.dG1 / reference(batch, narrow).allowed.dG1
    np.testing.assert_allclose(ratio, 2.0**29, rtol=1e-2)

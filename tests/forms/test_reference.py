"""The reference at one layer against certified balls; its accounts of rounding and kinks; threads change no bit."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import FEW_PAIRS, covering
from certificates import SETTINGS, parts, problems
from flint import arb, ctx
from networks import network

from bnbench import formula
from bnbench.problem import Problem
from bnbench.reference import chunks, reference
from bnbench.reference import network as module
from bnbench.reference.certified import RADIUS, certify
from bnbench.validation import judge, parts_of
from bnbench.variants import variants


def distances(batch, problem):
    """|reference - truth| of every entry over its array's largest, and that, by name."""
    enclosure, found = certify(batch, problem), reference(batch, problem)
    assert enclosure.radius <= RADIUS
    assert not enclosure.kinks
    highs, lows, result = parts(found.high), parts(found.low), {}
    with ctx.workprec(256):
        for name, true in parts(enclosure.gradients).items():
            size = max(float(abs(ball).mid()) for ball in true)
            pairs = zip(true, highs[name], lows[name], strict=True)
            off = max(float(abs(arb(float(h)) + arb(float(l)) - ball).abs_lower()) for ball, h, l in pairs)
            result[name] = off / size if size > 1e-20 else 0.0, size
    return result


@pytest.mark.parametrize(("activation", "normalization", "ddof", "eps"), SETTINGS)
def test_the_sweeps_reference_lies_inside(activation, normalization, ddof, eps):
    """The double-double reference is within 1e-25 of the enclosure: one is the formulas, the other never saw one."""
    # catches: a wrong closed formula in the reference, an operation of double-doubles right to float64 alone
    for problem in problems(activation, normalization, ddof, eps):
        for name, (off, _) in distances(problem.sample(), problem).items():
            assert off <= RADIUS, (problem, name)


def test_an_offset_costs_the_reference_its_digits_and_no_more():
    # catches: statistics in one pass, a sum of X in float64
    problem = Problem(12, 2, 3, "tanh", ddof=2, eps=0.5)
    batch = problem.sample()
    for name, (off, _) in distances(batch._replace(X=batch.X + 1e6), problem).items():
        assert off <= 1e-20, name


def test_chunks_and_threads_change_no_bit(monkeypatch):
    # catches: sums in the order in which threads end, noise that depends on them
    problem = Problem(20_000, 5, 17, activation="tanh", dtype="float32", seed=3)
    assert len(chunks.chunks(problem.N, problem.p2)) > 2
    batch, found = problem.sample(), []
    for threads in (1, 3):
        pool = functools.cache(functools.partial(ThreadPoolExecutor, threads))
        monkeypatch.setattr(chunks, "_threads", pool)
        found.append(reference(batch, problem))
    one, other = found
    for name in ("high", "low", "allowed"):
        for first, second in zip(getattr(one, name), getattr(other, name), strict=True):
            assert np.array_equal(first, second), name


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


def test_many_kinks_move_what_each_moves():
    """More elements on a kink than passes are made for: the allowance is the sum of what each moves, all the same."""
    # catches: an allowance that is another element's, times a share; a node that is left out
    problem = Problem(700, 3, 4, eps=0.3, ddof=1, seed=4)
    batch = problem.sample()
    batch.X[::2] = batch.X[0]
    theta, data, spec = batch.theta, batch.data, problem.spec
    Xhat = formula.network(theta, data, spec).layers[0].Xhat
    batch = batch._replace(beta=-batch.gamma * Xhat[0])
    theta, whole = batch.theta, formula.network(batch.theta, data, spec)
    known, moved = reference(batch, problem), [np.zeros((2, *array.shape)) for array in theta.layers[0]]
    assert known.ambiguous == 350 * 4 > 4 * module.PASSES
    layer = whole.layers[0]
    for i in range(0, 700, 2):
        for j in range(4):
            layer.S = np.zeros((700, 4))
            layer.S[i, j] = layer.upstream[i, j]
            gradient, _ = formula.below_S(layer, inputs=False)
            for array, change in zip(moved, gradient, strict=True):
                array += [np.maximum(change, 0), np.maximum(-change, 0)]
    signs = (reference(batch, problem).kink.dG1, known.kink.dgamma, known.kink.dbeta)
    sides = [array.sum(axis=0) for array in moved]
    for kink, both, each in zip(signs, sides, moved, strict=True):
        assert (kink <= both * (1 + 1e-9)).all()
        assert (kink >= 0.5 * both * (1 - 1e-9)).all()
        del each


def test_kinks_beyond_the_passes_are_estimated(monkeypatch):
    """In a lower layer, some elements stand for all: to a tenth of what all of them move it by."""
    # catches: the largest for all, a share of the count in place of the size
    theta, data, spec = network(2, layers=2, largest=6, rows=900, activation="relu", normalization="batch", plain=True)
    found = []
    for passes in (10**6, module.PASSES):
        monkeypatch.setattr(module, "PASSES", passes)
        monkeypatch.setattr(module, "KINK_MARGIN", 1e7)
        found.append(module.of_network(theta, data, spec, "float32"))
    every, some = found
    assert every.ambiguous > 2 * 256
    for one, other in zip(module.arrays(every.kink), module.arrays(some.kink), strict=True):
        assert np.linalg.norm(one - other) <= 0.1 * np.linalg.norm(one)


def test_float32_allowance_is_five_hundred_million_times_wider():
    """The tolerance scales with the dtype's rounding unit; besides, what float64 itself rounds is in one of them."""
    # catches: an allowance that holds a constant of float64's
    wide = Problem(50, 4, 3, activation="tanh", dtype="float32", seed=1)
    narrow = Problem(50, 4, 3, activation="tanh", dtype="float64", seed=1)
    batch = wide.sample()
    ratio = reference(batch, wide).allowed.dG1 / reference(batch, narrow).allowed.dG1
    assert (ratio > 2.0**28).all()
    assert (ratio < 2.0**30).all()

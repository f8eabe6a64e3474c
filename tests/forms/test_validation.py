"""The verdict: every known mistake is called, every malformed answer has its reason, no right one is called wrong."""

import dataclasses
import functools
import os
from types import SimpleNamespace

import numpy as np
import pytest
from cases import FEW, FEW_PAIRS, PAIRS, SETTINGS, covering
from conftest import BUILT_IN

import bnbench
from bnbench.problem import DTYPES, Gradients, Problem
from bnbench.reference import reference
from bnbench.validation import derivation_problems, judge, parts_of

RANDOM_PROBLEMS, FEW_PROBLEMS = int(os.environ.get("BNBENCH_RANDOM_PROBLEMS", "1000")), 100
FAR = 1e6  # times the tolerance: how far off every mistake is on some derivation problem


def conventions(problem):
    return {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps")}


@pytest.mark.parametrize(("activation", "normalization"), covering(PAIRS, FEW_PAIRS))
def test_derivation_check_calls_every_mistake(wrong, activation, normalization):
    # catches: derivation problems on which a mistake is within rounding
    known = [(b, p, reference(b, p)) for b, p in derivation_problems(activation, normalization)]

    def worst(mistake):
        answers = (Gradients(*wrong.step(*b, mistake=mistake, **conventions(p))) for b, p, _ in known)
        verdicts = [judge(parts_of(answer), r, p) for answer, (_, p, r) in zip(answers, known, strict=True)]
        assert any(verdict.reason for verdict in verdicts) == (max(v.max_error_ratio for v in verdicts) >= 1)
        return max(verdict.max_error_ratio for verdict in verdicts)

    assert worst("") < 0.1
    for mistake in wrong.MISTAKES:
        no_mistake = (normalization == "none" and mistake in wrong.HIDDEN_WITHOUT_NORMALIZATION) or (
            activation == "identity" and mistake == "derivative-1"
        )
        assert (worst(mistake) < 0.1) if no_mistake else (worst(mistake) > FAR), mistake


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_no_mistake_hides_behind_what_most_data_has(wrong, activation):
    """Catches derivation problems in which every γ is positive, nothing is 0, nothing agrees, saturates or is square.

    Each planted formula is right wherever its one assumption holds. The derivation check and `diagnose` convict it.
    """
    known = [(b, p, reference(b, p)) for b, p in derivation_problems(activation, "batch")]

    def convicted(mistake):
        wrong.KEPT.clear()
        for batch, problem, true in known:
            try:
                with np.errstate(all="ignore"):
                    answer = Gradients(*wrong.step(*batch, mistake=mistake, **conventions(problem)))
            except np.linalg.LinAlgError:
                return True
            if not judge(parts_of(answer), true, problem).valid:
                return True
        return False

    assert not convicted("")
    harmless = {"relu": {"exp-overflows"}, "sigmoid": {"clipped-B"}}[activation]  # a sigmoid is flat out there
    for mistake, assumed in wrong.LEANINGS.items():
        assert convicted(mistake) or mistake in harmless, f"{mistake}: {assumed}"


@pytest.mark.parametrize("mistake", ["absolute-gamma", "exp-overflows", "turned-to-fit", "kept-by-size"])
def test_a_diagnosis_convicts_what_most_data_hides(wrong, mistake):
    """Catches a diagnosis whose problems are tamer than those of the derivation check."""
    wrong.KEPT.clear()
    step = functools.partial(wrong.step, mistake=mistake)
    with np.errstate(all="ignore"):
        found = bnbench.diagnose(step, activations=["sigmoid"], normalizations=["batch"])
    assert not found.correct
    assert not found.mistakes


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_what_is_drawn_is_of_both_signs(normalization):
    """Catches a parameter or datum that is always positive, in the sweep's cells and in every derivation problem."""
    batch = Problem(50, 4, 30, normalization=normalization).sample()
    drawn = [part for part in batch if part is not None]
    problems = [b for b, _ in derivation_problems("relu", normalization)]
    drawn += [np.concatenate([b[at].ravel() for b in problems]) for at in range(6) if problems[0][at] is not None]
    for part in drawn:
        assert 0.2 < np.mean(part > 0) < 0.8
        assert 0.2 < np.mean(part < 0) < 0.8


@pytest.mark.parametrize(
    ("N", "dtype"),
    covering(
        [(N, dtype) for N in (10, 1000, 100_000) for dtype in DTYPES],
        [(10, "float64"), (10, "float32"), (1000, "float64"), (100_000, "float32")],
    ),
)
def test_numerical_check_calls_all_but_the_small_mistakes(wrong, N, dtype):
    """What the cell itself must see: every mistake that is not a matter of ddof, at ReLU and any size.

    X is moved: what is drawn has column means near 0, and the μ-term, x̄ times ∂R/∂β, is then within rounding by luck.
    """
    # catches: a tolerance as wide as a mistake at some size or dtype
    problem = Problem(N, 16, 8, dtype=dtype, eps=1e-5)
    batch = problem.sample()
    batch = batch._replace(X=batch.X + np.linspace(-1, 1, 16, dtype=dtype))
    known = reference(batch, problem)
    for mistake in ("no-mu-term", "no-s-term", "extra-gamma", "missing-gamma", "missing-1/N", "sign", "derivative-1"):
        answer = Gradients(*wrong.step(*batch, mistake=mistake, **conventions(problem)))
        assert not judge(parts_of(answer), known, problem).valid, mistake


@pytest.mark.parametrize("dtype", DTYPES)
def test_malformed_answers_have_reasons_of_their_own(dtype):
    # catches: a form that is compared by number, broadcast or cast until it fits
    problem = Problem(20, 3, 2, dtype=dtype)
    batch = problem.sample()
    known = reference(batch, problem)
    right = bnbench.gradients(*batch)
    other = {"float64": np.float32, "float32": np.float64}[dtype]
    missing = SimpleNamespace(**{name: value for name, value in right._asdict().items() if name != "dG2"})
    cases = {
        "returned None": None,
        "returned 4 values": right[:4],
        "returned a dict": dict(right._asdict()),
        "dG2 is missing": missing,
        "dgamma is None": right._replace(dgamma=None),
        "dG1 is an array of dtype object; allowed is an array of float": right._replace(dG1=right.dG1.astype(object)),
        "dG1 is a str": right._replace(dG1="large"),
        "dG1 has shape (2, 3)": right._replace(dG1=right.dG1.T),
        "dbeta has shape (2, 1)": right._replace(dbeta=right.dbeta[:, None]),
        "dG2 is of dtype": right._replace(dG2=right.dG2.astype(other)),
        "dG2 is of dtype int64": right._replace(dG2=right.dG2.astype(np.int64)),
        "dbeta is not finite (1 of 2": right._replace(dbeta=right.dbeta * np.array([1, np.nan], dtype)),
        "loss is not finite": right._replace(loss=np.inf),
    }
    reasons = {expected: judge(parts_of(answer), known, problem).reason for expected, answer in cases.items()}
    for expected, reason in reasons.items():
        assert reason.startswith(expected), reason
    assert judge(parts_of(right), known, problem).valid


def test_what_cannot_be_judged_is_neither_passed_over_nor_invalid():
    """Catches a verdict that one unbounded entry spoils for all others, in either direction."""
    problem = Problem(20, 3, 2)
    batch = problem.sample()
    known, right = reference(batch, problem), bnbench.gradients(*batch, variant="matrix-numpy")
    allowed = known.allowed.dG1.copy()
    allowed[1, 1] = np.inf
    known = dataclasses.replace(known, allowed=known.allowed._replace(dG1=allowed))
    any_value, wrong = right.dG1.copy(), right.dG1.copy()
    any_value[1, 1] = np.nan
    wrong[0, 0] *= 1.001
    verdict = judge(parts_of(right._replace(dG1=any_value)), known, problem)
    assert verdict.valid
    assert verdict.blind == ("dG1",)
    assert verdict.caution == "ill-conditioned: entries of dG1 cannot be judged: nothing bounds their rounding"
    assert 0 < verdict.errors["dG1"]["ratio"] < 1
    assert judge(parts_of(right._replace(dG1=wrong)), known, problem).reason.startswith("dG1 is off by")
    everything = dataclasses.replace(known, allowed=Gradients(*(np.full(np.shape(part), np.inf) for part in right)))
    verdict = judge(parts_of(right), everything, problem)
    assert (verdict.valid, verdict.max_error_ratio, len(verdict.blind)) == (True, 0, 5)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300, 1.5e308])
def test_sizes_at_the_ends_of_the_range_are_compared(size):
    """Catches norms whose squares or sums overflow or underflow."""
    problem = Problem(20, 300, 200)
    parts = Gradients(*(np.full(shape, size) for shape in ((), (300, 200), 200, 200, 200)))
    none, within = Gradients(*(0 * part for part in parts)), Gradients(*(1e-8 * part for part in parts))
    known = SimpleNamespace(high=parts, low=none, allowed=within)
    assert judge(parts_of(parts), known, problem).max_error_ratio == 0
    off = judge(parts_of(parts._replace(dG1=parts.dG1 * (1 + 1e-7))), known, problem)
    assert off.errors["dG1"]["ratio"] == pytest.approx(10, rel=1e-3)
    assert off.errors["dG1"]["tolerance"] == pytest.approx(1e-8)


def test_gradients_of_absent_parameters_must_be_none():
    # catches: zeros in place of a gradient that does not exist
    problem = Problem(20, 3, 2, "sigmoid", "none")
    batch = problem.sample()
    right = bnbench.gradients(*batch, activation="sigmoid", normalization="none")
    known = reference(batch, problem)
    assert judge(parts_of(right), known, problem).valid
    assert judge(parts_of(right._replace(dbeta=np.zeros(2))), known, problem).reason.startswith("dbeta is an array")


def random_problem(rng, settings):
    """A problem of any size and kind with its arrays: offsets to what the dtype bears, and any layout."""
    activation, normalization, dtype = settings[rng.integers(len(settings))]
    N = int(2 * 2 ** rng.uniform(0, 10.5)) if rng.random() < 0.995 else int(rng.integers(10_000, 50_000))
    p1, p2 = (int(2 ** rng.uniform(0, 5.5)) for _ in range(2))
    problem = Problem(
        N,
        p1,
        p2,
        activation=activation,
        normalization=normalization,
        ddof=int(rng.integers(0, min(3, N))),
        eps=float(rng.choice([0.0, 1e-12, 1e-5, 1e-3, 1.0])),
        dtype=dtype,
        seed=int(rng.integers(2**31)),
    )
    batch = problem.sample()
    most = 4 if dtype == "float64" else 2
    scale = 10 ** rng.uniform(-2, 2, p1)
    X = batch.X
    if problem.normalization == "batch" and rng.random() < 0.5:
        X = X + rng.choice([-1, 1], p1) * 10 ** rng.uniform(-1, most, p1)
    if rng.random() < 0.3:
        X = X * scale
        batch = batch._replace(G1=(batch.G1 / scale[:, None]).astype(dtype))
    if p1 > 1 and rng.random() < 0.1:
        X[:, 0] = 0.1  # a constant column
    return problem, [layout(rng, a) for a in batch._replace(X=X.astype(dtype))]


def constant_node(problem, arrays):
    """Whether every column of X is constant and eps is 0, so that there is nothing to normalise by."""
    return problem.normalization == "batch" and problem.eps == 0 and not np.ptp(arrays[0], axis=0).any()


def layout(rng, array):
    """The same numbers in some layout: C, Fortran, a strided view or a reversed one; half of them read-only."""
    if array is None:
        return None
    kind = rng.integers(4)
    if kind == 1:
        array = np.asfortranarray(array)
    elif kind == 2:
        wide = np.full([2 * n for n in array.shape], np.nan, array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        array = view
    elif kind == 3:
        array = np.ascontiguousarray(array[::-1])[::-1]
    array.flags.writeable = bool(rng.integers(2))
    return array


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        pytest.param(FEW_PROBLEMS, FEW, id="few"),
        pytest.param(RANDOM_PROBLEMS, SETTINGS, id="many", marks=pytest.mark.exhaustive),
    ],
)
def test_no_correct_variant_is_called_wrong(count, settings):
    """Seeded random problems of all kinds, each by every variant it is not too large for."""
    # catches: a tolerance that rounding exceeds, a layout or an offset that a variant does not bear
    rng = np.random.default_rng(20260101)
    judged, largest = 0, 0.0
    for _ in range(count):
        problem, arrays = random_problem(rng, settings)
        known = reference(bnbench.Batch(*arrays), problem)
        before = [None if a is None else a.copy() for a in arrays]
        for name in BUILT_IN:
            if name == "loops-python" and problem.work > 5000:
                continue
            if name == "matrix-kronecker" and bnbench.variants()[name].needs_bytes(problem, "fresh") > 2**22:
                continue
            if constant_node(problem, arrays):
                with pytest.raises(ValueError, match="zero variance"):
                    bnbench.gradients(*arrays, variant=name, **conventions(problem))
                continue
            answer = bnbench.gradients(*arrays, variant=name, **conventions(problem))
            verdict = judge(parts_of(answer), known, problem)
            assert verdict.valid, (name, problem, verdict)
            judged += 1
            largest = max(largest, verdict.max_error_ratio)
        assert all(a is b is None or np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    print(f"{judged} answers to {count} problems, largest error {largest:.2g} of its tolerance")
    assert judged > 3 * count

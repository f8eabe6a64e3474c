"""The diagnosis of heads with linear terms and unit effects: each slip is invalid and named, what is right never is."""

import functools
import os

import numpy as np
import pytest
from cases import covering

import bnbench as package
from bnbench import formula
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import edits_of, possible
from bnbench.problem import LOSSES, NORMALIZATIONS, Batch, Gradients, Spec
from bnbench.reference import reference
from bnbench.validation import derivation_problem, judge, parts_of

HELD = {"activations": ["tanh"], "normalizations": ["batch"], "ddof": 1, "eps": 0.7}
FEW = ((14, 4, 4), (17, 5, 5))  # sizes
TERMS = "linear", "units"


def by_hand(X, y, G1, gamma, beta, G2, *, ddof, eps, W=None, delta=None, units=None, slip=""):
    """One layer of tanh, the squared loss and a panel as somebody writes it, unit by unit; with a slip."""
    N, p2 = len(y), len(G2)

    def demeaned(values):
        if units is None:
            return values
        found = np.array(values)
        for u in set(units):
            found[units == u] -= np.mean(values[units == u] if slip != "batch" else values, axis=0)
        return found

    seen = demeaned(X) if slip in ("X", "X and y") else X
    Z = seen @ G1
    if slip == "Z":
        Z = demeaned(Z)
    s = np.sqrt(Z.var(axis=0, ddof=ddof) + eps)
    Xhat = (Z - Z.mean(axis=0)) / s
    A = np.tanh(gamma * Xhat + beta)
    fitted = A @ G2
    if W is not None and slip != "no W":
        fitted = fitted + (W @ delta) * (-1 if slip == "W off" else 1)
    raw = y - fitted
    e = demeaned(raw)
    if slip in ("X", "Z", "ignored"):
        e = raw
    if slip in ("y alone", "X and y"):
        e = demeaned(y) - fitted
    n = N - len(set(units)) if slip == "N-U" and units is not None else N
    kept = raw if slip == "raw" else e
    S = -2 / n * np.outer(kept, G2) * (1 - A**2)
    dbeta, dgamma = S.sum(axis=0), (S * Xhat).sum(axis=0)
    dZ = gamma / s * (S - dbeta / N - Xhat * dgamma / (N - ddof))
    found = [e @ e / n, seen.T @ dZ, dgamma, dbeta, -2 / n * A.T @ kept]
    if W is not None:
        of_W = raw if slip == "raw in delta" else kept
        found.append(-2 / n * W.T @ of_W * (-1 if slip == "sign in delta" else 1))
    if units is not None:
        alpha = np.array([np.mean(raw[units == u]) for u in range(max(units) + 1)])
        alpha = np.full_like(alpha, raw.mean()) if slip == "batch" else alpha
        found.append(0 * alpha if slip in ("X", "Z", "ignored") else alpha)
        if slip in ("y alone", "X and y"):
            found[-1] = np.array([np.mean(y[units == u]) for u in range(max(units) + 1)])
    assert A.shape == (N, p2)
    return found


def test_a_right_head_is_right_with_all_that_it_takes():
    # catches: a head that is never tried with its linear terms and units; a mistake that a right answer is given
    found = package.diagnose(by_hand, activations=["tanh"], normalizations=["batch"])
    assert found.correct, str(found)
    assert [(case.linear > 0, case.units > 0) for case in found.cases] == [(False, False), (True, True)]
    needs = lambda *batch, ddof, eps, W, delta: by_hand(*batch, ddof=ddof, eps=eps, W=W, delta=delta)  # noqa: E731
    found = package.diagnose(needs, activations=["tanh"], normalizations=["batch"])
    assert found.correct, str(found)
    assert [(case.linear > 0, case.units > 0) for case in found.cases] == [(True, False)]


@pytest.mark.parametrize(
    ("slip", "label"),
    [
        ("X", "X-demeaned (for ε̂)"),
        ("X and y", "y-demeaned (with X)"),
        ("Z", "Z-demeaned (for ε̂)"),
        ("y alone", "y-demeaned (ŷ not)"),
        ("batch", "batch-effects"),
        ("ignored", "no-effects (everywhere)"),
        ("raw", "no-effects (in r)"),
        ("raw in delta", "no-effects (in ∂R/∂δ)"),
        ("N-U", "N-U-for-N (everywhere)"),
        ("no W", "no-W (in η)"),
        ("W off", "sign-of-W (in η)"),
        ("sign in delta", "sign-of-W (in ∂R/∂δ)"),
    ],
)
def test_a_slip_of_the_head_is_named(slip, label):
    # catches: an edit of the formula that is not what people write, a name of another slip
    step = functools.partial(by_hand, slip=slip)
    found = package.diagnose(step, sizes=FEW, linear=2, units=3, **HELD)
    (case,) = found.cases
    assert label in [mistake.label for mistake in case.mistakes], str(found)
    assert len(case.mistakes) == 1
    named = {mistake.name for mistakes in (case.mistakes, *case.alternatives) for mistake in mistakes}
    assert len(named) <= 1 + (slip == "N-U"), "as many rows as units have an own factor"


def planted(mistake, layers):
    """A step that is the formula with a mistake."""

    def step(*six, activation, normalization, ddof, eps, loss, W, delta, units, statistics=None):
        batch = Batch(*six, statistics=statistics, W=W, delta=delta, units=units)
        edits = edits_of(frozenset([mistake]), VARIANCE, layers)
        with np.errstate(all="ignore"):
            spec = Spec(activation, normalization, loss, ddof, eps)
            return Gradients.of(formula.gradients(batch.theta, batch.data, spec, edits=edits), layers > 1)

    return step


EVERY = os.environ.get("BNBENCH_EVERY_MISTAKE") == "1"  # whether those of two layers are diagnosed as well, in minutes
ALL = [(loss, normalization, layers) for loss in LOSSES for normalization in NORMALIZATIONS for layers in (1, 2)]
SETTINGS = [("squared", "batch", 1), ("logistic", "none", 2), ("poisson", "frozen", 1)]


@pytest.mark.parametrize(("loss", "normalization", "layers"), covering(ALL, SETTINGS))
def test_every_mistake_of_the_head_is_invalid(loss, normalization, layers):
    """On the derivation problems that a variant with linear terms and units is given; and nothing right is."""
    # catches: derivation problems on which a mistake of the head changes nothing
    network = {"loss": loss, "depth": layers, "linear": 2, "units": 3}
    made = [derivation_problem(place, "tanh", normalization, **network) for place in range(7)]
    known = [(batch, problem, reference(batch, problem)) for batch, problem in made]
    every = [mistake for mistake in possible(normalization, loss, layers, TERMS) if mistake.needs]
    assert len(every) > 15
    unseen, unnamed = [], []
    for mistake in every:
        step, seen = planted(mistake, layers), False
        for batch, problem, right in known:
            spec = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps", "loss")}
            seen |= not judge(parts_of(step(*batch, **spec, **batch.more)), right, problem).valid
        unseen += [] if seen else [mistake.label]
        if EVERY or layers == 1:
            listed = lambda *six, **more: [*(g := step(*six, **more)), g.ddelta, g.alpha]  # noqa: E731, B023
            keywords = functools.wraps(step)(listed)
            (case,) = package.diagnose(keywords, **HELD | {"normalizations": [normalization]} | network).cases
            sets = [case.mistakes, *case.alternatives]
            unnamed += [] if [mistake.label] in [[one.label for one in each] for each in sets] else [mistake.label]
    assert (unseen, unnamed) == ([], [])
    for batch, problem, right in known:
        found = formula.gradients(batch.theta, batch.data, problem.spec)
        assert judge(parts_of(Gradients.of(found, layers > 1)), right, problem).valid

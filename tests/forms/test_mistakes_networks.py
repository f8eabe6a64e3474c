"""The diagnosis of networks, losses and frozen statistics: what is named, in which layer, and where to look else."""

import functools
import itertools
import os

import numpy as np
import pytest
from cases import covering

import bnbench as package
from bnbench import formula
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import edits_of, possible
from bnbench.problem import LOSSES, NORMALIZATIONS, Batch, Gradients, Problem, Spec
from bnbench.reference import reference
from bnbench.validation import derivation_problem, judge, parts_of

LAYERS = 3
HELD = {"activations": ["tanh"], "ddof": 1, "eps": 0.7}  # so that nothing is taken for a convention of its own
FEW = ((9, 4, 4), (11, 5, 5))  # sizes
COMBINATIONS = list(itertools.product(LOSSES, NORMALIZATIONS))


def by_hand(X, y, G1, gamma, beta, G2, *, normalization, ddof, eps, loss, statistics=None, slip=(None, None)):
    """A network of tanh layers as somebody writes it, with a slip in a layer (from 0, or all) or in the head."""
    what, where = slip
    N, A, kept = len(y), X, []
    for place, G in enumerate(G1):
        made = what if where in (place, "all") else None
        Z = A @ G
        mean, var = statistics[place] if statistics else (Z.mean(0), Z.var(0) * N / (N - ddof))
        s = np.sqrt(var + eps)
        Xhat = (Z - mean) / s
        kept.append((A, Xhat, s, made))
        A = np.tanh(gamma[place] * Xhat + beta[place])
        if made == "other network":
            A = A * 1.01
    eta = A @ G2
    mean = {"squared": eta, "logistic": 1 / (1 + np.exp(-eta)), "poisson": np.exp(eta)}[loss]
    value = {"squared": (y - eta) ** 2, "logistic": np.log1p(np.exp(eta)) - y * eta, "poisson": mean - y * eta}[loss]
    r = (2 if loss == "squared" else 1) * ((eta if what == "no mean" else mean) - y) / N
    grads, upstream = [], np.outer(r, G2)
    for place in reversed(range(len(G1))):
        below, Xhat, s, made = kept[place]
        S = upstream * (1 - A**2)
        dbeta, dgamma = S.sum(0), (S * Xhat).sum(0)
        mu_term, s_term = dbeta / N, Xhat * dgamma / (N - ddof)
        if statistics and made != "batch's terms":
            mu_term = s_term = 0
        if made == "constant":
            mu_term = s_term = 0
        if made == "no mu":
            mu_term = 0
        dZ = (1 if made == "no gamma" else gamma[place]) / s * (S - mu_term - s_term)
        dG = below.T @ dZ
        if made == "odd":
            dG = dG * (1 + 0.01 * np.arange(dG.size).reshape(dG.shape))
        grads.append((dG, dgamma, dbeta))
        upstream = (S if made == "S for dZ" else dZ) @ (G1[place] if made == "not transposed" else G1[place].T)
        A = below
    return value.sum() / N, *map(list, zip(*reversed(grads), strict=True)), kept_out(kept, gamma, beta).T @ r


def kept_out(kept, gamma, beta):
    """The last layer's output."""
    return np.tanh(gamma[-1] * kept[-1][1] + beta[-1])


def said(slip=(None, None), *, loss="squared", normalization="batch", depth=LAYERS, **held):
    """The diagnosis of a network by hand."""
    step = functools.partial(by_hand, slip=slip)
    return package.diagnose(
        step, normalizations=[normalization], loss=loss, depth=depth, **(HELD | {"sizes": FEW} | held)
    )


@pytest.mark.parametrize(
    ("loss", "normalization"),
    covering(list(itertools.product(LOSSES, ["batch", "frozen"])), [("logistic", "batch"), ("poisson", "frozen")]),
)
def test_a_right_network_is_right(loss, normalization):
    # catches: a tolerance that rounding exceeds at depth; arguments that a step is not given
    found = said(loss=loss, normalization=normalization, sizes=None)
    assert found.correct, str(found)
    assert f"{LAYERS} layers" in str(found)


@pytest.mark.parametrize(
    ("slip", "how", "label", "words"),
    [
        (("no mu", 1), {}, "no-mu-term (in layer 2)", "in layer 2: the μ-term 1(∂R/∂β)ᵀ/N is missing from ∂R/∂Γ"),
        (("no mu", "all"), {"depth": 2}, "no-mu-term (in every layer)", "in every layer: the μ-term"),
        (("no gamma", 0), {"loss": "poisson"}, "no-gamma (in layer 1)", "in layer 1: the factor γ is missing"),
        (("S for dZ", 2), {}, "S-for-dZ (in ∂R/∂A, in layer 3)", "in layer 3: ∂R/∂A is S Γᵀ"),
        (("not transposed", 1), {}, "Γ-not-transposed (in ∂R/∂A, in layer 2)", "in layer 2: ∂R/∂A goes through Γ wh"),
        (("no mean", None), {"loss": "logistic"}, "no-mean (in r)", "wrong: η stands where the mean of y belongs"),
        (
            ("batch's terms", "all"), {"normalization": "frozen"}, "batch-for-given (in ∂R/∂Γ1 only, in every layer)",
            "in every layer: the μ-term and the s-term are subtracted",
        ),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_layer(slip, how, label, words):
    """Of a network written apart from the formula and its edits."""
    # catches: a mistake planted in another layer than it says, a search that stops at the first layer
    found = said(slip, **how)
    assert words in found.headline
    (case,) = found.cases
    assert [mistake.label for mistake in case.mistakes] == [label]


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (("odd", 1), "from the head down dG1[1] is the first that is wrong, of layer 2"),
        (("other network", 1), "the loss itself is wrong: look at the forward pass"),
    ],
)
def test_where_nothing_is_known_it_says_where_to_look(slip, words):
    # catches: the name of a mistake that was not made; the first layer blamed for what comes from above
    found = said(slip)
    assert not found.mistakes
    assert words in found.headline


@pytest.mark.parametrize("depth", [1, LAYERS])
def test_constant_statistics_are_right_for_frozen_ones(depth):
    """μ and s held constant in every layer: it is said what that is the gradient of, and it is."""

    # catches: the sentence where more is wrong, or where only one of the layers holds them
    def step(X, y, G1, gamma, beta, G2, slip=("constant", "all"), **conventions):
        if depth > 1:
            return by_hand(X, y, G1, gamma, beta, G2, loss="squared", slip=slip, **conventions)
        loss, (dG1,), (dgamma,), (dbeta,), dG2 = by_hand(
            X, y, [G1], [gamma], [beta], G2, loss="squared", slip=slip, **conventions
        )
        return loss, dG1, dgamma, dbeta, dG2

    def held(step):
        return package.diagnose(step, activations=["tanh"], normalizations=["batch"], depth=depth)

    found = held(lambda *batch, activation, normalization, ddof, eps: step(
        *batch, normalization=normalization, ddof=ddof, eps=eps))  # fmt: skip
    assert found.mistakes == ("mu-and-s-constant",)
    assert "it is right for frozen statistics" in found.headline
    partly = held(lambda *batch, activation, normalization, ddof, eps: step(
        *batch, normalization=normalization, ddof=ddof, eps=eps, slip=("no mu", "all")))  # fmt: skip
    assert partly.mistakes == ("no-mu-term",)
    assert "frozen" not in partly.headline
    problem = Problem(11, 4, 4, "tanh", "batch", ddof=1, eps=0.3, depth=depth)
    batch = problem.sample()
    layers = formula.network(batch.theta, batch.data, problem.spec).layers
    given = tuple((layer.mu, layer.variance) for layer in layers)
    conventions = Spec("tanh", "frozen", "squared", 1, 0.3)
    known = formula.gradients(batch.theta, batch.data._replace(statistics=given), conventions)
    answer = step(*batch, normalization="batch", ddof=1, eps=0.3)
    for one, other in zip(answer, Gradients.of(known, depth > 1), strict=True):
        for a, b in zip(*((part if isinstance(part, list) else [part]) for part in (one, other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def planted(mistake):
    """A step that is the formula with a mistake."""

    def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps, loss, statistics=None):
        batch = Batch(X, y, G1, gamma, beta, G2, statistics=statistics)
        edits = edits_of(frozenset([mistake]), VARIANCE, LAYERS)
        with np.errstate(all="ignore"):
            spec = Spec(activation, normalization, loss, ddof, eps)
            return tuple(Gradients.of(formula.gradients(batch.theta, batch.data, spec, edits=edits), True))

    return step


@functools.cache
def hard(loss, normalization):
    """The derivation problems of a network, each with its reference."""
    made = [derivation_problem(place, "tanh", normalization, loss=loss, depth=LAYERS) for place in range(4)]
    return [(batch, problem, reference(batch, problem)) for batch, problem in made]


SHARES = [(*one, place) for place, one in enumerate(COMBINATIONS)]
ALL = [(*one, None) for one in COMBINATIONS]
EVERY = os.environ.get("BNBENCH_EVERY_MISTAKE") == "1"  # a quarter of an hour: whether -m exhaustive has all of them


@pytest.mark.parametrize(("loss", "normalization", "share"), covering(SHARES + ALL, SHARES) if EVERY else SHARES)
def test_every_mistake_in_every_layer_is_invalid_and_named(loss, normalization, share):
    """On the derivation problems, by the reference's tolerance; and the diagnosis names it and its layer."""
    # catches: derivation problems that hide a mistake of a deep layer; an edit that does nothing; a name of another's
    every = [m for m in possible(normalization, loss, LAYERS) if m.where != "tanh"]
    unseen, unnamed = [], []
    for mistake in every if share is None else every[share :: len(COMBINATIONS)]:
        step, seen = planted(mistake), False
        for batch, problem, known in hard(loss, normalization):
            more = {"statistics": batch.statistics} if normalization == "frozen" else {}
            spec = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps", "loss")}
            try:
                answer = parts_of(Gradients(*step(*batch, **spec, **more)))
            except ValueError:  # shapes that do not fit: nobody's code returns there
                continue
            seen |= not judge(answer, known, problem).valid
        unseen += [] if seen else [mistake.label]
        if share is not None and mistake is not every[share]:
            continue  # of the covering set, one is diagnosed in each
        (case,) = package.diagnose(step, normalizations=[normalization], loss=loss, depth=LAYERS, **HELD).cases
        if mistake.name == "eps-outside-root" and case.conventions.eps_place == "sd":
            continue  # in every layer and rightly derived it is a convention
        sets = [case.mistakes, *case.alternatives]
        unnamed += [] if [mistake.label] in [[one.label for one in each] for each in sets] else [mistake.label]
    assert (unseen, unnamed) == ([], [])

"""The formula against the definition: machines that know no gradient, balls, and mistakes planted in every layer."""

import dataclasses

import numpy as np
import pytest
from networks import NORMALIZATIONS, cast, distances, network

from bnbench import activations, definition, formula, losses
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import edits_of, possible
from bnbench.problem import LOSSES, Layer, Theta
from bnbench.reference.balls import enclose, formula_enclosed
from bnbench.reference.network import arrays

CLOSE = 1e-9  # what the formula and a machine may differ by, in float64
FAR = 1e-3  # what every mistake moves some gradient by


def covered(networks):
    """Whether every activation, normalization and loss is among networks, linear terms and effects too."""
    specs = [spec for _, _, spec in networks]
    return (
        {spec.activation for spec in specs} == set(activations.DEFINITIONS)
        and {(spec.normalization, spec.loss) for spec in specs}
        == {(one, other) for one in NORMALIZATIONS for other in LOSSES}
        and {len(theta.layers) for theta, _, _ in networks} == {1, 2, 3, 4, 5}
        and {(data.W is None, data.unit is None) for _, data, _ in networks} == {(a, b) for a in (0, 1) for b in (0, 1)}
    )


@pytest.mark.parametrize(("machine", "seeds"), [("autograd", range(60)), ("torch", range(60, 84))])
def test_the_formula_is_the_derivative_of_the_definition(machine, seeds):
    """Of R, by every parameter and by X; a machine takes the definition as it stands."""
    # catches: a term, a factor or a sign of a layer, the head or a loss; an effect that is not profiled out
    pytest.importorskip(machine)
    networks = [network(seed) for seed in seeds]
    assert machine != "autograd" or covered(networks)
    for theta, data, spec in networks:
        found = formula.gradients(theta, data, spec, inputs=True)
        known = definition.gradients(theta, data, spec, machine, inputs=True)
        assert max(distances(found, known)) < CLOSE, spec


@pytest.mark.parametrize("seed", range(12))
def test_balls_enclose_formula_and_definition(seed):
    """The formula over balls overlaps what balls make of the definition, and both are narrow."""
    # catches: a formula that is right to float64's rounding alone, a ball that is too small
    theta, data, spec = network(seed, layers=1 + seed % 3, largest=4, rows=8)
    known, found = (each(theta, data, spec, inputs=True) for each in (enclose, formula_enclosed))
    for one, other in zip(map(np.ravel, arrays(known)), map(np.ravel, arrays(found)), strict=True):
        assert all(a.overlaps(b) for a, b in zip(one, other, strict=True))
        assert all(float(ball.rad()) < 1e-30 for ball in (*one, *other))


def test_float32_gives_float32_and_none_of_it_is_lost():
    # catches: a constant or a sum that makes an array another dtype, a sum that is added up in float32
    for seed in range(20):
        theta, data, spec = network(seed)
        narrow = formula.gradients(*cast(theta, data, "float32"), spec, inputs=True)
        known = formula.gradients(*cast(*cast(theta, data, "float32"), "float64"), spec, inputs=True)
        assert all(array.dtype == np.float32 for array in arrays(narrow)[1:])
        assert max(distances(narrow, known)) < 1e-2, spec


def test_frozen_statistics_of_the_batch_give_the_same_network_and_another_gradient():
    # catches: statistics that are taken where they are given, a gradient through what is constant
    theta, data, spec = network(3, layers=2, normalization="batch", activation="tanh", plain=True)
    whole = formula.network(theta, data, spec)
    given = tuple((layer.mu, layer.variance) for layer in whole.layers)
    frozen = dataclasses.replace(spec, normalization="frozen")
    found = formula.gradients(theta, data._replace(statistics=given), frozen)
    assert found.loss == pytest.approx(whole.answer.loss, rel=1e-12)
    assert distances(found, whole.answer)[1] > FAR
    assert (
        max(distances(found, definition.gradients(theta, data._replace(statistics=given), frozen, "autograd"))) < CLOSE
    )


def test_no_normalization_is_frozen_with_nothing_to_do():
    # catches: a case of its own for networks without normalization that differs from the rest
    theta, data, spec = network(4, layers=3, normalization="none", plain=True)
    plain = formula.gradients(theta, data, spec, inputs=True)
    widths = [layer.G.shape[1] for layer in theta.layers]
    affine = Theta(
        tuple(Layer(layer.G, np.ones(p), np.zeros(p)) for layer, p in zip(theta.layers, widths, strict=True)),
        theta.out,
        theta.delta,
    )
    frozen = dataclasses.replace(spec, normalization="frozen", eps=0.0)
    data = data._replace(statistics=tuple((np.zeros(p), np.ones(p)) for p in widths))
    found = formula.gradients(affine, data, frozen, inputs=True)
    bare = tuple(layer._replace(gamma=None, beta=None) for layer in found.theta.layers)
    assert max(distances(found._replace(theta=found.theta._replace(layers=bare)), plain)) < 1e-14


def hard(activation="tanh", loss="squared", layers=3, seed=2026, normalization="batch"):
    """A network of equal widths on which no mistake hides, and whose every Γ is square."""
    random = np.random.default_rng(seed)
    theta, data, spec = network(seed, layers=layers, activation=activation, loss=loss, normalization="batch",
                                ddof=1, eps=0.3, plain=True)  # fmt: skip
    hidden = tuple(
        Layer(random.standard_normal((5, 5)), random.choice([-1, 1], 5) * random.uniform(1.5, 3, 5),
              random.standard_normal(5))
        for _ in theta.layers
    )  # fmt: skip
    N = 11
    y = {"squared": random.standard_normal(N), "logistic": random.integers(0, 2, N) + 0.0,
         "poisson": random.poisson(2.0, N) + 0.0}[loss]  # fmt: skip
    theta = Theta(hidden, random.standard_normal(5) + 1)
    data = data._replace(X=random.standard_normal((N, 5)) + np.linspace(-1, 1, 5), y=y)
    if normalization == "frozen":
        data = data._replace(statistics=tuple((random.standard_normal(5), random.uniform(0.3, 3, 5)) for _ in hidden))
    if normalization == "none":
        theta = theta._replace(layers=tuple(Layer(layer.G / 2) for layer in hidden))
    return theta, data, dataclasses.replace(spec, normalization=normalization)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_mistake_in_every_layer_is_found(normalization, loss):
    """By the definition, through autograd; and what bears no mistake is right, also where edits stand ready."""
    # catches: an edit that changes nothing there, and so a check that nobody can fail; one planted in another layer
    theta, data, spec = hard(loss=loss, normalization=normalization)
    known = definition.gradients(theta, data, spec, "autograd", inputs=True)
    ready = edits_of(frozenset(), VARIANCE, 3)
    assert max(distances(formula.gradients(theta, data, spec, inputs=True, edits=ready), known)) < CLOSE
    missed = []
    for mistake in possible(normalization, loss, 3):
        with np.errstate(all="ignore"):
            found = formula.gradients(theta, data, spec, inputs=True, edits=edits_of(frozenset([mistake]), VARIANCE, 3))
        shapes = [array.shape for array in arrays(found)] == [array.shape for array in arrays(known)]
        if shapes and max(distances(found, known)) < FAR and mistake.where != spec.activation:
            missed.append(mistake.label)
        above = range(max(mistake.layers) + 1, 3)  # what a mistake of the backward pass below cannot reach
        if shapes and distances(found, known)[0] < CLOSE and not mistake.of_head:
            for place in above:
                pairs = zip(found.theta.layers[place], known.theta.layers[place], strict=True)
                assert all(a is None or np.allclose(a, b, rtol=CLOSE, atol=1e-9) for a, b in pairs), mistake.label
    assert not missed


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        ("logistic", [0.0, 1.0, 1.5], r"y\[2\] is 1.5 \(1 such entries\); .* numbers from 0 to 1"),
        ("poisson", [0.0, -1.0, -2.0], r"y\[1\] is -1.0 \(2 such entries\); .* at least 0"),
        ("squared", [0.0, np.nan, 1.0], r"y\[1\] is nan"),
    ],
)
def test_a_y_outside_the_domain_is_refused(loss, y, words):
    # catches: a loss that takes what it is not defined for, or says nothing of which entry it is
    with pytest.raises(ValueError, match=words):
        losses.check(loss, np.array(y))


def test_a_unit_without_an_effect_is_refused_by_its_label():
    # catches: an effect of minus infinity that is handed out as an estimate
    unit = np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="every y of unit Rome is 1"):
        losses.check("logistic", np.array([0.0, 1, 1, 1]), unit, ["Oslo", "Rome"])
    with pytest.raises(ValueError, match="every y of unit 0 is 0"):
        losses.check("poisson", np.array([0.0, 0, 1, 1]), unit)
    losses.check("logistic", np.array([0.0, 1, 0, 0.5]), unit)

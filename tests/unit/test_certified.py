"""The certified reference: what it encloses, how tightly, and what it says on a kink."""

import itertools

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from bnbench.audit.claims import fractions
from bnbench.problem import ACTIVATIONS, Batch, Gradients, Problem
from bnbench.reference import reference
from bnbench.reference.certified import RADIUS, balls, certify
from bnbench.variants import variants

SETTINGS = list(itertools.product(ACTIVATIONS, (0, 1), (0.0, 1e-5, 1.0)))
LARGEST = 20_000  # N p1 p2


def problems(activation, ddof, eps, drawn=2):
    """Sizes up to N p1 p2 = 20,000, some of them drawn, and the network without normalization."""
    random = np.random.default_rng([ACTIVATIONS.index(activation), ddof, round(eps * 1e6)])
    sizes = [(3, 1, 1), (50, 20, 20), (5000, 2, 2)]
    while len(sizes) < 3 + drawn:
        size = tuple(int(2 ** random.uniform(0, high)) for high in (9, 5, 5))
        if size[0] > ddof + 1 and np.prod(size) <= LARGEST:
            sizes.append(size)
    for seed, size in enumerate(sizes):
        yield Problem(*size, activation, ddof=ddof, eps=eps, seed=seed)
    yield Problem(40, 5, 6, activation, "none", ddof, eps, seed=9)


def parts(gradients):
    """Name and flat array of each part that is there."""
    return {name: np.asarray(part).reshape(-1) for name, part in gradients._asdict().items() if part is not None}


@pytest.mark.parametrize(("activation", "ddof", "eps"), SETTINGS)
def test_the_sweeps_reference_lies_inside(activation, ddof, eps):
    """The double-double reference is within 1e-25 of the enclosure, and its own bound covers the distance.

    Catches a wrong closed formula in the reference (both cannot be wrong alike: one is the formulas, the other
    never saw one), a bound that is too small, and enclosures that are too wide.
    """
    for problem in problems(activation, ddof, eps):
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


def jax_gradients(batch, problem):
    """JAX's reverse mode in float64."""
    jax = pytest.importorskip("jax")
    with variants()["jax-jit"]().enable_x64(True):  # here alone: the process is other tests' too
        value, slopes = jax.value_and_grad(
            lambda parameters: network(jax.numpy, jax.nn.sigmoid, batch, problem, *parameters)
        )([jax.numpy.asarray(part) for part in batch[2:] if part is not None])
    return [np.asarray(value), *(np.asarray(slope) for slope in slopes)]


def torch_gradients(batch, problem):
    """PyTorch's reverse mode in float64."""
    torch = pytest.importorskip("torch")
    batch = Batch(*(None if part is None else torch.tensor(part) for part in batch))
    parameters = [part.requires_grad_() for part in batch[2:] if part is not None]
    loss = network(torch, torch.sigmoid, batch, problem, *parameters)
    loss.backward()
    return [loss.detach().numpy(), *(part.grad.numpy() for part in parameters)]


def network(library, sigmoid, batch, problem, G1, *others):
    """The loss as either framework's user writes it."""
    gamma, beta, G2 = others if problem.normalization == "batch" else (None, None, *others)
    Z = batch.X @ G1
    if gamma is not None:
        variance = ((Z - Z.mean(0)) ** 2).sum(0) / (problem.N - problem.ddof)
        Z = gamma * (Z - Z.mean(0)) / library.sqrt(variance + problem.eps) + beta
    activation = {
        "relu": lambda b: b * (b > 0),
        "sigmoid": sigmoid,
        "tanh": library.tanh,
        "gaussian": lambda b: library.exp(-b * b / 2),
        "identity": lambda b: b,
    }[problem.activation]
    return ((batch.y - activation(Z) @ G2) ** 2).sum() / problem.N


@pytest.mark.parametrize("framework", [jax_gradients, torch_gradients])
@pytest.mark.parametrize(("activation", "ddof", "eps"), SETTINGS)
def test_autodiff_agrees_to_its_rounding(framework, activation, ddof, eps):
    """Nobody's derivation is shared between a framework's autodiff and the power series.

    Sizes are the same in all settings, for JAX compiles each anew.
    """
    for problem in problems(activation, ddof, eps, drawn=0):
        batch = problem.sample()
        found = framework(batch, problem)
        allowed, true = parts(reference(batch, problem).allowed), parts(certify(batch, problem).gradients)
        for name, values in zip(true, found, strict=True):
            errors = [float(abs(arb(float(v)) - t).mid()) for v, t in zip(np.ravel(values), true[name], strict=True)]
            assert np.linalg.norm(errors) <= np.linalg.norm(allowed[name]), (problem, name)


def test_a_gradient_known_in_fractions():
    """Identity without normalization is linear algebra: every ball holds the exact fraction."""
    random = np.random.default_rng(0)
    for seed in range(20):
        N, p1, p2 = (int(n) for n in random.integers(1, 7, 3))
        problem = Problem(N, p1, p2, "identity", "none", seed=seed)
        X, y, G1, G2 = (fractions(random, shape) for shape in ((N, p1), N, (p1, p2), p2))
        e = y - X @ G1 @ G2
        exact = Gradients(e @ e / N, -2 * np.outer(X.T @ e, G2) / N, None, None, -2 * ((X @ G1).T @ e) / N)
        enclosure = certify(Batch(X, y, G1, None, None, G2), problem)
        for name, values in parts(exact).items():
            for value, ball in zip(values, parts(enclosure.gradients)[name], strict=True):
                with ctx.workprec(500):
                    assert (ball - arb(fmpq(value))).contains(0)


def test_a_kink_is_said():
    """B exactly 0: a'(0) = 0, and the place is named."""
    problem = Problem(2, 1, 1, "relu", "none")
    batch = Batch(np.array([[0.0], [2.0]]), np.ones(2), np.array([[3.0]]), None, None, np.array([1.0]))
    enclosure = certify(batch, problem)
    assert enclosure.kinks == ((0, 0),)
    assert enclosure.gradients.dG1[0, 0] == 2 * (6 - 1) * 2 / 2


def test_a_kink_that_cannot_be_told_holds_both_sides():
    """B is 0 within the width of β: the ball holds the gradient with the element on and with it off."""
    problem = Problem(3, 1, 1, "relu", ddof=0, eps=0.0)
    X, y, G2 = balls([[0], [1], [5]]), balls([1, 2, 3]), balls([1])
    both = []
    for beta in (arb(0, 1e-30), arb(1e-40), arb(-1e-40)):
        with ctx.workprec(2048):
            shift = -(arb(1) - 2) / (((arb(4) + 1 + 9) / 3).sqrt()) + beta  # minus x̂ of row 1, whose B is then beta
        batch = Batch(X, y, balls([[1]]), balls([1]), np.array([shift], object), G2)
        both.append(certify(batch, problem))
    unknown, on, off = both
    assert unknown.kinks == ((1, 0),)
    assert not on.kinks
    assert not off.kinks
    for name in ("dgamma", "dbeta"):
        hull, one, other = (float(getattr(found.gradients, name)[0].mid()) for found in both)
        assert abs(one - other) > 0.1
        ball = getattr(unknown.gradients, name)[0]
        assert ball.contains(arb(one, 1e-9).mid()) or abs(hull - one) <= float(ball.rad()) * 1.001
        assert ball.contains(arb(other, 1e-9).mid()) or abs(hull - other) <= float(ball.rad()) * 1.001


def test_no_variance_is_one_line():
    """eps = 0 and a constant column of Z: nothing to differentiate."""
    batch = Problem(4, 2, 1, eps=0.0).sample()
    with pytest.raises(ValueError, match="no variance and eps is 0"):
        certify(batch._replace(X=np.ones((4, 2))), Problem(4, 2, 1, eps=0.0))

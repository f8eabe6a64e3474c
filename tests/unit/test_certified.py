"""The certified reference: what it encloses, and what it says on a kink."""

import numpy as np
import pytest
from certificates import parts
from flint import arb, ctx, fmpq

from bnbench.audit.claims import fractions
from bnbench.problem import Batch, Gradients, Problem
from bnbench.reference.certified import balls, certify


def test_a_gradient_known_in_fractions():
    """Identity without normalization is linear algebra: every ball holds the exact fraction."""
    # catches: balls that are too small for what they stand for
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
    # catches: a slope at 0 that is another than the network's, and a kink passed over
    problem = Problem(2, 1, 1, "relu", "none")
    batch = Batch(np.array([[0.0], [2.0]]), np.ones(2), np.array([[3.0]]), None, None, np.array([1.0]))
    enclosure = certify(batch, problem)
    assert enclosure.kinks == ((0, 0),)
    assert enclosure.gradients.dG1[0, 0] == 2 * (6 - 1) * 2 / 2


def test_a_kink_that_cannot_be_told_holds_both_sides():
    """B is 0 within the width of β: the ball holds the gradient with the element on and with it off."""
    # catches: one side taken where the ball holds 0
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
    # catches: precision that is doubled for ever
    batch = Problem(4, 2, 1, eps=0.0).sample()
    with pytest.raises(ValueError, match="no variance and eps is 0"):
        certify(batch._replace(X=np.ones((4, 2))), Problem(4, 2, 1, eps=0.0))

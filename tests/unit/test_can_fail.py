"""Checks of a layer, as people write them: those that cannot fail are found, and those that can."""

import numpy as np
import pytest

import bnbench
from bnbench import formula
from bnbench.audit import mistakes
from bnbench.audit.edits import VARIANCE
from bnbench.audit.layer import planted
from bnbench.problem import Layer, Spec


def _data(seed=0, N=8, D=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)) * [0.5, 2.0, 5.0] + [1.0, -2.0, 0.5]
    return x, np.array([1.7, -0.6, 2.5]), np.array([0.3, -1.0, 0.4]), rng.normal(size=(N, D)), rng


def _numeric(f, x, dout, h=1e-5):
    slope = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slope[index] = ((f(x + step) - f(x - step)) * dout).sum() / (2 * h)
    return slope


def _compared(x, gamma, beta, dout, *, parameters=True):
    def check(forward, backward):
        _out, cache = forward(x, gamma, beta)
        dx, dgamma, dbeta = backward(dout, cache)
        assert np.allclose(dx, _numeric(lambda v: forward(v, gamma, beta)[0], x, dout), atol=1e-6)
        if parameters:
            assert np.allclose(dgamma, _numeric(lambda v: forward(x, v, beta)[0], gamma, dout), atol=1e-6)
            assert np.allclose(dbeta, _numeric(lambda v: forward(x, gamma, v)[0], beta, dout), atol=1e-6)

    return check


def the_sum_of_the_outputs(x, gamma, beta, dout):
    return _compared(x, gamma, beta, np.ones_like(x))


def gamma_1_everywhere(x, gamma, beta, dout):
    return _compared(x, np.ones_like(gamma), beta, dout)


def data_of_variance_1(x, gamma, beta, dout):
    return _compared((x - x.mean(0)) / np.sqrt(x.var(0) + 0.0) * np.sqrt(1 - 1e-5), gamma, beta, dout)


def a_reference_with_the_same_mistake(x, gamma, beta, dout):
    def check(forward, backward):
        _out, cache = forward(x, gamma, beta)
        s = np.sqrt(x.var(0) + 1e-5)
        assert np.allclose(backward(dout, cache)[0], gamma / s * (dout - dout.mean(0)))

    return check


def only_the_shape(x, gamma, beta, dout):
    def check(forward, backward):
        _out, cache = forward(x, gamma, beta)
        return backward(dout, cache)[0].shape == x.shape

    return check


# what each is bound to let through, and a word of the advice
UNABLE = {
    the_sum_of_the_outputs: ({"no-s-term", "s-term-sign", "dx-zero", "dx-sign"}, "random numbers"),
    gamma_1_everywhere: ({"no-gamma", "gamma-twice", "dgamma-stray-gamma"}, "both signs"),
    data_of_variance_1: ({"no-1/s", "times-s", "variance-for-s", "dgamma-of-x-mu"}, "variances away from 1"),
    a_reference_with_the_same_mistake: ({"no-s-term"}, "a derivative of the forward"),
    only_the_shape: ({"no-s-term", "no-gamma", "dx-zero", "swapped"}, "not their shapes alone"),
}


# catches: a planted mistake that is none, or a check that is called able because a harmless mistake was planted
@pytest.mark.parametrize("make", UNABLE)
def test_a_check_that_cannot_fail_is_found(make):
    found = bnbench.can_fail(make(*_data()[:4]))
    missed, advice = UNABLE[make]
    assert missed <= set(found.missed)
    assert advice in str(found)
    assert bool(found.refuses_right) == (make is a_reference_with_the_same_mistake)


# catches: a mistake that no check could see, so that nobody's is ever able
def test_a_check_against_differences_on_a_random_cotangent_is_able():
    found = bnbench.can_fail(_compared(*_data()[:4]))
    assert found.able, str(found)
    assert not found.missed
    blind = bnbench.can_fail(_compared(*_data()[:4], parameters=False))
    assert {"swapped", "dgamma-mean", "dbeta-mean"} <= set(blind.missed)
    assert "no-gamma" in blind.caught


# catches: a number or an array that a check returns taken for a pass
def test_a_check_that_returns_a_number_is_told_what_is_allowed():
    with pytest.raises(ValueError, match="allowed are True or None"):
        bnbench.can_fail(lambda forward, backward: 1e-9)


OF_THE_CATALOGUE = {  # what is planted for arrays of any library, and the same as an edit of the formula
    "mu-and-s-constant": ("mu-and-s-constant", ""),
    "no-mu-term": ("no-mu-term", ""),
    "no-s-term": ("no-s-term", ""),
    "s-term-sign": ("sign-of-s-term", ""),
    "s-term-half": ("half", "in the s-term"),
    "N-1-for-N": ("N-1-for-N", mistakes.IN_S_TERM),
    "sum-for-mean": ("sum-for-mean", mistakes.IN_MU_TERM),
    "mean-of-means": ("mean-for-sum", mistakes.IN_BOTH),
    "first-term-over-N": ("mean-for-sum", mistakes.IN_FIRST),
    "no-gamma": ("no-gamma", ""),
    "gamma-twice": ("gamma-squared", ""),
    "gamma-missing-once": ("gamma-missing", mistakes.IN_FIRST),
    "times-s": ("times-s", mistakes.BACKWARD),
    "variance-for-s": ("variance-for-s", mistakes.BACKWARD),
    "sum-without-axis": ("no-axis", mistakes.IN_MU_TERM),
    "diagonal": ("diagonal-only", ""),
    "swapped": ("swapped-outputs", "dgamma and dbeta"),
    "dgamma-mean": ("mean-for-sum", mistakes.DGAMMA),
    "dgamma-stray-gamma": ("gamma-in-dgamma", ""),
    "dgamma-of-x-mu": ("not-normalised", mistakes.DGAMMA),
    "dbeta-mean": ("mean-for-sum", mistakes.DBETA),
    "dbeta-times-gamma": ("gamma-in-dbeta", ""),
}


# catches: a planted mistake that is another than the catalogue's of that description
@pytest.mark.parametrize("name", ["", *OF_THE_CATALOGUE])
def test_what_is_planted_is_the_catalogues_mistake(name):
    x, gamma, beta, dout, _ = _data()
    found = planted._backward(name)(dout, planted.forward(x, gamma, beta)[1])
    made = [one for one in mistakes.MISTAKES if name and (one.name, one.where) == OF_THE_CATALOGUE[name]]
    edits = mistakes.edits_of(frozenset(made), VARIANCE, 1)[0]
    layer, spec = Layer(np.eye(3), gamma, beta), Spec("identity", "batch", eps=1e-5)  # so that x is Z
    gradient, dx = formula.backward(formula.forward(layer, x, spec, edits=edits), dout)
    for one, other in zip(found, (dx, gradient.gamma, gradient.beta), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)

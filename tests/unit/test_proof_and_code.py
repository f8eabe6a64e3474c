"""The formulas of the theorems and those of the code are the same: the .v files' definitions, computed at fractions."""

import numpy as np
import pytest
from coq import compute, definitions
from flint import arb, ctx
from test_derivation import setting

from bnbench import activations
from bnbench.problem import ACTIVATIONS
from bnbench.proof import sources
from bnbench.reference.balls import BALLS
from bnbench.reference.certified import balls

PROVEN = [name for name in ACTIVATIONS if name != "leaky-relu"]  # of that the theorems say nothing
NUMBERS = {
    "INR": arb, "sqrt": lambda v: v.sqrt(), "exp": lambda v: arb(v).exp(), "ln": lambda v: arb(v).log(),
    "tanh": lambda v: arb(v).tanh(), "Rmax": max, "Rlt_dec": lambda a, b: a < b,
}  # fmt: skip


@pytest.fixture(autouse=True)
def exact():
    """Balls wide enough in bits that they are narrow in numbers."""
    with ctx.workprec(256):
        yield


def same(one, other):
    """Whether two arrays of balls are the same numbers: they overlap, and are small."""
    one, other = np.asarray(one, object), np.asarray(other, object)
    assert one.shape == other.shape
    for a, b in zip(one.flat, other.flat, strict=True):
        assert arb(a).overlaps(arb(b)), (a, b)
        assert arb(a).rad() < 1e-15
        assert arb(b).rad() < 1e-15


def activated(name):
    """a and a' of the package's definition of an activation, over balls."""
    a, slope = activations.functions(name, BALLS)
    return a, lambda b: np.broadcast_to(slope(b, a(b)), b.shape)


def entries(function, *shape):
    """A definition's values as an array."""
    out = np.empty(shape, object)
    for place in np.ndindex(shape):
        out[place] = function(*place)
    return out


# catches: a theorem about another formula than the code's, be it a divisor, a sign or a letter
@pytest.mark.parametrize("seed", range(10))
def test_the_network_that_is_proven_is_the_one_that_is_computed(seed):
    q, certified = setting(seed)
    a, slope = activated(q.spec.activation)
    array = lambda values: lambda *place: values[place]  # noqa: E731
    given = {
        **NUMBERS, "N": q.N, "p1": q.p1, "p2": q.p2, "ddof": q.N - q.free, "eps": q.eps,
        "X": array(q.X), "y": array(q.y), "Γ1": array(q.G1), "γ": array(q.gamma), "β": array(q.beta), "Γ2": array(q.G2),
        "a": lambda v: a(np.array([v], object))[0], "a'": lambda v: slope(np.array([v], object))[0],
    }  # fmt: skip
    proven = compute(definitions(sources()["OneLayer"], "Definitions"), given)
    N, p1, p2 = q.N, q.p1, q.p2
    for name, of_code, *shape in (
        ("Z", q.Z, N, p2), ("μ", q.mu, p2), ("s", q.s, p2), ("Xhat", q.Xhat, N, p2), ("B", q.B, N, p2),
        ("A", q.A, N, p2), ("e", q.e, N), ("stub", q.S, N, p2), ("dβ", q.dbeta, p2), ("dγ", q.dgamma, p2),
        ("dΓ2", q.dG2, p2), ("dZ", q.dZ, N, p2), ("dΓ1", q.dG1, p1, p2), ("dX", q.dX, N, p1),
    ):  # fmt: skip
        same(entries(proven[name], *shape), of_code)
    same(proven["Risk"], certified.loss)
    same(entries(proven["dΓ1"], p1, p2), certified.dG1)


# catches: an activation of the theorems that is not the code's
@pytest.mark.parametrize("name", PROVEN)
def test_the_activations_that_are_proven_are_those_that_are_computed(name):
    given = compute(definitions(sources()["Activations"]), NUMBERS)
    at = balls(np.array([-3, -1, 1, 2], object)) / 4
    for one, of_it in zip((name, f"{name}'"), activated(name), strict=True):
        same([given[one](v) for v in at], of_it(at))

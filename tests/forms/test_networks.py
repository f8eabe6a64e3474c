"""The reference of networks of any depth: double-doubles against balls, tolerances by arrays that round at random."""

import itertools

import numpy as np
import pytest
from cases import covering
from flint import arb, ctx
from networks import network
from test_definition import hard

from bnbench import activations, formula
from bnbench.audit.edits import VARIANCE
from bnbench.audit.mistakes import edits_of, possible
from bnbench.elementary import compiled
from bnbench.jit import njit
from bnbench.operations import NUMPY, Operations
from bnbench.problem import DTYPES, LOSSES, NORMALIZATIONS, Layer, Problem
from bnbench.reference.balls import BITS, formula_enclosed
from bnbench.reference.network import arrays, converted, of_network
from bnbench.reference.pairs import PAIRS, Pairs
from bnbench.validation import _compare


class InItsOwnDtype(Operations):
    """Sums added up in the arrays' own dtype, one row after the other: as rough as a right implementation may be."""

    def total(self, M, *others):
        for other in others:
            M = M * other
        return np.cumsum(M, axis=0, dtype=M.dtype)[-1]


ROUGH = InItsOwnDtype()


def ratios(found, known):
    """The error of each array of an answer over its tolerance."""
    parts = zip(*map(arrays, (found, known.high, known.low, known.allowed)), strict=True)
    return [_compare(*map(np.asarray, part))["ratio"] for part in parts]


def drawn(seed):
    """A network of a seed, its dtype and its size."""
    random = np.random.default_rng([seed, 1])
    dtype, largest, rows = DTYPES[seed % 2], int(2 ** random.uniform(1, 5)), int(2 ** random.uniform(3.2, 9))
    return network(seed, largest=max(largest, 2), rows=rows, dtype=dtype), dtype


@pytest.mark.parametrize("seed", range(20))
def test_double_doubles_lie_within_the_balls(seed):
    # catches: an operation of double-doubles that is right to float64 alone, arrays that meet in float64
    theta, data, spec = network(seed, layers=1 + seed % 3, largest=4, rows=8)
    found = formula.gradients(*converted(Pairs, theta, data), spec, inputs=True, m=PAIRS)
    known = formula_enclosed(theta, data, spec, inputs=True)
    with ctx.workprec(BITS):
        for one, ball in zip(arrays(found), map(np.ravel, arrays(known)), strict=True):
            size = max(float(abs(x).mid()) for x in ball)
            halves = zip(np.ravel(one.high), np.ravel(one.low), ball, strict=True)
            off = max(float(abs(arb(float(h)) + arb(float(l)) - x).mid()) for h, l, x in halves)
            assert off <= 1e-28 * max(size, 1e-3), spec


@pytest.mark.parametrize("count", covering([60, 600], [60]))
def test_no_correct_network_is_called_wrong(count):
    """Of any depth, dtype and convention, summed up carefully or not: none is beyond its tolerance."""
    # catches: a tolerance that rounding exceeds, a kink whose allowance is another's, an effect's rounding forgotten
    for seed in range(count):
        (theta, data, spec), dtype = drawn(seed)
        known = of_network(theta, data, spec, dtype, inputs=True)
        for m in (NUMPY, ROUGH):
            with np.errstate(all="ignore"):
                found = formula.gradients(theta, data, spec, inputs=True, m=m)
            assert max(ratios(found, known)) < 1, (seed, dtype, spec)


def test_many_terms_of_one_sign_may_be_added_up_in_turn():
    # catches: a tolerance of pairwise sums, which a loop in float32 that adds up one row after the other exceeds
    problem = Problem(100_000, 2, 2, "sigmoid", dtype="float32")
    batch = problem.sample()
    batch.y[...] = 3.0
    known = of_network(batch.theta, batch.data, problem.spec, "float32")
    found = formula.gradients(batch.theta, batch.data, problem.spec, m=ROUGH)
    assert max(ratios(found, known)) < 1


@pytest.mark.parametrize(
    ("loss", "normalization"),
    covering(list(itertools.product(LOSSES, NORMALIZATIONS)), [("squared", "batch"), ("poisson", "frozen")]),
)
def test_every_mistake_is_beyond_the_tolerance(loss, normalization):
    # catches: a tolerance as wide as a mistake
    theta, data, spec = hard(loss=loss, normalization=normalization)
    known = of_network(theta, data, spec, inputs=True)
    for mistake in possible(normalization, loss, 3):
        with np.errstate(all="ignore"):
            edits = edits_of(frozenset([mistake]), VARIANCE, 3)
            found = formula.gradients(theta, data, spec, inputs=True, edits=edits)
            same = [array.shape for array in arrays(found)] == [array.shape for array in arrays(known.high)]
            beyond = not same or not max(ratios(found, known)) < 1e6
            assert beyond or mistake.where == spec.activation, mistake.label


def test_a_kink_moves_what_its_flip_moves():
    """Both sides of a kink in each of three layers are right for each other's data, by the kink allowance alone."""
    # catches: a kink's allowance of the wrong element, layer, sign or size
    for place in range(3):
        theta, data, spec = network(8, layers=3, largest=6, activation="relu", normalization="batch", plain=True)
        exact = formula.network(*converted(Pairs, theta, data), spec, m=PAIRS).layers[place]
        i, j = np.unravel_index(np.argmax(np.abs(exact.upstream.high)), exact.B.shape)
        Xhat, layer = exact.Xhat.high, theta.layers[place]
        sides = []
        for flip in (1e-15, -1e-15):  # which changes beta, and is within rounding
            beta = layer.beta.copy()
            beta[j] = -layer.gamma[j] * Xhat[i, j] + flip
            layers = list(theta.layers)
            layers[place] = Layer(layer.G, layer.gamma, beta)
            sides.append(theta._replace(layers=tuple(layers)))
        known, other = (of_network(each, data, spec, inputs=True) for each in sides)
        assert known.ambiguous == other.ambiguous >= 1
        found = formula.gradients(sides[0], data, spec, inputs=True)
        for each in (known, other):
            assert max(ratios(found, each)) < 1
        moved = [np.abs(a - b) for a, b in zip(arrays(known.high), arrays(other.high), strict=True)]
        assert max(np.max(each) for each in moved) > 1e-6, "the two lie on different sides"
        for kink, change in zip(arrays(known.kink), moved, strict=True):
            np.testing.assert_allclose(kink, change, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", activations.DEFINITIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_scalar_form_is_the_definition(name, dtype):
    """What kernels compile of an activation is in its dtype what NumPy has of it."""
    # catches: a constant that makes a kernel compute in another dtype, a name of the table that means something else
    a, da = compiled(activations.CODES[name])

    @njit()
    def both(B, A, D):
        for i in range(B.size):
            A[i] = a(B[i])
            D[i] = da(B[i], A[i])
        return a(B[0]), da(B[0], A[0])

    B = np.linspace(-4, 4, 181).astype(dtype)
    A, D = np.empty((2, B.size), dtype)
    both(B, A, D)
    assert {str(kind) for kind in both.nopython_signatures[0].return_type} == {dtype}
    value, slope = activations.functions(name)
    np.testing.assert_allclose(A, value(B), rtol=32 * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        D, slope(B, A) * np.ones_like(B), rtol=32 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps
    )

"""The shapes that `Batch` and `Gradients` name in their annotations are those of what every public call gives."""

import typing

import numpy as np
import pytest
from cases import NORMALIZATIONS

import bnbench
from bnbench.problem import ACTIVATIONS, DTYPES, REGIMES
from bnbench.reference import reference
from bnbench.reference.certified import certify

NAMED = {  # class to its fields, each to its axes as the annotation names them; none of a number
    cls: {
        name: getattr(hint, "__metadata__", ()) for name, hint in typing.get_type_hints(cls, None, None, True).items()
    }
    for cls in (bnbench.Batch, bnbench.Gradients)
}
SIZES = {"N": 11, "p1": 5, "p2": 3}  # no two alike: a transposed array is seen


def check(parts, problem, dtype=None):
    """Every part has the shape that its class names, and is None exactly where nothing is normalised."""
    for name, axes in NAMED[type(parts)].items():
        part = getattr(parts, name)
        if problem.normalization == "none" and name in ("gamma", "beta", "dgamma", "dbeta"):
            assert part is None, name
            continue
        assert np.shape(part) == tuple(SIZES[axis] for axis in axes), name
        if dtype is not None and axes:
            assert part.dtype == dtype, name


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_public_arrays_have_the_shapes_that_their_types_name(dtype, normalization):
    # catches: a transposed or flattened gradient, a (p2,1) column, a dtype that a call changes, an axis named wrongly
    for number, activation in enumerate(ACTIVATIONS):
        problem = bnbench.Problem(*SIZES.values(), activation, normalization, ddof=number % 2, dtype=dtype, seed=number)
        batch = problem.sample()
        check(batch, problem, dtype)
        conventions = {"activation": activation, "normalization": normalization, "ddof": number % 2}
        check(bnbench.gradients(*batch, **conventions), problem, dtype)
        regime = REGIMES[number % 2]
        prepared = bnbench.prepare(batch.X, batch.y, problem.p2, variant="matrix-numpy", regime=regime, **conventions)
        check(prepared.gradients(*batch[2:]), problem, dtype)
        known = reference(batch, problem)
        for part in (known.high, known.low, known.allowed, known.kink):
            check(part, problem)
    check(certify(batch, problem).gradients, problem)


def test_every_axis_of_a_public_array_is_named():
    # catches: a field without its axes, which the test above would take for a number
    axes = {name: named for fields in NAMED.values() for name, named in fields.items()}
    assert axes.pop("loss") == ()
    assert all(axes.values())
    assert {axis for named in axes.values() for axis in named} == set(SIZES)

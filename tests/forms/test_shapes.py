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
SIZES = {"N": 11, "p1": 5, "p2": 3, "q": 2, "U": 4}  # no two alike: a transposed array is seen
LAYER = SIZES["N"], SIZES["p1"], SIZES["p2"]


def check(parts, problem, dtype=None, inputs=False):
    """Every part has the shape that its class names, and is None exactly where there is none of it."""
    there = {
        ("gamma", "beta", "dgamma", "dbeta"): problem.normalization != "none", ("W", "delta", "ddelta"): problem.linear,
        ("units", "alpha"): problem.units, ("statistics",): problem.normalization == "frozen", ("dX",): inputs,
    }  # fmt: skip
    absent = {name for names, present in there.items() for name in names if not present}
    for name, axes in NAMED[type(parts)].items():
        part = getattr(parts, name)
        if name in absent:
            assert part is None, name
            continue
        if name == "statistics":
            assert np.shape(part) == (2, SIZES["p2"])
            continue
        assert np.shape(part) == tuple(SIZES[axis] for axis in axes), name
        if dtype is not None and axes and name != "units":
            assert part.dtype == dtype, name


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_public_arrays_have_the_shapes_that_their_types_name(dtype, normalization):
    # catches: a transposed or flattened gradient, a (p2,1) column, a dtype that a call changes, an axis named wrongly
    for number, activation in enumerate(ACTIVATIONS):
        problem = bnbench.Problem(*LAYER, activation, normalization, ddof=number % 2, dtype=dtype, seed=number)
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


@pytest.mark.parametrize("normalization", bnbench.problem.NORMALIZATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_head_and_the_inputs_add_has_its_named_shape(dtype, normalization):
    # catches: effects of rows for those of units, a column of coefficients, ∂R/∂X of the layer's nodes, a part too many
    problem = bnbench.Problem(
        *LAYER, "tanh", normalization, dtype=dtype, loss="logistic", linear=SIZES["q"], units=SIZES["U"]
    )
    batch = problem.sample()
    check(batch, problem, dtype)
    conventions = {"activation": "tanh", "normalization": normalization, "loss": "logistic", "variant": "matrix-numpy"}
    for inputs in (False, True):
        found = bnbench.gradients(*batch, **batch.more, **conventions, inputs=inputs)
        check(found, problem, dtype, inputs=inputs)
    check(certify(batch, problem).gradients, problem)


def test_every_axis_of_a_public_array_is_named():
    # catches: a field without its axes, which the tests above would take for a number
    axes = {name: named for fields in NAMED.values() for name, named in fields.items()}
    assert axes.pop("loss") == ()
    assert axes.pop("statistics") == ()  # pairs
    assert all(axes.values())
    assert {axis for named in axes.values() for axis in named} == set(SIZES)

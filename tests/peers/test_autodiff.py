"""Autodiff, which knows no closed formula, against the certified gradient, which knows none either."""

import numpy as np
import pytest
from certificates import SETTINGS, parts, problems
from flint import arb

from bnbench import definition
from bnbench.reference import reference
from bnbench.reference.certified import certify
from bnbench.reference.network import arrays


@pytest.mark.parametrize("machine", ["jax", "torch"])
@pytest.mark.parametrize(("activation", "normalization", "ddof", "eps"), SETTINGS)
def test_autodiff_agrees_to_its_rounding(machine, activation, normalization, ddof, eps):
    """Nobody's derivation is shared between a framework's autodiff and the power series.

    Sizes are the same in all settings, for JAX compiles each anew.
    """
    # catches: power series and formulas that are wrong alike
    pytest.importorskip(machine)
    for problem in problems(activation, normalization, ddof, eps, drawn=0):
        batch = problem.sample()
        found = arrays(definition.gradients(batch.theta, batch.data, problem.spec, machine))
        allowed, true = parts(reference(batch, problem).allowed), parts(certify(batch, problem).gradients)
        for name, values in zip(true, found, strict=True):
            errors = [float(abs(arb(float(v)) - t).mid()) for v, t in zip(np.ravel(values), true[name], strict=True)]
            assert np.linalg.norm(errors) <= np.linalg.norm(allowed[name]), (problem, name)

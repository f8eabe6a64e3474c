"""No correct answer is called invalid on data that is hard on arithmetic, and not everything is allowed there."""

import numpy as np
import pytest
from hostile import KINDS, VARIANTS, hostile, verdicts

from bnbench.reference import reference

QUICK = ("matrix-numpy", "matrix-kronecker")  # that compile nothing
COUNTS = [
    pytest.param(QUICK, 88, id="quick"),
    pytest.param(VARIANTS, 2000, marks=pytest.mark.exhaustive, id="every variant"),
]


@pytest.mark.parametrize(("names", "count"), COUNTS)
def test_no_correct_answer_is_called_invalid(names, count):
    # catches: a tolerance that forgets underflow, a sum of one sign, what an offset costs a mean, a kink exactly at 0
    judged = 0
    for seed in range(count):
        batch, problem, kind = hostile(seed)
        with np.errstate(all="ignore"):
            known = reference(batch, problem)
        if not np.isfinite(known.allowed.loss):  # R overflows, which the library refuses: so may what leads to ∂R/∂Γ
            continue
        for name, regime, verdict in verdicts(batch, problem, known, names):
            judged += 1
            assert verdict.valid, f"{seed}, {kind}, {problem}, {name} ({regime}): {verdict.reason}"
    assert judged >= count


def test_hostile_data_is_judged():
    """Where the dtype has the digits, there is a tolerance, and a small one."""
    # catches: an estimate that is infinite, or as large as the gradient, on an offset or on scales
    wide = []
    for seed in range(22 * len(KINDS)):
        batch, problem, kind = hostile(seed)
        if kind in ("plain", "offset", "scales", "saturated") and problem.dtype == "float64" and problem.N > 8:
            known = reference(batch, problem)
            wide.append(np.linalg.norm(known.allowed.dG1) > 1e-3 * np.linalg.norm(known.high.dG1))
    assert np.mean(wide) < 0.5


def test_gradients_whose_squares_underflow_have_a_tolerance():
    # catches: errors of runs that are squared, so that of gradients of 1e-200 nothing is left to allow
    batch, problem, kind = hostile(1323)
    assert (kind, problem.activation) == ("saturated", "gaussian")
    known = reference(batch, problem)
    assert 0 < np.abs(known.high.dG2).max() < 1e-200
    for name, regime, verdict in verdicts(batch, problem, known, ["loops-python", "matrix-numpy"]):
        assert verdict.valid, (name, regime, verdict.reason)

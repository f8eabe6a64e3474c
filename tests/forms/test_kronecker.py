"""`matrix-kronecker`: its answers wherever it takes a problem, and what it says about memory."""

import math

import numpy as np
import pytest
from cases import NORMALIZATIONS
from conftest import bnbench
from records import rows

import bnbench as package
from bnbench.problem import ACTIVATIONS, Problem
from bnbench.variants.matrix_kronecker import GUARD_BYTES, commutation, selection

KRONECKER = package.variants()["matrix-kronecker"]


@pytest.mark.parametrize(
    ("N", "p1", "p2", "more_than"),
    [
        pytest.param("130,1000", "8", "1,16", 1, id="few"),
        pytest.param("2,33,130,1000", "1,32", "1,3,32", 15, id="all", marks=pytest.mark.exhaustive),
    ],
)
def test_it_agrees_with_the_matrix_form_at_every_size_it_accepts(N, p1, p2, more_than, tmp_path):
    """Both are judged by the reference at the same cells, both regimes, both dtypes."""
    # catches: a wrong Kronecker factor at one size, a guard or a memory model that is not what a step takes
    done = bnbench(
        "sweep", "--N", N, "--p1", p1, "--p2", p2, "--dtype", "float64,float32", "--regime",
        "fresh,fixed", "--variants", "matrix-kronecker,matrix-numpy", "--sampling", "0.001",
        "--timeout", "60", "--out", tmp_path / "run", timeout=600, bare=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = rows(tmp_path / "run")
    mine = [record for record in records if record["variant"] == "matrix-kronecker"]
    assert len(mine) == 4 * math.prod(len(values.split(",")) for values in (N, p1, p2))
    assert {record["status"] for record in records} == {"ok", "unsupported"}
    memory = 0
    for record in mine:
        problem = Problem(record["N"], record["p1"], record["p2"], dtype=record["dtype"])
        needs = KRONECKER.needs_bytes(problem, record["regime"])
        assert (record["status"] == "unsupported") == (needs > GUARD_BYTES)
        if record["status"] == "ok":
            assert record["max_error_ratio"] < 1
            if needs > 2**25:  # below, what arrays are rounded up to counts: pages have 2 MiB
                took = record["peak_bytes"] - record["baseline_bytes"]
                assert 0.8 < took / needs < 1.2, (problem, record["regime"], took, needs)
                memory += 1
        else:
            assert f"needs {needs / 2**30:.1f} GiB" in record["reason"]
    assert memory > more_than


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_forms_give_the_same_numbers(activation, normalization):
    """The same arithmetic but for the order of sums."""
    # catches: a factor in the wrong place that a tolerance hides
    problem = Problem(30, 4, 3, activation, normalization, ddof=1, eps=0.1)
    batch = problem.sample()
    options = {"activation": activation, "normalization": normalization, "ddof": 1, "eps": 0.1}
    one, other = (package.gradients(*batch, variant=name, **options) for name in ("matrix-kronecker", "matrix-numpy"))
    for mine, theirs in zip(one, other, strict=True):
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


def test_it_is_refused_with_what_it_needs():
    """As a library call too: one line, before anything is allocated."""
    # catches: memory taken before the guard is asked
    batch = Problem(10_000, 2, 2).sample()
    with pytest.raises(ValueError, match=r"needs 5\.2 GiB, allowed is 1 GiB"):
        package.gradients(*batch, variant="matrix-kronecker")


def test_selection_and_commutation():
    """By their definitions: K diag-vec and vec of a transpose."""
    # catches: a commutation that is its own transpose where p1 = p2
    v, M = np.array([2.0, 3.0, 5.0]), np.arange(6.0).reshape(2, 3)
    assert (selection(3, "float64") @ v == np.diag(v).ravel(order="F")).all()
    assert (M.ravel(order="F") @ commutation(2, 3, "float64") == M.T.ravel(order="F")).all()

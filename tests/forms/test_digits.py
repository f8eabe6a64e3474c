"""How many digits are lost on data far from 0, constant, nearly collinear, tiny or huge: few, or it is said."""

import importlib.util

import numpy as np
import pytest
from cases import covering
from conftest import BUILT_IN, NATIVE

import bnbench
from bnbench.problem import REGIMES, Problem
from bnbench.reference import reference

SMOOTH = covering(["gaussian", "tanh"], ["gaussian"])  # in float32; in float64 it is tanh that other tests compile too
R = ("r-matrix", "r-loop", "rcpp-loop")


def error(found, true):
    """The relative error of dΓ1."""
    return np.linalg.norm(found.dG1.astype(float) - true.dG1) / np.linalg.norm(true.dG1)


@pytest.mark.parametrize("name", [*BUILT_IN, *NATIVE, *R])
def test_an_offset_of_X_costs_digits_in_proportion_and_not_as_its_square(name):
    # catches: dZ whose columns add up to what rounding left of μ, which Xᵀ multiplies by the offset once more
    if reason := bnbench.variants()[name].unavailable():
        pytest.skip(reason)
    problem = Problem(200, 5, 4, "tanh")
    for offset in (1e2, 1e4, 1e6):
        batch = problem.sample()
        batch = batch._replace(X=batch.X + offset)
        true = reference(batch, problem).high
        for regime in REGIMES:
            prepared = bnbench.prepare(batch.X, batch.y, 4, variant=name, regime=regime, activation="tanh")
            assert error(prepared.gradients(*batch[2:]), true) < 4e-15 * offset, (offset, regime)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("name", BUILT_IN)
def test_constant_columns_in_float32(name, activation):
    # catches: a mean that is added up in float32 and leaves a constant column a spread
    problem = Problem(300, 3, 4, activation, dtype="float32")
    batch = problem.sample()
    batch = batch._replace(X=np.full_like(batch.X, 100.1))
    true = reference(batch, problem).high
    for regime in REGIMES:
        prepared = bnbench.prepare(batch.X, batch.y, 4, variant=name, regime=regime, activation=activation)
        found = prepared.gradients(*batch[2:])
        assert np.linalg.norm(found.dbeta - true.dbeta) < 1e-6 * np.linalg.norm(true.dbeta)
        assert np.abs(found.dG1).max() < 0.01  # it is 0, of terms (γ/s) S x of about 10⁴


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("name", BUILT_IN)
def test_columns_that_nearly_agree_keep_the_digits_that_X_has(name, activation):
    # catches: a mean taken off X in float32 where X Γ1 is a small difference of columns
    for N in (30, 300):
        problem = Problem(N, 2, 1, activation, dtype="float32")
        batch = problem.sample()
        X = batch.X[:, :1] + np.float32(1e-3) * batch.X * np.array([0, 1], np.float32)
        batch = batch._replace(X=X, G1=np.array([[1], [-1]], np.float32))
        true = reference(batch, problem).high
        for regime in REGIMES:
            prepared = bnbench.prepare(batch.X, batch.y, 1, variant=name, regime=regime, activation=activation)
            assert error(prepared.gradients(*batch[2:]), true) < 3e-5, (N, regime)


@pytest.mark.parametrize("smooth", SMOOTH)
@pytest.mark.parametrize("name", [*BUILT_IN, "torch-eager"])
def test_a_variance_beyond_the_dtype_is_refused_and_any_other_right(name, smooth):
    # catches: s that is infinite or has lost its digits, where the gradient is finite and wholly wrong
    if name == "torch-eager" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    cases = [
        ("float64", 1.0, 1e160, 0.0, "variance of about 10\\^320, more than float64"),
        ("float64", 1.0, 1e160, 1e-5, "variance of about 10\\^320, more than float64"),
        ("float64", 1e-160, 1.0, 0.0, "variance of about 10\\^-320, less than float64"),
        ("float32", 1e18, 1.0, 1e-5, "more than float32"),
        ("float64", 1e-160, 1e160, 0.0, ""),
        ("float64", 1e-170, 1e170, 1e-5, ""),
        ("float64", 1e100, 1e-100, 0.0, ""),
        ("float32", 1e12, 1e3, 1e-5, ""),
        ("float32", 1e22, 1e-22, 1e-5, ""),
        ("float32", 1e-24, 1e24, 1e-5, ""),
    ]
    for dtype, of_X, of_G1, eps, message in cases:
        activation = smooth if dtype == "float32" else "tanh"
        problem = Problem(300, 3, 4, activation, eps=eps, dtype=dtype)
        batch = problem.sample()
        batch = batch._replace(X=batch.X * batch.X.dtype.type(of_X), G1=batch.G1 * batch.X.dtype.type(of_G1))
        for regime in REGIMES:
            prepared = bnbench.prepare(batch.X, batch.y, 4, variant=name, regime=regime, activation=activation, eps=eps)
            if message:
                with pytest.raises(ValueError, match=f"column 0 of X G1 has a {message}|{message}"):
                    prepared.gradients(*batch[2:])
                continue
            found, true = prepared.gradients(*batch[2:]), reference(batch, problem).high
            for part in ("dgamma", "dbeta", "dG2"):
                off = np.linalg.norm(getattr(found, part) - getattr(true, part))
                assert off < 4e3 * np.finfo(dtype).eps * np.linalg.norm(getattr(true, part)), (dtype, of_X, regime)
            assert np.allclose(found.dG1 * of_G1, true.dG1 * of_G1, rtol=1e-3, atol=1e-4), (dtype, of_X, regime)


@pytest.mark.parametrize("activation", SMOOTH)
def test_an_eps_that_is_nothing_in_float32(activation):
    # catches: eps rounded to 0, and 0/0 where a column is constant
    problem = Problem(30, 3, 2, activation, eps=1e-46, dtype="float32")
    batch = problem.sample()
    batch = batch._replace(X=np.full_like(batch.X, 3))
    for name in BUILT_IN:
        found = bnbench.gradients(*batch, variant=name, activation=activation, eps=1e-46)
        assert all(np.isfinite(part).all() for part in found), name

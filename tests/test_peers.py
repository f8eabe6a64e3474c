"""The frameworks as variants: each validated like everyone else, and absent with the line that would add it."""

import pytest
from conftest import PEERS

import bnbench
from bnbench.problem import ACTIVATIONS
from bnbench.reference import reference
from bnbench.validation import judge, plain
from bnbench.variants import peers, variants


def here(name):
    """The class of a peer; skips where it is not available."""
    cls = variants()[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    return cls


@pytest.mark.parametrize("name", PEERS)
def test_peer_is_right(name):
    # catches: a wrong ddof, eps or activation, float32 that became float64, transposed arrays on the way to R
    cls = here(name)
    settings = [("relu", "batch", 0, "float64"), ("tanh", "none", 0, "float32"), ("gaussian", "batch", 1, "float32")]
    if name != "torch-compile":  # seconds of compiling for each
        settings += [(activation, "batch", 1, "float64") for activation in ACTIVATIONS]
    for activation, normalization, ddof, dtype in settings:
        problem = bnbench.Problem(23, 5, 3, activation, normalization, ddof, 1e-3, dtype)
        if cls.unsupported(problem, "fresh"):
            assert dtype == "float32"
            problem = bnbench.Problem(23, 5, 3, activation, normalization, ddof, 1e-3)
        batch = problem.sample()
        variant = cls()
        variant.prepare(batch, problem)
        variant.step()
        found = judge(plain(variant.result()), reference(batch, problem), problem)
        assert found.valid, f"{problem}: {found.reason}"


@pytest.mark.parametrize("name", ["torch-compile", "rcpp-loop", "r-matrix"])
def test_problems_prepared_side_by_side_are_kept_apart(name):
    # catches: a session or a compiled function that holds the latest problem alone
    cls = here(name)
    pairs = []
    for seed in (0, 1):
        problem = bnbench.Problem(12, 4, 3, seed=seed)
        variant = cls()
        variant.prepare(problem.sample(), problem)
        pairs.append((variant, reference(problem.sample(), problem), problem))
    for variant, known, problem in pairs:
        variant.step()
        assert judge(plain(variant.result()), known, problem).valid


@pytest.mark.timed
@pytest.mark.parametrize("name", ["r-loop", "rcpp-loop"])
def test_r_is_timed_by_its_own_clock(name):
    # catches: a time that counts the way to R and back, or one step for many
    variant = here(name)()
    problem = bnbench.Problem(2000, 4, 4)
    variant.prepare(problem.sample(), problem)
    variant.step()
    one, ten = (min(variant.time(count) for _ in range(10)) for count in (3, 30))  # the least is free of other load
    assert 4 < ten / one < 25


def test_an_absent_package_is_a_reason_with_the_line_that_adds_it(monkeypatch):
    # catches: an import error at `list`, a reason that does not help
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    for name, extra in (("torch-eager", "peers"), ("jax-jit", "peers"), ("tensorflow-xla", "tensorflow")):
        assert f"pip install 'bnbench[{extra}]'" in variants()[name].unavailable()

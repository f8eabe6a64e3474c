"""The diagnosis as a whole: every mistake and every pair named, every variant right, and the command."""

import functools
import json
from itertools import product

import numpy as np
import pytest
from cases import FEW, covering
from conftest import BUILT_IN, PLUGINS, bnbench
from test_diagnosis import PLANTED, SIZES, node_by_node

import bnbench as package
from bnbench.audit.mistakes import MISTAKES, combinations
from bnbench.audit.trial import tolerance
from bnbench.problem import ACTIVATIONS, NORMALIZATIONS, Problem


def answer(step, problem):
    """The parts that a step returns."""
    batch = problem.sample()
    conventions = {name: getattr(problem, name) for name in ("activation", "normalization", "ddof", "eps")}
    return [part for part in step(*batch, **conventions)[1:] if part is not None]


def same(one, other, problem):
    """Whether two answers are the same to rounding, with room to spare."""
    return all(
        a.shape == b.shape and np.linalg.norm(a - b) <= 4 * tolerance(problem) * np.linalg.norm(b)
        for a, b in zip(one, other, strict=True)
    )


def planted(share, of):
    """Every mistake that `node_by_node` can make, and of the pairs of different ones a share."""
    singles = {mistake for mistake in MISTAKES if mistake.label in PLANTED}
    made = [frozenset(mistake.label for mistake in made) for made in combinations("batch") if made <= singles]
    return [each for each in made if len(each) < 2] + [each for each in made if len(each) == 2][share::of]


SHARES = [(5, "relu", 0, 18), (50, "tanh", 3, 18), (500, "relu", 4, 18)]
ALL_PAIRS = [(N, way, 2 * i + j, 6) for i, N in enumerate(SIZES) for j, way in enumerate(("relu", "tanh"))]


@pytest.mark.parametrize(("N", "activation", "share", "of"), covering(SHARES + ALL_PAIRS, SHARES))
def test_every_mistake_and_every_pair_is_named(N, activation, share, of):
    """The named set is the planted one, or gives the same numbers with no more mistakes (then nothing can tell them).

    Catches a formula of a mistake that is not that mistake, a tolerance that is too wide or too narrow, and a
    search that stops at the wrong set.
    """
    problem = Problem(N, 7, 4, activation, ddof=1, eps=0.1)
    exact = 0
    for made in planted(share, of):
        step = node_by_node(made)
        found = package.diagnose(step, problem)
        (case,) = found.cases
        named = frozenset(mistake.label for mistake in case.mistakes)
        if not made:
            assert found.correct
            assert not found.mistakes
            continue
        sets = [named, *(frozenset(mistake.label for mistake in other) for other in case.alternatives)]
        if made in sets:
            exact += len({frozenset(label.split(" (")[0] for label in each) for each in sets}) == 1
            continue
        assert len(named) < len(made), (made, str(found))
        assert same(answer(step, problem), answer(node_by_node(named), problem), problem), (made, named)
    assert exact > 0.9 * len(planted(share, of)), "nearly all pairs are distinguishable, but for the place"


@pytest.mark.parametrize("how", covering(["called", "named"], ["called"]))
@pytest.mark.parametrize(
    ("activation", "normalization", "dtype"),
    covering(FEW, [("relu", "batch", "float64"), ("gaussian", "batch", "float32")]),
)
@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_right_is_said_to_be(name, activation, normalization, dtype, how):
    """On a plain problem of each setting, and where it is of float64 on the hard ones.

    A named variant is given arrays to write to, for which Numba compiles anew.
    """
    # catches: a tolerance that rounding exceeds
    step = name if how == "named" else functools.partial(package.gradients, variant=name)
    assert package.diagnose(step, Problem(300, 20, 10, activation, normalization, dtype=dtype)).correct
    if dtype == "float64":
        found = package.diagnose(step, activations=[activation], normalizations=[normalization])
        assert found.correct, str(found)


@pytest.mark.parametrize("name", covering(BUILT_IN, ["matrix-numpy"]))
def test_what_is_right_is_said_to_be_in_every_setting(name):
    # catches: a setting that a diagnosis leaves out
    found = package.diagnose(name)
    assert found.correct, str(found)
    kinds = NORMALIZATIONS[:2] if name == "matrix-kronecker" else NORMALIZATIONS  # what it is right for
    assert [(case.normalization, case.activation) for case in found.cases] == list(product(kinds, ACTIVATIONS))
    for dtype in ("float64", "float32"):
        assert package.diagnose(name, Problem(300, 20, 10, "tanh", dtype=dtype)).correct


@pytest.mark.parametrize("count", covering([12, 100], [12]))
def test_random_changes_are_never_given_a_name(count):
    """Random factors on random gradients."""
    # catches: a search that accepts what is near a mistake
    random = np.random.default_rng(0)
    right = node_by_node(frozenset())
    problem = Problem(30, 7, 4, "sigmoid", ddof=1, eps=0.1)
    for _ in range(count):
        factors = np.where(random.random(4) < 0.5, 1.0, random.normal(1, 0.3, 4))
        if (factors == 1).all():
            continue

        def step(*batch, factors=factors, **conventions):
            loss, *parts = right(*batch, **conventions)
            return loss, *(part * factor for part, factor in zip(parts, factors, strict=True))

        assert package.diagnose(step, problem).mistakes == ()


def test_a_formula_that_ends_its_process_does_not_pass(tmp_path):
    """Catches an exit code 0 with nothing printed and nothing judged."""
    source = tmp_path / "quits.py"
    source.write_text(
        "import os, bnbench\n\n@bnbench.variant('quits', family='matrix')\n"
        "def step(*batch, **conventions):\n    os._exit(0)\n"
    )
    done = bnbench("audit", "--formula", source, "--activation", "relu")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("quits.py ended the process (exit status 0) before it was judged")


@pytest.mark.parametrize("few", [["--activation", "relu"], pytest.param([], marks=pytest.mark.exhaustive)])
def test_the_command_diagnoses_a_file(few):
    """Every function of the file, exit code 1 for a wrong one, JSON as the contract has it."""
    # catches: a function that is passed over, a name that is lost on the way
    done = bnbench("audit", "--formula", PLUGINS / "wrong.py", "--json", *few)
    assert done.returncode == 1, done.stderr
    found = {row["id"]: row for row in json.loads(done.stdout)}
    assert all(row["ruling"] == "wrong" and row["reason"] for row in found.values())
    named = {name: row["mistakes"] for name, row in found.items()}
    assert named.pop("wrong-reversed-dG2") == []
    assert named["wrong-no-mu-term"] == ["no-mu-term"]
    assert named["wrong-N-for-N-ddof-in-s-term"] == ["N-for-N-ddof"]
    assert all(len(names) == 1 for names in named.values())

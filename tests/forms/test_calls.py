"""Prepared gradients as people call them: from threads, as copies, in forked and spawned children, again and again."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import bnbench
from bnbench.fused.layout import THIN, choose
from bnbench.fused.roles import WORD
from bnbench.fused.scratch import group_function
from bnbench.problem import Problem
from bnbench.reference import reference
from bnbench.validation import judge, parts_of

EVERYWHERE = """
import copy, multiprocessing, pickle, sys, warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

import bnbench

NAMES = sys.argv[2].split(",")
SETS = [bnbench.Problem(9, 8, 8, seed=seed).sample()[2:] for seed in range(8)]


def same(one, other):
    return all(np.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(one, other))


def at(how, name, prepared, parameters, true):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        prepared.gradients(*parameters)
        answer = prepared.gradients(*parameters)
    assert same(answer, true), (name, how)
    if name == "fused-numba":
        assert len([one for one in said if "spawn" in str(one.message)]) == (how == "fork"), said


def afresh(how, name, batch, true):
    assert same(fresh(batch, name), true), (name, how)


def fresh(batch, name):
    return bnbench.gradients(*batch, variant=name)


def tasks(name, prepared, batch, truth):
    return (at, name, prepared, SETS[4], truth[4]), (afresh, name, batch, truth[5])


def main():
    kept = []
    for name in NAMES:
        N = 5000 if name in ("fused-numba", "loops-numba-parallel", "loops-numba", "matrix-numpy") else 60
        batch = bnbench.Problem(N, 8, 8).sample()
        batches = [batch._replace(**dict(zip(("G1", "gamma", "beta", "G2"), values))) for values in SETS]
        prepared = bnbench.prepare(batch.X, batch.y, 8, variant=name)
        truth = [prepared.gradients(*values) for values in SETS]
        assert not same(truth[0], truth[1])

        def turn(start):
            order = [(start + k) % 8 for k in range(24)]
            return all(same(prepared.gradients(*SETS[k]), truth[k]) for k in order)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(turn, range(8))), (name, "threads")
            answers = list(pool.map(lambda one: fresh(one, name), batches))
        assert all(map(same, answers, truth)), (name, "threads, each a call of its own")
        for copied in (copy.copy(prepared), copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
            assert same(copied.gradients(*SETS[2]), truth[2]), (name, "copies")
        assert same(prepared.gradients(*SETS[3]), truth[3])
        for task, *arguments in tasks(name, prepared, batches[5], truth):
            with multiprocessing.get_context("fork").Pool(1) as pool:
                pool.apply_async(task, ("fork", *arguments)).get(timeout=100)
        kept += tasks(name, prepared, batches[5], truth)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for task, *arguments in kept:
            pool.apply_async(task, ("spawn", *arguments)).get(timeout=100)
    if "fused-numba" in NAMES:
        assert numba.threading_layer() == sys.argv[1]


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        ("omp", "fused-numba,loops-numba-parallel,loops-numba,matrix-numpy,matrix-numba,matrix-kronecker"),
        ("workqueue", "fused-numba,loops-numba-parallel"),
    ],
    ids=["omp", "workqueue"],
)
def test_right_from_threads_in_copies_and_in_children(layer, names, tmp_path):
    # In a spawned process all of them, one after the other: it takes seconds to start.
    # catches: scratch shared by threads, addresses that are copied, OpenMP in a forked child, two threads in workqueue
    script = tmp_path / "everywhere.py"  # a spawned child imports it
    script.write_text(EVERYWHERE, encoding="utf-8")
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    if layer == "omp" and not bnbench.variants()["autograd"].unavailable():
        names += ",autograd"
    command = [sys.executable, script, layer, names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, check=False)
    assert run.returncode == 0, run.stderr


class CopiesParameters(bnbench.Variant):
    """Takes its parameters out of the batch in `prepare`, and knows nothing of `load`."""

    def prepare(self, batch, problem, regime="fresh"):
        super().prepare(batch, problem, regime)
        self.kept = [None if array is None else array.copy() for array in batch]

    def step(self):
        self.answer = bnbench.gradients(*self.kept, variant="matrix-numpy")

    def result(self):
        return self.answer


def test_a_variant_that_copies_its_parameters_follows_new_ones():
    # catches: a default `load` that writes where nobody reads
    problem = Problem(12, 3, 2)
    variant = CopiesParameters()
    variant.prepare(problem.sample(), problem)
    other = Problem(12, 3, 2, seed=5).sample()._replace(X=problem.sample().X, y=problem.sample().y)
    variant.load(*other[2:])
    variant.step()
    assert judge(parts_of(variant.result()), reference(other, problem), problem).valid


def test_a_variant_itself_is_not_copied():
    # catches: a copy of a table of addresses
    variant = bnbench.variants()["fused-numba"]()
    variant.prepare(Problem(9, 3, 2).sample(), Problem(9, 3, 2))
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            copying(variant)


@pytest.mark.parametrize("regime", ["fresh", "fixed"])
def test_later_changes_of_X_are_never_seen(regime):
    # catches: one layout that is copied and another that is not
    batch = Problem(30, 3, 4).sample()
    true = bnbench.gradients(*batch)
    whole = np.round(8 * batch.X).astype(int)
    of_whole = bnbench.gradients(whole, *batch[1:])
    given = {"C": batch.X.copy(), "F": np.asfortranarray(batch.X), "strided": np.repeat(batch.X, 2, axis=0)[::2]}
    given |= {"swapped": batch.X.astype(">f8"), "whole": whole.copy()}
    for layout, X in given.items():
        y = batch.y.copy()
        prepared = bnbench.prepare(X, y, 4, regime=regime)
        X[:] = 7
        y[:] = 7
        found = prepared.gradients(*batch[2:])
        right = of_whole if layout == "whole" else true
        assert all(np.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(found, right, strict=True)), layout


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # that is how Numba tells of it
def test_a_group_that_ends_in_an_exception_is_no_gradient():
    # catches: an exception in a compiled callback, which Numba prints while the sum goes on without that group
    @group_function
    def broken(table, g):
        if table > 0:
            raise ValueError("planted")
        return 1

    for N, regime, function in ((5000, "fixed", "sweep"), (60, "fresh", "forward_backward")):
        problem = Problem(N, 8, 16, "tanh")
        variant = bnbench.variants()["fused-numba"]()
        variant.prepare(problem.sample(), problem, regime)
        variant.step()
        assert (variant.plan.groups > 1) == (N == 5000)
        variant.scratch.table[WORD[function]] = broken.address
        with pytest.raises(RuntimeError, match="no gradients"):
            variant.step()


def test_no_memory_is_taken_to_prepare_what_saves_little():
    # catches: XᵀX of a wide X, which takes more than X itself
    for N, p1, p2 in ((6000, 4000, 1), (20_000, 20_000, 1), (66_000, 33_000, 1)):
        problem = Problem(N, p1, p2)
        assert choose(problem, "fixed") == choose(problem, "fresh") == THIN
        assert bnbench.variants()["fused-numba"].needs_bytes(problem, "fixed") < problem.batch_bytes

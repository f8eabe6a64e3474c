"""Minibatches of prepared objects: the bits of a call of their own, from threads, copies, children, again and again."""

import copy
import os
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import bnbench
from bnbench.arguments import MOST_SIZES
from bnbench.problem import Problem

CPU = ("loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "fused-numba")
ROWS = (slice(3, 40), slice(40, 77), slice(0, 80, 2), slice(30, 2, -1), [5, 5, 2, 70, 41])


def prepared(depth, variant="auto", **conventions):
    """A prepared object of 80 rows, its data and parameters."""
    batch = Problem(80, 5, 4, "tanh", depth=depth, **conventions).sample()
    widths = 4 if depth == 1 else [4] * depth
    made = bnbench.prepare(batch.X, batch.y, widths, variant=variant, activation="tanh", **conventions)
    return made, batch


def own(batch, rows, parameters, variant="auto", **conventions):
    """What an object of its own answers for these rows, copied to where they are aligned anew."""
    X, y = np.array(batch.X[rows]), np.array(batch.y[rows])
    widths = [4] * len(parameters[0]) if isinstance(parameters[0], list) else 4
    made = bnbench.prepare(X, y, widths, variant=variant, regime="fresh", activation="tanh", **conventions)
    return made.gradients(*parameters)


def same(one, other):
    return all(np.array_equal(part, other.parts()[name]) for name, part in one.parts().items() if part is not None)


@pytest.mark.parametrize("conventions", [{}, {"eps": 0.0}, {"loss": "logistic"}], ids=str)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("variant", CPU)
def test_a_minibatch_has_the_bits_of_a_call_of_its_own(variant, depth, conventions):
    # catches: data of the minibatch before, a kernel whose bits depend on where rows begin, an answer written over
    made, batch = prepared(depth, variant, **conventions)
    answers = [made.gradients(*batch[2:], rows=rows) for rows in ROWS]
    whole = made.gradients(*batch[2:])
    answers += [made.gradients(*batch[2:], rows=rows) for rows in ROWS]
    for rows, found in zip(ROWS * 2, answers, strict=True):
        assert same(found, own(batch, rows, batch[2:], variant, **conventions)), rows
    assert same(whole, made.gradients(*batch[2:]))


@pytest.mark.parametrize("depth", [1, 2])
def test_sizes_that_vary_take_no_more_memory_and_contiguous_rows_no_copy(depth):
    # catches: scratch that is kept for every size, a minibatch that is copied
    N, p1 = 4000, 100
    batch = Problem(N, p1, 2, depth=depth).sample()
    made = bnbench.prepare(batch.X, batch.y, 2 if depth == 1 else [2, 2])
    made.gradients(*batch[2:], rows=slice(0, 2000))
    tracemalloc.start()
    for start in range(0, 2000, 500):
        made.gradients(*batch[2:], rows=slice(start, start + 2000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2000 * p1 * 8 / 2
    random = np.random.default_rng(0)
    for size in random.integers(5, 60, 200):
        made.gradients(*batch[2:], rows=random.integers(0, N, size))
    assert len(made.minibatches) <= MOST_SIZES


@pytest.mark.parametrize("depth", [1, 2])
def test_threads_copies_and_children_at_once(depth):
    # catches: a size's data bound for one thread while another computes, a copy made in the middle of a call that has
    # half of it, a child forked from a thread that waits for a lock which nobody holds there
    made, batch = prepared(depth)
    sets = [Problem(80, 5, 4, "tanh", depth=depth, seed=seed).sample()[2:] for seed in range(3)]
    known = {(k, r): own(batch, rows, sets[k]) for k in range(3) for r, rows in enumerate(ROWS)}
    stop = threading.Event()

    def work(seed):
        kept = []
        for k, r in np.random.default_rng(seed).integers(0, [3, len(ROWS)], (60, 2)):
            kept.append(((k, r), made.gradients(*sets[k], rows=ROWS[r])))
        return all(same(found, known[place]) for place, found in kept)

    def copied():
        fine = True
        while not stop.is_set():
            other = copy.deepcopy(made) if fine else pickle.loads(pickle.dumps(made))
            fine &= same(other.gradients(*sets[1], rows=ROWS[1]), known[1, 1])
        return fine

    def forked():
        if not hasattr(os, "fork"):
            return True
        child = os.fork()
        if not child:
            try:
                fine = same(made.gradients(*sets[2], rows=ROWS[0]), known[2, 0])
            finally:
                os._exit(0 if fine else 1)
        return os.waitpid(child, 0)[1] == 0

    with ThreadPoolExecutor(10) as pool:
        working = [pool.submit(work, seed) for seed in range(8)]
        copying, forking = pool.submit(copied), pool.submit(forked)
        try:
            assert forking.result(timeout=100)
            assert all(each.result(timeout=100) for each in working)
        finally:
            stop.set()
        assert copying.result(timeout=100)

"""fused-numba: every algorithm on awkward sizes and data, the same bits for every number of threads, its memory."""

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from cases import FEW, SETTINGS, covering

import bnbench
from bnbench import formula
from bnbench.fused.layout import ALGORITHMS, NODES, ONE_CALL, ONE_PASS, STORED, THIN, choose, layout
from bnbench.problem import DTYPES, LOSSES, REGIMES, Gradients
from bnbench.reference import reference
from bnbench.reference.network import converted
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

FUSED = variants()["fused-numba"]
ALL = ONE_PASS, STORED, NODES, THIN  # one-call is stored in one block


def verdict(variant, batch, problem, regime):
    """The verdict on a variant's second step: the first must leave nothing behind."""
    variant.prepare(batch, problem, regime)
    variant.step()
    variant.step()
    return judge(parts_of(variant.result()), reference(batch, problem), problem)


@pytest.mark.parametrize(("activation", "normalization", "dtype"), covering(SETTINGS, FEW))
def test_every_algorithm_at_sizes_that_fill_no_tile(activation, normalization, dtype):
    # catches: padding that leaks into a sum, a tail block, a wrong stride, ddof or eps lost in one algorithm
    for N, p1, p2, ddof, eps in ((1, 1, 1, 0, 0.1), (13, 9, 5, 1, 1e-3), (97, 3, 27, 0, 1e-5), (211, 18, 11, 2, 0.5)):
        problem = bnbench.Problem(N, p1, p2, activation, normalization, ddof, eps, dtype)
        for regime in REGIMES:
            for algorithm in ALL if normalization == "batch" else (ONE_PASS, NODES, THIN):
                variant = FUSED(algorithm)
                found = verdict(variant, problem.sample(), problem, regime)
                assert found.valid, f"{problem} {regime} {algorithm}: {found.reason}"
                assert variant.algorithm == algorithm


@pytest.mark.parametrize(("N", "p1", "p2"), [(5000, 40, 30), (2100, 64, 256), (100, 256, 256)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_many_groups_and_panels(N, p1, p2, dtype):
    # catches: groups whose rows overlap or are left out, float32 sums that are flushed twice or lost
    problem = bnbench.Problem(N, p1, p2, dtype=dtype)
    for regime in REGIMES:
        for algorithm in ALL:
            assert layout(problem, regime, algorithm).groups > 1
            found = verdict(FUSED(algorithm), problem.sample(), problem, regime)
            assert found.valid, f"{regime} {algorithm}: {found.reason}"


def test_float32_sums_are_flushed():
    # catches: a flush that loses or repeats a block
    problem = bnbench.Problem(200_000, 3, 2, dtype="float32")
    assert layout(problem, "fixed", ONE_PASS).flush
    for regime in REGIMES:
        assert verdict(FUSED(ONE_PASS), problem.sample(), problem, regime).max_error_ratio < 0.2
    problem = replace(problem, units=3000)  # of whose blocks few are full
    batch, one, other = in_order(problem.sample()), FUSED(ONE_PASS), bnbench.variants()["matrix-numpy"]()
    for variant in (one, other):
        variant.prepare(batch, problem, "fixed")
        variant.step()
    np.testing.assert_allclose(one.result().dG1, other.result().dG1, rtol=1e-3, atol=1e-6)


def in_order(batch):
    """The batch with its rows in the order of units."""
    rows = np.argsort(batch.units, kind="stable")
    W = None if batch.W is None else batch.W[rows]
    return batch._replace(X=batch.X[rows], y=batch.y[rows], W=W, units=batch.units[rows])


@pytest.mark.parametrize(
    ("algorithm", "head", "loss", "dtype"),
    covering(itertools.product(ALL, ("linear", "units", "linear units"), LOSSES, DTYPES)),
)
def test_linear_terms_and_units_in_every_algorithm(algorithm, head, loss, dtype):
    # catches: Wδ or an effect left out of η or added twice, r of another row's unit, Wᵀr of a part of the groups, a
    # block that ends within a unit, a group without a unit that keeps its last G, effects of the rows bound before
    linear, activation = 3 * ("linear" in head), ("gaussian", "tanh")[len(loss) % 2]
    for N, p1, p2, units in ((1, 1, 1, 1), (13, 9, 5, 4), (97, 3, 27, 97), (3000, 7, 5, 4), (2000, 5, 6, 300)):
        for normalization in ("batch", "batch" if algorithm == STORED else ("frozen", "none")[N % 2]):
            problem = bnbench.Problem(
                N, p1, p2, activation, normalization, eps=1e-3, dtype=dtype, loss=loss, linear=linear,
                units=units * ("units" in head), seed=N,
            )  # fmt: skip
            batch = problem.sample()
            for one, regime in itertools.product((batch, in_order(batch)) if problem.units else (batch,), REGIMES):
                variant = FUSED(algorithm)
                found = verdict(variant, one, problem, regime)
                assert found.valid, f"{problem} {regime}: {found.reason}"
                assert variant.details()["algorithm"] == algorithm
                lies_so = problem.units and algorithm == ONE_PASS and not np.any(np.diff(one.units) < 0)
                assert variant.gathers == bool(problem.units and not lies_so)
        if problem.units:
            variant.prepare(batch, problem)
            fewer = np.minimum(batch.units, units // 2)
            for other in (batch._replace(units=fewer), in_order(batch._replace(units=fewer)), batch):
                variant.bind(other.X, other.y, other.W, other.units)
                variant.step()
                assert judge(parts_of(variant.result()), reference(other, problem), problem).reason == ""


def hard(problem, kind):
    """A batch whose columns have large means, or nearly agree, or one of whose hidden nodes hardly varies."""
    batch = problem.sample()
    X, G1 = batch.X.copy(), batch.G1.copy()
    if kind == "offset":
        X += 1e4 if problem.dtype == "float64" else 1e2
    elif kind == "collinear":
        X[:, 1] = X[:, 0] * (1 + 1e-5 * X[:, 1])
    else:  # a hidden node in the null space of the centred X, up to rounding
        X[:, 1] = 3 - X[:, 0]
        G1[:, 2] = 0
        G1[:2, 2] = 1
    return batch._replace(X=X, G1=G1)


HARD = [(activation, dtype) for activation in ("relu", "tanh", "gaussian") for dtype in DTYPES]


@pytest.mark.parametrize("kind", ["offset", "collinear", "null"])
@pytest.mark.parametrize(
    ("activation", "dtype"), covering(HARD, [one for one in HARD if (one[0], "batch", one[1]) in FEW])
)
def test_data_on_which_the_one_pass_form_cancels(kind, dtype, activation):
    # catches: statistics from raw sums, a fall-back that is missing or changes nothing
    for N in (60, 3000):
        problem = bnbench.Problem(N, 7, 5, activation=activation, dtype=dtype)
        batch = hard(problem, kind)
        for regime in REGIMES:
            for algorithm in ALL:
                variant = FUSED(algorithm)
                found = verdict(variant, batch, problem, regime)
                assert found.valid, f"N={N} {regime} {algorithm}: {found.reason}"
                if kind == "null":
                    assert variant.algorithm == (STORED if algorithm == ONE_PASS else algorithm)
                    variant.load(*problem.sample()[2:])  # whose hidden nodes vary
                    variant.step()
                    assert variant.algorithm == algorithm
    if kind == "null":
        problem = bnbench.Problem(300, 7, 5, activation=activation, dtype=dtype, linear=2, units=20)
        assert verdict(FUSED(ONE_PASS), hard(problem, kind), problem, "fresh").valid


def test_choice_by_size():
    # catches: a cost model that always says the same, or forgets the regime
    def chosen(N, p1, p2, regime):
        return choose(bnbench.Problem(N, p1, p2), regime)

    assert chosen(10, 7, 4, "fixed") == chosen(10, 7, 4, "fresh") == ONE_CALL
    assert chosen(100_000, 32, 64, "fixed") == chosen(100_000, 32, 64, "fresh") == ONE_PASS
    assert (chosen(10_000, 256, 256, "fixed"), chosen(10_000, 256, 256, "fresh")) == (ONE_PASS, STORED)
    assert chosen(4096, 1024, 1024, "fixed") == STORED
    assert chosen(135, 1323, 13, "fresh") == THIN  # by nodes two threads would wait for each other's tiles of X
    assert chosen(40, 1089, 16, "fixed") == NODES
    assert chosen(2000, 1000, 64, "fixed") == STORED  # XᵀX would take longer than it saves in a hundred steps
    assert chosen(64, 512, 512, "fixed") == chosen(64, 512, 512, "fresh") == chosen(22, 1182, 330, "fresh") == NODES
    sizes = 10_000, 128, 128
    assert [choose(bnbench.Problem(*sizes, units=units), "fixed") for units in (0, 100)] == [ONE_PASS, STORED]
    assert chosen(3000, 100, 1, "fixed") == chosen(3000, 100, 1, "fresh") == chosen(10_000, 32, 4, "fresh") == THIN
    assert set(ALGORITHMS) == {ONE_CALL, ONE_PASS, STORED, NODES, THIN}


BITS = """
import hashlib, json, sys
import numba, numpy as np
import bnbench
from bnbench.variants import variants

random = np.random.default_rng(7)
found = []
for seed in range(int(sys.argv[1])):
    N = int(10 ** random.uniform(2, 4.5))
    p1, p2 = (int(2 ** random.uniform(0, 6.5)) for _ in range(2))
    dtype = ("float64", "float32")[seed % 2]
    regime = ("fixed", "fresh")[seed // 2 % 2]
    head = {"linear": 2, "units": N // 20} if seed % 8 > 3 else {}
    problem = bnbench.Problem(N, p1, p2, dtype=dtype, seed=seed, **head)
    batch, bits = problem.sample(), []
    if head and seed % 16 > 7:
        rows = np.argsort(batch.units, kind="stable")
        batch = batch._replace(X=batch.X[rows], y=batch.y[rows], units=batch.units[rows])
    for threads in (1, 2, 3, 4):
        numba.set_num_threads(threads)
        variant = variants()["fused-numba"](("", "one-pass", "stored", "by nodes", "thin")[seed % 5])
        variant.prepare(batch, problem, regime)
        variant.step()
        parts = [np.asarray(part).tobytes() for part in variant.result().parts().values()]
        bits.append(hashlib.sha256(b"".join(parts)).hexdigest())
    found.append([variant.algorithm, variant.plan.groups, len(set(bits))])
print(json.dumps(found))
"""


@pytest.mark.parametrize("count", covering([80, 200], [80]))
def test_same_bits_for_every_number_of_threads(count):
    # catches: sums shared by threads, blocks that depend on their number
    environment = os.environ | {"NUMBA_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    command = [sys.executable, "-c", BITS, str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(run.stdout)
    assert [different for _, _, different in found] == [1] * count
    several = {algorithm for algorithm, groups, _ in found if groups > 1}
    assert several == set(ALL)
    assert sum(groups > 1 for _, groups, _ in found) > count / 4


def test_memory_of_a_fixed_design_does_not_grow_with_N():
    # catches: an array of the size of X or Z in the one-pass algorithm
    held = []
    for N in (50_000, 200_000):
        problem = bnbench.Problem(N, 32, 64)
        batch = problem.sample()
        tracemalloc.start()
        variant = FUSED()
        variant.prepare(batch, problem, "fixed")
        variant.step()
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(held) < 2**25
    assert held[1] < 1.2 * held[0]


def test_parameters_and_data_are_left_alone():
    # catches: kernels that scale Γ1 in place
    problem = bnbench.Problem(500, 6, 5)
    batch = problem.sample()
    copies = [array.copy() for array in batch]
    for algorithm in ALL:
        variant = FUSED(algorithm)
        variant.prepare(batch, problem)
        variant.step()
    assert all(np.array_equal(one, other) for one, other in zip(batch, copies, strict=True))


CHECKED = """
import sys
import numpy as np
import bnbench

shapes = (500, 5, 3, "fresh"), (500, 5, 3, "fixed"), (50, 5, 3, "fresh"), (40, 91, 90, "fixed")
for place, (*shape, regime) in enumerate(shapes):
    problem = bnbench.Problem(*shape)
    variant = bnbench.variants()["fused-numba"]()
    variant.prepare(problem.sample(), problem, regime)
    variant.step()
    np.savez(f"{sys.argv[1]}/{place}", *variant.result())
"""


def test_no_index_is_out_of_bounds(tmp_path):
    """What the child computes is judged here: there the reference would be compiled anew, with checks of its own."""
    # catches: an array of the table that is not there, read where Numba's check of indices is off
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1"}
    command = [sys.executable, "-c", CHECKED, tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    for place, shape in enumerate(((500, 5, 3), (500, 5, 3), (50, 5, 3), (40, 91, 90))):
        problem = bnbench.Problem(*shape)
        found = Gradients(*np.load(tmp_path / f"{place}.npz").values())
        assert judge(parts_of(found), reference(problem.sample(), problem), problem).reason == ""


@pytest.mark.parametrize("kind", ["", "offset", "collinear", "null"])
def test_spreads_are_those_of_the_last_step(kind):
    # catches: s of the step that fell back, a mean without the offset of X, sums that a later sweep writes over
    for problem in (
        bnbench.Problem(60, 7, 5),
        bnbench.Problem(3000, 7, 5, eps=0, ddof=1),
        bnbench.Problem(3000, 7, 5, normalization="frozen"),
        bnbench.Problem(60, 7, 5, normalization="none"),
        bnbench.Problem(500, 7, 5, dtype="float32"),
        bnbench.Problem(500, 7, 5, "tanh", depth=3),
    ):
        batch = problem.sample() if problem.depth > 1 or not kind else hard(problem, kind)
        known = formula.network(
            *converted(lambda array: array.astype(np.float64), batch.theta, batch.data), problem.spec
        )
        for regime in REGIMES:
            for algorithm in ("", NODES, THIN, *((ONE_PASS, STORED) if problem.normalization == "batch" else ())):
                variant = FUSED(algorithm)
                variant.prepare(batch, problem, regime)
                variant.load(*problem.sample()[2:])
                variant.step()
                variant.load(*batch[2:])
                variant.step()
                for (s, mean), layer in zip(variant.spreads(), known.layers, strict=True):
                    true = (layer.s, layer.mu) if problem.normalization != "none" else (np.ones(5), np.zeros(5))
                    assert s.dtype == mean.dtype == np.float64
                    size = np.abs(layer.input).max() * np.abs(layer.layer.G).sum(axis=0)
                    digits = 64 * np.finfo(problem.dtype).eps
                    assert np.all(np.abs(s - true[0]) <= digits * (size + true[0])), (problem, regime, algorithm)
                    assert np.all(np.abs(mean - true[1]) <= digits * (size + 1)), (problem, regime, algorithm)


@pytest.mark.parametrize(
    ("algorithm", "normalization"),
    [(STORED, "batch"), (ONE_PASS, "batch"), (ONE_PASS, "frozen"), (THIN, "batch"), (THIN, "frozen")],
)
def test_a_copy_of_the_memory_is_as_right_as_the_original(algorithm, normalization):
    # catches: an address among the offsets, which leads back to the original
    for N in (60, 5000):
        problem = bnbench.Problem(N, 40, 30, normalization=normalization)
        variant = FUSED(algorithm)
        variant.prepare(problem.sample(), problem, "fixed")
        variant.step()
        known = variant.result()
        copy, at = variant.room.copy(), variant.scratch.places["dG1"].offset
        variant.room[...] = 0
        copy[at : at + known.dG1.nbytes] = 0
        assert variant.kernel.func(copy.ctypes.data, problem.eps) == known.loss
        assert np.array_equal(np.ndarray(known.dG1.shape, known.dG1.dtype, copy, at), known.dG1)
        assert not variant.room.any()


@pytest.mark.parametrize("algorithm", ["", STORED, NODES, THIN])
@pytest.mark.parametrize("regime", ["fixed", "fresh"])
def test_a_loss_below_zero_is_a_loss(algorithm, regime):
    # catches: Poisson's negative loss taken for a step that was left, and computed again without end
    problem = bnbench.Problem(300, 5, 4, loss="poisson")
    batch = problem.sample()
    batch = batch._replace(y=batch.y + 50, G2=np.abs(batch.G2))
    step = FUSED(algorithm)
    step.prepare(batch, problem, regime)
    step.step()
    known = bnbench.gradients(*batch, loss="poisson", variant="matrix-numpy")
    assert known.loss < -2
    np.testing.assert_allclose(step.result().loss, known.loss, rtol=1e-12)
    np.testing.assert_allclose(step.result().dG1, known.dG1, rtol=1e-9)

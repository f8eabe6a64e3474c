"""Rows in chunks: the gradients of all rows, whoever calls the chunks, and the same bits by any number of workers."""

import os
import pickle
import signal

import numpy as np
import pytest
from networks import arguments, network

import bnbench

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")


def uneven(rows):
    """Sizes of chunks: one of one row, one of none."""
    first = rows // 3
    return (first, 1, 0, rows - first - 1)


def cut(array, sizes):
    """The rows of an array in chunks of these sizes."""
    return np.split(array, np.cumsum(sizes)[:-1])


def lazy(array, sizes):
    """The same as a dask array; an X is cut between its columns too."""
    array = np.asarray(array)
    return da.from_array(array, chunks=(sizes,) if array.ndim == 1 else (sizes, max(1, array.shape[1] // 2)))


def same(one, other):
    """Whether two answers have the same bits."""
    return all(map(np.array_equal, one.parts().values(), other.parts().values()))


def distance(found, known):
    """The largest ‖found - known‖ over ‖known‖ of the parts of two answers."""
    pairs = zip(found.parts().values(), known.parts().values(), strict=True)
    return max(np.linalg.norm(a - np.asarray(b)) / max(np.linalg.norm(b), 1e-3) for a, b in pairs if b is not None)


# A covering set: what a layer is normalised by, depth, loss, linear terms and units. The rest runs as `exhaustive`.
CASES = [
    {"seed": 3, "layers": 1, "normalization": "batch", "loss": "squared"},
    {"seed": 8, "layers": 1, "normalization": "batch", "loss": "logistic"},
    {"seed": 5, "layers": 3, "normalization": "batch", "loss": "poisson"},
    {"seed": 1, "layers": 2, "normalization": "frozen", "loss": "squared"},
    {"seed": 12, "layers": 1, "normalization": "none", "loss": "logistic"},
]


def case(settings, activation="tanh"):
    """(X, y, parameters), keywords of data, and of conventions, of a random network with linear terms and units."""
    for seed in range(settings["seed"], 10_000, 100):
        chosen = {name: value for name, value in settings.items() if name != "seed"}
        theta, data, spec = network(seed, rows=60, activation=activation, **chosen)
        if data.W is not None and data.unit is not None and len(data.y) > 20:
            break
    (X, y, *parameters), keywords = arguments(theta, data, spec, deep=len(theta.layers) > 1)
    units = np.array(keywords.pop("units"))
    return X, y, parameters, {"W": keywords.pop("W"), "units": units}, keywords.pop("delta"), keywords


@pytest.mark.parametrize("settings", CASES, ids=lambda one: "-".join(map(str, one.values())))
def test_chunks_give_the_gradients_of_all_rows(settings):
    # catches: statistics or a mean of a chunk's own, a merge that weighs chunks alike, effects of a part of a unit, a
    # term through μ or s that is left out or added by every chunk, a tree that the number of workers decides on
    X, y, parameters, more, delta, keywords = case(settings)
    known = bnbench.gradients(X, y, *parameters, delta=delta, **more, **keywords)
    sizes = uneven(len(y))
    rows = list(zip(cut(X, sizes), cut(y, sizes), cut(more["W"], sizes), cut(more["units"], sizes), strict=True))
    plain = bnbench.chunked.gradients(rows, *parameters, delta=delta, **keywords)
    assert distance(plain, known) < 1e-10
    call = lazy(X, sizes), lazy(y, (len(y),))
    more = {name: lazy(part, sizes) for name, part in more.items()}
    for workers in (1, 2, 3, 4):
        with dask.config.set(scheduler="threads", num_workers=workers):
            assert same(bnbench.gradients(*call, *parameters, delta=delta, **more, **keywords), plain), workers
    widths = [G.shape[1] for G in parameters[0]] if isinstance(parameters[0], list) else parameters[0].shape[1]
    prepared = bnbench.prepare(*call, widths, **more, **keywords)
    before = prepared.phases
    found = prepared.gradients(*parameters, delta)
    assert distance(found, known) < 1e-10
    loss, slope = pickle.loads(pickle.dumps(prepared))(prepared.pack(*parameters, delta))
    assert loss == found.loss
    assert slope.shape == prepared.pack(*parameters, delta).shape
    if settings["loss"] == "squared":  # with effects one more
        depth = len(parameters[0]) if settings["normalization"] == "batch" and settings["layers"] > 1 else 1
        assert prepared.phases - before - 2 * (depth - 1) in (1 + 1, 2 * (1 + 1) + 2 * (depth - 1))


def test_a_column_that_cancels_and_an_offset_cost_no_digits():
    # catches: a variance from C where it cancels, x̄ that is not taken off before the product with S
    random = np.random.default_rng(0)
    X = np.repeat(random.standard_normal((500, 1)), 3, axis=1) + 1e-5 * random.standard_normal((500, 3)) + 1000
    G1, gamma, beta, G2 = np.array([[1.0, 1.0], [-1.0, 0.5], [0.0, -0.5]]), np.ones(2), np.zeros(2), np.ones(2)
    y = random.standard_normal(500)
    conventions = {"activation": "tanh", "eps": 1e-12}
    known = bnbench.gradients(X, y, G1, gamma, beta, G2, **conventions)
    prepared = bnbench.prepare(lazy(X, uneven(500)), y, 2, **conventions)
    assert prepared.seen.C is not None
    assert distance(prepared.gradients(G1, gamma, beta, G2), known) < 1e-8


def test_wide_inputs_and_float32():
    # catches: V of Z left out where C is not made, float64 answers to float32
    problem = bnbench.Problem(300, 30, 3, "tanh", dtype="float32", ddof=1)
    batch = problem.sample()
    conventions = {"activation": "tanh", "ddof": 1}
    known = bnbench.gradients(*batch, **conventions)
    found = bnbench.gradients(lazy(batch.X, (100, 150, 50)), batch.y, *batch[2:], **conventions)
    assert found.dG1.dtype == np.float32
    assert distance(found, known) < 1e-4


def test_statistics_and_predictions_of_chunks():
    # catches: a layer frozen at a chunk's statistics, an effect in another label's place, rows in another order
    X, y, parameters, more, delta, keywords = case(CASES[2])
    sizes = uneven(len(y))
    conventions = {name: keywords[name] for name in ("activation", "ddof", "eps")}
    lazy_X, G1, gamma, beta, _ = lazy(X, sizes), *parameters
    known = bnbench.population(X, G1, gamma, beta, **conventions)
    for one, other in zip(bnbench.population(lazy_X, G1, gamma, beta, **conventions), known, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one.var, other.var, rtol=1e-9)
        assert one.count == len(y)
    alpha = np.random.default_rng(0).standard_normal(len(np.unique(more["units"])))
    call = {"delta": delta, "alpha": alpha, "loss": keywords["loss"], **conventions}
    found = bnbench.predict(lazy_X, *parameters, W=more["W"], units=lazy(more["units"], sizes), **call)
    np.testing.assert_allclose(found.compute(), bnbench.predict(X, *parameters, **more, **call), rtol=1e-9)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"X": lambda X: X[X[:, 0] > 0]}, r"X has chunks of unknown sizes; allowed are known ones"),
        ({"X": lambda X: da.where(X > 2, np.nan, X)}, r"X\[.*\] is nan"),
        ({"y": lambda y: y[:-1]}, "y has 59 rows; with X of 60 allowed are as many"),
        ({"y": lambda y: y[:, None]}, r"y has shape \(60, 1\); allowed is \(N,\)"),
        ({"X": lambda X: X * 0, "eps": 0}, "column 0 of X G1 has zero variance and eps is 0 .3 such columns"),
        ({"ddof": 60}, "N is 60 with ddof 60"),
        ({"variant": "matrix-numpy"}, "variant is 'matrix-numpy'; with data in chunks allowed are auto and fused"),
        ({"inputs": True}, "inputs is True; of data in chunks"),
        ({"loss": "logistic"}, r"y\[.*\] is .*with loss='logistic' allowed are numbers from 0 to 1"),
        ({"units": lambda y: [0] * 30 + ["a"] * 30}, "units cannot be sorted"),
    ],
)
def test_a_bad_call_on_chunks_says_what_is_allowed(changed, words):
    # catches: a traceback of Dask's, a whole step before an argument is looked at
    batch = bnbench.Problem(60, 4, 3).sample()
    X, y = lazy(batch.X, (20, 40)), lazy(batch.y * 3, (20, 40))
    call = dict(zip(("X", "y", "G1", "gamma", "beta", "G2"), (X, y, *batch[2:]), strict=True))
    for name, change in changed.items():
        call[name] = change(call.get(name)) if callable(change) else change
    if "units" in call:
        call["units"] = da.from_array(np.array(call["units"], object), chunks=30)
    with pytest.raises(ValueError, match=words):
        bnbench.gradients(**call)


def test_minibatches_are_refused():
    # catches: rows of a chunk taken for rows of all
    batch = bnbench.Problem(60, 4, 3).sample()
    prepared = bnbench.prepare(lazy(batch.X, (20, 40)), batch.y, 3)
    with pytest.raises(ValueError, match=r"rows is given; of data in chunks allowed are all rows"):
        prepared.gradients(*batch[2:], rows=slice(3))


def test_sums_merge_alike_whole_or_level_by_level():
    # catches: a merge whose bits depend on who merges, C or squares without what lies between the chunks' means
    from bnbench.chunked import phases, sums
    from bnbench.problem import Spec

    X = np.random.default_rng(0).standard_normal((400, 5)) + np.arange(400)[:, None]
    answers = [
        phases.Look(spec=Spec(), dtype="float64", gram=True)((part, None)) for part in cut(X, (13,) * 30 + (10,))
    ]
    whole = sums.merge(answers)
    by_level = answers
    while len(by_level) > 1:
        by_level = [sums.merge(by_level[at : at + sums.BRANCHES]) for at in range(0, len(by_level), sums.BRANCHES)]
    assert np.array_equal(whole.C, by_level[0].C)
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(whole.C, centred.T @ centred, rtol=1e-12)
    np.testing.assert_allclose(whole.mean, X.mean(axis=0), rtol=1e-12)


def die_once(block, marker):
    """A chunk; the first time that one is asked for, the worker dies on it."""
    if not os.path.exists(marker):
        with open(marker, "w", encoding="utf-8"):
            os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.exhaustive
def test_processes_and_a_worker_that_dies_change_no_bit(tmp_path):
    # catches: sums that a dead worker took with it, a chunk that is counted twice, state that only one process has
    distributed = pytest.importorskip("distributed")
    X, y, parameters, more, delta, keywords = case(CASES[2])
    sizes = uneven(len(y))
    lazy_more = {name: lazy(part, sizes) for name, part in more.items()}
    rows = list(zip(cut(X, sizes), cut(y, sizes), cut(more["W"], sizes), cut(more["units"], sizes), strict=True))
    plain = bnbench.chunked.gradients(rows, *parameters, delta=delta, **keywords)
    for workers in (1, 2, 3, 4):
        with (
            distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
            distributed.Client(cluster),
        ):
            marker = tmp_path / str(workers)
            dying = lazy(X, sizes).rechunk((sizes, -1)).map_blocks(die_once, str(marker), dtype=X.dtype, meta=X[:0])
            found = bnbench.gradients(dying, lazy(y, sizes), *parameters, delta=delta, **lazy_more, **keywords)
            assert marker.exists()
            assert same(found, plain), workers

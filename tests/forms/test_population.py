"""Population statistics: exact over all rows, layer by layer, in constant memory."""

import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
from conftest import BUILT_IN, PEERS
from networks import answer, arguments, distances, in_label_order, network

import bnbench
from bnbench import definition, formula
from bnbench.problem import DTYPES


def test_they_are_the_statistics_of_one_batch_of_all_rows():
    # catches: a layer frozen at another's statistics, ddof or eps lost between layers, blocks weighted alike, a
    # variance that loses its digits to an offset
    for seed, dtype in itertools.product(range(30), DTYPES):
        theta, data, spec = network(seed, dtype=dtype, rows=60, normalization=("batch", "batch", "none")[seed % 3])
        data = data._replace(X=data.X + data.X.dtype.type(1000))
        (X, _, G1, gamma, beta, G2), keywords = arguments(theta, data, spec)
        conventions = {name: keywords[name] for name in ("activation", "normalization", "ddof", "eps")}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("bnbench.running.exact.BLOCK_NUMBERS", 50)
            found = bnbench.population(X, G1, gamma, beta, **conventions)
        A = X.astype(np.longdouble)
        for place, (layer, statistics) in enumerate(zip(theta.layers, found, strict=True)):
            A = A @ layer.G.astype(np.longdouble)
            mean, var = A.mean(axis=0), A.var(axis=0, ddof=spec.ddof)
            rounding = 2e-7 if dtype == "float32" else 1e-11 if place == 0 else 1e-9
            np.testing.assert_allclose(statistics.mean, mean, rtol=rounding, atol=1e-9, err_msg=f"{seed} {place}")
            np.testing.assert_allclose(statistics.var, var, rtol=rounding, atol=1e-13, err_msg=f"{seed} {place}")
            assert statistics.count == len(X)
            assert statistics.mean.dtype == statistics.var.dtype == dtype
            if layer.gamma is not None:
                A = layer.gamma * (A - mean) / np.sqrt(var + np.longdouble(spec.eps)) + layer.beta
            A = formula.activations.value(spec.activation, A.astype(np.float64)).astype(np.longdouble)
        if spec.normalization == "batch" and dtype == "float64":
            call = X, G1, gamma, beta, G2
            np.testing.assert_allclose(
                bnbench.predict(*call, **conventions, statistics=found),
                bnbench.predict(*call, **conventions),
                rtol=1e-7,
            )


SLOW = ("torch-compile", "tensorflow-xla")  # to compile
FROZEN = bnbench.Problem(40, 4, 4, normalization="frozen", depth=3)
NAMES = [
    pytest.param(name, marks=[pytest.mark.exhaustive] * (name in SLOW))
    for name in BUILT_IN + PEERS
    if not bnbench.variants()[name].unsupported(FROZEN, "fresh")
]


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_at_population_statistics_by_every_form(name):
    # catches: statistics in another layer's place, their count taken for a number of theirs, a form that flows through
    # them
    theta, data, spec = network(3, layers=3, normalization="batch", activation="tanh")
    (X, y, *parameters), keywords = arguments(theta, data, spec)
    given = bnbench.population(X, *parameters[:3], activation="tanh", ddof=spec.ddof, eps=spec.eps)
    spec = dataclasses.replace(spec, normalization="frozen")
    if reason := bnbench.variants()[name].unavailable():
        pytest.skip(reason)
    found = bnbench.gradients(
        X, y, *parameters, variant=name, **keywords | {"normalization": "frozen", "statistics": given}
    )
    known = definition.gradients(
        theta, in_label_order(data._replace(statistics=tuple((one.mean, one.var) for one in given))), spec, "autograd"
    )
    assert max(distances(answer(found, theta), known)) < 1e-9


def test_memory_stays_the_same_however_many_rows(tmp_path):
    # catches: Z of all rows, or a copy of X, a file that is read at once
    rows = 2**17
    X = np.memmap(tmp_path / "X", "float32", "w+", shape=(rows, 8))
    X[:] = np.random.default_rng(0).standard_normal((rows, 8))
    G1, gamma, beta = np.ones((8, 64), "f"), np.ones(64, "f"), np.zeros(64, "f")
    bnbench.population(X[:10], G1, gamma, beta)  # imports
    tracemalloc.start()
    (found,) = bnbench.population(X, G1, gamma, beta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * 64 * 8 / 4
    np.testing.assert_allclose(found.var, np.sum(X, axis=1, dtype=float).var(), rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"X": np.ones((0, 3))}, r"X has shape \(0, 3\)"),
        ({"X": np.r_[np.ones((8, 3)), [[1, np.inf, 1]]]}, r"X\[8, 1\] is inf; allowed are finite numbers"),
        ({"X": np.arange(27.0).reshape(9, 3) * 1e200}, "the variance of layer 1 is not finite: it overflowed"),
        ({"G1": np.ones((4, 2))}, r"G1\[0\] has shape|G1 has shape"),
        ({"gamma": None}, "gamma is None"),
        ({"ddof": 9}, "N is 9 with ddof 9"),
        ({"normalization": "frozen"}, "normalization is 'frozen'"),
        ({"X": np.ones((9, 3)), "eps": 0, "G1": [np.ones((3, 2))] * 2}, "gamma is of type ndarray; allowed is a list"),
        (
            {"X": np.ones((9, 3)), "eps": 0, "G1": [np.eye(3), np.eye(3)], "gamma": [np.ones(3)] * 2,
             "beta": [np.ones(3)] * 2}, "column 0 of layer 1 has zero variance and eps is 0",
        ),
    ],
)  # fmt: skip
def test_a_bad_call_says_what_is_allowed(changed, words):
    # catches: NaN as an answer, a traceback of NumPy's
    random = np.random.default_rng(0)
    call = {"X": random.standard_normal((9, 3)), "G1": random.standard_normal((3, 2))}
    call |= {"gamma": np.ones(2), "beta": np.zeros(2)}
    with pytest.raises(ValueError, match=words):
        bnbench.population(**call | changed)

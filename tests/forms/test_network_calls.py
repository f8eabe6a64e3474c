"""The library's call beyond one layer: lists of arrays, losses, frozen statistics, linear terms, units, ∂R/∂X."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import answer, arguments, cast, distances, in_label_order, network

import bnbench
from bnbench import definition


@pytest.mark.parametrize("variant", ["auto", "torch-eager"])
def test_calls_agree_with_autograd(variant):
    # catches: lists in another order, a label's effect in another's place, a keyword that is dropped on the way
    for seed in range(40 if variant == "auto" else 8):
        theta, data, spec = network(seed)
        positional, keywords = arguments(theta, data, spec, deep=len(theta.layers) > 1 or seed % 2)
        before = [np.copy(part) for part in (data.X, data.y, theta.out)]
        found = bnbench.gradients(*positional, **keywords, inputs=True, variant=variant)
        known = definition.gradients(theta, in_label_order(data), spec, "autograd", inputs=True)
        assert max(distances(answer(found, theta), known)) < 1e-9, spec
        assert all(map(np.array_equal, before, (data.X, data.y, theta.out)))
        assert len(found) == 5


def test_float32_is_answered_in_float32():
    # catches: a list's arrays of another dtype, a framework's float64
    theta, data, spec = network(1, layers=2)
    theta, data = cast(theta, data, "float32")
    positional, keywords = arguments(theta, data, spec)
    for variant in ("auto", "autograd"):
        found = bnbench.gradients(*positional, **keywords, inputs=True, variant=variant)
        parts = [*found.dG1, *(found.dgamma or ()), found.dG2, found.dX]
        assert {part.dtype for part in parts} == {np.dtype("float32")}


def test_one_layer_by_the_formula_is_what_the_kernels_give():
    # catches: conventions of the formula that are not the kernels'
    problem = bnbench.Problem(40, 5, 3, "tanh", ddof=1, eps=0.1)
    batch = problem.sample()
    known = bnbench.gradients(*batch, activation="tanh", ddof=1, eps=0.1)
    X, y, *affine, G2 = batch
    found = bnbench.gradients(X, y, *([part] for part in affine), G2, activation="tanh", ddof=1, eps=0.1)
    for name in ("dG1", "dgamma", "dbeta"):
        np.testing.assert_allclose(getattr(found, name)[0], getattr(known, name), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.dG2, known.dG2, rtol=1e-10)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loss": "hinge"}, "loss is 'hinge'; allowed are squared, logistic, poisson"),
        ({"loss": "logistic", "y": np.full(9, 2.0)}, r"y\[0\] is 2.0 \(9 such entries\)"),
        ({"variant": "matrix-kronecker"}, "matrix-kronecker cannot be used here: depth is 2; it supports 1"),
        ({"normalization": "none"}, r'gamma\[0\] is given; with normalization="none"'),
        ({"normalization": "frozen"}, "statistics is None"),
        ({"W": np.ones((9, 2))}, "delta is None"),
        ({"delta": np.ones(2)}, "delta is given without W"),
        ({"units": ["a"] * 8}, "units has 8 entries"),
        ({"units": ["a", 1] + ["b"] * 7}, "units cannot be sorted"),
        ({"units": list("aaabbbbbb"), "loss": "logistic", "y": np.r_[np.ones(3), 0, np.ones(5)]}, "unit a is 1"),
        ({"units": "aaaabbbbb"}, "units is of type str; allowed is a label for each of 9 rows"),
        ({"units": [None] * 9}, "units has None in row 1"),
        ({"units": np.array(["2020", "NaT", "2021"] * 3, "M8[ns]")}, "units has .*NaT.* in row"),
        ({"gamma": [np.ones(3)]}, "gamma has 1 entries; with 2 layers"),
        ({"gamma": np.ones((2, 3))}, "gamma is of type ndarray; allowed is a list of 2, one a layer"),
        ({"G1": [np.ones((4, 3)), None]}, r"G1\[1\] is None"),
        ({"G1": [np.ones(3), np.ones((3, 2))]}, r"G1\[0\] has shape \(3,\)"),
        ({"G1": []}, r"G1 has shape \(0,\); allowed is \(p1, p2\), or a list"),
        ({"normalization": "frozen", "statistics": [[]]}, "statistics has an entry that is no pair"),
        ({"activation": np.array(["relu", "tanh"])}, "activation is array"),
        ({"inputs": np.ones(2)}, r"inputs is array\(\[1., 1.\]\); allowed are True and False"),
        ({"X": np.arange(36.0).reshape(9, 4) ** 0.5 * 1e160}, "column 0 of layer 1 has a variance of about 10.*, more"),
        ({"X": np.arange(36.0).reshape(9, 4) ** 0.5 * 1e-160, "eps": 0}, "column 0 of layer 1 .*, less than float64"),
        ({"G1": [np.eye(4)[:, :3], np.full((3, 2), 1e160)]}, "column 0 of layer 2 has a variance of about 10.*, more"),
        ({"G1": [np.ones((4, 3)), np.ones((2, 2))]}, r"G1\[1\] has shape \(2, 2\); .* \(3, 2\)"),
        ({"X": np.full((9, 4), 1.0), "eps": 0.0}, "column 0 of layer 1 has zero variance"),
        ({"X": np.full((9, 4), np.nan)}, r"X\[0, 0\] is nan"),
        ({"ddof": 9}, "N is 9 with ddof 9"),
    ],
)
def test_a_bad_call_says_what_is_allowed(changed, words):
    # catches: a traceback of NumPy's, an array that is broadcast until it fits
    random = np.random.default_rng(0)
    call = {
        "X": random.standard_normal((9, 4)), "y": random.uniform(0, 1, 9),
        "G1": [random.standard_normal((4, 3)), random.standard_normal((3, 2))],
        "gamma": [np.ones(3), np.ones(2)], "beta": [np.zeros(3), np.zeros(2)], "G2": np.ones(2),
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        bnbench.gradients(**call | changed)


def test_a_prepared_network_is_called_from_threads_and_as_a_copy():
    # catches: state of one call that another sees, a copy without its data, data that the caller's later changes reach
    theta, data, spec = network(5, layers=3, normalization="batch", loss="logistic", activation="tanh")
    positional, keywords = arguments(theta, data, spec)
    X, y, G1, gamma, beta, G2 = positional
    delta, own = keywords.pop("delta"), X.copy()
    prepared = bnbench.prepare(own, y, [G.shape[1] for G in G1], **keywords)
    own[:] = np.nan
    others = [[factor * G for G in G1] for factor in (1.0, 1.5, 2.0, 2.5)]
    rest = (gamma, beta, G2, delta)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda G: [prepared.gradients(G, *rest) for _ in range(10)], others))
    copied = pickle.loads(pickle.dumps(prepared))
    for G, answers in zip(others, found, strict=True):
        known = bnbench.gradients(X, y, G, gamma, beta, G2, delta=delta, **keywords).parts()
        for each in (*answers, copied.gradients(G, *rest)):
            assert all(map(np.array_equal, known.values(), each.parts().values()))


@pytest.mark.parametrize("variant", ["loops-python", "loops-numba", "matrix-numpy", "matrix-numba", "fused-numba"])
def test_no_form_gives_a_wrong_number_where_a_variance_is_out_of_range(variant):
    # catches: a s that is infinite, so that every gradient below is a finite 0; a refusal of what can be computed
    problem = bnbench.Problem(20, 3, 2, "tanh", eps=0.0, depth=2, loss="poisson")
    batch = problem.sample()
    for scale in (1e-160, 1e-130, 1e130, 1e160):
        G1 = [batch.G1[0], batch.G1[1] * scale]
        call = (batch.X, batch.y, G1, *batch[3:])
        conventions = {"activation": "tanh", "eps": 0.0, "loss": "poisson", "variant": variant}
        if scale in (1e-160, 1e160):
            with pytest.raises(ValueError, match="column 0 of layer 2 has a variance of about"):
                bnbench.gradients(*call, **conventions)
        else:
            known = bnbench.gradients(*batch, **conventions)
            found = bnbench.gradients(*call, **conventions)
            np.testing.assert_allclose(found.dG1[0], known.dG1[0], rtol=1e-9)
            np.testing.assert_allclose(found.dG1[1] * scale, known.dG1[1], rtol=1e-9)


def test_a_rate_beyond_the_largest_number_is_refused_by_every_form():
    # catches: the OverflowError of Python's exp; a loss that is infinite in an answer
    problem = bnbench.Problem(9, 2, 2, "identity", "none", loss="poisson")
    batch = problem.sample()
    for variant in ("loops-python", "matrix-numpy"):
        with pytest.raises(ValueError, match="the loss is not finite"):
            bnbench.gradients(
                batch.X * 1e4, *batch[1:], activation="identity", normalization="none", loss="poisson", variant=variant
            )
    with pytest.raises(ValueError, match="the loss is not finite"):
        bnbench.gradients(batch.X * 1e160, *batch[1:], activation="identity", normalization="none")


@pytest.mark.parametrize(("widths", "inputs"), [(3, True), (3, False), ([3, 2], True)])
def test_a_minibatch_is_the_call_with_these_rows(widths, inputs):
    # catches: a slice that goes backwards and is read twice, an answer that a later call writes over, effects of the
    # units of an earlier minibatch of as many rows
    problem = bnbench.Problem(12, 4, 3, "tanh", loss="logistic", linear=2, units=3)
    batch = problem.sample()
    G1, gamma, beta, G2 = batch.parameters()[:4]
    if widths != 3:
        G1, gamma, beta = [G1, np.eye(3)[:, :2]], [gamma, gamma[:2]], [beta, beta[:2]]
        G2 = G2[:2]
    conventions = {"activation": "tanh", "loss": "logistic"}
    prepared = bnbench.prepare(batch.X, batch.y, widths, W=batch.W, units=batch.units, **conventions)
    chosen = [
        slice(None, None, -1),
        slice(10, 0, -2),
        slice(2, 9),
        [0, 1, 2, 3, 3, 3, 9],
        np.array([-1, -2, 5, 6], "i1"),
    ]
    found = [prepared.gradients(G1, gamma, beta, G2, batch.delta, rows=rows, inputs=inputs) for rows in chosen]
    for rows, one in zip(chosen, found, strict=True):
        X, y, W, units = (part[rows] for part in (batch.X, batch.y, batch.W, batch.units))
        known = bnbench.gradients(
            X, y, G1, gamma, beta, G2, W=W, delta=batch.delta, units=units, inputs=inputs, variant="matrix-numpy",
            **conventions,
        )  # fmt: skip
        for name, part in known.parts().items():
            np.testing.assert_allclose(one.parts()[name], part, rtol=1e-9, atol=1e-13, err_msg=f"{name} of {rows}")
    for rows in (np.ones(12, bool), [0.5], [99], slice("a", "b"), np.ma.array([1, 2], mask=[1, 0])):
        with pytest.raises(ValueError, match=r"^rows "):
            prepared.gradients(G1, gamma, beta, G2, batch.delta, rows=rows)
    for theta in (prepared.pack(G1, gamma, beta, G2, batch.delta) + 0j, "abc", None):
        with pytest.raises(ValueError, match=r"^theta"):
            prepared(theta)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"X": None}, "X is None"),
        ({"X": 3.0}, r"X has shape \(\)"),
        ({"G1": None}, "G1 is None"),
        ({"G1": 3.0}, r"G1 has shape \(\)"),
        ({"G1": [np.ones((3, 2)), None]}, r"G1\[1\] is None"),
        ({"X": np.arange(27.0).reshape(9, 3) ** 0.5 * 1e200}, "column 0 of X G1 has a variance of about"),
        ({"units": ["a"] * 9, "alpha": {"a": None}}, "alpha in row 1 is None, no number"),
        ({"units": ["a"] * 9, "alpha": [np.nan]}, r"alpha\[0\] is nan"),
    ],
)
def test_a_bad_prediction_says_what_is_allowed(changed, words):
    # catches: a traceback of NumPy's; ŷ of 0 where a variance overflowed
    random = np.random.default_rng(0)
    call = {"X": random.standard_normal((9, 3)), "G1": random.standard_normal((3, 2)), "gamma": np.ones(2)}
    with pytest.raises(ValueError, match=words):
        bnbench.predict(**call | {"beta": np.zeros(2), "G2": np.ones(2)} | changed)

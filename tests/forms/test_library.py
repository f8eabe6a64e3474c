"""The library call: right in every convention, careful with its input, and its errors name what was wrong."""

import numpy as np
import pandas
import pytest
from cases import FEW, PAIRS, SETTINGS, covering
from conftest import BUILT_IN
from hypothesis import given, settings
from hypothesis import strategies as st

import bnbench
from bnbench.measure.given import protected
from bnbench.problem import REGIMES, Problem
from bnbench.reference import reference
from bnbench.validation import judge, parts_of

SMOOTH = [pair for pair in PAIRS if pair[0] != "relu"]
IN_NUMPY = [("matrix-numpy", *pair) for pair in SMOOTH]


def loss_of(batch, **conventions):
    return bnbench.gradients(*batch, **conventions).loss


@pytest.mark.parametrize(
    ("name", "activation", "normalization"),
    covering(
        [*IN_NUMPY, *(("auto", *pair) for pair in SMOOTH)],
        [*IN_NUMPY, ("auto", "tanh", "batch"), ("auto", "sigmoid", "none")],
    ),
)
@given(seed=st.integers(0, 2**20))
@settings(max_examples=8, deadline=None)
def test_gradients_are_the_slopes_of_the_loss(name, activation, normalization, seed):
    """Central differences of the loss itself: no formula is shared with what is tested."""
    # catches: a wrong formula, in the compiled form or in that which is written down like it
    problem = Problem(12, 3, 2, activation, normalization, ddof=1, eps=0.1, seed=seed)
    batch = problem.sample()
    conventions = {"activation": activation, "normalization": normalization, "ddof": 1, "eps": 0.1, "variant": name}
    found = bnbench.gradients(*batch, **conventions)
    rng = np.random.default_rng(seed)
    for name, gradient in (("G1", found.dG1), ("gamma", found.dgamma), ("beta", found.dbeta), ("G2", found.dG2)):
        if gradient is None:
            continue
        h = 1e-5 * rng.standard_normal(gradient.shape)
        up, down = (loss_of(batch._replace(**{name: getattr(batch, name) + s * h}), **conventions) for s in (1, -1))
        assert (up - down) / 2 == pytest.approx(np.sum(gradient * h), rel=1e-5, abs=1e-13), name


@given(seed=st.integers(0, 2**20), name=st.sampled_from(BUILT_IN), eps=st.sampled_from([0.0, 1e-5, 0.5]))
@settings(max_examples=40, deadline=None)
def test_identities_hold(seed, name, eps):
    """The gradient's identities, none of which the validation uses: shifts, permutations, scale (in)variance."""
    # catches: a gradient that is wrong by what a comparison with the reference allows
    batch = Problem(15, 4, 3, "tanh", eps=eps, seed=seed).sample()
    options = {"variant": name, "activation": "tanh", "eps": eps}
    found = bnbench.gradients(*batch, **options)
    s2 = (batch.X @ batch.G1).var(axis=0) + eps
    along = (batch.G1 * found.dG1).sum(axis=0)
    np.testing.assert_allclose(along, batch.gamma * found.dgamma * eps / s2, rtol=1e-9, atol=1e-13)
    shifted = bnbench.gradients(batch.X + np.arange(4.0), *batch[1:], **options)
    rows, nodes = np.random.default_rng(seed).permutation(15), np.array([2, 0, 1])
    permuted = bnbench.gradients(
        batch.X[rows],
        batch.y[rows],
        batch.G1[:, nodes],
        batch.gamma[nodes],
        batch.beta[nodes],
        batch.G2[nodes],
        **options,
    )
    for field in ("dG1", "dgamma", "dbeta", "dG2"):
        value = getattr(found, field)
        np.testing.assert_allclose(getattr(shifted, field), value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(getattr(permuted, field), value[..., nodes], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("regime", ["fresh", "fixed"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_prepared_gradients_follow_the_parameters(name, regime):
    """A training loop: new parameters in each call, earlier answers left alone, X neither copied back nor changed."""
    # catches: parameters kept from the set-up, answers that later calls write into
    problem = Problem(40, 3, 4, ddof=1, eps=0.2, seed=1)
    batch = problem.sample()._replace(X=problem.sample().X + 100)
    X = batch.X.copy()
    prepared = bnbench.prepare(batch.X, batch.y, 4, variant=name, regime=regime, ddof=1, eps=0.2)
    kept = []
    for seed in range(3):
        other = Problem(40, 3, 4, ddof=1, eps=0.2, seed=seed).sample()
        now = other._replace(X=batch.X, y=batch.y)
        answer = prepared.gradients(*now[2:])
        kept.append((now, answer, [np.copy(part) for part in answer]))
    for now, answer, copies in kept:
        assert judge(parts_of(answer), reference(now, problem), problem).valid
        assert all(np.array_equal(part, copy) for part, copy in zip(answer, copies, strict=True))
    assert np.array_equal(X, batch.X)


CORNERS = [("relu", "batch"), ("sigmoid", "none")]


@pytest.mark.parametrize(
    ("name", "activation", "normalization"),
    covering(
        [(name, *pair) for name in BUILT_IN for pair in [*CORNERS, ("relu", "none")]],
        [(name, *pair) for name in BUILT_IN for pair in CORNERS],
    ),
)
def test_corner_sizes(name, activation, normalization):
    """N = 2, one input, one node, fewer rows than inputs, a constant column."""
    # catches: a division by N - 1, a loop over blocks that needs a whole one
    for sizes in ((2, 1, 1), (3, 9, 2), (1, 2, 3), (5, 2, 1)):
        problem = Problem(*sizes, activation, normalization, seed=2)
        batch = problem.sample()
        batch.X[:, 0] = 3.5
        answer = bnbench.gradients(*batch, variant=name, activation=activation, normalization=normalization)
        assert judge(parts_of(answer), reference(batch, problem), problem).valid, sizes


def test_integers_and_lists_are_taken_as_numbers():
    # catches: whole numbers that are computed with as such
    batch = Problem(6, 2, 2).sample()
    X = np.round(4 * batch.X)
    whole = bnbench.gradients(X.astype(int), *batch[1:])
    listed = bnbench.gradients(X.tolist(), batch.y.tolist(), *batch[2:])
    assert np.array_equal(whole.dG1, bnbench.gradients(X, *batch[1:]).dG1)
    assert np.array_equal(whole.dG1, listed.dG1)


def test_errors_name_the_array():
    # catches: bad input that is computed with, or an error that does not say which array
    batch = Problem(6, 3, 2).sample()
    nan = batch.X.copy()
    nan[2, 1] = np.nan
    zero = batch.G1.copy()
    zero[:, 1] = 0
    cases = [
        ({"X": nan}, {}, r"X\[2, 1\] is nan"),
        ({"gamma": np.array([1, np.inf])}, {}, r"gamma\[1\] is inf"),
        ({"X": batch.X[0]}, {}, "X has shape"),
        ({"y": batch.y[:4]}, {}, "y has shape"),
        ({"G1": batch.G1.T}, {}, "G1 has shape"),
        ({"G2": batch.G2[:1]}, {}, "G2 has shape"),
        ({"beta": None}, {}, "beta is None"),
        ({"beta": batch.beta.astype(np.float32)}, {}, "beta is float32 and X is float64"),
        ({"y": batch.y.astype(complex)}, {}, "y is of dtype complex128"),
        ({"X": np.ma.masked_greater(batch.X, 0)}, {}, "X is masked"),
        ({"G2": np.ma.masked_array(batch.G2, [True, False])}, {}, "G2 is masked in 1 entries"),
        ({"gamma": np.array(["a", "b"], object)}, {}, "gamma in row 1 is 'a'"),
        ({"G1": None}, {}, "G1 is None"),
        ({}, {"variant": ["a"]}, r"variant is \['a'\]; allowed are auto"),
        ({}, {"ddof": 6}, "N is 6 with ddof 6"),
        ({}, {"ddof": -1}, "ddof is -1"),
        ({}, {"eps": -1e-9}, "eps is -1e-09"),
        ({}, {"activation": "swish"}, "activation is 'swish'"),
        ({}, {"variant": "magic"}, "variant is 'magic'"),
        ({}, {"normalization": "none"}, "gamma is given"),
        ({"G1": zero}, {"eps": 0}, "column 1 of X G1 has zero variance"),
        ({"X": np.ones((6, 3)) / 3}, {"eps": 0}, "column 0 of X G1 has zero variance"),
    ]
    for arrays, options, message in cases:
        with pytest.raises(ValueError, match=message):
            bnbench.gradients(*batch._replace(**arrays), **options)


def test_a_table_is_read_by_its_columns():
    # catches: a frame of several dtypes as an array of objects, nullable or big-endian numbers that are refused
    batch = Problem(6, 3, 2).sample()
    X = batch.X.copy()
    X[:, 1] = X[:, 1] > 0
    X[:, 2] = np.round(4 * X[:, 2])
    table = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0, "c": pandas.array(X[:, 2].astype(int), "Int64")})
    true = bnbench.gradients(X, *batch[1:])
    for one in (table, table.astype({"a": "Float64"}), X.astype(">f8"), X.astype(">f8").tolist()):
        found = bnbench.gradients(one, pandas.Series(batch.y), *batch[2:])
        assert all(np.array_equal(a, b) for a, b in zip(found, true, strict=True))
    table.loc[3, "c"] = pandas.NA
    with pytest.raises(ValueError, match=r"column 'c' of X has 1 missing entry \(first in row 4\)"):
        bnbench.gradients(table, *batch[1:])


def test_whole_numbers_take_the_parameters_dtype():
    # catches: X and y of integers that go with no float32 parameters
    batch = Problem(6, 3, 2, dtype="float32").sample()
    X, y = np.round(4 * batch.X).astype(int), np.round(4 * batch.y).astype(int)
    found = bnbench.prepare(X, y, 2, dtype="float32").gradients(*batch[2:])
    assert found.dG1.dtype == np.float32
    assert np.array_equal(found.dG1, bnbench.gradients(X, y, *batch[2:]).dG1)
    with pytest.raises(ValueError, match="prepare takes dtype"):
        bnbench.prepare(X, y, 2).gradients(*batch[2:])
    with pytest.raises(ValueError, match="dtype is float32 and X or y is float64"):
        bnbench.prepare(X.astype(float), y, 2, dtype=np.float32)


def test_more_than_fits_is_refused_before_it_is_taken():
    # catches: a machine that swaps until it is killed
    batch = Problem(6, 3, 2).sample()
    with pytest.raises(ValueError, match=r"p2 is 1000000000000, with N 6 and p1 3: .* GiB are free"):
        bnbench.prepare(batch.X, batch.y, 10**12)


def test_problem_errors_name_the_field():
    # catches: a field that is not checked
    for fields, message in [
        ({"N": -1}, "N is -1"),
        ({"p1": 0}, "p1 is 0"),
        ({"p2": 2.5}, "p2 is 2.5"),
        ({"N": True}, "N is True"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"activation": "elu"}, "activation is 'elu'; allowed are relu, sigmoid"),
        ({"normalization": "layer"}, "normalization is 'layer'"),
        ({"ddof": 10}, "N is 10 with ddof 10"),
        ({"seed": -3}, "seed is -3"),
    ]:
        with pytest.raises(ValueError, match=message):
            Problem(**({"N": 10, "p1": 2, "p2": 2} | fields))


def test_sample_is_seeded_and_leads():
    """The same seed gives the same numbers, and a smaller N the leading rows of a larger one."""
    # catches: data that differ with N, or from run to run
    small, large = Problem(5, 3, 2, seed=4).sample(), Problem(50, 3, 2, seed=4).sample()
    assert np.array_equal(small.X, large.X[:5])
    assert np.array_equal(small.y, large.y[:5])
    assert np.array_equal(small.G1, large.G1)
    assert not np.array_equal(small.G1, Problem(5, 3, 2, seed=5).sample().G1)
    assert all(a.dtype == np.float32 for a in Problem(5, 3, 2, dtype="float32").sample())


@pytest.mark.parametrize(
    ("name", "activation", "normalization", "dtype"),
    covering(
        [(name, *setting) for name in BUILT_IN for setting in SETTINGS],
        [(name, *setting) for name in BUILT_IN for setting in FEW],
    ),
)
def test_variants_are_right_in_both_regimes_and_dtypes(name, activation, normalization, dtype):
    # catches: a kernel that is wrong in one setting alone, or adds to what the last step left
    problem = Problem(300, 6, 5, activation, normalization, ddof=2, eps=0.1, dtype=dtype, seed=9)
    batch = protected(problem.sample())  # as a sweep has it: to Numba arrays that can be written to are another type
    known = reference(batch, problem)
    for regime in REGIMES:
        variant = bnbench.variants()[name]()
        variant.prepare(batch, problem, regime)
        variant.step()
        variant.step()  # buffers are written anew, not added to
        verdict = judge(parts_of(variant.result()), known, problem)
        assert verdict.valid, (regime, verdict.reason)


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_a_call_like_the_one_before_sees_its_own_data_and_parameters(normalization):
    """Calls of one shape are kept set up: each answers to its own arrays, and what is wrong in them is still seen."""
    # catches: data or a statistic of the call before, an answer that a later call writes to, a NaN that slips through
    options = {"activation": "tanh", "normalization": normalization, "eps": 1e-3}
    batches = [Problem(20, 5, 4, "tanh", normalization, eps=1e-3, seed=seed).sample() for seed in range(4)]
    batches[1] = batches[1]._replace(X=batches[1].X + 1e6)
    answers = [bnbench.gradients(*batch, **options) for batch in batches * 2]
    for batch, one, other in zip(batches, answers[:4], answers[4:], strict=True):
        known = bnbench.prepare(batch.X, batch.y, 4, regime="fresh", **options).gradients(*batch[2:])
        for found in (one, other):
            assert all(a is b is None or np.array_equal(a, b) for a, b in zip(found, known, strict=True))
    X = batches[0].X.copy()
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[3, 2\] is nan"):
        bnbench.gradients(X, *batches[0][1:], **options)
    G2 = batches[0].G2.copy()
    G2[1] = np.inf
    with pytest.raises(ValueError, match=r"G2\[1\] is inf"):
        bnbench.gradients(*batches[0][:5], G2, **options)
    assert np.array_equal(bnbench.gradients(*batches[0], **options).dG1, answers[0].dG1)

"""The estimators as scikit-learn's users call them: its own checks, pipelines, searches, panels, messages."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import bnbench
from bnbench import activations
from bnbench.problem import ACTIVATIONS

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bnbench.estimators.inference import delta_covariance
from bnbench.estimators.parameters import ONE_AT, Places
from bnbench.estimators.solvers import Objective, epochs_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CHECKS = """
import sys, warnings
import bnbench
from sklearn.utils.estimator_checks import check_estimator
warnings.simplefilter("ignore")
for found in check_estimator(eval("bnbench." + sys.argv[1]), on_fail=None):
    if found["status"] != "passed":
        print(found["check_name"], found["status"], repr(found["exception"]))
"""


def check(estimator):
    """What scikit-learn's checks say of an estimator, array API and all; sample weights are not supported."""
    one = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | one | {"SCIPY_ARRAY_API": "1"}  # without it scikit-learn skips a check
    done = subprocess.run(
        [sys.executable, "-c", CHECKS, estimator],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["BatchNormRegressor", "BatchNormClassifier"])
def test_scikit_learns_checks_pass_and_none_is_skipped(name):
    # catches: an attribute set too early, an input that is changed, a NaN that passes, a prediction that depends on
    # which rows come with it (statistics of the batch), a multiclass y that is fitted as something else
    check(f"{name}(max_iter=30)")


@pytest.mark.exhaustive
@pytest.mark.parametrize("estimator", [
    "BatchNormRegressor()", "BatchNormClassifier()", "BatchNormRegressor(loss='poisson')",
    "BatchNormRegressor(solver='adam', early_stopping=True)", "BatchNormRegressor(normalization='none')",
    "BatchNormClassifier(solver='adam', convention='keras', learning_rate=0.01)",
])  # fmt: skip
def test_scikit_learns_checks_pass_with_other_settings(estimator):
    # catches: a solver, a loss or a convention that changes what a user sees
    check(estimator)


def table(seed=0, rows=400, units=25):
    """(X as a data frame, y, W as a data frame, labels) of a panel."""
    random = np.random.default_rng(seed)
    unit = random.integers(0, units, rows)
    X = pd.DataFrame(random.normal(size=(rows, 3)), columns=["age", "size", "rate"])
    W = pd.DataFrame(random.normal(size=(rows, 2)), columns=["policy", "trend"])
    y = np.sin(2 * X["age"]) + W @ [1.0, -0.5] + random.normal(size=units)[unit] + 0.2 * random.normal(size=rows)
    return X, y.to_numpy(), W, np.array([f"unit {place}" for place in unit])


def test_a_pipeline_in_a_search_with_linear_terms_and_units():
    # catches: arguments of fit that a search cannot cut into folds, a clone that loses a setting
    import sklearn

    X, y, W, units = table()
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = bnbench.BatchNormRegressor((6,), max_iter=40, random_state=0)
        for request in (estimator.set_fit_request, estimator.set_predict_request, estimator.set_score_request):
            request(linear=True, units=True)
        pipeline = make_pipeline(StandardScaler(), estimator)
        search = GridSearchCV(pipeline, {"batchnormregressor__output_penalty": [0.0, 1e-3]}, cv=3)
        search.fit(X, y, linear=W, units=units)
        assert search.best_score_ > 0.8
        found = search.best_estimator_[-1]
        ours = search.best_estimator_.predict(X, linear=W, units=units)
    again = pickle.loads(pickle.dumps(found))
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_array_equal(again.predict(scaled, W, units), ours)
    assert list(found.linear_table().index) == ["policy", "trend"]
    assert set(found.effects_) == set(units)


@pytest.mark.parametrize("normalization", ["batch", "none"])
@pytest.mark.parametrize("hidden", [(6,), (5, 4)])
def test_the_attributes_are_the_network_that_predicts(normalization, hidden):
    # catches: a bias node that is left among them, statistics of another layer, effects in another order
    X, y, W, units = table()
    X, W = X.to_numpy(), W.to_numpy()
    one = bnbench.BatchNormRegressor(
        hidden, activation="tanh", normalization=normalization, max_iter=20, random_state=0
    )
    for linear, labels in ((W, units), (None, None)):
        found = one.fit(X, y, linear, labels)
        gamma = found.gamma_ or [np.ones(width) for width in hidden]
        known = found.intercept_ + bnbench.predict(
            X, found.G1_, gamma, found.beta_, found.G2_, statistics=found.statistics_, W=linear, delta=found.delta_,
            units=labels, alpha=found.effects_, activation="tanh", eps=found.eps if normalization == "batch" else 0.0,
        )  # fmt: skip
        np.testing.assert_allclose(found.predict(X, linear, labels), known, rtol=1e-10)
        assert found.loss_curve_[-1] == pytest.approx(np.mean((y - known) ** 2), rel=1e-10)


def test_a_unit_that_was_not_seen_has_the_mean_effect_and_is_named():
    # catches: an effect of 0, which is another unit's level; a KeyError
    X, y, W, units = table()
    found = bnbench.BatchNormRegressor((4,), max_iter=20, random_state=0).fit(X, y, W, units)
    known = found.predict(X[:1], W[:1], units[:1]) - found.effects_[units[0]] + np.mean(list(found.effects_.values()))
    with pytest.warns(UserWarning, match=r"fit did not see 1 of these units \(Bern\)"):
        np.testing.assert_allclose(found.predict(X[:1], W[:1], ["Bern"]), known)


def test_the_penalised_gradient_is_that_of_its_risk():
    # catches: a penalty on γ, β, the intercept or the bias node; λ for 2λ in the gradient
    X, y, W, _ = table(rows=60)
    X, W = X.to_numpy(), W.to_numpy()
    places = Places(3, (4, 3), 2, intercept=True, normalized=True)
    penalties = places.penalties(0.1, 0.2, 0.3, float)
    theta = places.start(np.random.RandomState(0), "tanh", X, places.scales(X, W, 1.0, penalties), 0.5)
    theta += 0.1 * places.free(float)
    prepared = bnbench.prepare(X, y, places.widths, W=W, activation="tanh")
    objective = Objective(prepared, places, theta, places.free(float), penalties)
    base, gradient = objective(), objective.gradient.copy()
    G, gamma, beta, out, delta = places.parts(theta.copy())
    risk = bnbench.gradients(X, y, G, gamma, beta, out, W=W, delta=delta, activation="tanh").loss
    squares = 0.1 * sum((part**2).sum() for part in (G[0], G[1][:, :-1])) + 0.2 * (out[:-1] ** 2).sum()
    assert base == pytest.approx(risk + squares + 0.3 * (delta**2).sum(), rel=1e-12)
    direction = np.random.default_rng(1).normal(size=len(theta)) * places.free(float)
    theta += 1e-6 * direction
    ahead = objective()
    theta -= 2e-6 * direction
    assert (ahead - objective()) / 2e-6 == pytest.approx(gradient @ direction, rel=1e-7)
    assert not gradient[places.free(float) == 0].any()


def test_a_penalty_on_linear_terms_alone_is_ridge_regression():
    # catches: λ that is not that of the mean of squares; an intercept that is penalised
    random = np.random.default_rng(0)
    W = random.normal(size=(80, 3)) * [1, 10, 0.1] + 2
    y = W @ [1.0, -0.1, 5.0] + 4 + random.normal(size=80)
    found = bnbench.BatchNormRegressor((3,), linear_penalty=0.05, tol=1e-12, max_iter=2000)
    found.fit(np.ones((80, 1)), y, W)
    known = Ridge(alpha=80 * 0.05, tol=1e-12).fit(W, y)
    np.testing.assert_allclose(found.delta_, known.coef_, rtol=1e-6)
    np.testing.assert_allclose(found.predict(np.ones((80, 1)), W), known.predict(W), rtol=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_the_covariance_without_a_hidden_part_is_the_sandwich_with_dummies(loss):
    # catches: effects projected out without the curvature's weights, a factor 2 of the squared loss
    random = np.random.default_rng(0)
    unit = np.concatenate([np.arange(6), random.integers(0, 6, 114)])
    W = random.normal(size=(120, 2)) + unit[:, None] / 6
    eta = W @ [0.5, -0.3] + unit / 10
    mean = 1 / (1 + np.exp(-eta)) if loss == "logistic" else np.exp(eta)
    y = random.binomial(1, mean) if loss == "logistic" else random.poisson(mean)
    weights = mean * (1 - mean) if loss == "logistic" else mean
    D = np.column_stack([W, np.eye(6)[unit]])
    residual = y - mean
    for u in range(6):  # the scores of the effects are 0 at their estimates; here the mean is made to have them so
        residual[unit == u] -= residual[unit == u].mean()
    bread = np.linalg.inv(D.T @ (D * weights[:, None]))
    scores = np.stack([D[unit == u].T @ residual[unit == u] for u in range(6)])
    known = (bread @ scores.T @ scores @ bread)[:2, :2] * 120 / 118
    found, clusters = delta_covariance(mean + residual, mean, np.ones((120, 3)), W, loss, unit, unit, 0.0, 0.0)
    np.testing.assert_allclose(found, known, rtol=1e-9)
    assert clusters == 6


def test_minibatches_are_of_whole_units_and_every_row_is_in_one():
    # catches: a unit's rows in two minibatches, whose effects are then those of the batches; a row left out
    unit = np.random.default_rng(0).integers(0, 40, 500)
    unit[unit == 39] = 0
    for codes in (None, unit):
        epochs = epochs_of(np.random.RandomState(0), 500, 64, 2, codes)
        first, second = next(epochs), next(epochs)
        assert not np.array_equal(first[0], second[0])
        for batches in (first, second):
            assert sorted(np.concatenate(batches)) == list(range(500))
            assert len(batches) == 8
            if codes is not None:
                assert sum(len(set(unit[rows])) for rows in batches) == len(set(unit))


def test_early_stopping_keeps_the_best_of_the_held_out_part_and_every_unit():
    # catches: the last θ in place of the best; a unit whose rows are all held out
    X, y, W, units = table(rows=120, units=40)
    units[:3] = ["one", "two", "three"]
    found = bnbench.BatchNormRegressor(
        (40,), early_stopping=True, validation_fraction=0.3, random_state=1, max_iter=300
    )
    found.fit(X, y, W, units)
    assert found.n_iter_ == len(found.validation_curve_) < 300
    assert set(found.effects_) == set(units)
    assert np.argmin(found.validation_curve_) == found.n_iter_ - 1 - found.n_iter_no_change
    assert found.score(X, y, W, units) > 0.8
    settings = {"solver": "adam", "learning_rate": 0.1, "max_iter": 12, "convention": "pytorch", "early_stopping": True}
    found = bnbench.BatchNormRegressor((20,), **settings, random_state=1).fit(X, y)
    best = bnbench.BatchNormRegressor((20,), **settings, random_state=1)
    best.set_params(max_iter=1 + int(np.argmin(found.validation_curve_))).fit(X, y)
    assert best.n_iter_ < found.n_iter_
    np.testing.assert_array_equal(found.statistics_[0], best.statistics_[0])
    np.testing.assert_array_equal(found.predict(X), best.predict(X))


def test_running_statistics_are_those_of_the_minibatches():
    # catches: statistics taken after the step, or of the whole data
    X, y, _, _ = table()
    X = X.to_numpy()
    settings = {"hidden": (4,), "solver": "adam", "batch_size": None, "max_iter": 1, "random_state": 0}
    found = bnbench.BatchNormRegressor(**settings, convention="pytorch", learning_rate=1e-9).fit(X, y)
    (mean, var), Z = found.statistics_[0], X @ found.G1_[0]
    np.testing.assert_allclose(mean, 0.1 * Z.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(var, 0.9 + 0.1 * Z.var(axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_bias_node_gives_one(activation, dtype):
    # catches: an intercept that is not Γ2 of that node
    one = activations.value(activation, np.array([ONE_AT[activation]], dtype))
    np.testing.assert_allclose(one, 1, rtol=2 * np.finfo(dtype).eps)


def test_poisson_with_offsets_in_the_data_fits_counts_of_units():
    # catches: a negative loss taken for a failure; a start at which exp overflows
    random = np.random.default_rng(0)
    X, unit = 1e4 + random.normal(size=(500, 2)), random.integers(0, 20, 500)
    rate = np.exp(3 + np.tanh(X[:, 0] - 1e4) + 0.1 * unit)
    y = random.poisson(rate)
    for units in (None, unit):
        found = bnbench.BatchNormRegressor((8,), loss="poisson", random_state=0).fit(X, y, units=units)
        assert found.loss_curve_[-1] < 0
        assert found.score(X, y, units=units) > (0.9 if units is not None else 0.4)


def bad(**changed):
    return {"X": np.arange(24.0).reshape(12, 2) ** 0.5, "y": np.arange(12.0), "linear": None, "units": None} | changed


@pytest.mark.parametrize(
    ("settings", "call", "words"),
    [
        ({"hidden": (0,)}, {}, r"hidden is \(0,\); allowed are tuples of whole numbers of at least 1"),
        ({"hidden": ()}, {}, r"hidden is \(\); allowed"),
        ({"activation": "swish"}, {}, "activation is 'swish'; allowed are relu, sigmoid"),
        ({"solver": "sgd"}, {}, "solver is 'sgd'; allowed are lbfgs, adam"),
        ({"loss": "logistic"}, {}, "loss is 'logistic'; allowed are squared, poisson"),
        ({"output_penalty": -1}, {}, "output_penalty is -1; allowed are numbers of at least 0"),
        ({"convention": "pytorch"}, {}, "convention is 'pytorch' with solver='lbfgs'"),
        ({"convention": "caffe"}, {}, "convention is 'caffe'; allowed are pytorch,"),
        ({"max_iter": 0}, {}, "max_iter is 0; allowed are whole numbers of at least 1"),
        ({"loss": "poisson"}, {"y": -np.arange(12.0)}, r"y\[1\] is -1.0 .*; with loss='poisson' allowed"),
        ({"loss": "poisson"}, {"y": np.zeros(12)}, "every y is 0; with loss='poisson'"),
        (
            {},
            {"linear": np.ones((12, 1))},
            "linear term 0 does not vary over the rows, so that the intercept absorbs it",
        ),
        ({}, {"linear": np.arange(12) // 4, "units": list("aaaabbbbcccc")}, "term 0 does not vary within any unit"),
        ({}, {"linear": np.arange(24).reshape(12, 2)}, "linear has 2 terms of which 1 are independent"),
        ({}, {"linear": np.ones((11, 1))}, r"linear has shape \(11, 1\); with this X allowed is \(12, q\)"),
        ({}, {"linear": np.full((12, 1), np.nan)}, r"linear\[0, 0\] is nan; allowed are finite numbers"),
        ({}, {"units": ["a"] * 11}, "units has 11 entries; with this X allowed are 12"),
        ({"early_stopping": True}, {"units": list("abcdefghijkl")}, "holds out no row of 12"),
    ],
)
def test_a_bad_fit_says_what_is_allowed(settings, call, words):
    # catches: a traceback from deep inside; a coefficient that no data determine, reported with a standard error
    with pytest.raises(ValueError, match=words):
        bnbench.BatchNormRegressor(**settings).fit(**bad(**call))


def test_a_bad_prediction_or_class_says_what_is_allowed():
    # catches: linear terms in another order, units forgotten, three classes fitted as two
    X, y, W, units = table(rows=60)
    found = bnbench.BatchNormRegressor((3,), max_iter=5).fit(X, y, W, units)
    for call, words in (
        ((X, W), "units is None; this estimator was fitted with it"),
        ((X, None, units), "linear is None; this estimator was fitted with it"),
        ((X, W[["trend", "policy"]], units), "linear has the columns trend, policy; fit was given policy, trend"),
        ((X, W[["trend"]], units), "linear has 1 columns; fit was given 2"),
    ):
        with pytest.raises(ValueError, match=words):
            found.predict(*call)
    with pytest.raises(ValueError, match=r"y has 3 classes .*; allowed are two"):
        bnbench.BatchNormClassifier().fit(X, np.arange(60) % 3)
    with pytest.raises(ValueError, match="there are no linear terms"):
        bnbench.BatchNormClassifier(max_iter=3).fit(X, np.where(y > 0, "yes", "no")).linear_table()


def test_a_fit_that_has_not_converged_says_so_and_one_that_has_does_not(capsys):
    # catches: a warning of SciPy's in capitals, or none; a progress bar that is not asked for
    X, y, _, _ = table(rows=60)
    with pytest.warns(ConvergenceWarning, match="after max_iter=3 iterations; raise max_iter"):
        bnbench.BatchNormRegressor((3,), max_iter=3).fit(X, y)
    assert capsys.readouterr().out == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bnbench.BatchNormRegressor((2,), activation="tanh", output_penalty=1.0, max_iter=1000, verbose=True).fit(X, y)
    assert "loss" in capsys.readouterr().out

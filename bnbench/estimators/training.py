"""From data to a fitted network: what `fit` does between checking its arguments and keeping its results."""

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from bnbench import losses
from bnbench.estimators import solvers
from bnbench.estimators.data import Sample
from bnbench.estimators.network import Network
from bnbench.estimators.parameters import Places
from bnbench.estimators.statistics import Running
from bnbench.library import prepare
from bnbench.operations import NUMPY
from bnbench.problem import Spec
from bnbench.running import population


class Trained(NamedTuple):
    """A fitted network and how it came to be.

    Attributes:
        network, places: as it predicts, and where its parameters stand in θ.
        curve, held_curve: the objective of each iteration, and the mean loss on the rows held out, if any.
    """

    network: Network
    places: Places
    curve: list[float]
    held_curve: list[float]


def train(
    chosen: Any, sample: Sample, held: Sample | None, widths: tuple[int, ...], loss: str, random: np.random.RandomState
) -> Trained:
    """Fit a network to a sample.

    Args:
        chosen: the estimator, for its settings.
        sample, held: rows to fit to, and those held out for early stopping, if any.
        widths: nodes of each hidden layer.
        loss: its name.
        random: draws the start and the minibatches.

    Raises:
        ValueError: as in `bnbench.prepare`; something overflowed on the way.
    """
    X, y, W, unit = sample
    dtype, normalized = X.dtype, chosen.normalization == "batch"
    intercept = chosen.fit_intercept and unit is None
    places = Places(X.shape[1], widths, 0 if W is None else W.shape[1], intercept=intercept, normalized=normalized)
    spec = Spec(chosen.activation, chosen.normalization, loss, chosen.ddof, float(chosen.eps))
    given: Any = None
    if not normalized:
        spec = replace(spec, normalization="frozen", eps=0.0)
        given = [(np.zeros(width, dtype), np.ones(width, dtype)) for width in places.widths]
    deep = len(widths) > 1
    prepared = prepare(
        X, y, places.widths if deep else places.widths[0], W=W, units=unit,
        statistics=given if deep or given is None else given[0], variant=chosen.variant, activation=spec.activation,
        normalization=spec.normalization, loss=loss, ddof=spec.ddof, eps=spec.eps,
    )  # fmt: skip
    spread = float(y.std(dtype=np.float64)) or 1.0 if loss == "squared" else 1.0
    risk_unit = spread**2
    penalties = places.penalties(chosen.hidden_penalty, chosen.output_penalty, chosen.linear_penalty, dtype)
    scales = places.scales(X, W, spread, penalties)
    theta = places.start(random, spec.activation, X, scales, level_of(loss, y) if intercept else 0.0)
    objective = solvers.Objective(prepared, places, theta, places.free(dtype), penalties)
    network = Network(places.parts(theta), replace(spec, normalization="frozen"), given)
    running: Running | None = None
    if chosen.convention != "population":
        running = Running(network.layers, spec, chosen.convention, chosen.momentum)

    def exact() -> list:
        G, gamma, beta = places.parts(theta)[:3]
        found = population(X, G, gamma, beta, activation=spec.activation, ddof=spec.ddof, eps=spec.eps)
        return [(one.mean, one.var) for one in found]

    best = np.inf, given

    def settle(statistics: list | None = None) -> None:
        """Give the network the statistics, unless they are given, and effects that go with θ."""
        if normalized:
            network.statistics = statistics or (running.statistics(dtype) if running else exact())
        network.fit_effects(sample)

    def held_loss() -> float:
        nonlocal best
        settle()
        assert held is not None
        found = network.loss(held)
        best = min(best, (found, network.statistics), key=lambda pair: pair[0])
        return found

    adam = chosen.solver == "adam"
    monitor = solvers.Monitor(
        theta, chosen.max_iter, chosen.tol * risk_unit, chosen.n_iter_no_change if adam or held else np.inf,
        held_loss if held else None, bool(chosen.verbose),
    )  # fmt: skip
    with monitor.watching():
        try:
            if adam:
                least = min(len(y), 2 + spec.ddof if normalized else 1)
                epochs = solvers.epochs_of(random, len(y), chosen.batch_size, least, unit)
                record = None if running is None else lambda rows: running.update(X if rows is None else X[rows])
                hyper = chosen.learning_rate, chosen.beta_1, chosen.beta_2, chosen.epsilon
                trouble = solvers.adam(objective, monitor, epochs, chosen.max_iter, *hyper, record)
            else:
                trouble = solvers.lbfgs(objective, monitor, scales, risk_unit, chosen.max_iter, chosen.tol)
        except ValueError as error:
            if not str(error).endswith("allowed are arrays in smaller units"):
                raise
            raise ValueError(
                f"the fit broke down in iteration {1 + len(monitor.curve)} ({error}); try a smaller learning_rate, a "
                "penalty, or inputs and linear terms of standard deviation 1"
            ) from error
    monitor.finish()
    settle(best[1])
    if trouble:
        warnings.warn(
            f"the fit has not converged: {trouble}; raise max_iter, or scale inputs and linear terms to a standard "
            "deviation of 1",
            ConvergenceWarning,
            stacklevel=4,
        )
    return Trained(network, places, monitor.curve, monitor.held_curve)


def level_of(loss: str, y: np.ndarray) -> float:
    """The η that minimises the loss where it is the same in all rows.

    Raises:
        ValueError: there is none, for every y is at the end of the loss's domain.
    """
    one = losses.DEFINITIONS[loss]
    if one.extremes and (y == y[0]).all() and y[0] in (one.least, one.most):
        raise ValueError(f"every y is {y[0]:g}; with loss={loss!r} {losses.NONE_EXISTS}, allowed are other values too")
    whole = np.zeros(len(y), int)
    return float(one.effect(y.astype(np.float64), np.zeros(len(y)), whole, 1, NUMPY)[0])

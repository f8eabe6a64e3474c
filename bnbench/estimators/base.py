"""What the two estimators share: `BatchNormEstimator`."""

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bnbench import losses
from bnbench.arguments import labels_of
from bnbench.estimators import inference, settings
from bnbench.estimators.data import Sample, check_terms, linear_terms, refuse_chunks
from bnbench.estimators.training import Trained, train

DTYPES = [np.float64, np.float32]


@dataclass(eq=False, repr=False)
class BatchNormEstimator(BaseEstimator):
    """A network with batch normalisation, linear terms and unit effects; see the two classes made of it."""

    hidden: Any = (32,)
    _: KW_ONLY
    activation: str = "relu"
    normalization: str = "batch"
    ddof: int = 0
    eps: float = 1e-5
    fit_intercept: bool = True
    hidden_penalty: float = 0.0
    output_penalty: float = 0.0
    linear_penalty: float = 0.0
    solver: str = "lbfgs"
    batch_size: int | None = 256
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    max_iter: int = 200
    tol: float = 1e-4
    n_iter_no_change: int = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    convention: str = "population"
    momentum: float | None = None
    variant: str = "auto"
    random_state: Any = None
    verbose: bool = False

    def _fit(self, X: np.ndarray, y: np.ndarray, loss: str, linear: Any, units: Any) -> Self:
        """Fit to checked X (N,p1) and y (N,), of one dtype."""
        widths, N = settings.check(self), len(y)
        least = 2 + self.ddof if self.normalization == "batch" else 1
        if least > N:
            raise ValueError(f"n_samples = {N}: with ddof={self.ddof} allowed are at least {least} rows")
        W, names = (None, None) if linear is None else linear_terms(linear, N, X.dtype)
        labels, unit = labels_of(units, N)
        sample = Sample(X, y, W, unit)
        losses.check(loss, y)
        check_terms(sample, self.fit_intercept, self.linear_penalty > 0)
        random, held = check_random_state(self.random_state), None
        if self.early_stopping:
            sample, held = sample.split(random, self.validation_fraction, loss)
        self._keep(train(self, sample, held, widths, loss, random), sample, loss, labels, names)
        return self

    def _keep(self, trained: Trained, sample: Sample, loss: str, labels: list | None, names: list[str] | None) -> None:
        """Set the attributes of a fit."""
        network, places = trained.network, trained.places
        self._network, self._linear_names = network, names
        self.loss_curve_, self.n_iter_ = trained.curve, len(trained.curve)
        if self.early_stopping:
            self.validation_curve_ = trained.held_curve
        (*G, last), gamma, beta, out, delta = network.parts
        nodes = len(out) - places.intercept  # those that are not the bias node
        self.G1_ = [*G, last[:, :nodes]]
        self.gamma_ = [*gamma[:-1], gamma[-1][:nodes]] if places.normalized else None
        self.beta_ = [*beta[:-1], beta[-1][:nodes]]
        self.G2_, self.intercept_ = out[:nodes], float(out[-1]) if places.intercept else 0.0
        *before, (mean, var) = network.statistics
        self.statistics_ = [*before, (mean[:nodes], var[:nodes])]
        alpha = network.effects
        self.effects_ = None if alpha is None else dict(zip(labels or [], alpha.tolist(), strict=True))
        self.delta_ = delta
        if delta is None or sample.W is None:
            return
        mean = network.mean(network.eta_of(sample))
        self.delta_covariance_, self._clusters = inference.delta_covariance(
            sample.y, mean, network.hidden(sample.X)[:, :nodes], sample.W, loss, sample.absorbed(places.intercept),
            sample.unit, self.output_penalty, self.linear_penalty,
        )  # fmt: skip
        self.delta_std_error_ = np.sqrt(np.diag(self.delta_covariance_))

    def linear_table(self, level: float = 0.95) -> Any:
        """The linear terms as a data frame: δ, its cluster-robust standard error, t, p and confidence interval.

        The hidden nodes are taken as known and Γ2, δ and the effects as estimated; clusters are the units, or without
        units the rows. t has as many degrees of freedom as there are clusters, less 1.

        Raises:
            ValueError: there are no linear terms, or level is not between 0 and 1.
        """
        check_is_fitted(self)
        if self.delta_ is None:
            raise ValueError("there are no linear terms: fit was called without linear")
        if not settings.INSIDE[0](level):
            raise ValueError(f"level is {level!r}; allowed are {settings.INSIDE[1]}")
        return inference.table(self.delta_, self.delta_covariance_, self._clusters, self._linear_names, level)

    def _eta(self, X: Any, linear: Any, units: Any) -> np.ndarray:
        """η (N,) of new rows."""
        check_is_fitted(self)
        refuse_chunks(X, linear, units)
        X = validate_data(self, X, dtype=DTYPES, reset=False)
        X, N = X.astype(self.G2_.dtype, copy=False), len(X)
        for name, value, fitted in (("linear", linear, self.delta_), ("units", units, self.effects_)):
            if (value is None) != (fitted is None):
                given, was = ("None", "with") if value is None else ("given", "without")
                raise ValueError(
                    f"{name} is {given}; this estimator was fitted {was} it: give predict what fit was given (a unit "
                    "that fit did not see is allowed)"
                )
        W, delta = None, self.delta_
        if linear is not None and delta is not None:
            W, names = linear_terms(linear, N, X.dtype)
            if W.shape[1] != len(delta):
                raise ValueError(f"linear has {W.shape[1]} columns; fit was given {len(delta)}, allowed are as many")
            if names is not None and self._linear_names is not None and names != self._linear_names:
                raise ValueError(
                    f"linear has the columns {', '.join(names)}; fit was given {', '.join(self._linear_names)}"
                )
        return self._network.eta(X, W, None if units is None else self._effects_of(units, N))

    def _effects_of(self, units: Any, N: int) -> np.ndarray:
        """The effect of every row's unit; of one that fit did not see, the mean effect, with a warning."""
        labels, unit = labels_of(units, N)
        effects: dict = self.effects_ or {}
        average = float(np.mean(list(effects.values())))
        unseen = [label for label in labels or [] if label not in effects]
        if unseen:
            named = ", ".join(map(str, unseen[:3])) + (", …" if len(unseen) > 3 else "")
            warnings.warn(
                f"fit did not see {len(unseen)} of these units ({named}): they are predicted with the mean of the "
                f"effects that it estimated, {average:.6g}",
                UserWarning,
                stacklevel=4,
            )
        return np.array([effects.get(label, average) for label in labels or []])[unit]

"""`BatchNormRegressor` and `BatchNormClassifier`."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, d2_tweedie_score, r2_score
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from bnbench.estimators.base import DTYPES, BatchNormEstimator
from bnbench.estimators.data import refuse_chunks


@dataclass(eq=False, repr=False)
class BatchNormRegressor(RegressorMixin, BatchNormEstimator):
    """A network for a real outcome or, with loss="poisson", for counts (`bnbench docs estimators`).

    The outcome's mean is A Γ2 + W δ + α, or exp of it, where A are the outputs of the last hidden layer, W linear terms
    and α the intercept, or the effect of each unit of a panel.
    """

    loss: str = "squared"

    def fit(self, X: Any, y: Any, linear: Any = None, units: Any = None) -> Self:
        """Fit to X (N,p1) and y (N,), with linear terms (N,q) and the label of every row's unit (N,), if any.

        Raises:
            ValueError: a setting or an array that is not allowed; it says which and what is.
        """
        refuse_chunks(X, y, linear, units)
        X, y = validate_data(self, X, y, dtype=DTYPES, y_numeric=True)
        return self._fit(X, column_or_1d(y, warn=True).astype(X.dtype), self.loss, linear, units)

    def predict(self, X: Any, linear: Any = None, units: Any = None) -> np.ndarray:
        """ŷ (N,), given what fit was given; a unit that fit did not see has the mean effect, with a warning."""
        eta = self._eta(X, linear, units)
        return self._network.mean(eta)

    def score(self, X: Any, y: Any, linear: Any = None, units: Any = None, sample_weight: Any = None) -> float:
        """R², or with loss="poisson" the share of the deviance that is explained."""
        found = self.predict(X, linear, units)
        if self.loss == "squared":
            return float(r2_score(y, found, sample_weight=sample_weight))
        return float(d2_tweedie_score(y, found, power=1, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags


@dataclass(eq=False, repr=False)
class BatchNormClassifier(ClassifierMixin, BatchNormEstimator):
    """A network for one of two classes (`bnbench docs estimators`).

    The log odds of the second class are A Γ2 + W δ + α, where A are the outputs of the last hidden layer, W linear
    terms and α the intercept, or the effect of each unit of a panel.
    """

    def fit(self, X: Any, y: Any, linear: Any = None, units: Any = None) -> Self:
        """Fit to X (N,p1) and labels y (N,) of two classes, with linear terms (N,q) and units (N,), if any.

        Raises:
            ValueError: as in `BatchNormRegressor.fit`; y has more or fewer than two classes.
        """
        refuse_chunks(X, y, linear, units)
        X, y = validate_data(self, X, y, dtype=DTYPES)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            kind = f" (type of target: {type_of_target(y)})" if len(self.classes_) > 2 else ""
            raise ValueError(
                f"Only binary classification is supported: y has {len(self.classes_)} "
                f"class{'es' * (len(self.classes_) > 1)}{kind}; allowed are two"
            )
        return self._fit(X, codes.astype(X.dtype), "logistic", linear, units)

    def decision_function(self, X: Any, linear: Any = None, units: Any = None) -> np.ndarray:
        """The log odds (N,) of the second class, `classes_[1]`."""
        return self._eta(X, linear, units)

    def predict_proba(self, X: Any, linear: Any = None, units: Any = None) -> np.ndarray:
        """The probabilities (N,2) of both classes, in the order of `classes_`."""
        eta = self._eta(X, linear, units)
        return np.stack([self._network.mean(-eta), self._network.mean(eta)], axis=1)

    def predict(self, X: Any, linear: Any = None, units: Any = None) -> np.ndarray:
        """The more probable class (N,) of each row."""
        eta = self._eta(X, linear, units)
        return self.classes_[(eta > 0).astype(int)]

    def score(self, X: Any, y: Any, linear: Any = None, units: Any = None, sample_weight: Any = None) -> float:
        """The share of rows whose class is predicted."""
        return float(accuracy_score(y, self.predict(X, linear, units), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

"""A network as it predicts: its parameters, the statistics that it normalises by, and the units' effects."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench import formula, losses
from bnbench.estimators.data import Sample
from bnbench.estimators.parameters import Parts
from bnbench.operations import NUMPY
from bnbench.prediction import predict
from bnbench.problem import Layer, Spec


@dataclass
class Network:
    """A network whose statistics are given.

    Attributes:
        parts: its parameters, a bias node's among them.
        spec: its conventions, with frozen statistics.
        statistics: (mean, variance) of each hidden layer's pre-activations.
        effects: α (U,) of each unit, or None without units.
    """

    parts: Parts
    spec: Spec
    statistics: list[tuple[np.ndarray, np.ndarray]]
    effects: np.ndarray | None = None

    @property
    def layers(self) -> list[Layer]:
        """The hidden layers' parameters."""
        return [Layer(*three) for three in zip(*self.parts[:3], strict=True)]

    def hidden(self, X: np.ndarray) -> np.ndarray:
        """The outputs A (N,p) of the last hidden layer."""
        A = X
        for layer, given in zip(self.layers, self.statistics, strict=True):
            A = formula.forward(layer, A, self.spec, given).A
        return A

    def eta(self, X: np.ndarray, W: np.ndarray | None, effects: np.ndarray | None = None) -> np.ndarray:
        """η (N,): log odds under the logistic loss, the logarithm of the rate under Poisson's; plus rows' effects."""
        *arguments, delta = self.parts.arguments()
        given = self.statistics if len(self.statistics) > 1 else self.statistics[0]
        eta = predict(
            X, *arguments, W=W, delta=delta, statistics=given, activation=self.spec.activation, normalization="frozen",
            eps=self.spec.eps,
        )  # fmt: skip
        return eta if effects is None else eta + effects.astype(eta.dtype)

    def fit_effects(self, sample: Sample) -> None:
        """Set the units' effects to those that minimise the loss in each, all else as it is."""
        if sample.unit is not None:
            eta, units = self.eta(sample.X, sample.W), int(sample.unit.max()) + 1
            self.effects = losses.DEFINITIONS[self.spec.loss].effect(sample.y, eta, sample.unit, units, NUMPY)

    def eta_of(self, sample: Sample) -> np.ndarray:
        """η of rows whose units were all fitted."""
        return self.eta(sample.X, sample.W, None if self.effects is None else self.effects[sample.unit])

    def loss(self, sample: Sample) -> float:
        """The mean loss of its predictions."""
        value, _, _ = losses.functions(self.spec.loss)
        return float(np.mean(value(sample.y, self.eta_of(sample))))

    def mean(self, eta: np.ndarray) -> Any:
        """ŷ of η, on the scale of y."""
        return losses.functions(self.spec.loss)[2](eta)

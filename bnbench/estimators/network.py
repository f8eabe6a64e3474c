"""A network as it predicts: its parameters, the statistics that it normalises by, and the units' effects."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnbench import formula, losses, predict
from bnbench.estimators.data import Sample
from bnbench.estimators.parameters import Parts
from bnbench.operations import NUMPY
from bnbench.problem import Layer, Spec


@dataclass
class Network:
    """A network whose statistics are given.

    Attributes:
        parts: its parameters, a bias node's among them.
        spec: its conventions, with frozen statistics.
        statistics: (mean, variance) of each hidden layer's pre-activations.
        effects: of each unit by its label; empty without units.
    """

    parts: Parts
    spec: Spec
    statistics: list[tuple[np.ndarray, np.ndarray]]
    effects: dict = field(default_factory=dict)

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

    def eta(self, X: np.ndarray, W: np.ndarray | None, labels: list | None) -> np.ndarray:
        """η (N,): log odds under the logistic loss, the logarithm of the rate under Poisson's; with the units' effects.

        A unit without an effect gets the mean effect, with a warning.
        """
        *arguments, delta = self.parts.arguments()
        given = self.statistics if len(self.statistics) > 1 else self.statistics[0]
        eta = predict(
            X, *arguments, W=W, delta=delta, statistics=given, activation=self.spec.activation, normalization="frozen",
            eps=self.spec.eps,
        )  # fmt: skip
        return eta if labels is None or not self.effects else eta + self.effects_of(labels).astype(eta.dtype)

    def effects_of(self, labels: list) -> np.ndarray:
        """The effect of every row's unit."""
        average = float(np.mean(list(self.effects.values())))
        if unseen := {label for label in labels if label not in self.effects}:
            named = ", ".join(sorted(map(repr, unseen))[:3]) + (", …" if len(unseen) > 3 else "")
            warnings.warn(
                f"{len(unseen)} units were not seen in fit and have no effect of their own ({named}): they are "
                f"predicted with the mean effect of the units that were, {average:.6g}",
                UserWarning,
                stacklevel=4,
            )
        return np.array([self.effects.get(label, average) for label in labels])

    def fit_effects(self, sample: Sample) -> None:
        """Set the effects to those that minimise the loss in each unit, all else as it is."""
        labels, unit = sample.units()
        if labels is not None:
            eta = self.eta(sample.X, sample.W, None)
            alpha = losses.DEFINITIONS[self.spec.loss].effect(sample.y, eta, unit, len(labels), NUMPY)
            self.effects = dict(zip(labels, alpha.tolist(), strict=True))

    def loss(self, sample: Sample) -> float:
        """The mean loss of its predictions."""
        value, _, _ = losses.functions(self.spec.loss)
        return float(np.mean(value(sample.y, self.eta(sample.X, sample.W, sample.labels))))

    def mean(self, eta: np.ndarray) -> Any:
        """ŷ of η, on the scale of y."""
        return losses.functions(self.spec.loss)[2](eta)

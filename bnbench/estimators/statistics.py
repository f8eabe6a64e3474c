"""The statistics of each hidden layer that `predict` takes: exact ones of the training rows, or running ones."""

from typing import Any

import numpy as np

from bnbench import formula
from bnbench.problem import Layer, Spec


def population(X: np.ndarray, layers: list[Layer], spec: Spec) -> list[tuple[np.ndarray, np.ndarray]]:
    """The exact (mean, variance) of every layer's pre-activations over the rows of X."""
    statistics, A = [], X
    for layer in layers:
        known = formula.forward(layer, A, spec)
        statistics.append((known.mu, known.variance))
        A = known.A
    return statistics


class Running:
    """Running statistics of each layer under a convention of `bnbench.CONVENTIONS`, of the batches of a fit."""

    def __init__(self, layers: list[Layer], spec: Spec, convention: str, momentum: float | None) -> None:
        from bnbench import RunningStatistics

        self.layers, self.spec = layers, spec
        self.of_layers = [RunningStatistics(convention, momentum) for _ in layers]

    def update(self, X: np.ndarray) -> None:
        """Take in the batch's pre-activations at the parameters that the layers view."""
        A = X
        for layer, running in zip(self.layers, self.of_layers, strict=True):
            known = formula.forward(layer, A, self.spec)
            running.update(known.Z)
            A = known.A

    def statistics(self, dtype: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """The (mean, variance) of each layer."""
        return [(np.asarray(one.mean, dtype), np.asarray(one.var, dtype)) for one in self.of_layers]

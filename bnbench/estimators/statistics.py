"""Running statistics of every hidden layer over the minibatches of a fit."""

from typing import Any

import numpy as np

from bnbench import formula
from bnbench.problem import Layer, Spec
from bnbench.running import RunningStatistics


class Running:
    """Running statistics of each layer under a convention of `bnbench.CONVENTIONS`, of the batches of a fit."""

    def __init__(self, layers: list[Layer], spec: Spec, convention: str, momentum: float | None) -> None:
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

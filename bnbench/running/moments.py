"""Count, mean and squared deviations of rows, merged exactly: Chan, Golub and LeVeque 1983."""

from typing import Any

import numpy as np


class Moments:
    """Of the rows seen so far: count, their mean (p,) and spread (p,), Σ(z - mean)²; in float64.

    With weights G (p_in,p) the rows are those of Z = A G, and what is added is A.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.spread = np.zeros(0)

    def add(self, A: np.ndarray, G: Any = None) -> None:
        """Take in rows A (m,p_in), in two passes.

        They are centred before they are multiplied by G, so that an offset of A costs no digits.
        """
        centred = A.astype(np.float64)
        mean = np.einsum("ij->j", centred) / len(A)  # not by a product, for which BLAS would wake its threads
        centred -= mean
        rest = np.einsum("ij->j", centred) / len(A)  # the mean was rounded; this is what mends it
        centred -= rest
        mean += rest
        if G is not None:
            centred, mean = centred @ G, mean @ G
        self.merge(len(A), mean, np.einsum("ij,ij->j", centred, centred))

    def merge(self, count: int, mean: np.ndarray, spread: np.ndarray) -> None:
        """Take in rows whose count, mean and spread are known."""
        if self.count == 0:
            self.count, self.mean, self.spread = count, mean, spread
            return
        before, self.count = self.count, self.count + count
        step = mean - self.mean
        self.spread = self.spread + spread + step * step * (before / self.count * count)
        self.mean = self.mean + step * (count / self.count)

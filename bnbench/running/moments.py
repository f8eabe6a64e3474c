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
        ones = np.ones(len(A))
        centred = A.astype(np.float64)
        mean = ones @ centred / len(A)
        centred -= mean
        rest = ones @ centred / len(A)  # the mean was rounded; this is what mends it
        centred -= rest
        mean += rest
        if G is not None:
            centred, mean = centred @ G, mean @ G
        self._merge(len(A), mean, np.einsum("ij,ij->j", centred, centred))

    def merge(self, other: "Moments") -> None:
        """Take in the rows of another."""
        self._merge(other.count, other.mean, other.spread)

    def _merge(self, m: int, mean: np.ndarray, spread: np.ndarray) -> None:
        if self.count == 0:
            self.count, self.mean, self.spread = m, mean, spread
            return
        count = self.count + m
        step = mean - self.mean
        self.spread = self.spread + spread + step * step * (self.count / count * m)
        self.mean = self.mean + step * (m / count)
        self.count = count

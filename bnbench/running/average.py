"""Running statistics, updated batch by batch as a framework does it, with sums in float64."""

from numbers import Real
from typing import Any

import numpy as np

from bnbench import arrays
from bnbench.running.conventions import BATCHES, CONVENTIONS, EXPONENTIAL, REFUSED, Convention
from bnbench.running.moments import Moments


def convention_of(name: object) -> Convention:
    """The convention of a name, or a ValueError that lists them."""
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise ValueError(f"convention is {arrays.quoted(name)}; allowed are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


class RunningStatistics:
    """Running mean and variance of batches, by a framework's convention (`bnbench docs statistics`).

    Sums are in float64, and a batch's variance is taken about its mean: E[x²] - E[x]², of which float32 loses all
    digits where the mean is 1000 standard deviations, is never formed.

    Args:
        convention: a name of `bnbench.CONVENTIONS`.
        momentum: from 0 to 1, in the framework's own direction; None for its default.
        start: (mean, variance) before the first batch, each (p,) or a number; None for the convention's, 0 and 1.

    Attributes:
        count: rows that it has seen.
        batches: batches that it has seen.

    Raises:
        ValueError: an unknown convention, a momentum out of range, or a momentum or start that the convention lacks.
    """

    def __init__(self, convention: str = "pytorch", momentum: float | None = None, start: Any = None) -> None:
        self.convention = held = convention_of(convention)
        exponential = held.weights == EXPONENTIAL
        if not exponential and not momentum is start is None:
            name, value = ("start", start) if momentum is None else ("momentum", momentum)
            raise ValueError(f"{name} is {arrays.quoted(value)}; {held.name} has none, allowed is None")
        self.momentum = held.momentum if momentum is None else momentum
        if exponential:
            check_momentum(self.momentum)
            self._mean, self._var = pair_of(held.start if start is None else start)
        self.count = self.batches = 0
        self._moments = Moments()
        self._dtype = np.dtype(np.float64)

    def __repr__(self) -> str:
        momentum = "" if self.momentum is None else f", momentum={self.momentum:g}"
        return f"RunningStatistics({self.convention.name!r}{momentum}) of {self.batches} batches with {self.count} rows"

    def update(self, Z: Any) -> None:
        """Take in a batch Z (m,p): a row each observation, a column each node.

        Raises:
            ValueError: it has another number of columns than the batches before, no rows, an entry that is not finite,
                or one row where the framework refuses it.
        """
        held = self.convention
        Z = batch_of("Z", Z)
        m, p = Z.shape
        width = self._moments.mean.size if held.weights != EXPONENTIAL else self._mean.size
        if width not in (0, 1, p) or (self.batches and width != p):
            raise ValueError(f"Z has {p} columns; with the batches or the start before it allowed are {width}")
        if m == 1 and held.one_row == REFUSED:
            raise ValueError(
                f"Z has one row, which has no variance with m - 1; {held.name} allows batches of at least 2 rows"
            )
        batch = Moments()
        batch.add(Z)
        mean, var = batch.mean, batch.spread / max(m - held.ddof, 1)
        self.batches += 1
        if held.weights == EXPONENTIAL:
            weight = held.batch_weight(self.momentum or 0.0)
            self._mean = (1 - weight) * self._mean + weight * mean
            self._var = (1 - weight) * self._var + weight * var
        elif held.weights == BATCHES:
            if self.batches == 1:
                self._mean, self._var = np.zeros(p), np.zeros(p)
            self._mean = self._mean + (mean - self._mean) / self.batches
            self._var = self._var + (var - self._var) / self.batches
            self._moments = batch  # for its width
        else:
            self._moments.merge(m, mean, batch.spread)
            self._mean, self._var = self._moments.mean, self._moments.spread / self._moments.count
        self.count += m
        self._dtype = Z.dtype if Z.dtype.kind == "f" else np.dtype(np.float64)

    @property
    def mean(self) -> np.ndarray:
        """The running mean (p,), in the dtype of the last batch; before any, the start."""
        return self._held(0)

    @property
    def var(self) -> np.ndarray:
        """The running variance (p,), likewise."""
        return self._held(1)

    def _held(self, place: int) -> np.ndarray:
        if not self.batches and self.convention.weights != EXPONENTIAL:
            raise ValueError(f"no batch has been seen, and {self.convention.name} has no start; call update first")
        return np.array((self._mean, self._var)[place], self._dtype)


def check_momentum(momentum: Any) -> None:
    """Raise ValueError unless it is a number from 0 to 1."""
    real = isinstance(momentum, Real) and not isinstance(momentum, bool)
    if not real or not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {arrays.quoted(momentum)}; allowed is a number from 0 to 1")


def batch_of(name: str, Z: Any) -> np.ndarray:
    """A batch as an array (m,p) of finite numbers with at least one row and one column."""
    Z = arrays.read(name, Z)
    if Z.ndim != 2 or 0 in Z.shape:
        raise ValueError(f"{name} has shape {Z.shape}; allowed is (m, p), a row each observation")
    if not (finite := np.isfinite(Z)).all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name}[{place[0]}, {place[1]}] is {Z[place]}; allowed are finite numbers")
    return Z


def pair_of(start: Any) -> tuple[np.ndarray, np.ndarray]:
    """A start (mean, variance) in float64, both (p,) or both single numbers."""
    if not isinstance(start, tuple | list | np.ndarray) or len(start) != 2:
        raise ValueError(f"start is {arrays.quoted(start)}; allowed is (mean, variance)")
    pair = []
    for name, part in zip(("mean", "variance"), start, strict=True):
        part = arrays.read(f"the start's {name}", part).astype(np.float64)
        if part.ndim > 1 or not part.size or not np.isfinite(part).all():
            raise ValueError(f"the start's {name} is {arrays.quoted(part)}; allowed are finite numbers (p,), or one")
        pair.append(part)
    mean, var = np.broadcast_arrays(*pair) if 1 in (pair[0].size, pair[1].size) else pair
    if mean.shape != var.shape:
        raise ValueError(f"start has {mean.size} means and {var.size} variances; allowed are as many")
    if (var < 0).any():
        raise ValueError(f"the start's variance has {var.min()}; allowed are numbers of at least 0")
    return mean, var

"""The phases of a step: parameters go out with a phase, a chunk answers with `Sums`.

One hidden layer whose x̄ and C are known takes one phase a step, `Slopes`; where they are not `Look` comes before, or
`Moments`. A network of depth L takes a phase a layer forward and one a layer backward, each from the rows anew: nothing
of a chunk's size is kept between them. Unit effects take one more, with the logistic loss a few.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench import arguments, arrays, losses
from bnbench.chunked import kernels
from bnbench.chunked.kernels import Known
from bnbench.chunked.sums import Sums
from bnbench.operations import NUMPY
from bnbench.problem import Data, Spec, Theta


@dataclass(frozen=True, kw_only=True)
class Phase(ABC):
    """What is asked of every chunk.

    A chunk is a `Data`, or (X, y[, W[, unit]]): unit (n,) are whole numbers from 0 to units-1.

    Attributes:
        spec: the conventions.
        dtype: of all arrays.
        units: U; 0 without.
        checks: whether the numbers of the chunk are looked at first, and its rows counted by unit.
    """

    spec: Spec
    dtype: str
    units: int = 0
    checks: bool = False

    def __call__(self, chunk: Any) -> Sums:
        """The chunk's answer.

        Raises:
            ValueError: an entry that is not finite, a y outside the loss's domain, another number of columns.
        """
        try:
            data = self.read(Data(*chunk[:4]))
        except ValueError as error:  # a chunk does not know where it lies
            raise ValueError(f"{error} (rows are counted from the first of their chunk)") from None
        with np.errstate(all="ignore"):
            found = self.answer(data)
        if self.checks and data.unit is not None:
            found = Sums(**vars(found) | {"by_unit": {**found.by_unit, **self.counts(data)}})
        return found

    @abstractmethod
    def answer(self, data: Data) -> Sums:
        """The answer of checked rows."""

    def read(self, data: Data) -> Data:
        """The chunk's arrays, contiguous and of the dtype; checked if that is wanted."""
        dtype = np.dtype(self.dtype)
        held: dict[str, Any] = {}
        for name in ("X", "y", "W"):
            part = getattr(data, name)
            if part is not None:
                held[name] = arguments.as_array(name, arrays.read(name, part), dtype)
                if self.checks:
                    arguments.size(name, held[name])
        if self.checks and data.y is not None:
            losses.check(self.spec.loss, held["y"])
        return data._replace(**held, units=self.units)

    def counts(self, data: Data) -> dict[str, np.ndarray]:
        """Of each unit the rows, Σy, and how many y are at either end of the loss's domain."""
        one = losses.DEFINITIONS[self.spec.loss]
        ends = {"least": data.y == one.least, "most": data.y == one.most}
        weights = {"rows": None, "y": data.y.astype(np.float64)} | ends
        return {name: np.bincount(data.unit, part, self.units).astype(np.float64) for name, part in weights.items()}


@dataclass(frozen=True, kw_only=True)
class Look(Phase):
    """The rows' number, mean and largest entries; with gram C too."""

    gram: bool

    def answer(self, data: Data) -> Sums:
        """As `Phase.answer`."""
        from bnbench.sums import largest

        most = np.zeros(data.X.shape[1])
        largest(data.X, most)
        mean, C = kernels.gram(data.X) if self.gram else (kernels.mean_of(data.X), None)
        return Sums(len(data.X), mean=mean, C=C, largest=most)


@dataclass(frozen=True, kw_only=True)
class OfNetwork(Phase):
    """A phase with parameters, and what is known of the layers."""

    theta: Theta
    known: tuple[Known, ...]


@dataclass(frozen=True, kw_only=True)
class Moments(OfNetwork):
    """The statistics of the layer at a place, all before it known; of the first V too. shift is what is taken off A."""

    place: int
    shift: Any = None

    def answer(self, data: Data) -> Sums:
        """As `Phase.answer`."""
        from bnbench.sums import largest

        found = kernels.moments(self.theta, data, self.spec, list(self.known), self.place, self.shift)
        if self.place:
            return found
        most = np.zeros(data.X.shape[1])
        largest(data.X, most)
        return Sums(**vars(found) | {"largest": most})


@dataclass(frozen=True, kw_only=True)
class Effects(OfNetwork):
    """What the units' effects are found of; with alpha, of the next step of Newton's method from there."""

    alpha: Any = None

    def answer(self, data: Data) -> Sums:
        """As `Phase.answer`."""
        eta = kernels.eta_of(self.theta, data, self.spec, list(self.known))[1].astype(np.float64)
        parts: dict[str, Any] = {}
        if self.spec.loss == "squared":
            parts["residual"] = data.y - eta
        elif self.spec.loss == "poisson":
            parts["rate"] = np.exp(eta)
        elif self.alpha is None:
            parts["eta"] = eta
        else:
            p = NUMPY.sigmoid(eta + self.alpha[data.unit])
            parts |= {"F": p - data.y, "slope": p * (1 - p)}
        by_unit = {name: np.bincount(data.unit, part, self.units) for name, part in parts.items()}
        return Sums(len(eta), by_unit=by_unit)


@dataclass(frozen=True, kw_only=True)
class Slopes(OfNetwork):
    """The loss, and the gradients from the head down to the layer at a place; alpha are the units' effects."""

    place: int = 0
    alpha: Any = None

    def answer(self, data: Data) -> Sums:
        """As `Phase.answer`."""
        theta, q = self.theta, 0 if data.W is None else data.W.shape[1]
        if data.unit is not None:  # they are one linear term more, with coefficient 1
            of_rows = self.alpha.astype(data.X.dtype)[data.unit]
            W = of_rows[:, None] if data.W is None else np.column_stack([data.W, of_rows])
            delta = np.append([] if theta.delta is None else theta.delta, 1).astype(W.dtype)
            data, theta = data._replace(W=W, unit=None), theta._replace(delta=delta)
        if len(theta.layers) == 1:
            found = kernels.one_layer(theta, data, self.spec, self.known[0])
        else:
            found = kernels.network(theta, data, self.spec, list(self.known), self.place)
        if self.units and found.gradient is not None:
            ddelta = found.gradient.delta[:q] if q else None
            found = Sums(**vars(found) | {"gradient": found.gradient._replace(delta=ddelta)})
        return found

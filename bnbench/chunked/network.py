"""A step of a network over chunks of rows, whoever holds them: what the phases are asked, and what their sums give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from bnbench import arguments, losses, networks
from bnbench.chunked.kernels import Known
from bnbench.chunked.phases import Effects, Look, Moments, Phase, Slopes
from bnbench.chunked.sums import Sums
from bnbench.fused.layout import CANCELLED, SUMS_BYTES
from bnbench.operations import NEWTON_STEPS, NUMPY
from bnbench.problem import Gradients, Layer, NetworkGradients, Statistics, Theta
from bnbench.scale import CLEAR, ends

LEAST_COLUMNS = 4  # times the nodes of the first layer: up to so many inputs C costs less than Z and V
SETTLED = 1e-8  # a step of Newton's method, whose square is what is left of the error


class Chunked(networks.Network):
    """Data in chunks of rows, set up; as what `bnbench.prepare` makes, for whole steps."""

    def __init__(
        self, total: Callable[[Phase], Sums], p1: int, p2: Any,
        *, linear: int = 0, labels: Any = None, statistics: Any = None, dtype: Any = "float64", variant: str = "auto",
        regime: str = "fixed", activation: str = "relu", normalization: str = "batch", loss: str = "squared",
        ddof: int = 0, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        """Set up, and with regime "fixed" look at the data, which is one pass over them.

        Args:
            total: the engine: it calls the phase it is given on every chunk and merges the answers by `merge`.
            p1: columns of X.
            p2: the width of the hidden layer, or a list of widths.
            linear: columns of W.
            labels: of the units, in the order of their numbers; None without units.
            statistics: as in `bnbench.prepare`, and so all others.
            dtype: of all arrays.
            variant: "auto" or "fused-numba".
            regime: "fixed": what depends on X alone is kept; "fresh": it is computed in every step.
            activation: as in `bnbench.gradients`, and so all others.
            normalization: likewise.
            loss: likewise.
            ddof: likewise.
            eps: likewise.

        Raises:
            ValueError: as `bnbench.prepare`.
        """
        held = np.dtype(dtype)
        super().__init__(  # on one row: for the checks and shapes of parameters
            np.zeros((1, p1), held), np.zeros(1, held), p2, W=np.zeros((1, linear), held) if linear else None,
            units=None, statistics=statistics, dtype=held, variant=variant, regime=regime, activation=activation,
            normalization=normalization, loss=loss, ddof=0, eps=eps,
        )  # fmt: skip
        networks.check_conventions(activation, normalization, ddof, eps, loss)
        self.spec = replace(self.spec, ddof=int(ddof))
        if self.cls.name != "fused-numba":
            raise ValueError(f"variant is {self.cls.name!r}; with data in chunks allowed are auto and fused-numba")
        self.total, self.labels = total, None if labels is None else list(labels)
        self.seen: Sums | None = None  # what the first pass over the rows said
        self.phases = 0  # so many passes over the rows were made
        if regime == "fixed":
            self.look()

    def ask(self, kind: type[Phase], **more: Any) -> Sums:
        """The sums over all rows of a phase; the first looks at the numbers too."""
        units, first = len(self.labels or ()), self.seen is None
        self.phases += 1
        found = self.total(kind(spec=self.spec, dtype=self.dtype.name, units=units, checks=first, **more))
        if first:
            N, ddof = found.count, self.spec.ddof
            if self.spec.normalization == "batch" and ddof >= N:
                raise ValueError(f"N is {N} with ddof {ddof}; allowed is N > ddof")
            if units:
                self.check_units(found)
            self.problem = replace(self.problem, N=N, ddof=ddof, units=units)
            self.seen = found
        return found

    def check_units(self, found: Sums) -> None:
        """Refuse a unit without an effect."""
        if not losses.DEFINITIONS[self.spec.loss].extremes:
            return
        rows = found.by_unit["rows"]
        for name in ("least", "most"):
            alone = found.by_unit[name] == rows
            if alone.any():
                end = getattr(losses.DEFINITIONS[self.spec.loss], name)
                raise ValueError(
                    f"every y of unit {self.labels[int(alone.argmax())]} is {end:g} "  # type: ignore[index]
                    f"({np.count_nonzero(alone)} such units); with loss={self.spec.loss!r} {losses.NONE_EXISTS}, "
                    "allowed are units with other values too"
                )

    def look(self) -> Sums:
        """The first pass over the rows: x̄, and C where a step is to use it."""
        p1 = self.data.X.shape[1]
        fits = 8 * p1**2 <= SUMS_BYTES if self.regime == "fixed" else p1 <= LEAST_COLUMNS * self.widths[0]
        return self.ask(Look, gram=self.spec.normalization == "batch" and fits)

    def gradients(
        self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None, *, rows: Any = None, inputs: bool = False
    ) -> Gradients:
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`.

        Raises:
            ValueError: as there; rows or inputs is given.
        """
        if rows is not None:
            raise ValueError("rows is given; of data in chunks allowed are all rows: take those of a minibatch first, "
                             "as X[rows], and call bnbench.gradients with them")  # fmt: skip
        arguments.check_inputs(inputs)
        if inputs:
            raise ValueError("inputs is True; of data in chunks ∂R/∂X is not given, allowed is False")
        theta = self.theta(G1, gamma, beta, G2, delta)
        with self.lock, np.errstate(all="ignore"):
            found = self.answer(theta)
        if not all(map(arguments.finite, found.parts().values())):
            self.refuse(theta, self.data)
        return found

    def answer(self, theta: Theta) -> Gradients:
        """The gradients of checked parameters."""
        known, V, rest = self.forward(theta)
        alpha = self.effects(theta, known)
        batch, depth = self.spec.normalization == "batch", len(theta.layers)
        found: list[Any] = [None] * depth
        for place in reversed(range(depth)) if batch else [0]:
            sums = self.ask(Slopes, theta=theta, known=tuple(known), place=place, alpha=alpha)
            N, gradient = sums.count, sums.gradient
            for at in range(place, depth):
                found[at] = found[at] if gradient.layers[at] is None else gradient.layers[at]  # type: ignore[union-attr]
            if not batch:
                break
            layer, its = theta.layers[place], found[place]
            s = np.sqrt(known[place].var.astype(np.float64) + self.spec.eps)
            w = layer.gamma / s
            mean_term, s_term = w * its.beta / N, w * its.gamma / (s * (N - self.spec.ddof))
            known[place] = known[place]._replace(mean_term=mean_term, s_term=s_term)
        if batch:
            found[0] = found[0]._replace(G=found[0].G - np.multiply.outer(rest * N, mean_term) - V * s_term)

        def of_all(part: Any) -> Any:
            return None if part is None else np.asarray(part / N, self.dtype)

        layers = tuple(Layer(*map(of_all, layer)) for layer in found)
        gradients = Theta(layers, of_all(gradient.out), of_all(gradient.delta))  # type: ignore[union-attr]
        effects = None if alpha is None else alpha.astype(self.dtype)
        return Gradients.of(NetworkGradients(sums.loss / N, gradients, None, effects), self.deep)  # type: ignore[operator]

    def forward(self, theta: Theta, most: int | None = None) -> tuple[list[Known], Any, Any]:
        """What is known of each layer once its statistics are; of the first V = CΓ and x̄ - shift too."""
        if self.spec.normalization == "none":
            return [Known() for _ in theta.layers], None, None
        if self.spec.normalization == "frozen":
            return [Known(None, mean, var) for mean, var in self.data.statistics], None, None
        known: list[Known] = []
        of_first: tuple = ()
        found: Any
        mean: Any
        for place in range(len(theta.layers)):
            found, shift, mean = self.of_gram(theta) if place == 0 else (None, None, None)
            if found is None:
                found = self.ask(Moments, theta=theta, known=tuple(known), place=place, shift=shift)
                mean = found.mu
                if shift is None:
                    shift = found.mean.astype(self.dtype)
                    mean = mean - shift.astype(np.float64) @ theta.layers[place].G.astype(np.float64)
                if place == 0:
                    of_first = found.V, found.mean - shift
            elif place == 0:
                of_first = found.V, found.mean - shift
            var = (found.squares / (found.count - self.spec.ddof)).astype(self.dtype)
            self.check_spread(theta, place, var, found.largest)
            known.append(Known(shift, mean.astype(self.dtype), var))
        return known, *of_first

    def of_gram(self, theta: Theta) -> tuple[Sums | None, Any, Any]:
        """The first layer's statistics from x̄ and C, its shift and its mean; None where a variance cancels, or no C."""
        if self.regime == "fixed":
            seen: Any = self.seen
        elif self.data.X.shape[1] <= LEAST_COLUMNS * self.widths[0]:
            seen = self.look()
        else:
            return None, None, None
        shift, G = seen.mean.astype(self.dtype), theta.layers[0].G.astype(np.float64)
        if seen.C is None:
            return None, shift, None
        V = seen.C @ G
        squares, terms = np.einsum("kj,kj->j", G, V), np.einsum("kj,kj,k->j", G, G, np.diag(seen.C))
        if not ((terms * CANCELLED <= squares) & (squares < np.inf)).all():
            return None, shift, None
        return replace(seen, V=V, squares=squares), shift, (seen.mean - shift) @ G

    def check_spread(self, theta: Theta, place: int, var: np.ndarray, largest: Any) -> None:
        """Refuse a variance that is 0 but for rounding while eps is 0, or that is no number of the dtype."""
        layer, N = theta.layers[place], self.problem.N
        if place:
            below = theta.layers[place - 1]
            largest = np.abs(below.gamma).astype(np.float64) * math.sqrt(N) + np.abs(below.beta) + 1
        else:
            largest = self.seen.largest if self.seen is not None else largest
        least, highest, rounding = ends(self.problem, len(largest))
        s = np.sqrt(var.astype(np.float64) + self.spec.eps)
        of = f"column {{}} of layer {place + 1}" if self.deep else "column {} of X G1"
        constant = s <= rounding / CLEAR * (largest @ np.abs(layer.G))
        if place == 0 and constant.any():
            raise ValueError(
                f"{of.format(int(constant.argmax()))} has zero variance and eps is {self.spec.eps:g} "
                f"({np.count_nonzero(constant)} such columns); allowed is eps > 0, or hidden nodes that vary over the "
                "rows"
            )
        wrong = ~((s * s > least) & (s * s < highest))
        if wrong.any():
            j = int(wrong.argmax())
            raise ValueError(
                f"{of.format(j)} has a variance of {var[j]:.3g}, with eps {self.spec.eps:g} and {N} rows beyond what "
                f"{self.dtype} can work with ({np.count_nonzero(wrong)} such columns); rescale X or G1"
            )

    def effects(self, theta: Theta, known: list[Known]) -> np.ndarray | None:
        """α (U,) in float64, as `losses` has them; None without units."""
        if self.labels is None:
            return None

        def asked(alpha: Any = None) -> Any:
            return self.ask(Effects, theta=theta, known=tuple(known), alpha=alpha).by_unit

        found = asked()
        seen: Any = self.seen
        rows, total = seen.by_unit["rows"], seen.by_unit["y"]
        if self.spec.loss == "squared":
            return found["residual"] / rows
        if self.spec.loss == "poisson":
            return np.log(total / found["rate"])

        def function(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            of = asked(alpha)
            return of["F"], of["slope"]

        share = total / rows
        alpha = np.log(share / (1 - share)) - found["eta"] / rows
        for _ in range(NEWTON_STEPS):  # as `Operations.root`, but each step is a pass over the rows
            alpha, step = NUMPY.newton(function, alpha)
            if (abs(step) <= SETTLED * (1 + abs(alpha))).all():
                break
        return alpha

    def statistics(self, G1: Any, gamma: Any, beta: Any) -> list[Statistics]:
        """The mean and variance of every layer's pre-activations over all rows, as `bnbench.population` gives them."""
        theta = self.theta(G1, gamma, beta, np.zeros(self.widths[-1], self.dtype), None)
        known: list[Known] = []
        found: list[Statistics] = []
        with self.lock, np.errstate(all="ignore"):
            if self.spec.normalization == "batch":
                known, *_ = self.forward(theta)
            else:
                for place in range(len(theta.layers)):
                    asked = self.ask(Moments, theta=theta, known=(Known(),) * place, place=place)
                    found.append(Statistics(asked.mu, asked.squares / (asked.count - self.spec.ddof), asked.count))
        for layer, its in zip(theta.layers, known, strict=False):
            mean = its.mean + its.shift.astype(np.float64) @ layer.G.astype(np.float64)
            found.append(Statistics(mean, its.var, self.problem.N))
        if not all(np.isfinite(part).all() for one in found for part in one):
            raise ValueError(f"a variance is not finite: {networks.SMALLER}")
        return found

    def refuse(self, theta: Theta, data: Any) -> NoReturn:
        """Say why an answer is not finite."""
        raise ValueError(f"the loss or a gradient is not finite: {networks.SMALLER}")

"""Networks of any depth as a library call: what `library.gradients` gives beyond one layer, batch and squared loss."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from bnbench import arguments, arrays, definition, formula, losses
from bnbench.arguments import LISTS
from bnbench.problem import (
    Batch,
    Data,
    Gradients,
    Layer,
    NetworkGradients,
    Problem,
    Spec,
    Theta,
    check_conventions,
    leaves,
    rebuilt,
)  # fmt: skip
from bnbench.scale import LIMITS, clear, exactly, tops
from bnbench.threads import survive
from bnbench.variants import Variant

MACHINES = {"autograd": "autograd", "torch-eager": "torch", "jax-jit": "jax", "tensorflow-xla": "tensorflow"}
AS_LISTS = ("dG1", "dgamma", "dbeta")  # where there are several layers
SMALLER = "something overflowed on the way; allowed are arrays in smaller units"


def gradients(
    X: Any, y: Any, G1: Any, gamma: Any, beta: Any, G2: Any,
    *, W: Any, delta: Any, units: Any, statistics: Any, inputs: bool, variant: str, **conventions: Any,
) -> Gradients:  # fmt: skip
    """As `bnbench.gradients`, for what is more than one layer under the squared loss.

    Raises:
        ValueError: as there; y outside the loss's domain, a unit without an effect.
    """
    read, p2 = arguments.read_all(
        X=X, y=y, W=W, G1=G1, gamma=gamma, beta=beta, G2=G2, delta=delta, statistics=statistics
    )
    prepared = Network(
        read["X"], read["y"], p2, W=read["W"], units=units, statistics=statistics,
        dtype=arguments.common_dtype(read), variant=variant, regime="fresh", **conventions,
    )  # fmt: skip
    return prepared.gradients(G1, gamma, beta, G2, delta, inputs=inputs)


class Network:
    """Checked data of a network of any depth; made by `bnbench.prepare`.

    It may be called from many threads, which take turns. Copies, pickles and what a forked child inherits are set up
    again on their first call.
    """

    def __init__(
        self, X: Any, y: Any, p2: Any,
        *, W: Any, units: Any, statistics: Any, dtype: np.dtype, variant: str, regime: str, copy: bool = False,
        **conventions: Any,
    ) -> None:  # fmt: skip
        """p2 is the width of the one hidden layer, or a list of widths; the other arguments as in `prepare`."""
        check_conventions(**conventions)
        self.spec, self.dtype, self.regime = Spec(**conventions), dtype, regime
        self.deep = isinstance(p2, list | tuple)
        self.widths = [Problem(1, 1, width).p2 for width in (p2 if self.deep else [p2])]
        if not self.widths:
            raise ValueError("p2 is an empty list; allowed is a width for every hidden layer")
        X, y, self.largest = arguments.checked_data(X, y, dtype, copy=copy)
        if self.spec.normalization == "batch" and len(y) <= self.spec.ddof:
            raise ValueError(f"N is {len(y)} with ddof {self.spec.ddof}; allowed is N > ddof")
        if W is not None:
            W = self.array("W", W, len(y), None, copy=copy)
        self.labels, unit = arguments.labels_of(units, len(y))
        count = 0 if self.labels is None else len(self.labels)
        self.data = Data(X, y, W, unit, count, self.given(statistics))
        losses.check(self.spec.loss, y, unit, self.labels)
        spec, depth = self.spec, len(self.widths)
        N, p1 = X.shape
        self.problem = Problem(
            N, p1, max(self.widths), spec.activation, spec.normalization, spec.ddof, spec.eps, dtype.name,
            loss=spec.loss, depth=depth, linear=0 if W is None else W.shape[1], units=count,
        )  # fmt: skip
        self.cls = arguments.chosen_variant(variant)
        reason = self.cls.unavailable() or self.cls.unsupported(self.problem, regime)
        if reason:
            raise ValueError(f"variant {self.cls.name} cannot be used here: {reason}")
        self.tops: np.ndarray | None = None
        self.renew()
        survive(self)

    def renew(self) -> None:
        """Forget what was set up and who holds the lock."""
        self.variants: dict[bool, Variant] = {}  # by whether ∂R/∂X is wanted
        self.minibatches: dict[tuple[bool, int], Variant] = {}  # and by the rows of a minibatch
        self.lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("variants", "minibatches", "lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.renew()
        survive(self)

    def array(self, name: str, value: Any, *shape: int | None, copy: bool = False) -> np.ndarray:
        """An array of that shape, whose None stands for any size, checked and C-contiguous."""
        told = ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "")
        if value is None:
            raise ValueError(f"{name} is None; allowed is an array of shape ({told})")
        value = arrays.read(name, value)
        fits = value.ndim == len(shape) and all(b in (None, a) for a, b in zip(value.shape, shape, strict=True))
        if not fits:
            raise ValueError(f"{name} has shape {value.shape}; with these arrays allowed is ({told})")
        value = arguments.as_array(name, value, self.dtype, copy=copy)
        arguments.size(name, value)
        return value

    def given(self, statistics: Any) -> tuple:
        """The statistics of each layer, checked; none where they are taken of the batch, or not needed."""
        if self.spec.normalization != "frozen":
            if statistics is not None:
                raise ValueError(f"statistics is given; with normalization={self.spec.normalization!r} allowed is None")
            return ()
        if statistics is None:
            raise ValueError('statistics is None; with normalization="frozen" allowed are (mean, variance)')
        pairs = arguments.pairs_of(statistics)
        if len(pairs) != len(self.widths):
            raise ValueError(f"statistics has {len(pairs)} pairs; with {len(self.widths)} layers allowed are as many")
        checked = []
        for place, ((mean, var), width) in enumerate(zip(pairs, self.widths, strict=True)):
            at = f"[{place}]" if self.deep else ""
            checked.append((self.array(f"mean{at}", mean, width), self.array(f"var{at}", var, width)))
            if not (checked[-1][1] + self.spec.eps > 0).all():
                raise ValueError(
                    f"var{at} plus eps {self.spec.eps} has an entry that is not above 0; allowed are variances"
                )
        return tuple(checked)

    def theta(self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any) -> Theta:
        """The parameters, checked."""
        layers, width = len(self.widths), self.data.X.shape[1]
        lists = []
        for name, part in (("G1", G1), ("gamma", gamma), ("beta", beta)):
            if not self.deep or part is None:
                part = [part] * layers
            if not isinstance(part, list | tuple):
                raise ValueError(f"{name} is of type {type(part).__name__}; allowed is a list of {layers}, one a layer")
            if len(part) != layers:
                raise ValueError(f"{name} has {len(part)} entries; with {layers} layers allowed are as many")
            lists.append(part)
        hidden = []
        for place, (G, scale, shift) in enumerate(zip(*lists, strict=True)):
            at = f"[{place}]" if self.deep else ""
            G = self.array(f"G1{at}", G, width, self.widths[place])
            width = self.widths[place]
            if self.spec.normalization != "none":
                scale, shift = self.array(f"gamma{at}", scale, width), self.array(f"beta{at}", shift, width)
            elif not (scale is shift is None):
                name = "beta" if scale is None else "gamma"
                raise ValueError(f'{name}{at} is given; with normalization="none" allowed is None')
            hidden.append(Layer(G, scale, shift))
        if self.data.W is not None:
            delta = self.array("delta", delta, self.data.W.shape[1])
        elif delta is not None:
            raise ValueError("delta is given without W; allowed are both, or none")
        return Theta(tuple(hidden), self.array("G2", G2, width), delta)

    def gradients(
        self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None, *, rows: Any = None, inputs: bool = False
    ) -> Gradients:
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`.

        rows, a slice or row numbers, are those of a minibatch: its statistics and its mean are of these rows alone, and
        so are alpha, of the units that are among them, and dX.
        """
        theta = self.theta(G1, gamma, beta, G2, delta)
        data = self.data if rows is None else self.minibatch(rows)
        judged = self.spec.normalization != "batch" or self.fits(theta, data)
        if not judged and not hasattr(self.cls, "spreads"):
            self.check_scale(theta, data)
            judged = True
        with self.lock, np.errstate(all="ignore"):
            found, variant = self.step(theta, data, inputs)
            judged = judged or self.clear(theta, data, [s for s, _ in variant.spreads()])
        if not judged:
            self.check_scale(theta, data)
        if not all(map(arguments.finite, found.parts().values())):
            self.refuse(theta, data)
        if self.deep and len(self.widths) == 1:
            named = {
                name: None if part is None else [part] for name, part in found._asdict().items() if name in AS_LISTS
            }
            found = found._replace(**named)
        return found._replace(loss=float(found.loss))

    def fits(self, theta: Theta, data: Data) -> bool:
        """Whether every variance of every layer is in range, by bounds alone (`scale`).

        |B| is at most |γ|√N + |β|, and no activation is further from 0 than its B, but for 1.
        """
        N, most, total = len(data.y), self.largest, arguments.absolute_sum()
        highest, nothing = LIMITS[self.dtype]
        for layer in theta.layers:
            if not (self.spec.eps > nothing and most * float(total(layer.G.reshape(-1))) < (highest / N) ** 0.5):
                return False
            most = float(np.abs(layer.gamma).max()) * N**0.5 + float(np.abs(layer.beta).max()) + 1
        return True

    def clear(self, theta: Theta, data: Data, spreads: list[np.ndarray]) -> bool:
        """Whether every variance is in range, by the s of each layer that a step computed, and the same bounds."""
        N, problem = len(data.y), self.problem_of(data)
        if self.tops is None:
            self.tops = tops(self.data.X)
        most = self.tops
        for layer, s in zip(theta.layers, spreads, strict=True):
            if not clear(s, layer.G, most, problem):
                return False
            most = np.abs(layer.gamma).astype(np.float64) * N**0.5 + np.abs(layer.beta) + 1
        return True

    def check_scale(self, theta: Theta, data: Data) -> None:
        """Refuse parameters with which a variance of some layer is no number of the dtype, by computing the layers."""
        A, problem = data.X, self.problem_of(data)
        for place, (layer, found) in enumerate(zip(theta.layers, self.layers(theta, data), strict=True)):
            named = f"layer {place + 1}", f"G1[{place}]" if place else "X or G1[0]"
            exactly(A, layer.G, problem, *(named if self.deep else ()))
            A = found.A
            if not np.isfinite(A).all():
                raise ValueError(f"A of layer {place + 1} is not finite: {SMALLER}")

    def layers(self, theta: Theta, data: Data) -> list[formula.Known]:
        """The forward pass of every layer by the formula."""
        found, A, frozen = [], data.X, self.spec.normalization == "frozen"
        with np.errstate(all="ignore"):
            for place, layer in enumerate(theta.layers):
                found.append(formula.forward(layer, A, self.spec, data.statistics[place] if frozen else None))
                A = found[-1].A
        return found

    def problem_of(self, data: Data) -> Problem:
        """The problem of these rows."""
        return self.problem if data is self.data else replace(self.problem, N=len(data.y), units=data.units)

    def minibatch(self, rows: Any) -> Data:
        """The data of some rows, with the units that are among them; copied only where rows are not contiguous."""
        least = 1 + (self.spec.ddof if self.spec.normalization == "batch" else 0)
        chosen, _ = arguments.chosen_rows(rows, len(self.data.y), least)
        X, y, W, unit, units, statistics = self.data
        labels = None
        if unit is not None:
            present, unit = np.unique(unit[chosen], return_inverse=True)
            units, labels = len(present), [(self.labels or [])[code] for code in present]
        X, y, W = (arguments.part(array, chosen) for array in (X, y, W))
        if unit is not None:
            losses.check(self.spec.loss, y, unit, labels)
        return Data(X, y, W, unit, units, statistics)

    def step(self, theta: Theta, data: Data, inputs: bool) -> tuple[Gradients, Any]:
        """A step of the variant, which is set up where it is not yet, and the variant."""
        if inputs and self.cls.name in MACHINES:
            return _machine(MACHINES[self.cls.name], self.batch(theta, data), self.spec), None
        whole = data is self.data
        kept: dict = self.variants if whole else self.minibatches
        key = inputs if whole else (inputs, len(data.y))
        variant = kept.pop(key, None)
        if variant is None:
            variant = self.cls()
            variant.inputs = inputs
            variant.prepare(self.batch(theta, data), self.problem_of(data), self.regime if whole else "fresh")
        else:
            if not whole:
                variant.bind(*data[:4])
            variant.load(*self.batch(theta, data).parameters())
        arguments.keep(kept, key, variant, arguments.MOST_SIZES)
        variant.step()
        found = variant.result()
        if inputs and found.dX is None:
            raise ValueError(f"variant {self.cls.name} does not give ∂R/∂X; allowed is one that does, such as auto")
        return found, variant

    def batch(self, theta: Theta, data: Data) -> Batch:
        """Data and parameters as variants take them."""
        columns: list[Any] = [list(column) for column in zip(*theta.layers, strict=True)]
        statistics: Any = list(data.statistics) or None
        if len(self.widths) == 1:
            columns = [column[0] for column in columns]
            statistics = statistics and statistics[0]
        elif self.spec.normalization == "none":
            columns[1:] = [None, None]
        return Batch(
            data.X, data.y, *columns, theta.out, W=data.W, delta=theta.delta, units=data.unit, statistics=statistics
        )

    def pack(self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None) -> np.ndarray:
        """The parameters, checked, as one flat vector in that order, each layer by layer; without those absent."""
        theta = self.theta(G1, gamma, beta, G2, delta)
        return flat(theta, self.dtype)

    def unpack(self, theta: Any) -> tuple:
        """(G1, gamma, beta, G2, delta) of a flat vector, copied; None for what there is none of.

        Raises:
            ValueError: it has another size.
        """
        vector = arrays.read("theta", theta).astype(self.dtype)
        widths = [self.data.X.shape[1], *self.widths]
        nodes: list[tuple[int, ...]] = [] if self.spec.normalization == "none" else [(p,) for p in self.widths]
        q: list[tuple[int, ...]] = [] if self.data.W is None else [(self.data.W.shape[1],)]
        groups: list[list[tuple[int, ...]]] = [list(itertools.pairwise(widths)), nodes, nodes, [(widths[-1],)], q]
        total = sum(math.prod(shape) for group in groups for shape in group)
        if vector.shape != (total,):
            raise ValueError(f"theta has shape {vector.shape}; with this X and p2 allowed is ({total},)")
        parts: list[Any] = []
        place = 0
        for group in groups:
            held = []
            for shape in group:
                size = math.prod(shape)
                held.append(vector[place : place + size].reshape(shape))
                place += size
            several = self.deep and len(parts) < len(LISTS)
            parts.append((held if several else held[0]) if held else None)
        return tuple(parts)

    def __call__(self, theta: Any) -> tuple[float, np.ndarray]:
        """The loss and its gradient at a flat vector, in float64: what `scipy.optimize.minimize(…, jac=True)` takes."""
        found = self.gradients(*self.unpack(theta))
        columns = [part if isinstance(part, list) else [part] for part in found[1:4]]
        columns = [part if part[0] is not None else [None] * len(self.widths) for part in columns]
        layers = tuple(Layer(*column) for column in zip(*columns, strict=True))
        return found.loss, flat(Theta(layers, found.dG2, found.ddelta), np.float64)

    def refuse(self, theta: Theta, data: Data) -> NoReturn:
        """Say why an answer is not finite."""
        with np.errstate(all="ignore"):
            computed = formula.network(theta, data, self.spec)
        for place, layer in enumerate(computed.layers, 1):
            if not np.isfinite(layer.A).all():
                raise ValueError(f"A of layer {place} is not finite: {SMALLER}")
        if not np.isfinite(computed.head.loss):
            raise ValueError(f"the loss is not finite: {SMALLER}")
        raise ValueError(f"a gradient is not finite: {SMALLER}")


def flat(theta: Theta, dtype: Any) -> np.ndarray:
    """A network's arrays one after the other: those of Γ, of γ, of β, Γ_out and δ."""
    parts = [*itertools.chain(*zip(*theta.layers, strict=True)), theta.out, theta.delta]
    return np.concatenate([np.ravel(part) for part in parts if part is not None]).astype(dtype)


def _machine(machine: str, batch: Batch, spec: Spec) -> Gradients:
    """With ∂R/∂X by a framework from the definition, in float64, and back in the arrays' dtype."""
    wide = batch.each(lambda array: np.asarray(array, np.float64 if array.dtype.kind == "f" else array.dtype))
    found = definition.gradients(wide.theta, wide.data, spec, machine, inputs=True)
    narrow = functools.partial(np.asarray, dtype=batch.X.dtype)
    theta = rebuilt(found.theta, map(narrow, leaves(found.theta)))
    alpha = None if found.alpha is None else narrow(found.alpha)
    answer = NetworkGradients(found.loss, theta, narrow(found.dX), alpha)
    return Gradients.of(answer, isinstance(batch.G1, list))

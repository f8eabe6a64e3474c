"""Networks of any depth as a library call: what `library.gradients` gives beyond one layer, batch and squared loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench import arrays, definition, formula, losses
from bnbench.library import _array, _data, _dtype, _size, is_deep
from bnbench.problem import (
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
)

MACHINES = {"autograd": "autograd", "torch-eager": "torch", "jax-jit": "jax", "tensorflow-xla": "tensorflow"}
LISTS = ("G1", "gamma", "beta")  # where there are several layers
SUPPORTED = ("auto", "matrix-numpy", *MACHINES)  # variants that take any network


def gradients(
    X: Any, y: Any, G1: Any, gamma: Any, beta: Any, G2: Any,
    *, W: Any, delta: Any, units: Any, statistics: Any, inputs: bool, variant: str, **conventions: Any,
) -> Gradients:  # fmt: skip
    """As `bnbench.gradients`: by the formula (matrix-numpy), or by a framework from the definition, in float64.

    Raises:
        ValueError: as there; y outside the loss's domain, a unit without an effect, another variant.
    """
    given = named(X=X, y=y, W=W, G1=G1, gamma=gamma, beta=beta, G2=G2, delta=delta, statistics=statistics)
    if G1 is None:
        raise ValueError("G1 is None; allowed is an array, or a list of them, one a layer")
    read: dict[str, Any] = {name: None if part is None else arrays.read(name, part) for name, part in given.items()}
    deep = is_deep(G1)
    shapes = [read[f"G1[{place}]"].shape for place in range(len(G1))] if deep else [read["G1"].shape]
    for place, shape in enumerate(shapes):
        if len(shape) != 2:
            raise ValueError(f"G1{f'[{place}]' if deep else ''} has shape {shape}; allowed is (p_in, p_out)")
    widths = [shape[1] for shape in shapes]
    prepared = Network(
        read["X"], read["y"], widths if deep else widths[0], W=read["W"], units=units, statistics=statistics,
        dtype=_dtype(read), variant=variant, **conventions,
    )  # fmt: skip
    return prepared.gradients(G1, gamma, beta, G2, delta, inputs=inputs)


def named(**parts: Any) -> dict[str, Any]:
    """Arrays by name, those of lists as G1[0]; of statistics as mean[0] and var[0]."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if name == "statistics":
            pairs = part if part is None or _is_pairs(part) else [part]
            for place, pair in enumerate(pairs or ()):
                at = f"[{place}]" if pairs is part else ""
                found |= {f"mean{at}": pair[0], f"var{at}": pair[1]}
        elif name in LISTS and is_deep(parts["G1"]) and isinstance(part, list | tuple):
            found |= {f"{name}[{place}]": one for place, one in enumerate(part)}
        else:
            found[name] = part
    return found


def _is_pairs(statistics: Any) -> bool:
    """Whether these are (mean, variance) of several layers, and not of one."""
    if not isinstance(statistics, list | tuple) or not statistics:
        kind = type(statistics).__name__
        raise ValueError(f"statistics is a {kind}; allowed are (mean, variance), or a list of them, one a layer")
    pairs = statistics if isinstance(statistics[0], list | tuple) and np.ndim(statistics[0][0]) > 0 else [statistics]
    if any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs):
        raise ValueError("statistics has an entry that is no pair; allowed are (mean, variance)")
    return pairs is statistics


class Network:
    """Checked data of a network of any depth; made by `bnbench.prepare`.

    Nothing is kept from one call to the next, so that it may be called from many threads, copied and pickled.
    """

    def __init__(
        self, X: Any, y: Any, p2: Any,
        *, W: Any, units: Any, statistics: Any, dtype: np.dtype, variant: str, copy: bool = False, **conventions: Any,
    ) -> None:  # fmt: skip
        """p2 is the width of the one hidden layer, or a list of widths; the other arguments as in `prepare`."""
        if variant not in SUPPORTED:
            raise ValueError(
                f"variant {variant!r} has one hidden layer, the squared loss, batch statistics or none, and no linear "
                f"terms or units; for more allowed are {', '.join(SUPPORTED)}"
            )
        check_conventions(**conventions)
        self.spec, self.variant, self.dtype = Spec(**conventions), variant, dtype
        self.deep = isinstance(p2, list | tuple)
        self.widths = [Problem(1, 1, width).p2 for width in (p2 if self.deep else [p2])]
        X, y, _ = _data(X, y, dtype, copy=copy)
        if self.spec.normalization == "batch" and len(y) <= self.spec.ddof:
            raise ValueError(f"N is {len(y)} with ddof {self.spec.ddof}; allowed is N > ddof")
        if W is not None:
            W = self.array("W", W, len(y), None, copy=copy)
        self.labels, unit = _units(units, len(y))
        count = 0 if self.labels is None else len(self.labels)
        self.data = Data(X, y, W, unit, count, self.given(statistics))
        losses.check(self.spec.loss, y, unit, self.labels)

    def array(self, name: str, value: Any, *shape: int | None, copy: bool = False) -> np.ndarray:
        """An array of that shape, whose None stands for any size, checked and C-contiguous."""
        told = ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "")
        if value is None:
            raise ValueError(f"{name} is None; allowed is an array of shape ({told})")
        value = arrays.read(name, value)
        fits = value.ndim == len(shape) and all(b in (None, a) for a, b in zip(value.shape, shape, strict=True))
        if not fits:
            raise ValueError(f"{name} has shape {value.shape}; with these arrays allowed is ({told})")
        value = _array(name, value, self.dtype, copy=copy)
        _size(name, value)
        return value

    def given(self, statistics: Any) -> tuple:
        """The statistics of each layer, checked; none where they are taken of the batch, or not needed."""
        if self.spec.normalization != "frozen":
            if statistics is not None:
                raise ValueError(f"statistics is given; with normalization={self.spec.normalization!r} allowed is None")
            return ()
        if statistics is None:
            raise ValueError('statistics is None; with normalization="frozen" allowed are (mean, variance)')
        pairs = statistics if _is_pairs(statistics) else [statistics]
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
            if not isinstance(part, list | tuple) or len(part) != layers:
                count = f"{len(part)} entries" if isinstance(part, list | tuple) else "no entries"
                raise ValueError(f"{name} has {count}; with {layers} layers allowed are as many")
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
        self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any = None, *, inputs: bool = False
    ) -> Gradients:
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`."""
        theta = self.theta(G1, gamma, beta, G2, delta)
        with np.errstate(all="ignore"):
            if self.variant in MACHINES:
                found = _machine(MACHINES[self.variant], theta, self.data, self.spec, inputs)
            else:
                found = _formula(theta, self.data, self.spec, inputs)
        _finite(found)
        return Gradients.of(found._replace(loss=float(found.loss), dX=found.dX if inputs else None), self.deep)


def _units(units: Any, N: int) -> tuple[list | None, np.ndarray | None]:
    """The sorted labels of the units and, for every row, the place of its own among them."""
    if units is None:
        return None, None
    rows = units.tolist() if hasattr(units, "tolist") else list(units)
    if len(rows) != N:
        raise ValueError(f"units has {len(rows)} entries; with this X allowed are {N}")
    try:
        labels = sorted(set(rows))
    except TypeError as error:
        raise ValueError(f"units cannot be sorted ({error}); allowed are hashable labels of one kind") from None
    if any(label != label for label in labels):
        raise ValueError("units has NaN; allowed is a label in every row")
    places = {label: place for place, label in enumerate(labels)}
    return labels, np.array([places[row] for row in rows])


def _formula(theta: Theta, data: Data, spec: Spec, inputs: bool) -> NetworkGradients:
    computed = formula.network(theta, data, spec, inputs=inputs)
    for place, layer in enumerate(computed.layers):
        if spec.normalization == "batch" and spec.eps == 0 and not layer.variance.all():
            j = int(np.argmin(layer.variance))
            raise ValueError(
                f"column {j} of layer {place + 1} has zero variance and eps is 0; allowed is eps > 0, or hidden nodes "
                "that vary over the rows"
            )
    return computed.answer


def _machine(machine: str, theta: Theta, data: Data, spec: Spec, inputs: bool) -> NetworkGradients:
    """By a framework in float64, and back in the arrays' dtype."""
    dtype = data.X.dtype

    def cast(to: Any) -> Callable:
        return lambda array: None if array is None else np.asarray(array, to)

    wide = cast(np.float64)
    given = tuple((wide(mean), wide(var)) for mean, var in data.statistics)
    data = data._replace(X=wide(data.X), y=wide(data.y), W=wide(data.W), statistics=given)
    arrays_of = leaves(theta)
    found = definition.gradients(rebuilt(theta, map(wide, arrays_of)), data, spec, machine, inputs=inputs)
    narrow = cast(dtype)
    theta = rebuilt(found.theta, map(narrow, leaves(found.theta)))
    return NetworkGradients(found.loss, theta, narrow(found.dX), narrow(found.alpha))


def _finite(found: NetworkGradients) -> None:
    """Refuse an answer that overflowed on the way."""
    for place, layer in enumerate(found.theta.layers, 1):
        for name, array in zip(("G1", "gamma", "beta"), layer, strict=True):
            if array is not None and not np.isfinite(array).all():
                raise ValueError(
                    f"the gradient of {name} of layer {place} is not finite: something overflowed on the way"
                )
    if not np.isfinite(found.loss):
        raise ValueError("the loss is not finite: something overflowed on the way; allowed are arrays in smaller units")

"""Networks of any depth as a library call: what `library.gradients` gives beyond one layer, batch and squared loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bnbench import arrays, definition, formula, losses
from bnbench.library import _array, _data, _dtype, _size, is_deep
from bnbench.problem import Data, Gradients, Layer, NetworkGradients, Spec, Theta, check_conventions, leaves, rebuilt

MACHINES = {"autograd": "autograd", "torch-eager": "torch", "jax-jit": "jax", "tensorflow-xla": "tensorflow"}
SUPPORTED = ("auto", "matrix-numpy", *MACHINES)  # variants that take any network


def gradients(
    X: Any,
    y: Any,
    G1: Any,
    gamma: Any,
    beta: Any,
    G2: Any,
    *,
    W: Any,
    delta: Any,
    units: Any,
    statistics: Any,
    inputs: bool,
    variant: str,
    **conventions: Any,
) -> Gradients:
    """As `bnbench.gradients`: by the formula (matrix-numpy), or by a framework from the definition, in float64.

    Raises:
        ValueError: as there; y outside the loss's domain, a unit without an effect, another variant.
    """
    if variant not in SUPPORTED:
        raise ValueError(
            f"variant {variant!r} has one hidden layer, the squared loss, batch statistics or none, and no linear "
            f"terms or units; for more allowed are {', '.join(SUPPORTED)}"
        )
    check_conventions(**conventions)
    spec, deep = Spec(**conventions), is_deep(G1)
    theta, data, labels = _checked(X, y, G1, gamma, beta, G2, W, delta, units, statistics, spec, deep)
    losses.check(spec.loss, data.y, data.unit, labels)
    with np.errstate(all="ignore"):
        found = (_formula if variant not in MACHINES else functools.partial(_machine, MACHINES[variant]))(
            theta, data, spec, inputs
        )
    _finite(found)
    return Gradients.of(found._replace(loss=float(found.loss), dX=found.dX if inputs else None), deep)


def _checked(
    X: Any, y: Any, G1: Any, gamma: Any, beta: Any, G2: Any, W: Any, delta: Any, units: Any, statistics: Any,
    spec: Spec, deep: bool,
) -> tuple[Theta, Data, list | None]:  # fmt: skip
    """The arrays read and of the shapes that each other have; the labels of the units."""
    layers = len(G1) if deep else 1
    lists: dict[str, Any] = {}
    for name, given in (("G1", G1), ("gamma", gamma), ("beta", beta), ("statistics", statistics)):
        if given is None or not (deep or name == "statistics"):
            given = [given] * layers
        elif name == "statistics" and not deep and len(given) == 2 and np.ndim(given[0]) == 1:
            given = [given]
        if not isinstance(given, list | tuple) or len(given) != layers:
            count = len(given) if isinstance(given, list | tuple) else "no list"
            raise ValueError(f"{name} has {count} entries; with {layers} layers allowed are as many")
        lists[name] = given
    names = {"X": X, "y": y, "G2": G2, "W": W, "delta": delta}
    for place in range(layers):
        at = f"[{place}]" if deep else ""
        names |= {f"{name}{at}": lists[name][place] for name in ("G1", "gamma", "beta")}
        pair = lists["statistics"][place]
        if pair is not None:
            names |= {f"mean{at}": pair[0], f"var{at}": pair[1]}
    read = {name: None if value is None else arrays.read(name, value) for name, value in names.items()}
    dtype = _dtype(read)
    held_X, held_y, _ = _data(read["X"], read["y"], dtype)
    N, width = held_X.shape
    if spec.normalization == "batch" and N <= spec.ddof:
        raise ValueError(f"N is {N} with ddof {spec.ddof}; allowed is N > ddof")

    def take(name: str, *shape: int | None) -> Any:
        """An array of that shape, whose None stand for any size; None where the shape has none."""
        value = read.get(name)
        if not shape:
            if value is not None:
                raise ValueError(f"{name} is given; with normalization={spec.normalization!r} allowed is None")
            return None
        told = ", ".join("any" if size is None else str(size) for size in shape)
        if value is None:
            raise ValueError(f"{name} is None; allowed is an array of shape ({told})")
        fits = value.ndim == len(shape) and all(b in (None, a) for a, b in zip(value.shape, shape, strict=True))
        if not fits:
            raise ValueError(f"{name} has shape {value.shape}; with these arrays allowed is ({told})")
        value = _array(name, value, dtype)
        _size(name, value)
        return value

    hidden, given = [], []
    for place in range(layers):
        at = f"[{place}]" if deep else ""
        G = take(f"G1{at}", width, None)
        width = G.shape[1]
        affine = () if spec.normalization == "none" else (width,)
        hidden.append(Layer(G, take(f"gamma{at}", *affine), take(f"beta{at}", *affine)))
        if spec.normalization == "frozen":
            given.append((take(f"mean{at}", width), take(f"var{at}", width)))
            if not (given[-1][1] + spec.eps > 0).all():
                raise ValueError(f"var{at} plus eps {spec.eps} has an entry that is not above 0; allowed are variances")
        else:
            take(f"mean{at}")
    q = () if read["W"] is None else (read["W"].shape[-1],)
    held_W = take("W", N, *q) if q else None
    if not q and read["delta"] is not None:
        raise ValueError("delta is given without W; allowed are both, or none")
    theta = Theta(tuple(hidden), take("G2", width), take("delta", *q) if q else None)
    labels, unit = _units(units, N)
    count = 0 if labels is None else len(labels)
    return theta, Data(held_X, held_y, held_W, unit, count, tuple(given)), labels


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

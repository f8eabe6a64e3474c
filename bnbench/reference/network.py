"""The reference for a network of any depth: `formula` over double-doubles, and what a correct answer may differ by.

*What is the gradient?* `formula.gradients` over `Pairs`: about 31 digits.

*How far may a correct implementation in the problem's dtype be off?* The formula is run `RUNS` times over arrays that
round at random at the dtype's unit (`rounding`). The root mean square of their errors estimates that of a correct
implementation, at any depth, with no error analysis: conditioning, cancellation and the growth of errors from layer to
layer are in it because they happen. The μ-term is computed as written, (∂R/∂β)/N, which is right too, but loses more
where X has an offset. It is a sample, so two things are done. `MARGIN` is what an implementation may exceed it by:
others sum in other orders and use other algebra, and a root mean square of a few runs may come out too small. And it is
held to be no less than what the array's own last sum rounds by (its terms' size √n u √Σv²) and than u times the entry,
which are known and not drawn: an array of a single entry could else be hit by chance. Where a run loses the statistics
of a layer (s varies by more than `LOST` over the runs, or is not finite) nothing bounds the rounding, and all is
allowed.

*Kinks.* Where |B| of a ReLU lies within `KINK_MARGIN` times its estimated error of 0, a'(B) may be judged either way,
which moves gradients by far more than rounding. Such an element moves S_ij by ±t, t = (∂R/∂A)_ij times the jump of a',
and through the backward pass, which is linear in S, everything below it: that pass is made for the element alone. The
allowance of an entry is the largest sum that any subset makes: the positive moves together or the negative ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench import activations
from bnbench.formula import NO_EDITS, Known, backward, below_S, network
from bnbench.problem import Data, Layer, NetworkGradients, Spec, Theta, leaves, rebuilt
from bnbench.reference.pairs import PAIRS, Pairs
from bnbench.reference.rounding import ROUNDED, Rounded, Rounding

RUNS, FEW_RUNS, MANY_NUMBERS = 8, 3, 10**5  # runs, and so many where N times the widths is more than that
MARGIN, KINK_MARGIN = 64.0, 16.0
LOST = 0.1
AS_WRITTEN = {"mu_term": lambda k, value: k.dbeta / k.N}
MOST_FLIPS = 256  # elements whose pass is made; of more, those that move most stand for all


@dataclass(frozen=True)
class NetworkReference:
    """The gradients of a network and the errors that are allowed around them; each field a `NetworkGradients`.

    Attributes:
        high, low: their sum is the reference, as double-doubles.
        allowed: the largest error, entry by entry, of a correct implementation in the dtype, kink allowance included;
            infinite where nothing bounds it. Above 0 and never NaN.
        kink: the kink allowance alone.
        ambiguous: how many elements of B a correct implementation may judge either way.
    """

    high: NetworkGradients
    low: NetworkGradients
    allowed: NetworkGradients
    kink: NetworkGradients
    ambiguous: int


def converted(convert: Callable, theta: Theta, data: Data) -> tuple[Theta, Data]:
    """Parameters and data with every array of numbers converted."""

    def each(array: Any) -> Any:
        return None if array is None else convert(np.asarray(array, np.float64))

    data = data._replace(
        X=each(data.X), y=each(data.y), W=each(data.W), statistics=tuple(tuple(map(each, p)) for p in data.statistics)
    )
    return rebuilt(theta, map(each, leaves(theta))), data


def arrays(gradients: NetworkGradients) -> list:
    """The arrays of an answer, in order, without those that are None."""
    rest = [array for array in (gradients.dX, gradients.alpha) if array is not None]
    return [gradients.loss, *leaves(gradients.theta), *rest]


def filled(gradients: NetworkGradients, values: Iterable) -> NetworkGradients:
    """An answer with other arrays in the place of `arrays`."""
    loss, *rest = values
    count = len(leaves(gradients.theta))
    tail = iter(rest[count:])
    dX, alpha = (None if array is None else next(tail) for array in (gradients.dX, gradients.alpha))
    return NetworkGradients(loss, rebuilt(gradients.theta, rest[:count]), dX, alpha)


def reference(
    theta: Theta, data: Data, spec: Spec, dtype: str = "float64", *, inputs: bool = False
) -> NetworkReference:
    """The gradients of a network in double-double, and what a correct answer in a dtype may differ by.

    Shapes as in `Theta` and `Data`, whose arrays are of that dtype.
    """
    with np.errstate(all="ignore"):
        exact = network(*converted(Pairs, theta, data), spec, inputs=inputs, m=PAIRS)
        size = len(data.y) * sum(layer.G.shape[1] for layer in theta.layers)
        return _around(exact, theta, data, spec, dtype, inputs, RUNS if size <= MANY_NUMBERS else FEW_RUNS)


def _around(
    exact: Known, theta: Theta, data: Data, spec: Spec, dtype: str, inputs: bool, runs: int
) -> NetworkReference:
    found = arrays(exact.answer)
    squares, floors = [np.zeros(array.shape) for array in found], [np.zeros(())] * len(found)
    spread = [np.zeros(layer.B.shape) for layer in exact.layers]  # of B
    lost = False
    limits = np.finfo(dtype)
    for seed in range(runs):
        rounding = Rounding(dtype, seed)
        given = converted(lambda array, rounding=rounding: Rounded(array, rounding), theta, data)
        run = network(*given, spec, inputs=inputs, m=ROUNDED, edits=dict.fromkeys(range(len(theta.layers)), AS_WRITTEN))
        for place, (one, true) in enumerate(zip(arrays(run.answer), found, strict=True)):
            squares[place] += (one.v - true.high) ** 2
            if one.scale is not None:
                floors[place] = rounding.unit * one.scale
        for here, layer, true in zip(spread, run.layers, exact.layers, strict=True):
            here += (layer.B.v - true.B.high) ** 2
            if layer.layer.gamma is not None:
                lost |= not (np.abs(layer.s.v - true.s.high) <= LOST * true.s.high).all()
    kinks, ambiguous = _kinks(exact, [np.sqrt(each / runs) for each in spread], spec, inputs)
    allowed = []
    for true, square, floor, kink in zip(found, squares, floors, kinks, strict=True):
        least = np.maximum(floor, float(limits.eps) / 2 * np.abs(true.high))
        allow = MARGIN * np.maximum(np.sqrt(square / runs), least) + kink + len(data.y) * float(limits.tiny)
        bounded = (np.abs(true.high) + allow <= float(limits.max)) & (not lost)  # which NaN is not
        allowed.append(np.where(bounded, allow, np.inf))
    answer = exact.answer
    return NetworkReference(
        filled(answer, [array.high for array in found]),
        filled(answer, [array.low for array in found]),
        filled(answer, allowed),
        filled(answer, kinks),
        ambiguous,
    )


def _kinks(exact: Known, spread: list[np.ndarray], spec: Spec, inputs: bool) -> tuple[list[np.ndarray], int]:
    """What ambiguous elements may move each array of the answer by, and how many there are."""
    moved = [np.zeros((2, *array.shape)) for array in arrays(exact.answer)]  # upwards and downwards
    jump = activations.DEFINITIONS[spec.activation].jump
    flips = []
    for place, (layer, error) in enumerate(zip(exact.layers, spread, strict=True)) if jump else ():
        B, upstream = layer.B.high, layer.upstream.high
        near = np.abs(B) <= KINK_MARGIN * np.maximum(error, np.sqrt((error * error).mean(axis=0)))
        size = np.abs(upstream) * np.abs(layer.weight.high if layer.layer.gamma is not None else 1)
        flips += [(size[i, j], place, i, j, -jump if B[i, j] > 0 else jump) for i, j in np.argwhere(near & (size > 0))]
    flips.sort(reverse=True)
    share = max(1.0, len(flips) / MOST_FLIPS)
    layers = list(map(_plain, exact.layers)) if flips else []
    for _, place, i, j, change in flips[:MOST_FLIPS]:
        node = _node(layers[place], j)
        node.S = np.zeros((node.N, 1))
        node.S[i] = exact.layers[place].upstream.high[i, j] * change
        gradient, upstream = below_S(node, inputs=inputs or place > 0)
        for array, change in zip(_of_layer(moved, place, layers), gradient, strict=False):
            _move(array[..., j : j + 1], change)
        for lower in reversed(range(place)):
            gradient, upstream = backward(layers[lower], upstream, inputs=inputs or lower > 0)
            for array, change in zip(_of_layer(moved, lower, layers), gradient, strict=False):
                _move(array, change)
        if inputs:
            _move(moved[1 + len(leaves(exact.answer.theta))], upstream)
    return [share * part.max(axis=0) for part in moved], len(flips)


def _of_layer(each: list, place: int, layers: list[Known]) -> list:
    """Those of the `arrays` of an answer that are a layer's."""
    count = 1 if layers[place].layer.gamma is None else 3
    return each[1 + count * place : 1 + count * (place + 1)]


def _move(moved: np.ndarray, change: np.ndarray) -> None:
    """Add a change to what an array (2,...) is moved by upwards and downwards."""
    moved[0] += np.maximum(change, 0)
    moved[1] += np.maximum(-change, 0)


def _plain(k: Known) -> Known:
    """What a backward pass needs of a layer, in float64."""
    high = {name: getattr(k, name).high for name in ("input", "B", "A")}
    if k.layer.gamma is not None:
        high |= {name: getattr(k, name).high for name in ("Xhat", "s")}
    layer = Layer(*(None if array is None else array.high for array in k.layer))
    return Known(NO_EDITS, layer=layer, spec=k.spec, N=k.N, frozen=k.frozen, **high)


def _node(k: Known, j: int) -> Known:
    """The same of one of its nodes alone."""
    G, *affine = k.layer
    normalized = {} if k.layer.gamma is None else {"Xhat": k.Xhat[:, j : j + 1], "s": k.s[j : j + 1]}
    layer = Layer(G[:, j : j + 1], *(None if array is None else array[j : j + 1] for array in affine))
    return Known(NO_EDITS, layer=layer, spec=k.spec, N=k.N, frozen=k.frozen, input=k.input, **normalized)

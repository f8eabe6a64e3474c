"""The reference: `formula` over double-doubles, and what a correct answer may differ by, for a network of any depth.

*What is the gradient?* `formula.gradients` over `Pairs`: about 31 digits.

*How far may a correct implementation in the problem's dtype be off?* The formula is run a few times over arrays that
round at random at the dtype's unit (`rounding`). The root mean square of their errors estimates that of a correct
implementation, at any depth, with no error analysis: conditioning, cancellation and the growth of errors from layer to
layer are in it because they happen. (At a kink a run takes the side that the reference is on.) The μ-term is computed
as written, (∂R/∂β)/N, which is right too, but loses more where X has an offset. It is a sample, so two things are done.
`MARGIN` is what an implementation may exceed it by: 4 for other algebra, in more steps; 4 for roundings that are not
independent; and 4 because a root mean square of a few runs may come out too small (of two, as many as large arrays are
given, by a factor of 4 in 6 % of draws; of eight in 0.01 %). And it is held to be no less than what the array's own
last sum rounds by (u(Σ|v| + √n |S|)) and than u times the entry, which are known and not drawn: an array of a single
entry could else be hit by chance. Where a run loses the statistics of a layer (s varies by more than `LOST` over the
runs, or is not finite) nothing bounds the rounding, and all is allowed.

*Kinks.* Where |B| of a ReLU lies within `KINK_MARGIN` times its estimated error of 0, a'(B) may be judged either way,
which moves gradients by far more than rounding. Such an element moves S_ij by ±t, t = (∂R/∂A)_ij times the jump of a',
and with it its own layer's ∂R/∂β_j by t, ∂R/∂γ_j by t X̂_ij and ∂R/∂Γ_kj by t (γ_j/s_j)(A_ik - ā_k - X̂_ij
(AᵀX̂)_kj/(N - ddof)), A the layer's input. What flows further down moves in every row: the backward pass, which is
linear in S, is made for the element alone. The allowance of an entry is the largest sum that any subset of the elements
makes: the positive moves together or the negative ones. To first order that is exact in a layer's own arrays, at any
number of elements, and so it is further down for up to `PASSES` elements; of more, as many are drawn with probabilities
proportional to the size of S's change, and stand for all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench import activations
from bnbench.formula import NO_EDITS, Edit, Known, backward, below_S, network
from bnbench.problem import Batch, Data, Gradients, Layer, NetworkGradients, Problem, Spec, Theta, leaves, rebuilt
from bnbench.reference.chunks import empty, reusing
from bnbench.reference.pairs import PAIRS, Pairs
from bnbench.reference.rounding import ROUNDED, Rounded, Rounding

MOST_RUNS, LEAST_RUNS, NUMBERS = 8, 2, 2**17  # so many runs as hold no more of a layer's numbers than that
MARGIN, KINK_MARGIN = 64.0, 16.0
LOST = 0.1
CUT = 2.0  # units by which a factor is off that is cut off where it is not rounded
PASSES = 256
AS_WRITTEN = {"mu_term": lambda k, value: k.dbeta / k.N}
# From where a letter is known, others are no longer needed.
LAST_NEEDED = {
    "Zc": ("Z",), "Xhat": ("Zc",), "slope": ("A", "B"), "S": ("slope", "upstream"),
    "s_term": ("Xhat",), "D": ("S", "s_term"), "dZ": ("S", "D"), "dA": ("dZ",),
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """The gradients of a problem and the errors that are allowed around them; each field a `Gradients`.

    Attributes:
        high, low: their sum is the reference, as double-doubles.
        allowed: the largest error, entry by entry, of a correct implementation in the dtype, kink allowance included;
            infinite where nothing bounds it. Above 0 and never NaN.
        kink: the kink allowance alone.
        ambiguous: how many elements of B a correct implementation may judge either way.
    """

    high: Any
    low: Any
    allowed: Any
    kink: Any
    ambiguous: int


def reference(batch: Batch, problem: Problem, factor_unit: float = 0.0) -> Reference:
    """The gradients of a batch in double-double, and how much a correct answer may differ.

    Shapes as in `Batch`. factor_unit is for hardware that rounds the factors of matrix products to fewer digits than
    the dtype has: that format's rounding unit (TF32: 2⁻¹¹). Takes about 80 N p2 bytes where there is one layer.
    """
    found = of_network(batch.theta, batch.data, problem.spec, problem.dtype, factor_unit=factor_unit)
    deep = isinstance(batch.G1, list)

    def gradients(one: NetworkGradients) -> Gradients:
        return Gradients.of(one._replace(loss=float(one.loss)), deep)

    high, low, allowed, kink = map(gradients, (found.high, found.low, found.allowed, found.kink))
    return Reference(high, low, allowed, kink, found.ambiguous)


def of_network(
    theta: Theta,
    data: Data,
    spec: Spec,
    dtype: str = "float64",
    *,
    inputs: bool = False,
    factor_unit: float = 0.0,
) -> Reference:
    """As `reference`, with each field a `NetworkGradients`; shapes as in `Theta` and `Data`, arrays of the dtype."""
    kinked, deep = activations.DEFINITIONS[spec.activation].jump > 0, len(theta.layers) > 1
    with np.errstate(all="ignore"), reusing():
        theta, data = converted(lambda array: array, theta, data)
        kept = ("B", "Xhat", "upstream", *("A",) * deep) if kinked else ()
        exact = _run(Pairs, PAIRS, theta, data, spec, inputs, kept)
        a, da = activations.functions(spec.activation)

        def as_exact(k: Known, _: Any) -> Rounded:
            """a' as it is, at a kink too: which side of one an element is on is no matter of size."""
            B = exact.layers[k.place].B.high
            return k.B.made(lambda B: da(B, a(B)), B[None], unit=0.0)

        found = arrays(exact.answer)
        errors: list[Any] = [0.0] * len(found)  # ‖ ‖₂ over the runs; their squares may underflow
        floors = [0.0] * len(found)
        spread = [np.zeros(layer.B.shape) for layer in exact.layers] if kinked else []  # of B
        size = len(data.y) * max(layer.G.shape[1] for layer in theta.layers)
        runs, lost = min(MOST_RUNS, max(LEAST_RUNS, NUMBERS // size)), False
        stack = runs if runs * size <= NUMBERS else 1
        for seed in range(runs // stack):
            rounding = Rounding(dtype, stack, seed, CUT * factor_unit)
            run = _run(
                lambda array, rounding=rounding: Rounded(array[None], rounding), ROUNDED, theta, data, spec, inputs,
                ("B",) if kinked else (), AS_WRITTEN | ({"slope": as_exact} if kinked else {}),
            )  # fmt: skip
            for place, (one, true) in enumerate(zip(arrays(run.answer), found, strict=True)):
                errors[place] = np.hypot(errors[place], np.hypot.reduce(one.v - true.high, axis=0))
                floors[place] = np.max(one.least, axis=0) if one.sizes is not None else 0.0
            for here, layer, true in zip(spread, run.layers, exact.layers, strict=kinked):
                for B in layer.B.v:
                    off = np.subtract(B, true.B.high, out=empty(B.shape))
                    here += np.multiply(off, off, out=off)
                    del off, B
                layer.B.forget()
            for layer, true in zip(run.layers, exact.layers, strict=True):
                if layer.layer.gamma is not None:
                    lost |= not (np.abs(layer.s.v - true.s.high) <= LOST * true.s.high).all()
        kinks, ambiguous = _kinks(exact, [np.sqrt(each / runs) for each in spread], spec, inputs)
    limits, allowed = np.finfo(dtype), []
    unit = max(float(limits.eps) / 2, CUT * factor_unit)
    for true, error, floor, moved in zip(found, errors, floors, kinks, strict=True):
        least = np.maximum(floor, unit * np.abs(true.high))
        allow = MARGIN * np.maximum(error / runs**0.5, least) + moved + len(data.y) * float(limits.tiny)
        bounded = (np.abs(true.high) + allow <= float(limits.max)) & (not lost)  # which NaN is not
        allowed.append(np.where(bounded, allow, np.inf))
    parts = [array.high for array in found], [array.low for array in found], allowed, kinks
    high, low, allowance, kink = (filled(exact.answer, part) for part in parts)
    return Reference(high, low, allowance, kink, ambiguous)


def _run(
    convert: Callable,
    m: Any,
    theta: Theta,
    data: Data,
    spec: Spec,
    inputs: bool,
    kept: tuple,
    edits: Mapping = NO_EDITS,
) -> Known:
    """The formula over arrays of one type. Of what `LAST_NEEDED` has, kept are of `Pairs` the high halves."""

    def freeing(of: str, letters: tuple) -> Edit:
        def edit(k: Known, value: Any) -> Any:
            value = edits[of](k, value) if of in edits else value
            for letter in letters:
                past = vars(k).get(letter)
                if past is value or not isinstance(past, Pairs | Rounded):
                    continue
                if letter not in kept:
                    past.forget()
                elif isinstance(past, Pairs):
                    past.forget(low_only=True)
            return value

        return edit

    planted = dict(edits) | {of: freeing(of, letters) for of, letters in LAST_NEEDED.items()}
    everywhere = dict.fromkeys(range(len(theta.layers)), planted)
    return network(*converted(convert, theta, data), spec, inputs=inputs, m=m, edits=everywhere)


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


def _kinks(exact: Known, spread: list[np.ndarray], spec: Spec, inputs: bool) -> tuple[list[np.ndarray], int]:
    """What ambiguous elements may move each array of the answer by, and how many there are."""
    moved = [np.zeros((2, *array.shape)) for array in arrays(exact.answer)]  # upwards and downwards
    jump, count = activations.DEFINITIONS[spec.activation].jump, 0
    layers: list[Known] = []
    further: list[tuple] = []  # (size of the change, layer, i, j, change)
    for place, (layer, error) in enumerate(zip(exact.layers, spread, strict=False)):
        B, upstream = layer.B.high, layer.upstream.high
        near = np.abs(B) <= KINK_MARGIN * np.maximum(error, np.sqrt((error * error).mean(axis=0)))
        j, i = np.nonzero((near & (upstream != 0)).T)
        change = np.where(B[i, j] > 0, -jump, jump) * upstream[i, j]
        layers.append(_plain(layer) if len(i) or further else layer)
        count += len(i)
        if len(i):
            _own_moves(layers[place], i, j, change, _of_layer(moved, place, layer))
        if len(i) and (place or inputs):
            weight = layer.weight.high[j] if layer.layer.gamma is not None else 1.0
            further += zip(np.abs(change * weight), [place] * len(i), i, j, change, strict=True)
    for share, (_, place, i, j, change) in _drawn(further):
        node = _node(layers[place], j)
        node.S = np.zeros((node.N, 1))
        node.S[i] = share * change
        _, upstream = below_S(node)
        for lower in reversed(range(place)):
            layers[lower] = _plain(exact.layers[lower]) if isinstance(layers[lower].B, Pairs) else layers[lower]
            gradient, upstream = backward(layers[lower], upstream, inputs=inputs or lower > 0)
            for array, move in zip(_of_layer(moved, lower, layers[lower]), gradient, strict=False):
                _add_moves(array[..., None], 0, move[None])
        if inputs:
            _add_moves(moved[1 + len(leaves(exact.answer.theta))][..., None], 0, upstream[None])
    return [part.max(axis=0) for part in moved], count


def _own_moves(k: Known, i: np.ndarray, j: np.ndarray, change: np.ndarray, moved: list) -> None:
    """Add what elements (i, j), in the order of j, move the arrays of their layer by, where S_ij changes."""
    centred = k.layer.gamma is not None and not k.frozen
    if centred:
        mean, slope = k.input.mean(axis=0), k.input.T @ k.Xhat / (k.N - k.spec.ddof)
    nodes, firsts = np.unique(j, return_index=True)
    for node, rows, each in zip(nodes, np.split(i, firsts[1:]), np.split(change, firsts[1:]), strict=True):
        given, weight = k.input[rows], 1.0
        if k.layer.gamma is not None:
            Xhat, weight = k.Xhat[rows, node], k.layer.gamma[node] / k.s[node]
            _add_moves(moved[1], node, each * Xhat)
            _add_moves(moved[2], node, each)
            if centred:
                given = given - mean - np.outer(Xhat, slope[:, node])
        _add_moves(moved[0], node, (weight * each)[:, None] * given)


def _add_moves(moved: np.ndarray, node: int, changes: np.ndarray) -> None:
    """Add changes, a row each, to what a node's share of an array (2,...) is moved by upwards and downwards."""
    moved[0, ..., node] += np.maximum(changes, 0).sum(axis=0)
    moved[1, ..., node] += np.maximum(-changes, 0).sum(axis=0)


def _drawn(further: list) -> list:
    """(share, element) of all elements, or of `PASSES` drawn in proportion to their first entry."""
    if len(further) <= PASSES:
        return [(1.0, each) for each in further]
    sizes = np.cumsum([each[0] for each in further])
    if not sizes[-1] > 0:
        return []
    chosen = np.searchsorted(sizes, (np.arange(PASSES) + 0.5) / PASSES * sizes[-1])
    return [(sizes[-1] / PASSES / further[place][0], further[place]) for place in chosen]


def _of_layer(each: list, place: int, layer: Known) -> list:
    """Those of the `arrays` of an answer that are a layer's."""
    count = 1 if layer.layer.gamma is None else 3
    return each[1 + count * place : 1 + count * (place + 1)]


def _plain(k: Known) -> Known:
    """What a backward pass needs of a layer, in float64."""
    input, B = k.input.high, k.B.high
    normalized = {} if k.layer.gamma is None else {"Xhat": k.Xhat.high, "s": k.s.high}
    layer = Layer(*(None if array is None else array.high for array in k.layer))
    A = B if k.A.high is None else k.A.high
    return Known(NO_EDITS, layer=layer, spec=k.spec, N=k.N, frozen=k.frozen, input=input, B=B, A=A, **normalized)


def _node(k: Known, j: int) -> Known:
    """The same of one of its nodes alone."""
    G, *affine = k.layer
    normalized = {} if k.layer.gamma is None else {"Xhat": k.Xhat[:, j : j + 1], "s": k.s[j : j + 1]}
    layer = Layer(G[:, j : j + 1], *(None if array is None else array[j : j + 1] for array in affine))
    return Known(NO_EDITS, layer=layer, spec=k.spec, N=k.N, frozen=k.frozen, input=k.input, **normalized)

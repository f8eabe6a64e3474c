"""Networks drawn at random, of one to five layers with uneven widths, and how far two answers to one lie apart."""

import itertools

import numpy as np

from bnbench.activations import DEFINITIONS
from bnbench.problem import LOSSES, NORMALIZATIONS, Batch, Data, Layer, NetworkGradients, Problem, Spec, Theta
from bnbench.reference.network import arrays, converted

LABELS = "Oslo", "Rome", "Bern"


def network(seed, *, layers=None, largest=9, rows=40, dtype="float64", plain=False, **conventions):
    """(theta, data, spec) of a seed; conventions are those of `Spec`, where they are not drawn.

    Offsets in X, γ and weights of both signs, linear terms and unit effects in some; plain has none of the last two.
    """
    random = np.random.default_rng(seed)
    drawn = {
        "activation": random.choice(list(DEFINITIONS)),
        "normalization": random.choice(NORMALIZATIONS, p=(0.6, 0.2, 0.2)),
        "loss": random.choice(LOSSES),
        "ddof": int(random.integers(3)),
        "eps": float(random.choice([1e-5, 1e-3, 0.5])),
    }
    spec = Spec(
        **{name: str(value) if isinstance(value, str) else value for name, value in (drawn | conventions).items()}
    )
    depth = int(random.integers(1, 6)) if layers is None else layers
    N, *widths = (int(n) for n in random.integers([5, *[1] * (depth + 1)], [rows, *[largest] * (depth + 1)]))
    offset = random.choice([0, 0, 1, 30]) if spec.normalization == "batch" else 0
    X = random.standard_normal((N, widths[0])) + offset * random.standard_normal(widths[0])
    normalized = spec.normalization != "none"
    hidden, statistics = [], []
    for fan_in, width in itertools.pairwise(widths):
        affine = random.choice([-1, 1], width) * random.uniform(0.5, 2, width), 0.5 * random.standard_normal(width)
        G = random.standard_normal((fan_in, width)) / fan_in**0.5
        hidden.append(Layer(G, *affine) if normalized else Layer(G))
        statistics.append((random.standard_normal(width), random.uniform(0.3, 3, width)))
    q, units = (0, 0) if plain else (int(random.choice([0, 3])), int(random.choice([0, 3])))
    theta = Theta(
        tuple(hidden), random.standard_normal(widths[-1]) / widths[-1] ** 0.5, random.standard_normal(q) if q else None
    )
    unit = np.concatenate([np.arange(units), random.integers(0, units, N - units)]) if units else None
    y = {
        "squared": random.standard_normal(N),
        "logistic": random.uniform(0.05, 0.95, N),
        "poisson": random.poisson(2.0, N) + 0.25 * (unit is not None),
    }[spec.loss]
    W = random.standard_normal((N, q)) if q else None
    given = tuple(statistics) if spec.normalization == "frozen" else ()
    return *cast(theta, Data(X, y.astype(float), W, unit, units, given), dtype), spec


def cast(theta, data, dtype):
    """The same in another dtype."""
    return converted(lambda array: array.astype(dtype), theta, data)


def distances(found, known):
    """‖found - known‖ over ‖known‖ (or 1, where that is less than a thousandth) of each array of two answers."""
    pairs = zip(arrays(found), arrays(known), strict=True)
    return [float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)) for a, b in pairs]


def arguments(theta, data, spec, deep=True):
    """What `bnbench.gradients` is called with; of one layer without lists where deep is false."""
    parts = [list(part) for part in zip(*theta.layers, strict=True)]
    affine = [None, None] if spec.normalization == "none" else parts[1:]
    statistics = list(data.statistics) or None
    if not deep:
        (parts[0],), affine = parts[0], [None if part is None else part[0] for part in affine]
        statistics = statistics and statistics[0]
    units = None if data.unit is None else [LABELS[code] for code in data.unit]
    conventions = {name: getattr(spec, name) for name in Spec.__dataclass_fields__}
    more = {"W": data.W, "delta": theta.delta, "units": units, "statistics": statistics}
    return (data.X, data.y, parts[0], *affine, theta.out), more | conventions


def asked(theta, data, spec):
    """The network as a variant is given it: (batch, problem), whose p2 is the first layer's width."""
    deep = len(theta.layers) > 1
    positional, more = arguments(theta, data, spec, deep)
    batch = Batch(*positional, W=data.W, delta=theta.delta, units=data.unit, statistics=more["statistics"])
    problem = Problem(
        *data.X.shape, theta.layers[0].G.shape[1], spec.activation, spec.normalization, spec.ddof, spec.eps,
        data.X.dtype, loss=spec.loss, depth=len(theta.layers), linear=0 if data.W is None else data.W.shape[1],
        units=data.units,
    )  # fmt: skip
    return batch, problem


def answer(found, theta):
    """The library's answer in the formula's form."""
    deep = isinstance(found.dG1, list)
    none = [None] * len(theta.layers)
    columns = [none if part is None else part if deep else [part] for part in (found.dG1, found.dgamma, found.dbeta)]
    layers = tuple(type(theta.layers[0])(*parts) for parts in zip(*columns, strict=True))
    return NetworkGradients(found.loss, Theta(layers, found.dG2, found.ddelta), found.dX, found.alpha)


def in_label_order(data):
    """The data with the units numbered as their labels are sorted."""
    if data.unit is None:
        return data
    order = {label: place for place, label in enumerate(sorted(LABELS))}
    return data._replace(unit=np.array([order[LABELS[code]] for code in data.unit]))

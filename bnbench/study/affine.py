"""Whether γ and β are redundant: what they add to what a network can do, and what training loses without them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from flint import arb_mat, ctx, fmpq, fmpq_mat
from scipy.linalg import qr
from scipy.optimize import minimize

import bnbench.estimators  # noqa: F401 - without scikit-learn, which has the data, it says what to install
from bnbench import formula
from bnbench.library import gradients, prepare
from bnbench.prediction import predict
from bnbench.problem import ACTIVATIONS, Layer, Problem, Spec
from bnbench.reference.balls import BALLS, Balls, balls
from bnbench.running import population
from bnbench.study.base import Cells, Claim, Study, claim, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = "Are batch normalisation's learnable scale γ and shift β not redundant?"
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"activations": ("identity", "relu", "tanh", "gaussian"), "draws": 2, "seeds": 5, "widths": (8, 64)},
    "default": {"activations": ACTIVATIONS, "draws": 4, "seeds": 20, "widths": (8, 16, 32, 64, 128)},
}
HOMOGENEOUS = ("relu", "leaky-relu")  # a(cb) = c a(b) for c > 0
ROWS, INPUTS, NODES = 49, 3, 3  # of the Jacobians whose ranks are certified; ROWS is a square
MIXED = 12  # reflections that make their X
BITS = 256  # of the balls
LENGTH, ROUNDING = 3.0, 1e-12  # by what Γ1 is made longer; how closely identities are to hold
DATA, WIDTH, ITERATIONS = ("planted", "diabetes"), 8, 150  # of the nets that are trained, and of L-BFGS
FEATURES = ("identity", "relu", "tanh")  # activations of the random features
CLOSE, SAME_SET = 1e-3, 0.1  # how close losses are to come: to least squares; of two nets that have the same functions
ALL, NO_GAMMA, NO_BETA, NEITHER = "all", "without γ", "without β", "without both"
AFFINE, HEAD = "γ and β alone", "Γ2 alone"
TRAINED = {  # what is trained beside the intercept; what is not stays at its start, γ at 1 and β at 0
    ALL: ("G1", "gamma", "beta", "G2"),
    NO_GAMMA: ("G1", "beta", "G2"),
    NO_BETA: ("G1", "gamma", "G2"),
    NEITHER: ("G1", "G2"),
    AFFINE: ("gamma", "beta"),
    HEAD: ("G2",),
}
SETS = {"loss": (ALL, NO_GAMMA, NO_BETA, NEITHER), "features": (ALL, AFFINE, HEAD)}
IDENTITIES = {  # left side = theory's factor × right side: the sentence, and the factor
    "shift": ("identity: ∂β_j = Γ2_j Σr_i, so that ∂β_j/Γ2_j is the same for every node", 1.0),
    "scale": ("ReLU and leaky ReLU: γ_j ∂γ_j + β_j ∂β_j = Γ2_j ∂Γ2_j", 1.0),
    "rewritten": (
        "identity, ReLU, leaky ReLU: what is redundant can be put into Γ1, Γ2 and the intercept: same ŷ",
        1.0,
    ),
    "norm": ("every activation: ‖dZ_j‖² = (γ_j/s_j)² (‖S_j‖² - ∂β_j²/N - ∂γ_j²/N)", 1.0),
    "length": (f"every activation: ∂R/∂Γ1 = {LENGTH:g} ∂R/∂({LENGTH:g} Γ1)", LENGTH),
}


LOST = {("identity", what): 1.0 for what in SETS["loss"]} | {(name, NO_GAMMA): 1.0 for name in HOMOGENEOUS}  # theory
ON_FEATURES = {("identity", AFFINE): 1.0}  # theory: the loss on random features over that of least squares
ADDED = "added by γ and β"
FOUND = ("measured", "low", "high")
COLUMNS = ["part", "activation", "data", "what", "width", "predicted", *FOUND]


def added(activation: str) -> int:
    """Theory: the directions that γ and β add to those in which the outputs of a layer of `NODES` can move."""
    return {"identity": 0, "relu": 1, "leaky-relu": 1}.get(activation, 2) * NODES


def count(preset: str) -> int:
    """How many cells a run has."""
    return len(_cells(preset))


def _cells(preset: str) -> dict[tuple, Callable[[], dict]]:
    """What a run measures: kind, activation and what else tells a cell, to the function that measures it."""
    chosen = PRESETS[preset]
    seeds = range(chosen["seeds"])
    found: dict[tuple, Callable[[], dict]] = {}
    for kind, measure in (("rank", ranks), ("identities", identities)):
        for key in itertools.product(chosen["activations"], range(chosen["draws"])):
            found[kind, *key] = partial(measure, *key)
    for activation, data, seed in itertools.product(chosen["activations"], DATA, seeds):
        found["loss", activation, data, seed] = partial(fits, data, activation, WIDTH, SETS["loss"], seed)
    for activation, width, seed in itertools.product(FEATURES, chosen["widths"], seeds):
        found["features", activation, width, seed] = partial(fits, "planted", activation, width, SETS["features"], seed)
    return found


def run(preset: str, cells: Cells) -> Study:
    """Measure, and hold theory against what was measured."""
    from bnbench.study.plots import lines

    found = {key: cells("/".join(("affine", *map(str, key))), compute) for key, compute in _cells(preset).items()}
    table = pd.DataFrame(_rows(found), columns=COLUMNS)
    ranked = table[table["part"] == "rank"].assign(panel="directions in which the outputs can move")
    plots: dict[str, Callable[[], Figure]] = {
        "rank": partial(
            lines, ranked, "panel", "activation", "what", xlabel="", ylabel="directions", log="", level=0.0,
            caption=f"The certified rank of the Jacobian of a layer of {NODES} nodes without γ and β, and what these "
            f"add to it: of their {2 * NODES} directions, those that are missing are redundant.",
        ),
        "loss": partial(
            lines, table[table["part"] == "loss"], "data", "activation", "what", xlabel="", log="y", level=1.0,
            ylabel="training loss over that with γ and β",
            caption="What leaving γ, β or both out does to the training loss, paired over seeds, with 95 % "
            "intervals: on the line at 1 nothing is lost.",
        ),
        "features": partial(
            lines, table[table["part"] == "R²"], "activation", "width", "what", xlabel="nodes", base=2,
            ylabel="R² on rows held out",
            caption="What γ and β alone learn on random features of planted functions, beside the head alone and all "
            "parameters (with the identity all coincide); 95 % intervals over seeds.",
        ),
    }  # fmt: skip
    return Study("affine", QUESTION, _answer(table), _claims(table), table, plots)


def _rows(found: dict[tuple, dict]) -> Iterator[dict]:
    """Rows of the table; cells that differ in their draw or seed alone are one."""
    for (kind, activation, *rest), keys in itertools.groupby(found, lambda key: key[:-1]):
        cells = [found[key] for key in keys]
        here: dict[str, Any] = {"part": kind, "activation": activation}
        if kind == "rank":  # certified over all draws
            low, high = ([one["without"][k] for one in cells] for k in (0, 1))
            theory: float = 1 + INPUTS * (1 if activation == "identity" else NODES)
            yield here | {"what": NEITHER, "predicted": theory} | _between(low, high)
            low = [one["with"][0] - one["without"][1] for one in cells]
            high = [one["with"][1] - one["without"][0] for one in cells]
            yield here | {"what": ADDED, "predicted": added(activation)} | _between(low, high)
        elif kind == "identities":
            for name in cells[0]:
                low, high = ([one[name][k] for one in cells] for k in (0, 1))
                yield here | {"what": name, "predicted": IDENTITIES[name][1]} | _between(low, high)
        elif kind == "loss":  # paired over seeds
            for what, (place, part) in itertools.product(SETS[kind][1:], enumerate((kind, "held out"))):
                ratios = [math.log(one[what][place] / one[ALL][place]) for one in cells]
                theory = LOST.get((activation, what), math.nan) if part == kind else math.nan
                here |= {"part": part, "data": rest[0], "what": what, "predicted": theory}
                yield here | dict(zip(FOUND, np.exp(interval(ratios)).tolist(), strict=True))
        else:
            for what in SETS[kind]:
                here |= {"data": "planted", "what": what, "width": rest[0]}
                theory = ON_FEATURES.get((activation, what), math.nan)
                over = interval([one[what][0] / one["least squares"] for one in cells])
                yield here | {"part": kind, "predicted": theory} | dict(zip(FOUND, over, strict=True))
                shares = interval([1 - one[what][1] / one["variance"] for one in cells])
                yield here | {"part": "R²", "predicted": math.nan} | dict(zip(FOUND, shares, strict=True))


def _between(low: Any, high: Any) -> dict[str, float]:
    return {"measured": (min(low) + max(high)) / 2, "low": min(low), "high": max(high)}


class Rationals(Balls):
    """The operations of object arrays of rational numbers, `flint.fmpq`, all of them exact."""

    choose = staticmethod(np.frompyfunc(lambda b, above, below: above if b > 0 else below, 3, 1))
    sqrt = staticmethod(np.frompyfunc(lambda x: x.sqrt(), 1, 1))  # refused where x is no square of a rational

    def relu(self, b: Any) -> Any:
        """max(b, 0)."""
        return self.choose(b, b, 0 * b)

    def number(self, like: Any, x: float) -> fmpq:
        """The double x, exactly."""
        return fmpq(*float(x).as_integer_ratio())


def ranks(activation: str, draw: int) -> dict:
    """The rank of the outputs' Jacobian by (Γ1, γ, β, Γ2, intercept), and by all but γ and β where these are 1 and 0.

    Each is given as two certified bounds: all numbers are rational, s among them, since the columns of X are orthogonal
    and the squared lengths of those of Γ1 are squares. Where the activation is rational too, so is the Jacobian, and
    its rank is exact. Else a node's columns are those of the linear layer with rows multiplied, whose rank is exact and
    bounds theirs from above; and a minor whose determinant's ball does not hold 0 bounds the whole from below.
    """
    X, G, gamma, beta, out = rational_net(np.random.default_rng([3, draw]))
    found = {}
    for name, layer in (("with", Layer(G, gamma, beta)), ("without", Layer(G, gamma * 0 + 1, beta * 0))):
        places = np.arange(INPUTS * NODES + 3 * NODES + 1)
        if name == "without":
            places = np.delete(places, np.s_[INPUTS * NODES : (INPUTS + 2) * NODES])
        if activation == "identity" or activation in HOMOGENEOUS:
            rank = _exact(_jacobian(layer, out, X, activation, Rationals())[:, places])
            found[name] = [rank, rank]
            continue
        linear = _jacobian(layer, out, X, "identity", Rationals())
        hidden = places[places < (INPUTS + 2) * NODES]  # a node's are every NODES-th
        most = sum(_exact(linear[:, hidden[hidden % NODES == j]]) for j in range(NODES)) + NODES + 1
        found[name] = [_at_least(layer, out, X, activation, places, most), most]
    return found


def rational_net(random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """X, Γ1, γ, β and Γ2 in rationals.

    The columns of X have mean 0, variance 1 and no correlation, by reflections; those of Γ1 have a whole length.
    """

    def exactly(numbers: Any) -> np.ndarray:
        return np.frompyfunc(lambda x: fmpq(int(x)), 1, 1)(numbers)

    root, first = math.isqrt(ROWS), np.ones(ROWS, int)
    first[0] -= root  # takes the first axis to the direction of 1, where the others leave it
    turns = random.integers(-5, 6, (MIXED, ROWS))
    turns[:, -1] -= turns.sum(axis=1)
    X = exactly(root * np.eye(ROWS)[:, 1 : 1 + INPUTS])
    for v in map(exactly, (first, *turns)):
        X = X - np.outer(v, (v @ X) * 2 / (v @ v))
    columns: list[np.ndarray] = []
    while len(columns) < NODES:
        column = random.integers(-9, 10, INPUTS)
        if column.all() and math.isqrt(square := int(column @ column)) ** 2 == square:
            columns.append(column)
    eighths = [random.integers(*of, NODES) * random.choice((-1, 1), NODES) for of in ((4, 12), (1, 5), (4, 12))]
    return X, exactly(np.stack(columns, axis=1)), *(exactly(part) / 8 for part in eighths)


def _jacobian(layer: Layer, out: np.ndarray, X: np.ndarray, activation: str, m: Any) -> np.ndarray:
    """∂ŷ_i of every row i by Γ1, γ, β, Γ2 and the intercept: (N,P), by the layer's backward pass."""
    spec: Any = Spec(activation, eps=0)
    k = formula.forward(layer, X, spec, m=m)
    found = []
    for i in range(len(X)):
        upstream = np.zeros_like(k.A) + 0 * out
        upstream[i] = out
        gradient, _ = formula.backward(k, upstream, m, inputs=False)
        found.append(np.concatenate([gradient.G.ravel(), gradient.gamma, gradient.beta, k.A[i], [0 * out[0] + 1]]))
    return np.array(found, object)


def _exact(J: np.ndarray) -> int:
    return int(fmpq_mat(J.tolist()).rank())


def _at_least(layer: Layer, out: np.ndarray, X: np.ndarray, activation: str, places: np.ndarray, most: int) -> int:
    """The size, up to `most`, of a minor of the Jacobian that is proven not to be 0."""
    with ctx.workprec(BITS):
        J = _jacobian(Layer(*map(balls, layer)), balls(out), balls(X), activation, BALLS)[:, places]
        middle = J.astype(np.float64)
        columns = qr(middle, mode="r", pivoting=True)[-1]
        for rank in range(most, 0, -1):
            chosen = columns[:rank]
            rows = qr(middle[:, chosen].T, mode="r", pivoting=True)[-1][:rank]
            if not arb_mat(J[np.ix_(rows, chosen)].tolist()).det().contains(0):
                return rank
    return 0


def identities(activation: str, draw: int) -> dict:
    """Each identity that the activation has: the factor between its two sides and its bounds, by the library alone."""
    problem = Problem(N=60, p1=7, p2=7, activation=activation, eps=0.0, seed=draw)
    X, y, G1, gamma, beta, G2 = problem.sample()
    chosen: dict[str, Any] = {"activation": activation, "eps": 0.0}
    here = gradients(X, y, G1, gamma, beta, G2, **chosen)
    found = {"length": _factor(here.dG1, gradients(X, y, LENGTH * G1, gamma, beta, G2, **chosen).dG1)}
    plain = X, y, np.eye(7), gamma, beta, G2  # Z is X: ∂R/∂X is dZ, and with μ and s held (γ/s) ⊙ S
    whole, var = gradients(*plain, inputs=True, **chosen), X.var(axis=0)
    held = gradients(*plain, inputs=True, normalization="frozen", statistics=(X.mean(axis=0), var), **chosen)
    taken_off = gamma**2 / var * (whole.dbeta**2 + whole.dgamma**2) / problem.N
    found["norm"] = _factor((whole.dX**2).sum(axis=0), (held.dX**2).sum(axis=0) - taken_off)
    yhat, size = predict(X, G1, gamma, beta, G2, **chosen), np.abs(gamma)
    if activation == "identity":
        found["shift"] = _factor(here.dbeta, 2 * (yhat - y).mean() * G2)
        found["rewritten"] = _factor(yhat, predict(X, G1, size**0, 0 * beta, gamma * G2, **chosen) + beta @ G2)
    elif activation in HOMOGENEOUS:
        found["scale"] = _factor(gamma * here.dgamma + beta * here.dbeta, G2 * here.dG2)
        alike = predict(X, G1 * np.sign(gamma), size**0, beta / size, size * G2, **chosen)
        found["rewritten"] = _factor(yhat, alike)
    return found


def _factor(left: np.ndarray, right: np.ndarray) -> list[float]:
    """f with left = f × right, by least squares, less and plus the largest entry of what is left over."""
    factor = float(np.vdot(left, right) / np.vdot(right, right))
    rest = float(np.abs(left - factor * right).max() / np.abs(right).max())
    return [factor - rest, factor + rest]


def sample_of(data: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X and y of the rows to fit to, and of those held out; y has mean 0 and variance 1 in the first."""
    random = np.random.default_rng([5, seed])
    if data == "planted":
        X, fitted = random.normal(size=(1500, 6)), 500
        waves = np.sin(X @ random.normal(size=(6, 8)) / 2 + random.uniform(0, 2 * np.pi, 8))
        y = waves @ random.normal(size=8) + 0.3 * random.normal(size=len(X))
    else:
        from sklearn.datasets import load_diabetes

        X, y = load_diabetes(return_X_y=True)
        order, fitted = random.permutation(len(y)), 300
        X, y = X[order] / X.std(axis=0), y[order]
    y = (y - y[:fitted].mean()) / y[:fitted].std()
    return X[:fitted], y[:fitted], X[fitted:], y[fitted:]


def fits(data: str, activation: str, width: int, sets: tuple[str, ...], seed: int) -> dict:
    """The loss on rows fitted to, and held out, of a net of which each of these sets is trained from one start."""
    X, y, *held = sample_of(data, seed)
    random = np.random.default_rng([7, seed, width])
    G1, G2 = random.normal(size=(X.shape[1], width)) / X.shape[1] ** 0.5, random.normal(size=width) / width**0.5
    start = {"G1": G1, "gamma": np.ones(width), "beta": np.zeros(width), "G2": G2}
    ones = np.ones((len(X), 1))
    prepared = prepare(X, y, width, W=ones, activation=activation)
    found: dict[str, Any] = {trained: _fit(prepared, start, TRAINED[trained], X, held, activation) for trained in sets}
    rest = y - np.hstack([X, ones]) @ np.linalg.lstsq(np.hstack([X, ones]), y, rcond=None)[0]
    return found | {"least squares": float(np.mean(rest**2)), "variance": float(np.var(held[1]))}


def _fit(prepared: Any, start: dict, free: tuple[str, ...], X: np.ndarray, held: list, activation: str) -> list[float]:
    theta = prepared.pack(*start.values(), np.zeros(1))
    moves = prepared.pack(*(np.full(part.shape, float(name in free)) for name, part in start.items()), np.ones(1)) > 0

    def risk(moved: np.ndarray) -> tuple[float, np.ndarray]:
        theta[moves] = moved
        loss, slope = prepared(theta)
        return loss, slope[moves]

    options = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "ftol": 1e-13, "gtol": 1e-9}
    best = minimize(risk, theta[moves], jac=True, method="L-BFGS-B", options=options)
    theta[moves] = best.x
    G1, gamma, beta, G2, delta = prepared.unpack(theta)
    [statistics] = population(X, G1, gamma, beta, activation=activation)
    eta = predict(held[0], G1, gamma, beta, G2, statistics=statistics[:2], activation=activation) + delta
    return [float(best.fun), float(np.mean((held[1] - eta) ** 2))]


def _claims(table: pd.DataFrame) -> list[Claim]:
    """Every claim, each of the rows that bear on it: the widest of their intervals about their mean."""

    def judged(text: str, rows: pd.DataFrame, tolerance: float) -> Claim:
        theory, measured = rows["predicted"].iloc[0], rows["measured"].mean()
        return claim(text, theory, measured, rows["low"].min(), rows["high"].max(), tolerance)

    found = []
    for activation, rows in table[table["what"] == ADDED].groupby("activation", sort=False):
        text = f"{activation}: directions that γ and β add to those of {NODES} nodes' outputs, certified, exactly"
        found.append(judged(text, rows, 0))
    for name, rows in table[table["part"] == "identities"].groupby("what", sort=False):
        text, factor = IDENTITIES[name]
        off = max(rows["high"].max() - factor, factor - rows["low"].min()) / factor
        told = f"{text}; left over right, to {ROUNDING:g} (off by {off:.1g})"
        found.append(judged(told, rows, ROUNDING * factor))
    lost = table[(table["part"] == "loss") & table["predicted"].notna()]
    for (activation, data, what), rows in lost.groupby(["activation", "data", "what"], sort=False):
        tolerance, told = (CLOSE, "0.1 %") if activation == "identity" else (SAME_SET, "10 %")
        found.append(
            judged(f"{activation}, {data}: training loss {what} over that with both, to {told}", rows, tolerance)
        )
    alone = table[(table["part"] == "features") & table["predicted"].notna()]
    text = "identity: γ and β alone, on random features, over the loss of least squares, to 0.1 %"
    return [*found, judged(text, alone, CLOSE)]


def _answer(table: pd.DataFrame) -> str:
    measured = table.set_index(["part", "activation", "what", "data", "width"])["measured"].sort_index()
    shares = measured["rank"].xs(ADDED, level="what").droplevel(["data", "width"]) / NODES
    kinds = [list(shares.index[shares == share]) for share in range(3)]
    widest = table["width"].max()

    def times(activations: list[str], what: str, part: str = "loss") -> str:
        """How many times as large a loss is, planted and with diabetes, over these activations."""
        found = []
        for data in DATA:
            of = [float(measured[part, a, what, data].iloc[0]) for a in activations]
            low, high = f"{min(of):.2f}", f"{max(of):.2f}"
            found.append(f"{low if low == high else f'{low} to {high}'} ({data})")
        return ", ".join(found)

    sentences, (none, scale, both) = [], kinds
    if none:
        sentences.append(
            f"Where a linear map follows with nothing between ({', '.join(none)}) both are redundant: they add no "
            f"direction to those of the outputs, and without them the training loss is {times(none, NEITHER)} times "
            "as large. Leave both out."
        )
    if scale:
        sentences.append(
            f"With {', '.join(scale)} the scale is redundant and the shift is not: the loss is "
            f"{times(scale, NO_GAMMA)} times as large without γ, {times(scale, NO_BETA)} without β. Keep β; γ can go."
        )
    if both:
        sentences.append(
            f"With {', '.join(both)} neither is: the loss is {times(both, NO_GAMMA)} times as large without γ, "
            f"{times(both, NO_BETA)} without β, {times(both, NEITHER)} without both. Keep both."
        )
    alone = [
        f"{measured['R²', a, AFFINE, 'planted', widest]:.2f} with {a} "
        f"({measured['R²', a, HEAD, 'planted', widest]:.2f} by Γ2 alone, "
        f"{measured['R²', a, ALL, 'planted', widest]:.2f} by all)"
        for a in FEATURES
    ]
    sentences.append(
        f"They can even learn alone: on {widest:g} random features R² on rows held out is {', '.join(alone)}."
    )
    sentences.append(
        "Where this does not hold: redundant means that the least loss is the same, not that training takes the same "
        "path to it; ranks are those at random parameters, with rows enough to tell nodes apart; and what lowers the "
        "loss in training may raise it on new rows, where without both it is "
        f"{times(list(shares.index), NEITHER, 'held out')} times as large."
    )
    return " ".join(sentences)

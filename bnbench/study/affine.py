"""Whether γ and β are redundant: what they add to what a network can do, and what training loses without them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from flint import arb_mat, ctx, fmpq, fmpq_mat

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


LOST = {"identity": dict.fromkeys((NO_GAMMA, NO_BETA, NEITHER), 1.0)} | {
    name: {NO_GAMMA: 1.0} for name in HOMOGENEOUS
}  # theory: what the least loss is multiplied by
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

    found = {key: cells("/".join(map(str, key)), compute) for key, compute in _cells(preset).items()}
    rows = [*_rank_rows(found), *_identity_rows(found), *_loss_rows(found), *_feature_rows(found)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    claims = _claims(table)
    plots = {
        "rank": partial(_draw_ranks, table),
        "loss": partial(
            lines, table[table["part"] == "loss"], "data", "activation", "what", xlabel="", log="y", level=1.0,
            ylabel="training loss over that with γ and β",
            caption="What leaving γ, β or both out does to the training loss, paired over seeds, with 95 % intervals: on "
            "the line at 1 nothing is lost.",
        ),
        "features": partial(
            lines, table[table["part"] == "features, R²"], "activation", "width", "what", xlabel="nodes", base=2,
            ylabel="R² on rows held out",
            caption="What γ and β alone learn on random features of planted functions, beside the head alone and all "
            "parameters; 95 % intervals over seeds.",
        ),
    }  # fmt: skip
    return Study("affine", QUESTION, _answer(table, claims), claims, table, plots)


def _groups(found: dict[tuple, dict], kind: str) -> dict[tuple, list[dict]]:
    """The cells of a kind, those that differ in their draw or seed alone together."""
    groups: dict[tuple, list[dict]] = {}
    for key, row in found.items():
        if key[0] == kind:
            groups.setdefault(key[1:-1], []).append(row)
    return groups


def _rank_rows(found: dict[tuple, dict]) -> list[dict]:
    """Of every activation the rank without γ and β, and what they add to it: certified, over all draws."""
    rows = []
    for (activation,), draws in _groups(found, "rank").items():
        here = {"part": "rank", "activation": activation}
        low, high = zip(*(one["without"] for one in draws), strict=True)
        without = INPUTS if activation == "identity" else INPUTS * NODES  # and the intercept
        rows.append(here | {"what": NEITHER, "predicted": without + 1} | _between(low, high))
        low = [one["with"][0] - one["without"][1] for one in draws]
        high = [one["with"][1] - one["without"][0] for one in draws]
        rows.append(here | {"what": "added by γ and β", "predicted": added(activation)} | _between(low, high))
    return rows


def _between(low: Any, high: Any) -> dict[str, float]:
    return {"measured": (min(low) + max(high)) / 2, "low": min(low), "high": max(high)}


def _identity_rows(found: dict[tuple, dict]) -> list[dict]:
    """Of every activation and identity the factor between its sides."""
    rows = []
    for (activation,), draws in _groups(found, "identities").items():
        for name in draws[0]:
            middle, low, high = zip(*(one[name] for one in draws), strict=True)
            here = {"part": "identity", "activation": activation, "what": name, "predicted": IDENTITIES[name][1]}
            rows.append(here | _between(low, high) | {"measured": float(np.mean(middle))})
    return rows


def _loss_rows(found: dict[tuple, dict]) -> list[dict]:
    """What the training loss is multiplied by where γ, β or both are left out, paired over seeds; held out likewise."""
    rows = []
    for (activation, data), seeds in _groups(found, "loss").items():
        for trained, (place, part) in itertools.product((NO_GAMMA, NO_BETA, NEITHER), enumerate(("loss", "held out"))):
            ratios = [math.log(one[trained][place] / one[ALL][place]) for one in seeds]
            theory = LOST.get(activation, {}).get(trained, math.nan) if part == "loss" else math.nan
            here = {"part": part, "activation": activation, "data": data, "what": trained, "predicted": theory}
            rows.append(here | dict(zip(FOUND, np.exp(interval(ratios)).tolist(), strict=True)))
    return rows


def _feature_rows(found: dict[tuple, dict]) -> list[dict]:
    """The loss over that of least squares, and R² on rows held out, of nets on random features."""
    rows = []
    for (activation, width), seeds in _groups(found, "features").items():
        for trained in SETS["features"]:
            here = {"activation": activation, "data": "planted", "what": trained, "width": width}
            exact = 1.0 if activation == "identity" and trained == AFFINE else math.nan
            over = interval([one[trained][0] / one["least squares"] for one in seeds])
            rows.append(here | {"part": "features", "predicted": exact} | dict(zip(FOUND, over, strict=True)))
            shares = interval([1 - one[trained][1] / one["variance"] for one in seeds])
            rows.append(here | {"part": "features, R²", "predicted": math.nan} | dict(zip(FOUND, shares, strict=True)))
    return rows


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
    random = np.random.default_rng([3, draw])
    X, G = _orthogonal(random), _of_whole_length(random)
    gamma, beta, out = (_rational(random, *range_) for range_ in ((4, 12), (1, 5), (4, 12)))
    found = {}
    for name, layer in (("with", Layer(G, gamma, beta)), ("without", Layer(G, gamma * 0 + 1, beta * 0))):
        places = np.arange(INPUTS * NODES + 2 * NODES + NODES + 1)
        if name == "without":
            places = np.delete(places, np.s_[INPUTS * NODES : INPUTS * NODES + 2 * NODES])
        if activation == "identity" or activation in HOMOGENEOUS:
            rank = _exact(_jacobian(layer, out, X, activation, Rationals())[:, places])
            found[name] = [rank, rank]
            continue
        linear = _jacobian(layer, out, X, "identity", Rationals())
        hidden = places[places < INPUTS * NODES + 2 * NODES]  # a node's are every NODES-th
        most = sum(_exact(linear[:, hidden[hidden % NODES == j]]) for j in range(NODES)) + NODES + 1
        found[name] = [_at_least(layer, out, X, activation, places, most), most]
    return found


def _orthogonal(random: np.random.Generator) -> np.ndarray:
    """X (ROWS,INPUTS) in rationals: its columns have mean 0, variance 1 and no correlation; by reflections."""
    root = math.isqrt(ROWS)
    X = np.full((ROWS, ROWS), fmpq(0), object)
    X[range(ROWS), range(ROWS)] = fmpq(root)
    first = np.ones(ROWS, int)
    first[0] -= root  # takes the first axis to the direction of 1
    for v in (first, *random.integers(-5, 6, (MIXED, ROWS))):
        if v is not first:
            v[-1] -= v.sum()  # at a right angle to 1, which stays where it is
        v = np.array([fmpq(int(x)) for x in v], object)
        X = X - np.outer(v, (v @ X) * 2 / (v @ v))
    return X[:, 1 : 1 + INPUTS]


def _of_whole_length(random: np.random.Generator) -> np.ndarray:
    """Γ1 (INPUTS,NODES) of whole numbers, the length of whose columns is whole."""
    columns: list[np.ndarray] = []
    while len(columns) < NODES:
        column = random.integers(-9, 10, INPUTS)
        if column.all() and math.isqrt(square := int(column @ column)) ** 2 == square:
            columns.append(np.array([fmpq(int(x)) for x in column], object))
    return np.stack(columns, axis=1)


def _rational(random: np.random.Generator, low: int, high: int) -> np.ndarray:
    """Eighths (NODES,) of size low/8 to high/8, of either sign."""
    eighths = random.integers(low, high, NODES) * random.choice((-1, 1), NODES)
    return np.array([fmpq(int(x), 8) for x in eighths], object)


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
    from scipy.linalg import qr

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
    """f with left = f × right, by least squares, and f less and plus the largest entry of what is left over."""
    factor = float(np.vdot(left, right) / np.vdot(right, right))
    rest = float(np.abs(left - factor * right).max() / np.abs(right).max())
    return [factor, factor - rest, factor + rest]


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
    from scipy.optimize import minimize

    theta = prepared.pack(*start.values(), np.zeros(1))
    moves = prepared.pack(*(np.full(part.shape, float(name in free)) for name, part in start.items()), np.ones(1)) > 0

    def risk(moved: np.ndarray) -> tuple[float, np.ndarray]:
        theta[moves] = moved
        loss, slope = prepared(theta)
        return loss, slope[moves]

    options = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "ftol": 1e-13, "gtol": 1e-9}
    best = minimize(risk, theta[moves], jac=True, method="L-BFGS-B", options=options)
    theta[moves] = best.x
    *parameters, G2, delta = prepared.unpack(theta)
    [statistics] = population(X, *parameters, activation=activation)
    eta = predict(held[0], *parameters, G2, statistics=statistics[:2], activation=activation) + delta
    return [float(best.fun), float(np.mean((held[1] - eta) ** 2))]


def _claims(table: pd.DataFrame) -> list[Claim]:
    """Every claim, each of the rows that bear on it: the widest of their intervals about their mean."""

    def judged(text: str, rows: pd.DataFrame, tolerance: float) -> Claim:
        theory, measured = rows["predicted"].iloc[0], rows["measured"].mean()
        return claim(text, theory, measured, rows["low"].min(), rows["high"].max(), tolerance)

    found = []
    for activation, rows in table[table["what"] == "added by γ and β"].groupby("activation", sort=False):
        text = f"{activation}: directions that γ and β add to those of {NODES} nodes' outputs; ranks certified, exactly"
        found.append(judged(text, rows, 0))
    for name, rows in table[table["part"] == "identity"].groupby("what", sort=False):
        found.append(judged(f"{IDENTITIES[name][0]}; left over right, to 1e-12", rows, ROUNDING * IDENTITIES[name][1]))
    lost = table[(table["part"] == "loss") & table["predicted"].notna()]
    for (activation, data, what), rows in lost.groupby(["activation", "data", "what"], sort=False):
        tolerance, told = (CLOSE, "0.1 %") if activation == "identity" else (SAME_SET, "10 %")
        found.append(
            judged(f"{activation}, {data}: training loss {what} over that with both, to {told}", rows, tolerance)
        )
    alone = table[(table["part"] == "features") & table["predicted"].notna()]
    text = "identity: γ and β alone, on random features, over the loss of least squares, to 0.1 %"
    return [*found, judged(text, alone, CLOSE)]


def _answer(table: pd.DataFrame, claims: list[Claim]) -> str:
    added_by = table[table["what"] == "added by γ and β"].set_index("activation")["measured"]
    by_share = {share: [a for a, n in added_by.items() if n == share * NODES] for share in (0, 1, 2)}
    lost = table[table["part"] == "loss"].set_index(["activation", "data", "what"])
    held = table[table["part"] == "held out"].set_index(["activation", "data", "what"])
    shares = table[(table["part"] == "features, R²") & (table["width"] == table["width"].max())]
    R2 = shares.set_index(["activation", "what"])["measured"]

    def times(activations: list[str], what: str, rows: pd.DataFrame = lost) -> str:
        """How many times the loss is, over these activations and the data."""
        here = [rows.loc[a, data, what] for a in activations for data in DATA]
        low, high = min(one["measured"] for one in here), max(one["measured"] for one in here)
        return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"

    failed = [one.text for one in claims if one.verdict == "refuted"]
    sentences = []
    if by_share[0]:
        sentences.append(
            f"They are where a linear map follows with nothing between ({_named(by_share[0])}): they add no direction in "
            f"which the outputs could move, and without both the training loss is {times(by_share[0], NEITHER)} times "
            "what it is with them, so leave them out."
        )
    if by_share[1]:
        sentences.append(
            f"With {_named(by_share[1])} the scale is redundant and the shift is not: training loses little without γ "
            f"({times(by_share[1], NO_GAMMA)} times the loss) and more without β ({times(by_share[1], NO_BETA)}), so γ "
            "can go and β should stay."
        )
    if by_share[2]:
        sentences.append(
            f"With {_named(by_share[2])} neither is: the training loss is {times(by_share[2], NO_GAMMA)} times as large "
            f"without γ, {times(by_share[2], NO_BETA)} without β, {times(by_share[2], NEITHER)} without both; keep both."
        )
    alone = ", ".join(
        f"{R2[a, AFFINE]:.2f} with {a} (Γ2 alone {R2[a, HEAD]:.2f}, all {R2[a, ALL]:.2f})" for a in FEATURES
    )
    sentences.append(
        f"γ and β alone, on {int(shares['width'].iloc[0])} random features, reach an R² on rows held out of {alone}."
    )
    every = list(dict.fromkeys(table.loc[table["part"] == "held out", "activation"]))
    sentences.append(
        "Where this does not hold: that a parameter is redundant says that the best loss is the same, not that training "
        "takes the same path to it; and a smaller loss in training is not one on new rows, where without both it is "
        f"{times(every, NEITHER, held)} times as large, by activation and data. The ranks are those at random parameters, "
        "with rows enough to tell nodes apart."
    )
    if failed:
        sentences.append(f"Refuted here: {'; '.join(failed)}.")
    return " ".join(sentences)


def _named(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _draw_ranks(table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure

    from bnbench.report.plots import style

    rows = table[table["part"] == "rank"].set_index(["activation", "what"])["measured"]
    figure = Figure(figsize=(6.4, 0.6 + 0.42 * len(rows) / 2))
    axes = figure.subplots()
    for place, activation in enumerate(rows.index.unique(0)):
        base, more = rows[activation, NEITHER], rows[activation, "added by γ and β"]
        last, left = 2 * NODES - more, base + more
        bars = [
            axes.barh(place, base, color=style.FAINT, edgecolor=style.MUTED),
            axes.barh(place, more, left=base, color=style.BLUE),
            axes.barh(place, last, left=left, color="white", edgecolor=style.VERMILLION, hatch="////"),
        ]
    axes.set(yticks=range(rows.index.unique(0).size), yticklabels=rows.index.unique(0))
    axes.set_xlabel(f"directions in which the outputs move ({INPUTS} inputs, {NODES} nodes, an intercept)")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    told = ["without γ and β", f"added by them, of {2 * NODES}", "redundant"]
    figure.legend(bars, told, loc="outside upper left", ncols=3)
    figure.set_label(
        "The certified rank of the outputs' Jacobian: what γ and β add to it, and how many of their "
        f"{2 * NODES} directions are redundant."
    )
    return figure

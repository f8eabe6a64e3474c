"""Why and how statistics are averaged in training: what averages cost, lag by, and are biased by."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import gammaln

from bnbench.estimators.parameters import gradient_slots
from bnbench.estimators.statistics import Running
from bnbench.library import prepare
from bnbench.prediction import predict
from bnbench.problem import Layer, Spec
from bnbench.running import CONVENTIONS, RunningStatistics, population
from bnbench.running.conventions import BATCHES, EXPONENTIAL, ROWS
from bnbench.study.base import Cells, Claim, Study, claim, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTION = "Why are batch statistics averaged during training, and which should a trained network use?"
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"columns": 3000, "seeds": 3, "epochs": 12, "samples": 200, "rounds": 10},
    "default": {"columns": 8000, "seeds": 10, "epochs": 40, "samples": 400, "rounds": 20},
}
VALUES, PASSES = 64, 30  # of the small training set that is averaged over, and how often
ORDERS, SIZES = ("drawn", "shuffled", "sorted"), (4, 8, 16, 32)  # rows drawn with replacement; rows of a batch
STARTS, STEPS = ((0.0, 1.0), (5.0, 3.0)), (10, 100)  # of averages over the same batches; how many batches
MOMENTA, DRIFTS, DRIFT_ROWS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01), (0.0, 0.02, 0.1), 4
JENSEN_AT = ((8, 1), (32, 1), (256, 1), (8, 20))  # rows of a batch, batches whose variances are averaged
SAMPLE, INPUTS, TAUGHT = 512, 16, 8  # rows of a planted training set; inputs of one, and of one that is learned
WIDTHS, BATCH, RATE, HEAVY = (32, 32), 32, 0.1, 0.9  # of the nets that are trained, by gradient descent with momentum
NEAR = 0.02  # how close scores by averages are to come to those by exact statistics
PRECISE = 8  # batches whose statistics are pooled anew
MODES = ("exact", "precise", "moving, 0.9", "moving, 0.99", "batch", "batch, sorted")
MOVING = {"moving, 0.9": ("pytorch", 0.1), "moving, 0.99": ("keras", 0.99)}
TOLERANCES = {"bias": 0.005, "exponential": 0.02, "error": 0.1, "lag": 0.02, "jensen": 0.01, "sampling": 0.1}  # shares
TOLERANCES |= {"start": 1e-12, "gap": 0.02}
SHOWN = ("pytorch", "keras", "paper", "population")  # of the conventions: in claims and plots
FOUND = ("measured", "low", "high")
AT_REST = 0.0  # theory: a score by an average less that by exact statistics, once weights rest
COLUMNS = ["part", "data", "convention", "order", "batch", "step", "momentum", "drift", "predicted", *FOUND]


def bias(name: str, order: str, m: int, values: np.ndarray) -> float:
    """Theory: what a convention's variance comes to, over σ² of the values, in batches of m rows."""
    held, t, N, sigma2 = CONVENTIONS[name], PASSES * len(values) // m, len(values), values.var()
    if held.weights == ROWS:
        return 1 - 1 / (t * m) if order == "drawn" else 1.0
    if order == "sorted":
        variances = np.tile(np.sort(values).reshape(-1, m).var(axis=1, ddof=held.ddof), PASSES)
    else:
        among = N / (N - 1) if order == "shuffled" else 1.0  # S²/σ²: rows of an epoch are drawn without replacement
        variances = np.full(t, among * sigma2 * (m - 1) / (m - held.ddof))
    if held.weights == BATCHES:
        return variances.mean() / sigma2
    weight = held.batch_weight(held.momentum or 0.0)
    weights = weight * (1 - weight) ** np.arange(t)[::-1]
    return float(1 - weights.sum() + weights @ variances) / sigma2  # the start's variance is 1


def start_left(weight: float, t: int) -> float:
    """Theory: the weight that the start still has after t batches of this weight."""
    return (1 - weight) ** t


def noise(weight: float) -> float:
    """Theory: the variance of an average of independent batches, over that of one batch."""
    return weight / (2 - weight)


def lag(weight: float) -> float:
    """Theory: how many steps an average is behind what moves steadily."""
    return (1 - weight) / weight


def jensen(m: int, batches: int) -> float:
    """Theory: the mean of σ/√var of normal rows, where var is the mean of so many batches' Σ/(m - 1)."""
    dof = batches * (m - 1)
    return float(np.sqrt(dof / 2) * np.exp(gammaln((dof - 1) / 2) - gammaln(dof / 2)))


def sampling(N: int) -> float:
    """Theory: the mean square of the relative error of a variance over N normal rows."""
    return 2 / N


def count(preset: str) -> int:
    """How many cells a run has."""
    return len(_cells(preset))


def _cells(preset: str) -> dict[tuple, Callable[[], dict]]:
    """What a run measures: kind and what else tells a cell, to the function that measures it."""
    chosen = PRESETS[preset]
    columns, found = chosen["columns"], dict[tuple, Callable[[], dict]]()
    for order, m in itertools.product(ORDERS, SIZES):
        found["bias", order, m] = partial(measure_bias, order, m, columns)
    found |= {("start", t): partial(measure_start, t) for t in STEPS}
    for weight, drift in itertools.product(MOMENTA, DRIFTS):
        found["drift", weight, drift] = partial(measure_drift, weight, drift, columns)
    found |= {("jensen", *key): partial(measure_jensen, *key, columns) for key in JENSEN_AT}
    found["sampling",] = partial(measure_sampling, chosen["samples"])
    found["cost",] = partial(measure_cost, chosen["rounds"])
    for data, seed in itertools.product(("planted", "digits"), range(chosen["seeds"])):
        found["training", data, seed] = partial(train, data, seed, chosen["epochs"])
    return found


def small_set() -> np.ndarray:
    """The pre-activations (VALUES,) of one node over real rows."""
    X = digits()[0][:VALUES]
    return X @ np.random.default_rng(0).normal(size=X.shape[1])


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 images of handwritten digits, 64 pixels from 0 to 1 each, and whether the digit is odd."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, (y % 2).astype(float)


def measure_bias(order: str, m: int, columns: int) -> dict:
    """Of every convention its variance over σ²; every column is a sequence of batches of its own."""
    values, random = small_set(), np.random.default_rng([1, m])
    held = {name: RunningStatistics(name) for name in CONVENTIONS}
    for _ in range(PASSES):
        if order == "drawn":
            Z = random.choice(values, (VALUES, columns))
        else:
            Z = np.tile(np.sort(values)[:, None], 1 if order == "sorted" else columns)
            Z = Z if order == "sorted" else random.permuted(Z, axis=0)
        for start in range(0, VALUES, m):
            for one in held.values():
                one.update(Z[start : start + m])
    return {name: _settled(one.var / values.var()) for name, one in held.items()}


def _settled(samples: np.ndarray) -> list[float]:
    """The mean and its interval; where all is determined, the number itself."""
    return [float(samples[0])] * 3 if len(samples) == 1 else list(interval(samples))


def measure_start(t: int) -> dict:
    """What is left of the difference of two starts after t batches."""
    random, found = np.random.default_rng([2, t]), {}
    batches = random.normal(size=(t, 4, 50))
    for name, one in CONVENTIONS.items():
        if one.weights == EXPONENTIAL:
            pair = [RunningStatistics(name, start=start) for start in STARTS]
            for Z in batches:
                for held in pair:
                    held.update(Z)
            left = (pair[0].mean - pair[1].mean) / (STARTS[0][0] - STARTS[1][0])
            found[name] = [float(left.mean()), float(left.min()), float(left.max())]
    return found


def measure_drift(weight: float, drift: float, columns: int) -> dict:
    """The error of a running mean while the true one moves by `drift` a step, both over the sd of a batch's mean."""
    random = np.random.default_rng([3, round(1000 * weight), round(1000 * drift)])
    held, steps = RunningStatistics("pytorch", weight), round(12 / weight)
    for step in range(1, steps + 1):
        held.update(random.normal(size=(DRIFT_ROWS, columns)) + drift * step / DRIFT_ROWS**0.5)
    behind = drift * steps - held.mean * DRIFT_ROWS**0.5
    return {"square": interval(behind**2), "lag": interval(behind / drift) if drift else None}


def measure_jensen(m: int, batches: int, columns: int) -> dict:
    """σ/√var of normal rows, where var is what RunningStatistics makes of so many batches."""
    random, held = np.random.default_rng([4, m, batches]), RunningStatistics("paper")
    for _ in range(batches):
        held.update(random.normal(size=(m, 4 * columns)))
    return {"jensen": interval(held.var**-0.5)}


def measure_sampling(samples: int) -> dict:
    """The mean square of the relative error of `population` on rows of N(0, I), whose truth is ‖Γ_j‖²."""
    found = []
    for seed in range(samples):
        random = np.random.default_rng([5, seed])
        X, G = random.normal(size=(SAMPLE, INPUTS)), random.normal(size=(INPUTS, INPUTS))
        [one] = population(X, G, np.ones(INPUTS), np.zeros(INPUTS))
        found.append(np.mean((one.var / (G**2).sum(axis=0) - 1) ** 2))
    return {"square": interval(found)}


def measure_cost(rounds: int) -> dict:
    """The time of `population` over that of an epoch of gradients, of a net on the digits."""
    net, ratios = Net("digits", 0), []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for rows in net.epoch():
            net.gradients(rows)
        between = time.perf_counter()
        net.exact()
        ratios.append((time.perf_counter() - between) / (between - begun))
    return {"ratio": interval(ratios[1:])}  # the first compiles


class Net:
    """A network in training: parameters, which steps change in place, and data."""

    def __init__(self, data: str, seed: int) -> None:
        random = np.random.default_rng(6)  # one problem; seeds are of starts and batches
        if data == "digits":
            X, y = digits()
            self.spec = Spec(loss="logistic")
        else:
            X = random.normal(size=(4 * SAMPLE, TAUGHT)) + random.normal(size=TAUGHT)
            y = np.tanh(X @ random.normal(size=(TAUGHT, 4)) / 2) @ random.normal(size=4)
            y = (y - y.mean()) / y.std() + 0.2 * random.normal(size=len(X))
            self.spec = Spec()
        order, fitted = random.permutation(len(y)), SAMPLE if data == "planted" else 1200
        (self.X, self.held_X), (self.y, self.held_y) = (np.split(part[order], [fitted]) for part in (X, y))
        self.random, sizes = np.random.default_rng([6, seed]), [X.shape[1], *WIDTHS]
        G = [self.random.normal(size=pair) / pair[0] ** 0.5 for pair in itertools.pairwise(sizes)]
        gamma, beta = [np.ones(p) for p in WIDTHS], [np.zeros(p) for p in WIDTHS]
        self.parts: Any = G, gamma, beta, self.random.normal(size=WIDTHS[-1]) / WIDTHS[-1] ** 0.5, np.zeros(1)
        self.layers = [Layer(*three) for three in zip(G, gamma, beta, strict=True)]
        self.prepared: Any = prepare(self.X, self.y, list(WIDTHS), W=np.ones((fitted, 1)), loss=self.spec.loss)

    def epoch(self) -> Iterator[np.ndarray]:
        """The rows of every minibatch of an epoch."""
        yield from np.array_split(self.random.permutation(len(self.y)), len(self.y) // BATCH)

    def gradients(self, rows: np.ndarray) -> list[np.ndarray]:
        """Of a minibatch, an array for each of the parameters."""
        return gradient_slots(self.prepared.gradients(*self.parts, rows=rows))

    def exact(self) -> list:
        """The statistics of all rows, at the parameters as they are."""
        return [one[:2] for one in population(self.X, *self.parts[:3])]

    def precise(self) -> list:
        """Those of a few minibatches pooled, at the parameters as they are."""
        held = Running(self.layers, self.spec, "population", None)
        for rows in itertools.islice(self.epoch(), PRECISE):
            held.update(self.X[rows])
        return held.statistics(float)

    def score(self, statistics: list | None, order: np.ndarray | None = None) -> float:
        """R², or the share of right classes, on the rows held out; without statistics by batches' own, in an order."""
        X, y = (part if order is None else part[order] for part in (self.held_X, self.held_y))
        *parts, delta = self.parts
        pieces = [X] if statistics else np.array_split(X, len(X) // BATCH)
        more: dict[str, Any] = {"delta": delta, "loss": self.spec.loss}
        mean = np.concatenate(
            [predict(piece, *parts, W=np.ones((len(piece), 1)), statistics=statistics, **more) for piece in pieces]
        )
        return float(
            np.mean((mean > 0.5) == y) if self.spec.loss == "logistic" else 1 - np.mean((y - mean) ** 2) / y.var()
        )


def train(data: str, seed: int, epochs: int) -> dict:
    """A training's scores on the rows held out, by the statistics that they are predicted with, at steps along it."""
    net = Net(data, seed)
    flat = [part for group in net.parts for part in (group if isinstance(group, list) else [group])]
    moving = {mode: Running(net.layers, net.spec, *chosen) for mode, chosen in MOVING.items()}
    steps = epochs * (len(net.y) // BATCH)
    looks, velocity, step = set(np.geomspace(1, steps, 16).round()), [np.zeros_like(part) for part in flat], 0
    found: dict[str, list] = {"step": [], **{mode: [] for mode in MODES}}
    for _ in range(epochs):
        for rows in net.epoch():
            for one in moving.values():
                one.update(net.X[rows])
            rate = RATE * (1 - step / steps)
            for part, speed, slope in zip(flat, velocity, net.gradients(rows), strict=True):
                speed *= HEAVY
                speed -= rate * (1 - HEAVY) * slope
                part += speed
            step += 1
            if step in looks:
                found["step"].append(step)
                given = {"exact": net.exact(), "precise": net.precise(), "batch": None}
                given |= {mode: one.statistics(float) for mode, one in moving.items()}
                for mode, statistics in given.items():
                    found[mode].append(net.score(statistics))
                found["batch, sorted"].append(net.score(None, np.argsort(net.held_y)))
    return found


def run(preset: str, cells: Cells) -> Study:
    """Measure, and hold theory against what was measured."""
    from bnbench.study.plots import lines

    found = {key: cells("/".join(("running", *map(str, key))), compute) for key, compute in _cells(preset).items()}
    rows = [*_average_rows(found), *_training_rows(found)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    biases = table[(table["part"] == "bias") & table["convention"].isin(SHOWN)]
    errors = table[table["part"] == "error"].assign(panel="drift a step, over the sd of a batch's mean")
    plots: dict[str, Callable[[], Figure]] = {
        "training": partial(
            lines, table[table["part"] == "training"], "data", "step", "convention", xlabel="step", shared=False,
            ylabel="R² (planted), share right (digits)",
            caption="Scores on rows held out during training, by the statistics that they are predicted with; 95 % "
            "intervals over seeds. “batch” normalises the rows held out by their own batches, “sorted” after sorting.",
        ),
        "bias": partial(
            lines, biases, "order", "batch", "convention", xlabel="rows of a batch", base=2, ylabel="variance over σ²",
            theory=True,
            caption=f"The variance that conventions come to in {PASSES} passes over {VALUES} real rows: measured "
            "(points) and theory (lines), over that of all rows. Averages over sorted rows lose what batches differ "
            "by; Keras' 0.99 has kept the more of its start the fewer batches there were.",
        ),
        "momentum": partial(
            lines, errors, "panel", "momentum", "drift", xlabel="weight of a batch (PyTorch's momentum)", log="xy",
            ylabel="mean square error", theory=True,
            caption="The error of a running mean, over the variance of a batch's, while the true mean moves steadily: "
            "measured (points) and theory (lines). What rests is averaged best slowly, what moves is not.",
        ),
    }  # fmt: skip
    return Study("running", QUESTION, _answer(table), _claims(table), table, plots)


def _average_rows(found: dict[tuple, dict]) -> Iterator[dict]:
    """What averages over given batches come to."""
    values = small_set()
    for key, row in found.items():
        match key:
            case "bias", order, m:
                for name, measured in row.items():
                    here = {"part": "bias", "data": "digits", "convention": name, "order": order, "batch": m}
                    yield here | {"predicted": bias(name, order, m, values)} | _found(measured)
            case "start", t:
                for name, measured in row.items():
                    weight = CONVENTIONS[name].batch_weight(CONVENTIONS[name].momentum or 0.0)
                    here = {"part": "start", "convention": name, "step": t, "momentum": weight}
                    yield here | {"predicted": start_left(weight, t)} | _found(measured)
            case "drift", weight, drift:
                here = {"data": "planted", "batch": DRIFT_ROWS, "momentum": weight, "drift": drift}
                square = noise(weight) + (drift * lag(weight)) ** 2
                yield here | {"part": "error", "predicted": square} | _found(row["square"])
                if drift:
                    yield here | {"part": "lag", "predicted": lag(weight)} | _found(row["lag"])
            case "jensen", m, batches:
                here = {"part": "jensen", "data": "planted", "batch": m, "step": batches, "convention": "paper"}
                yield here | {"predicted": jensen(m, batches)} | _found(row["jensen"])
            case ("sampling",):
                here = {"part": "sampling", "data": "planted", "convention": "population"}
                yield here | {"predicted": sampling(SAMPLE)} | _found(row["square"])
            case ("cost",):
                yield {"part": "cost", "data": "digits", "convention": "population"} | _found(row["ratio"])


def _found(three: Any) -> dict[str, float]:
    return dict(zip(FOUND, three, strict=True))


def _training_rows(found: dict[tuple, dict]) -> Iterator[dict]:
    """Scores over seeds, and those at the end less the exact statistics'."""
    for data in ("planted", "digits"):
        seeds = [row for key, row in found.items() if key[:2] == ("training", data)]
        for mode in MODES:
            scores = np.array([one[mode] for one in seeds])
            here = {"data": data, "convention": mode}
            for step, column in zip(seeds[0]["step"], scores.T, strict=True):
                yield here | {"part": "training", "step": step} | _found(interval(column))
            gap = scores[:, -1] - np.array([one["exact"][-1] for one in seeds])
            yield here | {"part": "gap", "step": seeds[0]["step"][-1], "predicted": AT_REST} | _found(interval(gap))


def _claims(table: pd.DataFrame) -> list[Claim]:
    """A claim of every row that theory says something of and that the answer rests on."""
    found = []
    for row in table[table["predicted"].notna()].to_dict("records"):
        part, name, m, t, weight = (row[c] for c in ("part", "convention", "batch", "step", "momentum"))
        drifts = {"error": 0.0, "lag": max(DRIFTS)}  # what is claimed of the averages of two weights
        told = {
            "bias": f"variance over σ² by {name}, rows {row['order']}, batches of {m:g}",
            "start": f"weight of the start by {name} after {t:g} batches",
            "error": f"variance of an average over a batch's, weight {weight:g}",
            "lag": f"steps that an average lags behind a steady move, weight {weight:g}",
            "jensen": f"mean of σ/√var of normal rows, batches: {t:g} of {m:g}",
            "sampling": f"mean square error of exact variances of {SAMPLE} rows against the truth",
            "gap": f"{row['data']}: score by {name} less that by exact statistics, after training",
        }[part]
        if not {
            "bias": name in SHOWN and m == SIZES[0],
            "start": name in SHOWN,
            "gap": name in ("moving, 0.9", "precise"),
        }.get(part, row["drift"] == drifts[part] and weight in (0.1, 0.01) if part in drifts else True):
            continue
        exponential = part == "bias" and CONVENTIONS[name].weights == EXPONENTIAL
        tolerance, absolute = TOLERANCES["exponential" if exponential else part], part in ("start", "gap")
        text = f"{told}, to {tolerance:g}" if absolute else f"{told}, to {tolerance:.1%}"
        theory, measured, low, high = (row[c] for c in ("predicted", *FOUND))
        found.append(claim(text, theory, measured, low, high, tolerance * (1 if absolute else theory)))
    return found


def _answer(table: pd.DataFrame) -> str:
    def value(part: str, **where: Any) -> float:
        rows = table[table["part"] == part]
        return float(rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]["measured"].iloc[0])

    training = table[table["part"] == "training"].set_index(["data", "convention", "step"])["measured"].sort_index()

    def caught_up(data: str, mode: str) -> str:
        """From which step on the score by an average stays within two points of the exact one's."""
        behind = np.abs(training[data, mode] - training[data, "exact"]) > NEAR
        steps = behind.index[~behind.to_numpy()[::-1].cumsum()[::-1].astype(bool)]
        return f"step {steps[0]:g}" if len(steps) else "no step"

    last, m = training["digits", "exact"].index[-1], SIZES[0]
    near = [f"{caught_up('planted', mode)} (planted) and {caught_up('digits', mode)} (digits)" for mode in MOVING]
    lags, noises = (
        [value(part, momentum=weight, drift=drift) for weight in (0.1, 0.01)]
        for part, drift in (("lag", max(DRIFTS)), ("error", 0.0))
    )
    moved = table[(table["part"] == "error") & (table["drift"] == max(DRIFTS))]
    sentences = (
        "Because a row must be predicted alike whatever comes with it, which takes constants, and averages give "
        f"these at every step for nothing, where an exact pass costs {value('cost'):.2f} epochs of gradients.",
        "An average is late and noisy: at a weight of 0.1 a batch (PyTorch's default; Keras says 0.9) it lags "
        f"{lags[0]:.0f} steps and has {noises[0]:.1%} of a batch's variance, at 0.01 (Keras' 0.99) {lags[1]:.0f} "
        f"steps and {noises[1]:.1%}, with {value('start', convention='keras', step=100):.0%} of its start left after "
        f"100 batches; if weights move fast, {moved.loc[moved['measured'].idxmin(), 'momentum']:g} was the best "
        "weight.",
        f"Scores on rows held out stay within {NEAR:.0%} of those by exact statistics from {near[0]} with the first, "
        f"from {near[1]} with the second.",
        "So watch training by an average at 0.1, shuffle the rows, and give the trained network the exact statistics "
        "of the training set (`bnbench.population`), never a batch's own: with rows sorted by class these class "
        f"{training['digits', 'batch, sorted', last]:.0%} of the digits right, exact ones "
        f"{training['digits', 'exact', last]:.0%}.",
        f"m/(m - 1) matters in small batches alone (at m = {m} a variance without it is "
        f"{value('bias', convention='paper', order='drawn', batch=m) / m:.0%} short) and mends no sorted rows "
        f"({value('bias', convention='paper', order='sorted', batch=m):.2g} of σ²); 1/√var is too large by "
        f"{value('jensen', batch=8, step=1) - 1:.1%} for one batch of 8, by "
        f"{value('jensen', batch=8, step=20) - 1:.1%} for the average of 20.",
        "Where this does not hold: noise and lag are those of independent batches and steady moves, 1/√var's bias "
        f"that of normal rows, and exact statistics are exact for the training rows: those of {SAMPLE} are "
        f"{value('sampling') ** 0.5:.1%} off the truth in variance.",
    )
    return " ".join(sentences)

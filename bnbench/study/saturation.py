"""How saturating non-linearities can be trained: what gradients do from layer to layer, and what remedies change."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from bnbench import formula
from bnbench.problem import ACTIVATIONS, Layer, Spec
from bnbench.report import units
from bnbench.report.table import Table, Text, number
from bnbench.study import drawings, remedies, signal
from bnbench.study.base import Cells, Claim, Study, claim, interval

QUESTION = (
    "How can saturating non-linearities, a Gaussian RBF among them, be trained without batch normalisation or ReLU, "
    "when their gradients vanish?"
)
SATURATING = ("tanh", "gaussian", "sigmoid")
ADVICE = {
    "none": "draw Γ at the usual σ_w² = 1",
    "critical": "draw Γ at that σ_w²",
    "LSUV": "scale every Γ to pre-activations of variance 1 on data (LSUV)",
    "a·θ(z)": f"multiply the activation by {remedies.SCALE:g}",
    "orthogonal": "draw orthogonal Γ at that σ_w²",
    "LARS": "scale every layer's step to its weights (LARS)",
    "Adam": "make Adam's steps",
    "critical, Adam": "draw Γ at that σ_w², and make Adam's steps",
}
COMPARED = ("batch norm", "ReLU")  # remedies that the question does without
JUDGED = ("tanh", "relu", "sigmoid", "gaussian")  # whose χ₁ is claimed on and off the critical line
BIASES = {"tanh": 0.03, "relu": 0.5, "sigmoid": 4.0, "gaussian": 0.5}  # σ_b² of the points of the map
OFF = (0.6, 1.0, 1.5)  # σ_w² of these points, over the critical one
WIDE = (768, 1024)  # width and batch at which λ is claimed
FINITE_BATCHES = {16: 2000, 64: 1000, 256: 400}  # and how many layers are drawn
WITHIN, THIRD = 0.02, 1 / 3  # of theory, and of its excess over 1: tolerances that claims state
OF_REMEDY = {
    "orthogonal": "on the critical line the factor is 1",
    "LSUV": "the factor is E[a'²]/E[a²] at Var Z = 1",
    "a·θ(z)": f"the factor is χ₁ at σ_w² = a² = {remedies.SCALE**2:g}",
}
FACTOR, FINITE, WAY, TRAINING = "factor a layer", "finite batch", "growth over depth layers", "training"  # of rows


class Point(NamedTuple):
    """Networks at random weights that are measured: weight is σ_w², bias σ_b²; repeats of them are drawn."""

    activation: str
    normalization: str
    weight: float
    bias: float
    width: int
    batch: int
    depth: int
    repeats: int
    remedy: str = ""  # "orthogonal", or "LSUV"

    @property
    def predicted(self) -> float:
        """Theory's factor a layer, of wide layers."""
        if self.normalization == "batch":
            return signal.explosion(self.activation)
        if self.remedy == "LSUV":
            return signal.fitted_factor(self.activation)
        if self.bias == 0 and np.isclose(self.weight, signal.critical(self.activation), rtol=1e-6):
            return 1.0  # of tanh the fixed point is 0, and reached by no number of steps
        return float(signal.chi(self.activation, self.weight, self.bias))

    def norms(self) -> np.ndarray:
        """Σ (∂R/∂A_l)² of all layers, (repeats, depth + 1), from networks that begin at the fixed point q*."""
        random = np.random.default_rng(zlib.crc32(repr(self).encode()))
        batch = self.normalization == "batch"
        spec = Spec(self.activation, "batch" if batch else "frozen", eps=0.0)
        q = np.clip(signal.length(self.activation, self.weight, self.bias), signal.SMALLEST, 1e3)
        start = 1.0 if batch or self.remedy == "LSUV" else (q - self.bias) / self.weight
        found = []
        for _ in range(self.repeats):
            X = start**0.5 * random.standard_normal((self.batch, self.width))
            drawn = signal.weights(random, [self.width] * (self.depth + 1), self.weight, self.remedy == "orthogonal")
            drawn = signal.fitted(drawn, self.activation, X) if self.remedy == "LSUV" else drawn
            shifts = self.bias**0.5 * random.standard_normal((self.depth, self.width))
            layers = [Layer(G, np.ones(self.width), shift) for G, shift in zip(drawn, shifts, strict=True)]
            found.append(signal.norms(layers, X, spec, random))
        return np.array(found)

    def factors(self) -> dict:
        """The factor of every layer after the first, whose input is no activation; in wide layers independent."""
        norms = self.norms()
        return {"factors": (norms[:, 1:-1] / norms[:, 2:]).ravel()}

    def profile(self) -> dict:
        """The growth of the gradient's norm from the last layer down to each, of each network."""
        norms = self.norms()
        return {"growth": norms[:, :0:-1] / norms[:, -1:]}


class Plan(NamedTuple):
    """How much a preset measures."""

    wide: tuple[int, int]  # layers and repeats at `WIDE`
    sizes: tuple[tuple[int, int], ...]  # widths and batches of further points with batch normalisation
    free: tuple[int, int, int]  # width, layers and repeats without normalisation, where χ₁ is claimed
    mapped: tuple[int, int, int]  # the same for the other points
    share: int  # of the repeats of finite-batch claims is one of so many taken
    layers: int  # of the gradient's way through depth
    depths: tuple[int, ...]  # that are trained
    steps: int


PLANS = {
    "quick": Plan((3, 2), ((32, 16), (128, 256)), (256, 12, 5), (96, 10, 3), 8, 16, (2, 8), 80),
    "default": Plan(
        (6, 3), tuple(itertools.product((32, 128), (16, 64, 256))), (512, 16, 20), (256, 12, 4), 1, 32,
        (2, 4, 8, 16, 32, 64), 250,
    ),
}  # fmt: skip


def points(plan: Plan) -> Iterator[Point]:
    """Everything whose factor a layer is measured."""
    for activation in ACTIVATIONS:
        yield Point(activation, "batch", 1.0, 0.0, *WIDE, *plan.wide)
        for width, batch in plan.sizes:
            yield Point(activation, "batch", 1.0, 0.0, width, batch, 8, 6)
        for weight in (0.25, 4.0):  # which λ does not depend on
            yield Point(activation, "batch", weight, 0.0, 128, 256, 8, 3)
        width, layers, repeats = plan.free if activation in JUDGED else plan.mapped
        critical = signal.critical(activation)
        for off in OFF if activation != "softplus" else OFF[:1]:  # which has no fixed point from there on
            yield Point(activation, "none", off * critical, 0.0, width, 64, layers, repeats)
        for bias, off in itertools.product((1, 2), OFF if activation in JUDGED else ()):
            shift = bias * BIASES[activation]
            yield Point(activation, "none", off * critical, shift, plan.mapped[0], 64, *plan.mapped[1:])
    for activation in SATURATING:
        for name, weight, (width, layers, repeats) in (
            ("a·θ(z)", remedies.SCALE**2, plan.mapped),
            ("orthogonal", signal.critical(activation), plan.mapped),
            ("LSUV", 1.0, plan.free),
        ):
            yield Point(activation, "none", weight, 0.0, width, 64, layers, repeats, name)


def ways(plan: Plan) -> Iterator[Point]:
    """The networks whose gradient is followed through depth: normalised, as usual, and on the critical line."""
    for activation in ACTIVATIONS:
        for normalization, weight in (("batch", 1.0), ("none", 1.0), ("none", signal.critical(activation))):
            yield Point(
                activation, normalization, weight, 0.0, 128, 128, plan.layers + 1, 4
            )  # the first does not count


def trials(plan: Plan) -> Iterator[tuple[str, str, int, float]]:
    """What is trained: remedy, activation, depth, rate."""
    own = [(name, activation) for activation in SATURATING for name in remedies.REMEDIES if name != "ReLU"]
    for (name, activation), depth in itertools.product([*own, ("ReLU", "relu")], plan.depths):
        for rate in remedies.RATES[remedies.REMEDIES[name].rule]:
            yield name, activation, depth, rate


def count(preset: str) -> int:
    """How many cells `run` asks for."""
    plan = PLANS[preset]
    return sum(1 for _ in itertools.chain(points(plan), ways(plan), trials(plan))) + len(FINITE_BATCHES)


def run(preset: str, cells: Cells) -> Study:
    """Measure, or read back what was measured, and answer."""
    plan = PLANS[preset]
    rows = []
    for point in points(plan):
        found = interval(cells(f"factor {tuple(point)}", point.factors)["factors"])
        rows.append(row_of(point, point.predicted, found))
    rows += [finite(batch, plan.share, cells) for batch in FINITE_BATCHES]
    for point in ways(plan):
        growth = np.log(cells(f"way {tuple(point)}", point.profile)["growth"])  # networks, layers below the last
        for below in 2 ** np.arange(int(np.log2(plan.layers)) + 1):
            measured = tuple(np.exp(interval(growth[:, below])))
            rows.append(row_of(point, point.predicted**below, measured, what=WAY, depth=int(below)))
    curves = {}
    for place, group in itertools.groupby(trials(plan), lambda trial: trial[:3]):
        tried = {}
        for *_, rate in group:
            name, activation, depth = place
            compute = functools.partial(remedies.trained, name, activation, depth, rate, plan.steps)
            tried[rate] = cells(f"training {place} {rate} {plan.steps}", compute)
        rate = min(tried, key=lambda rate: (tried[rate]["steps"] or np.inf, min(tried[rate]["curve"])))
        curves[place] = tried[rate]["curve"]
        rows.append(trial_row(place, rate, tried[rate]))
    table = pd.DataFrame(rows)
    of = dict(list(table.groupby("what")))
    mapped = of[FACTOR][(of[FACTOR]["normalization"] == "none") & (of[FACTOR]["remedy"] == "")]
    plots = {
        "factor": functools.partial(drawings.factors, of[FACTOR]),
        "depth": functools.partial(drawings.ways, of[WAY]),
        "map": functools.partial(drawings.critical_map, mapped[mapped["activation"].isin(JUDGED)]),
        "learning": functools.partial(drawings.learning, curves),
    }
    return Study("saturation", QUESTION, answer(table), claims(table), table, plots, tables(table))


def row_of(point: Point, predicted: float, found: tuple, what: str = FACTOR, depth: int = 0) -> dict:
    """A row of the table."""
    measured, low, high = map(float, found)
    return {
        "what": what, "activation": point.activation, "normalization": point.normalization,
        "sigma_w2": point.weight, "sigma_b2": point.bias, "width": point.width, "batch": point.batch,
        "depth": depth or point.depth, "predicted": predicted, "measured": measured, "low": low, "high": high,
        "remedy": point.remedy,
    }  # fmt: skip


def finite(batch: int, share: int, cells: Cells) -> dict:
    """A row of identity layers at a finite batch B, whose input rows are uncorrelated but for their common mean.

    Theory's (B-2)/(B-3) is of infinitely many inputs; of n it is (1 - 2/n) times that, exactly, since a Γ_j that makes
    s_j large is large itself. What is measured is divided by 1 - 2/n.
    """
    n = 2 * batch
    point = Point("identity", "batch", 1.0, 0.0, n, batch, 1, FINITE_BATCHES[batch] // share)

    def compute() -> dict:
        random, found = np.random.default_rng(batch), []
        X = np.linalg.qr(random.standard_normal((n, batch)))[0].T * (n * batch / (batch - 1)) ** 0.5
        for _ in range(point.repeats):
            layer = Layer(signal.weights(random, [n, n])[0], np.ones(n), np.zeros(n))
            upstream = random.standard_normal((batch, n))
            upstream -= upstream.mean(axis=0)
            _, dA = formula.backward(formula.forward(layer, X, Spec("identity", eps=0.0)), upstream)
            found.append(np.sum(dA**2) / np.sum(upstream**2) / (1 - 2 / n))
        return {"factors": found}

    found = interval(cells(f"finite {tuple(point)}", compute)["factors"])
    return row_of(point, (batch - 2) / (batch - 3), found, what=FINITE)


def trial_row(place: tuple[str, str, int], rate: float, found: dict) -> dict:
    """A row of a trained network at the best rate: its factor at the start, and the steps until it had learned."""
    name, activation, depth = place
    remedy = remedies.REMEDIES[name]
    point = Point(
        activation, "batch" if remedy.normalization == "batch" else "none", remedy.weight(activation) * remedy.scale**2,
        0.0, remedies.WIDTH, remedies.BATCH, depth, 1, name,
    )  # fmt: skip
    return row_of(point, point.predicted, (found["start"], np.nan, np.nan), what=TRAINING) | {
        "rate": rate, "steps": found["steps"] or np.nan, "R2": 1 - min(found["curve"]), "after": found["end"],
    }  # fmt: skip


def claims(table: pd.DataFrame) -> list[Claim]:
    """Theory's claims, of the rows that can judge them."""
    rows = table[table["what"].isin((FACTOR, FINITE)) & (table["sigma_b2"] == 0)]
    wide = rows[(rows["width"] == WIDE[0]) & (rows["normalization"] == "batch")]
    free = rows[(rows["normalization"] == "none") & rows["activation"].isin(JUDGED) & (rows["remedy"] == "")]
    aided = rows[rows["remedy"].isin(("orthogonal", "LSUV", "a·θ(z)"))]
    made = [
        judged(row, f"batch normalisation, {row['activation']}: the factor a layer is λ = E[a'²]/Var[a]", WITHIN)
        for row in wide.to_dict("records")
    ]
    for row in rows[rows["what"] == FINITE].to_dict("records"):
        B, text = row["batch"], f"batch normalisation, identity, a batch of {row['batch']}: (B-2)/(B-3)"
        made.append(judged(row, text, THIRD / (B - 2), "a third of its excess over 1"))
    made += [
        judged(row, f"no normalisation, {row['activation']}, σ_w² = {row['sigma_w2']:.4g}: χ₁ = σ_w² E[a'²]", WITHIN)
        for row in free.to_dict("records")
    ]
    made += [
        judged(row, f"{row['remedy']}, {row['activation']}: {OF_REMEDY[row['remedy']]}", 2 * WITHIN)
        for row in aided.to_dict("records")
    ]
    return made


def judged(row: dict, text: str, share: float, words: str = "") -> Claim:
    """A claim about a row, whose tolerance is a share of theory's value."""
    theory, text = row["predicted"], f"{text}, within {words or f'{share:.0%}'}"
    return claim(text, theory, row["measured"], row["low"], row["high"], share * theory)


def tables(table: pd.DataFrame) -> list[Table]:
    """What theory says of each activation; which networks learned, in how many steps; how far off narrow ones are."""
    said = []
    for name in ACTIVATIONS:
        usual = Point(name, "none", 1.0, 0.0, 1, 1, 1, 1).predicted
        values = {"λ, batch normalisation": signal.explosion(name), "χ₁ at σ_w² = 1": usual}
        values |= {"critical σ_w²": signal.critical(name), "LSUV": signal.fitted_factor(name)}
        said.append({"activation": name} | {head: number(f"{value:.4g}") for head, value in values.items()})
    trained = table[table["what"] == TRAINING]
    learned = []
    for (activation, remedy), part in trained.groupby(["activation", "remedy"], sort=False):
        row: dict[str, str | Text] = {"activation": activation, "remedy": remedy}
        for one in part.itertuples():
            never = Text(f"R² {max(one.R2, 0):.2f}", "status")
            row[units.plural(one.depth, "layer")] = never if np.isnan(one.steps) else number(f"{one.steps:.0f}")
        learned.append(row)
    off = table[(table["what"] == FACTOR) & (table["normalization"] == "batch") & (table["sigma_w2"] == 1)]
    held = []
    for (width, batch), part in off.groupby(["width", "batch"]):
        ratios = zip(part["activation"], part["measured"] / part["predicted"], strict=True)
        row = {"width": number(str(width)), "batch": number(str(batch))}
        held.append(row | {name: number(f"{ratio:.3f}") for name, ratio in ratios})
    notes = (
        "Factors of the squared gradient a layer, without biases: above 1 it explodes, below it vanishes. LSUV "
        "scales every layer to pre-activations of variance 1.",
        f"Steps until R² on rows that were not learned from was {remedies.LEARNED:g}, at the best of three rates; the "
        "best R² in the place of those that never got there.",
        "1 where theory holds: it is of infinite width and batch.",
    )
    return [
        Table.of("What theory says of each activation", said, note=notes[0]),
        Table.of("Which networks learned, in how many steps", learned, note=notes[1]),
        Table.of("Measured over theory with batch normalisation", held, note=notes[2]),
    ]


def answer(table: pd.DataFrame) -> str:
    """What the data say: what gradients do, what to do about it, and where theory does not hold."""
    factor, way, trained = (table[table["what"] == what] for what in (FACTOR, WAY, TRAINING))
    normal = factor[(factor["normalization"] == "batch") & (factor["sigma_w2"] == 1)].set_index("activation")
    off = (normal["measured"] / normal["predicted"] - 1).abs()
    wide, order = off[normal["width"] == WIDE[0]], normal["predicted"].sort_values()
    small = normal["width"] * normal["batch"]
    worst = off[small == small.min()]
    usual = way[(way["depth"] == 1) & (way["normalization"] == "none")].groupby("activation")["measured"].first()
    sentences = [
        "With batch normalisation gradients explode at the start of training: squared, they grow from a layer to the "
        f"one before it by λ, whatever σ_w², from {order.iloc[0]:.2f} for {order.index[0]} to {order.iloc[-1]:.2f} for "
        f"{order.index[-1]}.",
        "Without it, at the usual σ_w² = 1, the factor is "
        + ", ".join(f"{usual[name]:.2g} for {name}" for name in SATURATING)
        + ": far below 1 they vanish.",
    ]
    learned = trained[trained["steps"].notna()]
    for name in SATURATING:
        part = learned[learned["activation"].isin((name, "relu"))]
        depths = part.groupby("remedy", sort=False)["depth"].max()
        others = ", ".join(f"{other} {depths.get(other, 0)}" for other in ("none", *COMPARED)).replace(
            "none", "untreated"
        )
        own = depths.drop(list(COMPARED), errors="ignore")
        do = "none of the remedies learned"
        if len(own):
            do = f"{ADVICE[own.idxmax()]}, which learned a planted function with up to {own.max()} layers"
        sentences.append(f"{name}, critical at σ_w² = {signal.critical(name):.4g}: {do} (most layers: {others}).")
    own = trained[~trained["remedy"].isin(COMPARED)]
    counts = own["steps"].notna().groupby(own["remedy"], sort=False).sum().sort_values(ascending=False, kind="stable")
    sentences.append(
        f"Of {len(own) // len(counts)} networks each learned "
        + ", ".join(f"{count} with {name}" for name, count in counts.items())
        + "; each was trained once, so that one or two more or fewer say little."
    )
    held = own[own["remedy"].isin(("critical", "orthogonal", "critical, Adam"))]
    deep = held[held["depth"] == held["depth"].max()]
    able = int(deep["steps"].notna().sum())
    sentences.append(
        f"On the critical line {able} of {len(deep)} networks with {deep['depth'].iloc[0]} layers learned"
        + (": that a gradient keeps its size is not enough." if able < len(deep) else ".")
    )
    after = own[own["steps"].notna() & (own["depth"] > 2)]
    moved = (after["after"] / after["measured"]).to_numpy()
    sentences.append(
        f"Theory is of wide layers, large batches and random weights: it was off by up to {wide.max():.1%} at width "
        f"{WIDE[0]} and a batch of {WIDE[1]}, by up to {worst.max():.0%} ({worst.idxmax()}) at width "
        f"{normal['width'].min()} and a batch of {normal['batch'].min()}"
        + (f", and training changed the factor by {moved.min():.2g} to {moved.max():.2g} times." if len(moved) else ".")
    )
    return " ".join(sentences)

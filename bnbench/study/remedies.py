"""What can be done against gradients that vanish or explode, tried on deep networks that learn a planted function.

Networks have biases and no normalisation, but for the one remedy that it is. An initialisation draws Γ; a rule makes
steps of gradients. All are trained on minibatches by the library's own gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bnbench.library import prepare
from bnbench.problem import Layer, Spec
from bnbench.study import signal

INPUTS, WIDTH, BATCH = 4, 32, 64  # of the networks, and rows of a step
ROWS, JUDGES = 4096, 256  # to learn from, and to judge by
LEARNED = 0.8  # R² on rows that were not learned from
EVERY = 10  # steps between two looks at those rows
SCALE = 2.0  # a of a·θ(z)
MOMENTUM, DECAYS = 0.9, (0.9, 0.999)  # of gradient descent and LARS; Adam's

Rule = Callable[[list[np.ndarray], list[np.ndarray], float], list[np.ndarray]]


class Remedy(NamedTuple):
    """A remedy.

    Attributes:
        weight: an activation's σ_w².
        rule: "descent", "lars" or "adam", and the rates that are tried for it are those of `RATES`.
        orthogonal: whether Γ is; fitted: whether every Γ is scaled to Var Z = 1 on the data (LSUV, Mishkin and Matas
            2016); scale: a of a·θ(z); normalization: of the networks.
    """

    weight: Callable[[str], float] = lambda activation: 1.0
    rule: str = "descent"
    orthogonal: bool = False
    fitted: bool = False
    scale: float = 1.0
    normalization: str = "frozen"


RATES = {"descent": (0.001, 0.01, 0.1), "lars": (0.0003, 0.001, 0.003), "adam": (0.001, 0.003, 0.01)}
REMEDIES = {
    "none": Remedy(),
    "critical": Remedy(signal.critical),
    "LSUV": Remedy(fitted=True),
    "a·θ(z)": Remedy(scale=SCALE),
    "orthogonal": Remedy(signal.critical, orthogonal=True),
    "LARS": Remedy(rule="lars"),
    "Adam": Remedy(rule="adam"),
    "critical, Adam": Remedy(signal.critical, rule="adam"),
    "batch norm": Remedy(normalization="batch"),
    "ReLU": Remedy(signal.critical),
}


def planted(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and what is to be learned of them: a soft step along one and the square of another, of variance 1."""
    X = random.standard_normal((ROWS + JUDGES, INPUTS))
    y = np.tanh(2 * X[:, 0]) + 0.5 * (X[:, 1] ** 2 - 1)
    return X, (y - y.mean()) / y.std()


def descent(state: dict, parts: list, slopes: list, rate: float) -> None:
    """A step of gradient descent with momentum."""
    for place, (part, slope) in enumerate(zip(parts, slopes, strict=True)):
        state[place] = MOMENTUM * state.get(place, 0) + slope
        part -= rate * state[place]


def lars(state: dict, parts: list, slopes: list, rate: float) -> None:
    """As `descent`, with gradients that have the lengths of what they change (You, Gitman and Ginsburg 2017)."""
    pairs = list(zip(parts, slopes, strict=True))
    sizes = [max(float(np.linalg.norm(part)), 1.0) / max(float(np.linalg.norm(slope)), 1e-300) for part, slope in pairs]
    descent(state, parts, [size * slope for size, slope in zip(sizes, slopes, strict=True)], rate)


def adam(state: dict, parts: list, slopes: list, rate: float) -> None:
    """A step of Adam (Kingma and Ba 2015)."""
    t = state["t"] = state.get("t", 0) + 1
    for place, (part, slope) in enumerate(zip(parts, slopes, strict=True)):
        mean, square = state.get(place, (0.0, 0.0))
        mean = DECAYS[0] * mean + (1 - DECAYS[0]) * slope
        square = DECAYS[1] * square + (1 - DECAYS[1]) * slope**2
        state[place] = mean, square
        part -= rate * mean / (1 - DECAYS[0] ** t) / (np.sqrt(square / (1 - DECAYS[1] ** t)) + 1e-8)


RULES = {"descent": descent, "lars": lars, "adam": adam}


def trained(name: str, activation: str, depth: int, rate: float, steps: int, seed: int = 0) -> dict:
    """Train one network, until it has learned or for so many steps.

    Returns:
        steps, None where it has not learned; curve, the risk on rows not learned from over the variance of y, every
        `EVERY` steps; start and end, the mean factor of the gradient a layer, before and after.
    """
    remedy, random = REMEDIES[name], np.random.default_rng([seed, depth])
    X, y = planted(np.random.default_rng(seed))
    G = signal.weights(random, [INPUTS] + depth * [WIDTH], remedy.weight(activation), remedy.orthogonal)
    G = signal.fitted(G, activation, X[:BATCH]) if remedy.fitted else G
    inner = [1.0] + depth * [remedy.scale]  # a is in the next Γ = a W: a step of W makes one of Γ that is a² as long
    *G, out = (a * one for a, one in zip(inner, [*G, random.standard_normal(WIDTH) / WIDTH**0.5], strict=True))
    gamma, beta = [np.ones(WIDTH)] * depth, [np.zeros(WIDTH) for _ in range(depth)]
    normal = remedy.normalization == "batch"
    spec = Spec(activation, remedy.normalization, eps=1e-5 if normal else 0.0)
    given = None if normal else [(np.zeros(WIDTH), np.ones(WIDTH))] * depth
    conventions: dict[str, Any] = {"activation": activation, "normalization": remedy.normalization, "eps": spec.eps}
    learn, judge = (
        prepare(X[rows], y[rows], depth * [WIDTH], statistics=given, **conventions)
        for rows in (slice(ROWS), slice(ROWS, None))
    )
    found: dict = {"start": factor(G, beta, X[:BATCH], spec, random), "curve": [], "steps": None}
    state: dict = {}
    for step in range(steps + 1):
        try:
            if step % EVERY == 0:
                found["curve"].append(judge.gradients(G, gamma, beta, out).loss)
                if found["curve"][-1] < 1 - LEARNED:
                    found["steps"] = step
                    break
            first = step * BATCH % ROWS
            slopes = learn.gradients(G, gamma, beta, out, rows=slice(first, first + BATCH))
        except ValueError:  # it has diverged
            break
        scaled = [a**2 * slope for a, slope in zip(inner, [*slopes.dG1, slopes.dG2], strict=True)]
        RULES[remedy.rule](state, [*G, out, *beta], [*scaled, *slopes.dbeta], rate)
    return found | {"end": factor(G, beta, X[:BATCH], spec, random)}


def factor(G: list, beta: list, X: np.ndarray, spec: Spec, random: np.random.Generator) -> float:
    """The geometric mean of the gradient's factor over the layers after the first."""
    layers = [Layer(one, np.ones(WIDTH), shift) for one, shift in zip(G, beta, strict=True)]
    with np.errstate(all="ignore"):
        found = signal.norms(layers, X, spec, random)
    return float((found[1] / found[-1]) ** (1 / (len(G) - 1)))

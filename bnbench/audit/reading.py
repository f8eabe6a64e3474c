"""For a gradient that no known mistake explains: the factor by which it, or a term of it, is off."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bnbench import formula
from bnbench.audit.edits import OUTPUT, PLACES, derived, instead, planted, renewed, s_of
from bnbench.audit.mistakes import BUILT_IN_EPS
from bnbench.problem import Batch, Problem

FACTORS = (1.0, -1.0, 2.0, 0.5, -2.0, -0.5, 4.0, 0.25, 3.0, 1 / 3, -4.0, -0.25, -3.0, -1 / 3)
NEAR = 1e-7  # relative: how well a factor must fit
SMALL = 1e-6  # of the largest entry: entries below it say nothing of a factor
POWERS = sorted(
    itertools.product((0, 1, -1, 2, -2), (0, 1, -1, 2, -2), (0, 1, -1, 2, -2, 3, -3)),
    key=lambda powers: sum(abs(power) for power in powers),
)  # of N, γ and s: the simplest first
TERMS = "the first term", "the μ-term", "the s-term"
SIZES = (11, 7, 4), (17, 8, 3)


class Letters(NamedTuple):
    """What a factor is read by, of one layer.

    Attributes:
        N, gamma, s: the letters, (p,) each but N; ones without normalization.
        terms: of ∂R/∂Γ, each of its shape, which is the first less the two others; none but for the batch's statistics.
        mu, variance: the statistics (p,), or None.
        asked: what it was computed of: the batch, the problem, and what eps is added to.
    """

    N: int
    gamma: Any
    s: Any
    terms: tuple
    mu: Any
    variance: Any
    asked: tuple[Batch, Problem, str]


def word(factor: float, powers: Sequence[int]) -> str:
    """The factor k Nᵃ γᵇ sᶜ in words."""
    above: list[str] = []
    below: list[str] = []
    for letter, power in zip(("N", "γ", "s"), powers, strict=True):
        if power:
            (above if power > 0 else below).append(letter + {2: "²", 3: "³"}.get(abs(power), ""))
    number = f"{factor:g}" if abs(factor) >= 1 else f"{'-' if factor < 0 else ''}1/{round(1 / abs(factor))}"
    if number == "1" and above:
        number = ""
    text = " ".join([number, *above] if number != "-1" or not above else ["-" + above[0], *above[1:]]).strip()
    return text + (f"/{below[0]}" if len(below) == 1 else f"/({' '.join(below)})" if below else "")


def monomial(ratios: Sequence[tuple[np.ndarray, float, np.ndarray, np.ndarray]]) -> str:
    """The one factor k Nᵃ γᵇ sᶜ that all ratios follow, as a word; "" where none does, and for 1.

    Args:
        ratios: of each problem (values, N, γ, s): arrays of one length and N.
    """
    if not ratios or not sum(len(values) for values, *_ in ratios):
        return ""
    if all(np.all(np.abs(values) < NEAR) for values, *_ in ratios):
        return "0"
    for a, b, c in POWERS:
        with np.errstate(all="ignore"):
            left = np.concatenate([values / (N**a * gamma**b * s**c) for values, N, gamma, s in ratios])
        for factor in FACTORS:
            if np.all(np.abs(left / factor - 1) < NEAR):
                return word(factor, (a, b, c)) if (factor, a, b, c) != (1, 0, 0, 0) else ""
    return ""


def of_vector(triples: Sequence[tuple[Any, Any, Letters]]) -> str:
    """By which factor a gradient or the loss is off.

    Args:
        triples: of each problem (answer, truth, letters), letters as `letters` gives them.
    """
    ratios = []
    for answer, truth, known in triples:
        answer, truth = np.atleast_1d(answer), np.atleast_1d(truth)
        if answer.shape != truth.shape or not np.isfinite(answer).all():
            return ""
        of_nodes = truth.shape[-1] == np.size(known.s)
        gamma, s = (np.broadcast_to(part if of_nodes else np.nan, truth.shape) for part in (known.gamma, known.s))
        says = (np.abs(truth) > SMALL * np.abs(truth).max(initial=0)) & (gamma != 0)
        ratios.append((answer[says] / truth[says], float(known.N), gamma[says], s[says]))
    return monomial(ratios)


def letters(batch: Batch, problem: Problem, place: str) -> list[Letters]:
    """Those of every layer, by the formula in which nothing is edited."""
    edits = planted((), place, problem.depth)
    with np.errstate(all="ignore"):
        layers = formula.network(batch.theta, batch.data, problem.spec, edits=edits).layers
    asked, ones, found = (batch, problem, place), np.ones(problem.p2), []
    for k in layers:
        if problem.normalization == "none":
            found.append(Letters(k.N, ones, ones, (), None, None, asked))
            continue
        terms: tuple = ()
        if problem.normalization == "batch":
            A = k.input
            terms = A.T @ (k.weight * k.S), np.outer(A.mean(axis=0), k.weight * k.dbeta), A.T @ (k.weight * k.s_term)
        found.append(Letters(k.N, k.layer.gamma, k.s, terms, k.mu, k.variance, asked))
    return found


def fit_problems(problem: Problem) -> list[tuple[Batch, Problem]]:
    """Two of one layer and these conventions with more inputs than terms: each term can be told from the others."""
    made, eps = [], problem.eps
    for seed, (N, p1, p2) in enumerate(SIZES):
        problem = replace(problem, N=N + problem.ddof, p1=p1, p2=p2, dtype="float64", seed=3000 + seed)
        batch = problem.sample()
        shift = np.linspace(-1, 2, p1)
        scale = eps**0.5 if 0 < eps < 0.01 else 1.0
        gamma = batch.gamma * np.linspace(1.5, 3.0, p2)
        made.append((batch._replace(X=batch.X + shift, G1=batch.G1 * scale, gamma=gamma), problem))
    return made


def of_eps(pairs: Sequence[tuple[Any, Letters]]) -> str:
    """The other eps that ∂R/∂Γ1 is divided by, where that alone is wrong with it; or ""."""
    every_eps: list[float] = []
    own = set()
    for answer, known in pairs:
        truth = known.terms[0] - known.terms[1] - known.terms[2]
        if not isinstance(answer, np.ndarray) or answer.shape != truth.shape or not np.isfinite(answer).all():
            return ""
        ratio = (answer * truth).sum(axis=0) / (truth * truth).sum(axis=0)
        if np.linalg.norm(answer - ratio * truth) > NEAR * np.linalg.norm(answer) or not (ratio > 0).all():
            return ""
        every_eps += list((known.s / ratio) ** 2 - known.variance)
        own.add(known.asked[1].eps)
    eps, size = float(np.median(every_eps)), max(np.max(known.variance) for _, known in pairs)
    if eps < 0 or np.ptp(every_eps) > 1e-9 * size + 1e-6 * eps or own == {eps}:
        return ""
    there = f"eps={eps:.4g}" if eps > 1e-9 * size else "no eps"
    return f"∂R/∂Γ1 is divided by a root with {there}, and the forward pass has eps={own.pop():g}"


def of_other_s(pairs: Sequence[tuple[Any, Letters]]) -> str:
    """The other s of which ∂R/∂Γ1 is the gradient throughout, X̂ too: another eps, or added elsewhere; or ""."""
    for place, eps in itertools.product(PLACES, BUILT_IN_EPS):
        if all(np.linalg.norm(_backward(known, place, eps) - answer) <= NEAR * np.linalg.norm(answer)
               for answer, known in pairs if isinstance(answer, np.ndarray)):  # fmt: skip
            _, problem, own = pairs[0][1].asked
            return (
                f"∂R/∂Γ1 is that of another s, {_root(place, eps)}, where the forward pass has "
                f"{_root(own, problem.eps)}"
            )
    return ""


def _root(place: str, eps: float) -> str:
    """The formula of s, v being the variance."""
    number = f"{eps:.4g}"
    return (
        {"variance": f"√(v + {number})", "sd": f"√v + {number}", "floor": f"√max(v, {number})"}[place] if eps else "√v"
    )


def _backward(known: Letters, place: str, eps: float) -> np.ndarray:
    """∂R/∂Γ1 of a backward pass that uses another s throughout."""
    batch, problem, own = known.asked
    edits = {
        "root": instead(lambda k: s_of(k.variance, eps, place)),
        "renewed": (OUTPUT, renewed),
        "chain": instead(lambda k: derived(k.variance, k.root, eps, place)),
    }
    with np.errstate(all="ignore"):
        found = formula.gradients(batch.theta, batch.data, problem.spec, edits=planted([(0, edits)], own))
    return found.theta.layers[0].G


def of_terms(pairs: Sequence[tuple[Any, Letters]]) -> str:
    """Which terms of ∂R/∂Γ1 are off, and by which factors; "" where the three do not explain it.

    Args:
        pairs: of each problem (answer (p1,p2), letters).
    """
    fits: tuple[list, list, list] = [], [], []
    for answer, known in pairs:
        if not isinstance(answer, np.ndarray) or answer.shape != known.terms[0].shape:
            return ""
        if not np.isfinite(answer).all():
            return ""
        first, mu_term, s_term = known.terms
        for j in range(answer.shape[1]):
            matrix = np.stack([first[:, j], -mu_term[:, j], -s_term[:, j]], axis=1)
            sizes = np.linalg.norm(matrix, axis=0)
            if not sizes.all():
                continue
            fitted, _, rank, _ = np.linalg.lstsq(matrix / sizes, answer[:, j], rcond=1e-10)
            if rank < len(TERMS):
                continue
            left = np.linalg.norm(matrix / sizes @ fitted - answer[:, j])
            if left > NEAR * max(float(np.linalg.norm(answer[:, j])), 1e-300):
                return ""
            for values, value in zip(fits, fitted / sizes, strict=True):
                values.append((np.array([value]), float(known.N), known.gamma[[j]], known.s[[j]]))
    if not fits[0]:
        return ""
    words = []
    for term, values in zip(TERMS, fits, strict=True):
        if all(abs(value[0] - 1) < NEAR for value, *_ in values):
            continue
        read = monomial(values)
        if not read:
            return ""
        words.append((term, read))
    if not words:
        return ""
    if len(words) == len(TERMS) and len({read for _, read in words}) == 1:
        return f"∂R/∂Γ1 is {words[0][1]} times what it should be"
    told = [
        f"{term} is missing" if read == "0" else f"{term} is {read} times what it should be" for term, read in words
    ]
    return f"in ∂R/∂Γ1 {' and '.join(told)}"

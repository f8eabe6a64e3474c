"""The mistakes that people make in this gradient, each as a formula, to compare a wrong answer with."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench import activations
from bnbench.problem import ACTIVATIONS, Batch, Gradients, Problem


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes:
        name: the mistake, as `diagnose` names it; kinds of one mistake share their name.
        where: the place of it, where it has several; "" otherwise.
        text: what was done, as a phrase.
        normalized: whether it can occur with normalization="batch" only.
        alone: whether it is only looked for by itself, not in pairs.
        whole: whether it explains all outputs together, and none by itself.
    """

    name: str
    where: str
    text: str
    normalized: bool = True
    alone: bool = False
    whole: bool = False

    @property
    def label(self) -> str:
        """Name and place."""
        return f"{self.name} ({self.where})" if self.where else self.name


EVERYWHERE, FORWARD, BACKWARD = "everywhere", "in the forward pass", "in ∂R/∂Γ1 only"
DERIVED = "in the forward pass, rightly derived"  # the backward pass is the gradient of that forward pass
ALL_BACKWARD = "in the whole backward pass"  # in what ∂R/∂Γ1 is divided by, and in X̂
IN_S, IN_S_TERM, IN_MU_TERM, IN_FIRST, IN_WEIGHT = (
    *("in s", "in the s-term", "in the μ-term", "in the first term"),
    "in what ∂R/∂Γ1 is divided by",
)
TERMS = IN_FIRST, IN_MU_TERM, IN_S_TERM
IN_BOTH = "in the μ-term and the s-term"
DGAMMA, DBETA = "in ∂R/∂γ", "in ∂R/∂β"
VARIANCE, SD, FLOOR = "variance", "sd", "floor"  # what eps is added to: s = √(v + eps), √v + eps, √max(v, eps)
PLACES = VARIANCE, SD, FLOOR
BUILT_IN_EPS = (0.0, *(m * 10.0**-k for k in range(16) for m in (1, 2, 5)))  # that people choose

MISTAKES = (
    Mistake("mu-and-s-constant", "", "μ and s are held constant in ∂R/∂Γ1"),
    Mistake("no-mu-term", "", "the μ-term 1(∂R/∂β)ᵀ/N is missing from ∂R/∂Γ1"),
    Mistake("no-s-term", "", "the s-term X̂ ⊙ (∂R/∂γ)ᵀ/(N-ddof) is missing from ∂R/∂Γ1"),
    Mistake("N-for-N-ddof", EVERYWHERE, "N stands where N-ddof belongs, in s and in the s-term"),
    Mistake("N-for-N-ddof", IN_S, "N stands where N-ddof belongs, in s"),
    Mistake("N-for-N-ddof", IN_S_TERM, "N stands where N-ddof belongs, in the s-term"),
    Mistake("gamma-in-dgamma", "", "∂R/∂γ has a factor γ that does not belong"),
    Mistake("no-gamma", "", "the factor γ is missing from ∂R/∂Γ1"),
    Mistake("times-s", BACKWARD, "∂R/∂Γ1 is multiplied by s where it is to be divided"),
    Mistake("times-s", FORWARD, "Z - μ is multiplied by s where it is to be divided"),
    Mistake("times-s", EVERYWHERE, "s multiplies where it is to divide, forward and backward"),
    Mistake("no-1/N", "", "the 1/N of the loss is missing", normalized=False),
    Mistake("sign", "", "the sign is reversed", normalized=False),
    Mistake("derivative-1", "", "a' is taken to be 1 everywhere", normalized=False),
    Mistake("eps-outside-root", EVERYWHERE, "eps is added to the standard deviation, outside the root"),
    Mistake("eps-outside-root", FORWARD, "eps is added outside the root in the forward pass"),
    Mistake("eps-outside-root", BACKWARD, "eps is added outside the root in ∂R/∂Γ1"),
    Mistake("variance-for-s", EVERYWHERE, "the variance stands where its root belongs"),
    Mistake("variance-for-s", FORWARD, "the variance stands where its root belongs in the forward pass"),
    Mistake("variance-for-s", BACKWARD, "the variance stands where its root belongs in ∂R/∂Γ1"),
    Mistake("swapped-outputs", "dgamma and dbeta", "∂R/∂γ and ∂R/∂β are swapped"),
    Mistake("swapped-outputs", "dgamma and dG2", "∂R/∂γ and ∂R/∂Γ2 are swapped"),
    Mistake("swapped-outputs", "dbeta and dG2", "∂R/∂β and ∂R/∂Γ2 are swapped"),
    Mistake("transposed-dG1", "", "∂R/∂Γ1 is transposed", normalized=False),
    # of the forward pass alone: the backward pass is rightly derived from it
    Mistake("eps-outside-root", DERIVED, "eps is added outside the root; the backward pass is that of this s"),
    Mistake("variance-for-s", DERIVED, "the variance stands where its root belongs; the backward pass is that of this"),
    Mistake("times-s", DERIVED, "Z - μ is multiplied by s; the backward pass is that of this"),
    Mistake("square-for-root", DERIVED, "the square stands where the root belongs; the backward pass is that of this"),
    Mistake("square-for-root", FORWARD, "the square stands where the root belongs in the forward pass"),
    Mistake("square-for-root", BACKWARD, "the square stands where the root belongs in ∂R/∂Γ1"),
    Mistake("square-for-root", EVERYWHERE, "the square stands where the root belongs, forward and backward"),
    Mistake("no-axis", "in μ", "the mean is taken over all nodes at once: its axis is missing"),
    Mistake("no-axis", IN_S, "the variance is taken over all nodes at once: its axis is missing"),
    # of the three terms of ∂R/∂Γ1
    Mistake("sign-of-s-term", "", "the s-term of ∂R/∂Γ1 has the wrong sign"),
    Mistake("sign-of-mu-term", "", "the μ-term of ∂R/∂Γ1 has the wrong sign"),
    Mistake("sign-of-both-terms", "", "the μ-term and the s-term of ∂R/∂Γ1 have the wrong sign"),
    *(
        Mistake("gamma-missing", where, f"the factor γ is missing {where.replace('in', 'from', 1)} of ∂R/∂Γ1")
        for where in (*TERMS, IN_BOTH)
    ),
    *(
        Mistake("sum-for-mean", where, f"a sum stands where its mean belongs, {where} of ∂R/∂Γ1")
        for where in (IN_MU_TERM, IN_S_TERM, IN_BOTH)
    ),
    *(
        Mistake("mean-for-sum", where, f"a 1/N too many, a mean for a sum, {where} of ∂R/∂Γ1")
        for where in (*TERMS, IN_BOTH)
    ),
    Mistake("sum-for-S", "", "the sum of S over the rows stands where S belongs, in the first term of ∂R/∂Γ1"),
    Mistake("matrix-product", "", "S and γ are multiplied as matrices where they are to be multiplied elementwise"),
    Mistake("mean-for-sum", DGAMMA, "∂R/∂γ is a mean where a sum belongs"),
    Mistake("mean-for-sum", DBETA, "∂R/∂β is a mean where a sum belongs"),
    Mistake("mean-for-sum", "in ∂R/∂γ and ∂R/∂β", "∂R/∂γ and ∂R/∂β are means where sums belong"),
    Mistake("mean-for-sum", EVERYWHERE, "means stand where sums belong, in ∂R/∂γ, ∂R/∂β, the μ-term and the s-term"),
    Mistake("no-axis", IN_MU_TERM, "the sum of the μ-term runs over all nodes: its axis is missing"),
    Mistake("no-axis", IN_S_TERM, "the sum of the s-term runs over all nodes: its axis is missing"),
    Mistake("no-axis", "in the mean of the μ-term", "the mean of the μ-term runs over all nodes: its axis is missing"),
    Mistake("no-axis", "in the mean of the s-term", "the mean of the s-term runs over all nodes: its axis is missing"),
    Mistake("no-axis", DGAMMA, "the sum of ∂R/∂γ runs over all nodes: its axis is missing"),
    Mistake("no-axis", DBETA, "the sum of ∂R/∂β runs over all nodes: its axis is missing"),
    Mistake("N-1-for-N", EVERYWHERE, "N-1 stands where N belongs, in s and in the s-term"),
    Mistake("N-1-for-N", IN_S, "N-1 stands where N belongs, in s"),
    Mistake("N-1-for-N", IN_S_TERM, "N-1 stands where N belongs, in the s-term"),
    Mistake("N-1-for-N", IN_MU_TERM, "N-1 stands where N belongs, in the μ-term"),
    Mistake("N-1-for-N", IN_WEIGHT, "N-1 stands where N belongs, in what ∂R/∂Γ1 is divided by"),
    Mistake("N-for-N-ddof", IN_WEIGHT, "N stands where N-ddof belongs, in what ∂R/∂Γ1 is divided by"),
    Mistake("half", "missing from the s-term", "the s-term is twice too large: a 1/2 is missing"),
    Mistake("half", "in the s-term", "the s-term has a 1/2 that does not belong, or misses a 2"),
    Mistake("s-power", "s² for s³", "the s-term is s times too large: a 1/s is missing"),
    Mistake("s-power", "1/s too many", "the s-term has a 1/s too many"),
    Mistake("inverse-s-for-variance", BACKWARD, "the saved 1/s is taken for the variance in ∂R/∂Γ1"),
    Mistake("inverse-s-for-variance", ALL_BACKWARD, "the saved 1/s is taken for the variance in the backward pass"),
    Mistake("eps-forgotten", FORWARD, "eps is forgotten in the forward pass"),
    Mistake("eps-forgotten", BACKWARD, "eps is forgotten in what ∂R/∂Γ1 is divided by"),
    Mistake("eps-forgotten", ALL_BACKWARD, "eps is forgotten in the backward pass"),
    Mistake("diagonal-only", "", "only the diagonal of ∂X̂/∂Z is used in ∂R/∂Γ1: rows are not coupled"),
    Mistake("S-for-dZ", "", "∂R/∂Γ1 is XᵀS, as if nothing were normalised"),
    Mistake("gamma-squared", "", "∂R/∂Γ1 has the factor γ twice"),
    # of the other gradients, and of all of them
    Mistake("gamma-in-dbeta", "", "∂R/∂β has a factor γ that does not belong"),
    Mistake("not-normalised", DGAMMA, "Z - μ stands where X̂ belongs, in ∂R/∂γ"),
    Mistake("not-normalised", IN_S_TERM, "Z - μ stands where X̂ belongs, in the s-term"),
    Mistake("Z-for-Xhat", DGAMMA, "Z stands where X̂ belongs, in ∂R/∂γ"),
    Mistake("B-for-Xhat", DGAMMA, "B stands where X̂ belongs, in ∂R/∂γ"),
    Mistake(
        "no-1/N", "in the gradients", "the 1/N of the loss is missing from the gradients", normalized=False, whole=True
    ),
    Mistake(
        "no-2", "", "the gradients are half of what they should be: the 2 is missing", normalized=False, whole=True
    ),
    Mistake("loss-halved", "", "everything is that of Σε̂²/(2N), half of the loss", normalized=False, whole=True),
    Mistake("derivative-1", "in ∂R/∂Γ1", "a' is taken to be 1 in ∂R/∂Γ1"),
    Mistake("derivative-1", "in ∂R/∂γ and ∂R/∂β", "a' is taken to be 1 in ∂R/∂γ and ∂R/∂β"),
    Mistake("derivative-at", "A", "a' is taken at A where it belongs at B", normalized=False),
    Mistake("derivative-at", "X̂", "a' is taken at X̂ where it belongs at B"),
    Mistake("derivative-at", "Z", "a' is taken at Z where it belongs at B"),
    Mistake("B-for-A", "in ∂R/∂Γ2", "B stands where A belongs, in ∂R/∂Γ2", normalized=False),
    *(
        Mistake("activation-ignored", name, f"the activation is ignored: it is always {name}", False, alone=True)
        for name in ACTIVATIONS
    ),
)


@functools.cache
def combinations(normalization: str) -> tuple[frozenset[Mistake], ...]:
    """The empty set, every mistake, and every pair of mistakes of different names; smallest sets first."""
    possible = [mistake for mistake in MISTAKES if normalization == "batch" or not mistake.normalized]
    pairs = itertools.combinations([mistake for mistake in possible if not mistake.alone], 2)
    different = (pair for pair in pairs if pair[0].name != pair[1].name)
    return frozenset(), *(frozenset([one]) for one in possible), *map(frozenset, different)


def mistaken(batch: Batch, problem: Problem, mistakes: frozenset[Mistake], place: str = VARIANCE) -> Gradients:
    """The gradients with these mistakes in them, in float64; with none they are right.

    A mistake of the forward pass changes everything computed after it, as it does in code. Of two swaps the one
    that comes first in `MISTAKES` is made first. `place` says what eps is added to, forward and backward alike.
    """
    with np.errstate(all="ignore"):
        return _mistaken(batch, problem, {(mistake.name, mistake.where) for mistake in mistakes}, place)


def _mistaken(batch: Batch, problem: Problem, made: set[tuple[str, str]], place: str) -> Gradients:
    X, y, G1, gamma, beta, G2 = Batch._make(None if array is None else np.asarray(array, np.float64) for array in batch)
    N, free, eps = problem.N, problem.N - problem.ddof, problem.eps

    def has(name: str, *places: str) -> bool:
        return any((name, where) in made for where in places or ("",))

    def degrees(*places: str) -> int:
        """N - ddof, or what stands there."""
        return N if has("N-for-N-ddof", *places) else free - 1 if has("N-1-for-N", *places) else free

    def s_as_made(variance: np.ndarray, eps: float, *here: str) -> np.ndarray:
        """S as the forward pass or ∂R/∂Γ1 has it."""
        s = s_of(variance, eps, SD if has("eps-outside-root", *here) else place)
        if has("square-for-root", *here):
            s = s**4
        if has("variance-for-s", *here):
            s = s * s
        return 1 / s if has("times-s", *here) else s

    B = Z = X @ G1
    if problem.normalization == "batch":
        centred = Z - (Z.mean() if has("no-axis", "in μ") else Z.mean(axis=0))
        squares = (centred * centred).sum(axis=0)
        if has("no-axis", IN_S):
            squares = np.full(len(G2), np.var(Z) * N)
        variance = squares / degrees(EVERYWHERE, IN_S)
        s = s_as_made(variance, 0 if has("eps-forgotten", FORWARD) else eps, EVERYWHERE, FORWARD, DERIVED)
        Xhat = centred / s
        B = gamma * Xhat + beta
    name = next((where for name, where in made if name == "activation-ignored"), problem.activation)
    A = activations.value(name, B)
    e = y - A @ G2
    at = {"A": A, "Z": Z} | ({"X̂": Xhat} if problem.normalization == "batch" else {})
    where = next((at[where] for name, where in made if name == "derivative-at"), B)
    slope = np.ones_like(B) if has("derivative-1") else activations.derivative(name, where)
    halved = has("loss-halved")
    factor = (2 if has("sign") else -2) / (1 if has("no-1/N", "", "in the gradients") else N)
    factor /= (2 if has("no-2") else 1) * (2 if halved else 1)

    S = factor * np.outer(e, G2) * slope
    bare = factor * np.outer(e, G2)  # S without a'
    outputs: dict[str, Any] = {
        "dG2": factor * ((B if has("B-for-A", "in ∂R/∂Γ2") else A).T @ e),
        "dgamma": None,
        "dbeta": None,
    }
    if problem.normalization == "batch":
        seen = Xhat  # X̂ as the backward pass has it
        root = s_as_made(
            squares / degrees(EVERYWHERE, IN_S, IN_WEIGHT),
            0 if has("eps-forgotten", BACKWARD, ALL_BACKWARD) else eps,
            *(EVERYWHERE, BACKWARD, DERIVED),
        )
        if has("inverse-s-for-variance", BACKWARD, ALL_BACKWARD):
            root = np.sqrt(1 / s + eps)
        if has("inverse-s-for-variance", ALL_BACKWARD) or has("eps-forgotten", ALL_BACKWARD):
            seen = centred / root
        told = bare if has("derivative-1", "in ∂R/∂γ and ∂R/∂β") else S
        outputs |= {
            "dbeta": np.asarray(told.sum() if has("no-axis", DBETA) else told.sum(axis=0)),
            "dgamma": np.asarray((told * seen).sum() if has("no-axis", DGAMMA) else (told * seen).sum(axis=0)),
        }
        for where, other in (("not-normalised", centred), ("Z-for-Xhat", Z), ("B-for-Xhat", B)):
            if has(where, DGAMMA):
                outputs["dgamma"] = (told * other).sum(axis=0)
        S = bare if has("derivative-1", "in ∂R/∂Γ1") else S
        scale = 1 if has("no-gamma") else gamma * gamma if has("gamma-squared") else gamma
        if has("matrix-product"):
            S, scale = np.outer(S @ gamma, np.ones_like(gamma)), 1
        dbeta, dgamma = S.sum(axis=0), (S * seen).sum(axis=0)
        outputs["dbeta"] = outputs["dbeta"] * (gamma if has("gamma-in-dbeta") else 1)
        outputs["dgamma"] = outputs["dgamma"] * (gamma if has("gamma-in-dgamma") else 1)
        for output, mine in (("dbeta", DBETA), ("dgamma", DGAMMA)):
            if has("mean-for-sum", mine, EVERYWHERE, "in ∂R/∂γ and ∂R/∂β"):
                outputs[output] = outputs[output] / N

        summed, along = dbeta, dgamma
        if has("no-axis", IN_MU_TERM, "in the mean of the μ-term"):
            summed = S.sum() / (len(G2) if has("no-axis", "in the mean of the μ-term") else 1)
        if has("no-axis", IN_S_TERM, "in the mean of the s-term"):
            along = (S * seen).sum() / (len(G2) if has("no-axis", "in the mean of the s-term") else 1)
        mean = summed / (N - 1 if has("N-1-for-N", IN_MU_TERM) else N)
        along = along / degrees(EVERYWHERE, IN_S_TERM) * derived(variance, s, eps, place, has)
        along = along * (2 if has("half", "missing from the s-term") else 0.5 if has("half", "in the s-term") else 1)
        along = along * (s if has("s-power", "s² for s³") else 1 / s if has("s-power", "1/s too many") else 1)
        first, mu_term = np.broadcast_to(dbeta, S.shape) if has("sum-for-S") else S, mean
        s_term = (centred if has("not-normalised", IN_S_TERM) else seen) * along
        mu_term = mu_term * (-1 if has("sign-of-mu-term") or has("sign-of-both-terms") else 1)
        s_term = s_term * (-1 if has("sign-of-s-term") or has("sign-of-both-terms") else 1)
        mu_term = mu_term * (N if has("sum-for-mean", IN_MU_TERM, IN_BOTH) else 1)
        s_term = s_term * (N if has("sum-for-mean", IN_S_TERM, IN_BOTH) else 1)
        first = first / (N if has("mean-for-sum", IN_FIRST) else 1)
        mu_term = mu_term / (N if has("mean-for-sum", IN_MU_TERM, IN_BOTH, EVERYWHERE) else 1)
        s_term = s_term / (N if has("mean-for-sum", IN_S_TERM, IN_BOTH, EVERYWHERE) else 1)
        if has("no-mu-term") or has("mu-and-s-constant"):
            mu_term = 0
        if has("no-s-term") or has("mu-and-s-constant"):
            s_term = 0
        first = first * (1 if has("gamma-missing", IN_FIRST) else scale)
        mu_term = mu_term * (1 if has("gamma-missing", IN_MU_TERM, IN_BOTH) else scale)
        s_term = s_term * (1 if has("gamma-missing", IN_S_TERM, IN_BOTH) else scale)
        dZ = (first - mu_term - s_term) / root
        if has("diagonal-only"):
            dZ = scale / root * S * (1 - 1 / N - seen * seen / free)
        S = S if has("S-for-dZ") else dZ
    dG1 = X.T @ S
    for mistake in MISTAKES:
        if mistake.name == "swapped-outputs" and (mistake.name, mistake.where) in made:
            one, other = mistake.where.split(" and ")
            outputs[one], outputs[other] = outputs[other], outputs[one]
    loss = e @ e / (1 if has("no-1/N") else N) / (2 if halved else 1)
    return Gradients(loss, dG1.T if has("transposed-dG1") else dG1, outputs["dgamma"], outputs["dbeta"], outputs["dG2"])


def s_of(variance: np.ndarray, eps: float, place: str) -> np.ndarray:
    """S, by what eps is added to."""
    if place == SD:
        return np.sqrt(variance) + eps
    return np.sqrt(np.maximum(variance, eps) if place == FLOOR else variance + eps)


def derived(
    variance: np.ndarray, s: np.ndarray, eps: float, place: str, has: Callable[..., bool] = lambda name, *where: False
) -> np.ndarray | float:
    """2 s ∂s/∂v: the factor of the s-term where s is another function of the variance v than √(v + eps)."""
    inside = variance + eps
    if has("square-for-root", DERIVED):
        return 4 * inside * s
    if has("variance-for-s", DERIVED):
        return 2 * s
    if has("times-s", DERIVED):
        return -1 / inside**2
    if has("eps-outside-root", DERIVED) or place == SD:
        return s / np.sqrt(variance)
    return np.where(variance > eps, 1.0, 0.0) if place == FLOOR else 1.0

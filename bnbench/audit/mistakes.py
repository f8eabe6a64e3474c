"""The mistakes people make in this gradient, each as a formula of its own: what a wrong answer is compared with."""

import itertools
from dataclasses import dataclass

import numpy as np

from bnbench import activations
from bnbench.problem import Batch, Gradients, Problem


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes:
        name: the mistake, as `diagnose` names it; kinds of one mistake share their name.
        where: the place of it, where it has several; "" otherwise.
        text: what was done, as a phrase.
        normalized: whether it can occur with normalization="batch" only.
    """

    name: str
    where: str
    text: str
    normalized: bool = True

    @property
    def label(self) -> str:
        """Name and place."""
        return f"{self.name} ({self.where})" if self.where else self.name


EVERYWHERE, FORWARD, BACKWARD = "everywhere", "in the forward pass", "in ∂R/∂Γ1 only"
IN_S, IN_S_TERM = "in s", "in the s-term"

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
)


def combinations(normalization: str) -> list[frozenset[Mistake]]:
    """The empty set, every mistake, and every pair of mistakes of different names; smallest sets first."""
    possible = [mistake for mistake in MISTAKES if normalization == "batch" or not mistake.normalized]
    pairs = [pair for pair in itertools.combinations(possible, 2) if pair[0].name != pair[1].name]
    return [frozenset(), *(frozenset([one]) for one in possible), *(frozenset(pair) for pair in pairs)]


def mistaken(batch: Batch, problem: Problem, mistakes: frozenset[Mistake]) -> Gradients:
    """The gradients with these mistakes in them, in float64; with none they are right.

    A mistake of the forward pass changes everything computed after it, as it does in code. Of two swaps the one
    that comes first in `MISTAKES` is made first.
    """
    X, y, G1, gamma, beta, G2 = (None if array is None else np.asarray(array, np.float64) for array in batch)
    N, free, eps = problem.N, problem.N - problem.ddof, problem.eps
    made = {(mistake.name, mistake.where) for mistake in mistakes}

    def has(name, *places):
        return any((name, place) in made for place in places or ("",))

    def s_as_made(here):
        """S as the forward pass or ∂R/∂Γ1 has it."""
        variance = squares / (N if has("N-for-N-ddof", EVERYWHERE, IN_S) else free)
        s = np.sqrt(variance) + eps if has("eps-outside-root", EVERYWHERE, here) else np.sqrt(variance + eps)
        if has("variance-for-s", EVERYWHERE, here):
            s = s * s
        return 1 / s if has("times-s", EVERYWHERE, here) else s

    B = X @ G1
    if problem.normalization == "batch":
        centred = B - B.mean(axis=0)
        squares = (centred * centred).sum(axis=0)
        Xhat = centred / s_as_made(FORWARD)
        B = gamma * Xhat + beta
    A = activations.value(problem.activation, B)
    e = y - A @ G2
    slope = np.ones_like(B) if has("derivative-1") else activations.derivative(problem.activation, B)
    factor = (2 if has("sign") else -2) / (1 if has("no-1/N") else N)

    S = factor * np.outer(e, G2) * slope
    outputs = {"dG2": factor * (A.T @ e), "dgamma": None, "dbeta": None}
    if problem.normalization == "batch":
        dbeta, dgamma = S.sum(axis=0), (S * Xhat).sum(axis=0)
        along = dgamma / (N if has("N-for-N-ddof", EVERYWHERE, IN_S_TERM) else free)
        mu_term = 0 if has("no-mu-term") or has("mu-and-s-constant") else dbeta / N
        s_term = 0 if has("no-s-term") or has("mu-and-s-constant") else Xhat * along
        weight = (1 if has("no-gamma") else gamma) / s_as_made(BACKWARD)
        S = weight * (S - mu_term - s_term)
        outputs |= {"dbeta": dbeta, "dgamma": dgamma * gamma if has("gamma-in-dgamma") else dgamma}
    dG1 = X.T @ S
    for mistake in MISTAKES:
        if mistake.name == "swapped-outputs" and mistake in mistakes:
            one, other = mistake.where.split(" and ")
            outputs[one], outputs[other] = outputs[other], outputs[one]
    loss = e @ e / (1 if has("no-1/N") else N)
    return Gradients(loss, dG1.T if has("transposed-dG1") else dG1, outputs["dgamma"], outputs["dbeta"], outputs["dG2"])

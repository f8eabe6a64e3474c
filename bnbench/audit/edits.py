"""The known mistakes as edits of `formula`: each a letter of it, and what stands there instead.

`planted` puts any set of them into a layer of a network of any depth; `mistakes.MISTAKES` says what each is. An edit is
(rank, function): where several change one letter, those of lower rank come first, so that what replaces a value comes
before what multiplies it.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bnbench import activations, losses
from bnbench.audit.mistakes import (
    ALL_BACKWARD,
    BACKWARD,
    DBETA,
    DERIVED,
    DGAMMA,
    EVERYWHERE,
    FORWARD,
    IN_BOTH,
    IN_FIRST,
    IN_MU_TERM,
    IN_S,
    IN_S_TERM,
    IN_WEIGHT,
    MISTAKES,
    VARIANCE,
    Mistake,
    derived,
    s_of,
)  # fmt: skip
from bnbench.formula import HEAD, NETWORK, Known
from bnbench.problem import Theta

BASE, EPS, FOURTH, SQUARE, INVERSE, REPLACED, TIMES, OUTPUT, SWAP = range(9)  # ranks
HEADS = ("loss", "r", "dout")  # letters of the head


def times(factor: Any) -> tuple[int, Callable]:
    """An edit that multiplies by a factor, or by a function of what is known."""
    return TIMES, lambda k, value: value * (factor(k) if callable(factor) else factor)


def instead(function: Callable) -> tuple[int, Callable]:
    """An edit that puts a function of what is known in a letter's place."""
    return REPLACED, lambda k, value: function(k)


def output(**parts: Callable) -> dict:
    """Edits of what is handed out of a layer's gradients, and of nothing that is computed from them."""
    return {
        "gradient": (OUTPUT, lambda k, found: found._replace(**{name: part(k, found) for name, part in parts.items()}))
    }


def free(k: Known) -> int:
    """N - ddof."""
    return k.N - k.spec.ddof


def outputs(told: Callable, seen: Callable = lambda k: k.Xhat) -> dict:
    """∂R/∂β and ∂R/∂γ of another S, or another X̂."""
    return output(beta=lambda k, _: told(k).sum(axis=0), gamma=lambda k, _: (told(k) * seen(k)).sum(axis=0))


def everywhere(*letters_and_edits: Any) -> dict:
    """The same edit of several letters."""
    *letters, edit = letters_and_edits
    return dict.fromkeys(letters, edit)


def right_S(k: Known) -> Any:
    """S as it should be, where another stands in the formula."""
    return k.upstream * k.slope


def seen_anew(k: Known, root: Any) -> Any:
    """Have the backward pass see the X̂ that its own root gives."""
    vars(k).update(Xhat=k.Zc / root)
    return root


N_FOR_FREE = times(lambda k: free(k) / k.N)
LESS_ONE = times(lambda k: free(k) / (free(k) - 1))
POWERS = {  # what stands in place of s, and the factor 2 s ∂s/∂v that its right derivative has
    "eps-outside-root": ((EPS, lambda k, s: np.sqrt(k.variance) + k.spec.eps), lambda k: k.s / np.sqrt(k.variance)),
    "square-for-root": ((FOURTH, lambda k, s: s**4), lambda k: 4 * (k.variance + k.spec.eps) * k.s),
    "variance-for-s": ((SQUARE, lambda k, s: s * s), lambda k: 2 * k.s),
    "times-s": ((INVERSE, lambda k, s: 1 / s), lambda k: -1 / (k.variance + k.spec.eps) ** 2),
}
NONE, HALF, DOUBLE, MINUS = times(0), times(0.5), times(2), times(-1)
BY_N, OVER_N = times(lambda k: k.N), times(lambda k: 1 / k.N)


def without_gamma(*parts: str) -> dict:
    """An edit of dZ: its terms, of which some lack the factor γ."""

    def dZ(k: Known) -> Any:
        scale = k.weight * k.root
        first, mu, s = (term * (1 if name in parts else scale) for name, term in
                        ((IN_FIRST, k.first), (IN_MU_TERM, k.mu_term), (IN_S_TERM, k.s_term)))  # fmt: skip
        return (first - mu - s) / k.root

    return {"dZ": instead(dZ)}


def ignored(name: str) -> dict:
    """Edits by which the activation is another."""
    a, da = activations.functions(name)
    return {"A": instead(lambda k: a(k.B)), "slope": instead(lambda k: da(k.B, k.A))}


def slope_at(letter: str) -> dict:
    """An edit by which a' is taken elsewhere."""
    return {"slope": instead(lambda k: activations.derivative(k.spec.activation, getattr(k, letter)))}


EDITS = {
    ("mu-and-s-constant", ""): everywhere("mu_term", "s_term", NONE),
    ("no-mu-term", ""): {"mu_term": NONE},
    ("no-s-term", ""): {"s_term": NONE},
    ("N-for-N-ddof", EVERYWHERE): everywhere("variance", "s_term", N_FOR_FREE),
    ("N-for-N-ddof", IN_S): {"variance": N_FOR_FREE},
    ("N-for-N-ddof", IN_S_TERM): {"s_term": N_FOR_FREE},
    ("N-for-N-ddof", IN_WEIGHT): {"root_variance": N_FOR_FREE},
    ("N-1-for-N", EVERYWHERE): everywhere("variance", "s_term", LESS_ONE),
    ("N-1-for-N", IN_S): {"variance": LESS_ONE},
    ("N-1-for-N", IN_S_TERM): {"s_term": LESS_ONE},
    ("N-1-for-N", IN_MU_TERM): {"mu_term": times(lambda k: k.N / (k.N - 1))},
    ("N-1-for-N", IN_WEIGHT): {"root_variance": LESS_ONE},
    ("gamma-in-dgamma", ""): output(gamma=lambda k, found: found.gamma * k.layer.gamma),
    ("gamma-in-dbeta", ""): output(beta=lambda k, found: found.beta * k.layer.gamma),
    ("no-gamma", ""): {"weight": instead(lambda k: 1 / k.root)},
    ("gamma-squared", ""): {"weight": times(lambda k: k.layer.gamma)},
    ("no-1/N", ""): everywhere("loss", "r", BY_N),
    ("no-1/N", "in the gradients"): {"r": BY_N},
    ("no-2", ""): {"r": HALF},
    ("loss-halved", ""): everywhere("loss", "r", HALF),
    ("sign", ""): {"r": MINUS},
    ("derivative-1", ""): {"slope": instead(lambda k: np.ones_like(k.B))},
    ("derivative-1", "in ∂R/∂Γ1"): {"S": instead(lambda k: k.upstream), **outputs(right_S)},
    ("derivative-1", "in ∂R/∂γ and ∂R/∂β"): outputs(lambda k: k.upstream),
    ("derivative-at", "A"): slope_at("A"),
    ("derivative-at", "X̂"): slope_at("Xhat"),
    ("derivative-at", "Z"): slope_at("Z"),
    ("B-for-A", "in ∂R/∂Γ2"): {"dout": instead(lambda k: k.network.layers[-1].B.T @ k.r)},
    ("no-axis", "in μ"): {"mu": instead(lambda k: k.Z.mean())},
    ("no-axis", IN_S): {"variance": instead(lambda k: np.full(k.Z.shape[1], np.var(k.Z) * k.N / free(k)))},
    ("no-axis", IN_MU_TERM): {"mu_term": instead(lambda k: k.S.sum() / k.N)},
    ("no-axis", "in the mean of the μ-term"): {"mu_term": instead(lambda k: k.S.mean())},
    ("no-axis", IN_S_TERM): {"s_term": instead(lambda k: k.Xhat * ((k.S * k.Xhat).sum() / free(k)))},
    ("no-axis", "in the mean of the s-term"): {
        "s_term": instead(lambda k: k.Xhat * ((k.S * k.Xhat).sum() / k.S.shape[1] / free(k)))
    },
    ("no-axis", DGAMMA): output(gamma=lambda k, _: np.asarray((k.S * k.Xhat).sum())),
    ("no-axis", DBETA): output(beta=lambda k, _: np.asarray(k.S.sum())),
    ("sign-of-s-term", ""): {"s_term": MINUS},
    ("sign-of-mu-term", ""): {"mu_term": MINUS},
    ("sign-of-both-terms", ""): everywhere("mu_term", "s_term", MINUS),
    ("gamma-missing", IN_FIRST): without_gamma(IN_FIRST),
    ("gamma-missing", IN_MU_TERM): without_gamma(IN_MU_TERM),
    ("gamma-missing", IN_S_TERM): without_gamma(IN_S_TERM),
    ("gamma-missing", IN_BOTH): without_gamma(IN_MU_TERM, IN_S_TERM),
    ("sum-for-mean", IN_MU_TERM): {"mu_term": BY_N},
    ("sum-for-mean", IN_S_TERM): {"s_term": BY_N},
    ("sum-for-mean", IN_BOTH): everywhere("mu_term", "s_term", BY_N),
    ("mean-for-sum", IN_FIRST): {"first": OVER_N},
    ("mean-for-sum", IN_MU_TERM): {"mu_term": OVER_N},
    ("mean-for-sum", IN_S_TERM): {"s_term": OVER_N},
    ("mean-for-sum", IN_BOTH): everywhere("mu_term", "s_term", OVER_N),
    ("mean-for-sum", DGAMMA): output(gamma=lambda k, found: found.gamma / k.N),
    ("mean-for-sum", DBETA): output(beta=lambda k, found: found.beta / k.N),
    ("mean-for-sum", "in ∂R/∂γ and ∂R/∂β"): output(
        gamma=lambda k, found: found.gamma / k.N, beta=lambda k, found: found.beta / k.N
    ),
    ("mean-for-sum", EVERYWHERE): {
        **everywhere("mu_term", "s_term", OVER_N),
        **output(gamma=lambda k, found: found.gamma / k.N, beta=lambda k, found: found.beta / k.N),
    },
    ("sum-for-S", ""): {"first": instead(lambda k: np.broadcast_to(k.S.sum(axis=0), k.S.shape))},
    ("matrix-product", ""): {
        "S": (REPLACED, lambda k, S: np.outer(S @ k.layer.gamma, np.ones_like(k.layer.gamma))),
        "weight": (TIMES, lambda k, weight: 1 / k.root),
        **outputs(right_S),
    },
    ("half", "missing from the s-term"): {"s_term": DOUBLE},
    ("half", "in the s-term"): {"s_term": HALF},
    ("s-power", "s² for s³"): {"s_term": times(lambda k: k.s)},
    ("s-power", "1/s too many"): {"s_term": times(lambda k: 1 / k.s)},
    ("inverse-s-for-variance", BACKWARD): {"root": instead(lambda k: np.sqrt(1 / k.s + k.spec.eps))},
    ("inverse-s-for-variance", ALL_BACKWARD): {"root": instead(lambda k: seen_anew(k, np.sqrt(1 / k.s + k.spec.eps)))},
    ("eps-forgotten", FORWARD): {"s": (EPS, lambda k, s: np.sqrt(k.variance))},
    ("eps-forgotten", BACKWARD): {"root": (EPS, lambda k, s: np.sqrt(k.variance))},
    ("eps-forgotten", ALL_BACKWARD): {"root": (EPS, lambda k, s: seen_anew(k, np.sqrt(k.variance)))},
    ("diagonal-only", ""): {"dZ": instead(lambda k: k.weight * k.S * (1 - 1 / k.N - k.Xhat * k.Xhat / free(k)))},
    ("S-for-dZ", ""): {"dZ": (TIMES, lambda k, dZ: k.S)},
    ("not-normalised", DGAMMA): output(gamma=lambda k, _: (k.S * k.Zc).sum(axis=0)),
    ("not-normalised", IN_S_TERM): {"s_term": instead(lambda k: k.Zc * (k.dgamma / free(k)))},
    ("Z-for-Xhat", DGAMMA): output(gamma=lambda k, _: (k.S * k.Z).sum(axis=0)),
    ("B-for-Xhat", DGAMMA): output(gamma=lambda k, _: (k.S * k.B).sum(axis=0)),
    ("transposed-dG1", ""): output(G=lambda k, found: found.G.T),
    ("swapped-outputs", "dgamma and dbeta"): {
        "gradient": (SWAP, lambda k, found: found._replace(gamma=found.beta, beta=found.gamma))
    },
    ("swapped-outputs", "dgamma and dG2"): {"found": (SWAP, lambda k, found: swapped(found, "gamma"))},
    ("swapped-outputs", "dbeta and dG2"): {"found": (SWAP, lambda k, found: swapped(found, "beta"))},
    # of a layer above another
    ("another-layer", "its Γ in ∂R/∂A"): {"dA": instead(lambda k: k.dZ @ below(k).layer.G.T)},
    ("another-layer", "its s"): {"s": (EPS, lambda k, s: below(k).s)},
    ("another-layer", "its μ"): {"mu": instead(lambda k: below(k).mu)},
    ("another-layer", "X in ∂R/∂Γ"): {"dG": instead(lambda k: k.network.data.X.T @ k.dZ)},
    ("Γ-not-transposed", "in ∂R/∂A"): {"dA": instead(lambda k: k.dZ @ k.layer.G)},
    ("S-for-dZ", "in ∂R/∂A"): {"dA": instead(lambda k: k.S @ k.layer.G.T)},
    # of a loss
    ("no-mean", "in r"): {"r": instead(lambda k: (k.eta - k.data.y) / k.N)},
    ("squared-of-mean", "in r"): {"r": instead(lambda k: squared_of_mean(k))},
}
DEEP = tuple(
    Mistake(*of)
    for of in (
        ("another-layer", "its Γ in ∂R/∂A", "∂R/∂A goes through the Γ of the layer below"),
        ("another-layer", "its s", "s is that of the layer below"),
        ("another-layer", "its μ", "μ is that of the layer below"),
        ("another-layer", "X in ∂R/∂Γ", "X stands where the layer's own input belongs, in ∂R/∂Γ"),
        ("Γ-not-transposed", "in ∂R/∂A", "∂R/∂A goes through Γ where it is to go through Γᵀ"),
        ("S-for-dZ", "in ∂R/∂A", "∂R/∂A is S Γᵀ, as if nothing were normalised"),
    )
)
OF_A_LOSS = (
    Mistake("no-mean", "in r", "η stands where the mean of y belongs, in r", normalized=False),
    Mistake("squared-of-mean", "in r", "r is that of the squared distance to the mean", normalized=False),
)


def below(k: Known) -> Known:
    """The layer below."""
    return k.network.layers[k.place - 1]


def swapped(found: Theta, name: str) -> Theta:
    """A network's gradients with a vector of its last layer and ∂R/∂Γ_out swapped."""
    *layers, last = found.layers
    return found._replace(layers=(*layers, last._replace(**{name: found.out})), out=getattr(last, name))


def squared_of_mean(k: Known) -> Any:
    """r of Σ(y - mean)²/N, for the logistic loss and Poisson's."""
    _, _, mean = losses.functions(k.spec.loss)
    p = mean(k.eta)
    return 2 * (p - k.data.y) * (p * (1 - p) if k.spec.loss == "logistic" else p) / k.N


for name, (edit, chain) in POWERS.items():
    EDITS |= {
        (name, EVERYWHERE): everywhere("s", "root", edit),
        (name, FORWARD): {"s": edit},
        (name, BACKWARD): {"root": edit},
        (name, DERIVED): {**everywhere("s", "root", edit), "s_term": times(chain)},
    }
for mistake in MISTAKES:
    if mistake.name == "activation-ignored":
        EDITS[mistake.name, mistake.where] = ignored(mistake.where)


def base(place: str) -> dict:
    """Edits that change no number: what a mistake can be planted in, beside the letters of the formula.

    root_variance and root are the variance and s as the backward pass has them, first is S in the first term of dZ, the
    μ-term is computed as written. `place` is what eps is added to, rightly derived.
    """

    def slope(k: Known, value: Any) -> Any:
        if k.layer.gamma is not None:
            k.root_variance = k.variance
            k.root = s_of(k.root_variance, k.spec.eps, place)
        return value

    def D(k: Known, value: Any) -> Any:
        k.first = k.S
        return k.first - k.s_term

    edits = {
        "s": lambda k, s: s_of(k.variance, k.spec.eps, place),
        "slope": slope,
        "weight": lambda k, weight: k.layer.gamma / k.root,
        "mu_term": lambda k, mu_term: k.S.sum(axis=0) / k.N,
        "D": D,
    }
    if place != VARIANCE:
        edits["s_term"] = lambda k, s_term: s_term * derived(k.variance, k.s, k.spec.eps, place)
    return {letter: [(BASE, edit)] for letter, edit in edits.items()}


def planted(mistakes: Iterable[Mistake], layer: int = 0, place: str = VARIANCE) -> dict:
    """Edits for `formula.gradients` that plant mistakes in a layer, or in the head where they are of it.

    `place` says what eps is added to there, forward and backward alike.
    """
    chains = base(place)
    for mistake in sorted(mistakes, key=ORDER.__getitem__):
        for letter, edit in EDITS[mistake.name, mistake.where].items():
            chains.setdefault(letter, []).append(edit)
    edits: dict = {HEAD: {}, NETWORK: {}, layer: {}}
    for letter, chain in chains.items():
        functions = [function for _, function in sorted(chain, key=lambda edit: edit[0])]
        where = HEAD if letter in HEADS else NETWORK if letter == "found" else layer
        edits[where][letter] = functools.partial(each_in_turn, functions)
    return edits


def each_in_turn(functions: list, k: Known, value: Any) -> Any:
    """Edits of one letter, one after the other."""
    for function in functions:
        value = function(k, value)
    return value


ORDER = {mistake: rank for rank, mistake in enumerate((*MISTAKES, *DEEP, *OF_A_LOSS))}

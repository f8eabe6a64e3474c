"""How a mistake is planted in `formula`: an edit is a letter of it, and what stands there instead.

An edit is (rank, function of what is known and of the right value). Where several change one letter, those of lower
rank come first, so that what replaces a value comes before what multiplies it. `BASE` adds letters that only mistakes
need, such as the s of the backward pass, and changes no number.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from bnbench import activations, losses
from bnbench.formula import HEAD, NETWORK, Known
from bnbench.operations import NUMPY
from bnbench.problem import Data, Theta

Edit = tuple[int, Callable[[Known, Any], Any]]
BASE, EPS, FOURTH, SQUARE, INVERSE, REPLACED, LATER, TIMES, OUTPUT = range(9)  # ranks
OF_HEAD = ("linear", "alpha", "loss", "r", "dout", "ddelta")  # letters of the head
BATCHED = frozenset(("mu", "variance", "root_variance", "mu_term", "s_term", "along", "beside", "first", "chain"))
VARIANCE, SD, FLOOR = "variance", "sd", "floor"  # what eps is added to: s = √(v + eps), √v + eps, √max(v, eps)
PLACES = VARIANCE, SD, FLOOR


def times(factor: Any) -> Edit:
    """An edit that multiplies by a factor, or by a function of what is known."""
    if callable(factor):
        return TIMES, lambda k, value: value * factor(k)
    return TIMES, lambda k, value: value * factor


def instead(function: Callable[[Known], Any], rank: int = REPLACED) -> Edit:
    """An edit that puts a function of what is known in a letter's place."""
    return rank, lambda k, value: function(k)


def alike(*letters: str, edit: Edit) -> dict[str, Edit]:
    """The same edit of several letters."""
    return dict.fromkeys(letters, edit)


def free(k: Known) -> int:
    """N - ddof."""
    return k.N - k.spec.ddof


NONE, HALF, DOUBLE, MINUS = times(0), times(0.5), times(2), times(-1)
BY_N, OVER_N = times(lambda k: k.N), times(lambda k: 1 / k.N)
N_FOR_FREE = times(lambda k: free(k) / k.N)
LESS_ONE = times(lambda k: np.divide(free(k), free(k) - 1))  # infinite where one is left
ONE = instead(lambda k: 1, OUTPUT)


# What stands in the place of s, in both passes or one; and 2 s ∂s/∂v where the backward pass is rightly that of it.
EPS_OUTSIDE = EPS, lambda k, s: np.sqrt(k.variance) + k.spec.eps
ROOT_EPS_OUTSIDE = EPS, lambda k, root: np.sqrt(k.root_variance) + k.spec.eps
FOURTH_POWER, SQUARED, INVERTED = (
    (FOURTH, lambda k, s: s**4),
    (SQUARE, lambda k, s: s * s),
    (INVERSE, lambda k, s: 1 / s),
)
OUTSIDE_DERIVED = instead(lambda k: k.s / np.sqrt(k.variance), EPS)
FOURTH_DERIVED = instead(lambda k: 4 * (k.variance + k.spec.eps) * k.s, TIMES)
SQUARED_DERIVED = instead(lambda k: 2 * k.s, LATER)
INVERTED_DERIVED = instead(lambda k: -1 / (k.variance + k.spec.eps) ** 2)


def renewed(k: Known, _: Any) -> None:
    """Have the backward pass see the X̂ that its own root gives."""
    vars(k).update(Xhat=k.Zc / k.root)


def without_gamma(*terms: str) -> dict[str, Edit]:
    """An edit of dZ: its terms, "first", "mu_term" and "s_term", of which some lack the factor γ."""

    def dZ(k: Known) -> Any:
        first, mu, s = (getattr(k, name) * (1 if name in terms else k.scale) for name in ("first", "mu_term", "s_term"))
        return (first - mu - s) / k.root

    return {"dZ": instead(dZ)}


def ignored(name: str) -> dict[str, Edit]:
    """Edits by which the activation is another."""
    a, da = activations.functions(name)
    return {"A": instead(lambda k: a(k.B)), "slope": instead(lambda k: da(k.B, k.A))}


def slope_at(letter: str) -> dict[str, Edit]:
    """An edit by which a' is taken elsewhere."""
    return {"slope": instead(lambda k: activations.derivative(k.spec.activation, getattr(k, letter)))}


def below(k: Known) -> Known:
    """The layer below."""
    return k.network.layers[k.place - 1]


def with_out(name: str) -> dict[str, Edit]:
    """An edit by which a vector of the last layer's gradients and ∂R/∂Γ_out are swapped."""

    def swapped(k: Known, found: Theta) -> Theta:
        *layers, last = found.layers
        return found._replace(layers=(*layers, last._replace(**{name: found.out})), out=getattr(last, name))

    return {"found": (OUTPUT, swapped)}


def bare(k: Known) -> Any:
    """r where no effect is added to η."""
    _, slope, _ = losses.functions(k.spec.loss)
    return slope(k.data.y, k.eta - k.alpha[k.data.unit]) / k.N


def within(data: Data, values: Any) -> Any:
    """Values (N,) or (N,p) less their means within the units: M values."""
    D = (data.unit[:, None] == np.arange(data.units)).astype(float)
    return values - D @ ((D.T @ values).T / D.sum(axis=0)).T


def effect_of(k: Known, y: Any, eta: Any, loss: str = "") -> Any:
    """The effects of another y or η, or under another loss."""
    return losses.DEFINITIONS[loss or k.spec.loss].effect(y, eta, k.data.unit, k.data.units, NUMPY)


def effect_of_batch(k: Known) -> Any:
    """The one effect of all rows, for every unit."""
    alpha = losses.DEFINITIONS[k.spec.loss].effect(k.data.y, k.eta, 0 * k.data.unit, 1, NUMPY)
    return np.repeat(alpha, k.data.units)


OF_Y = instead(lambda k: effect_of(k, k.data.y, 0 * k.eta))  # the effects of y alone
X_WITHIN = {
    "Z": instead(lambda k: within(k.network.data, k.input) @ k.layer.G),
    "dG": instead(lambda k: within(k.network.data, k.input).T @ k.dZ),
}
Z_WITHIN = {"Z": instead(lambda k: within(k.network.data, k.input @ k.layer.G))}


def of_mean(k: Known) -> Any:
    """r of Σ(y - mean)²/N, for the logistic loss and Poisson's."""
    _, _, mean = losses.functions(k.spec.loss)
    p = mean(k.eta)
    return 2 * (p - k.data.y) * (p * (1 - p) if k.spec.loss == "logistic" else p) / k.N


def through_batch(k: Known) -> Any:
    """dZ as it is where the statistics are the batch's."""
    Xhat = (k.Z - k.mu) / k.s
    D = k.S - Xhat * ((k.S * Xhat).sum(axis=0) / free(k))
    return k.weight * (D - k.S.mean(axis=0))


def s_of(variance: np.ndarray, eps: float, place: str) -> np.ndarray:
    """S, by what eps is added to."""
    if place == SD:
        return np.sqrt(variance) + eps
    return np.sqrt(np.maximum(variance, eps) if place == FLOOR else variance + eps)


def derived(variance: np.ndarray, s: np.ndarray, eps: float, place: str) -> np.ndarray | float:
    """2 s ∂s/∂v: the factor of the s-term where s is another function of the variance v than √(v + eps)."""
    if place == SD:
        return s / np.sqrt(variance)
    return np.where(variance > eps, 1.0, 0.0) if place == FLOOR else 1.0


def base(place: str) -> dict[str, Edit]:
    """Edits that change no number, where mistakes find what they edit beside the letters of the formula.

    root_variance and root are the variance and s as the backward pass has them, scale is the γ of its weight; told and
    seen are S and X̂ in ∂R/∂β and ∂R/∂γ, which are handed out as dbeta_out and dgamma_out; first is S in the first term
    of dZ; the s-term is beside times along, X̂ and Σ(S ⊙ X̂), with chain the factor 2 s ∂s/∂v; and the μ-term is computed
    as written. `place` is what eps is added to, rightly derived.
    """

    def slope(k: Known, value: Any) -> Any:
        if k.layer.gamma is not None:
            k.root_variance = k.variance
            k.root = s_of(k.root_variance, k.spec.eps, place)
            k.scale = k.layer.gamma
            k.renewed = None
        return value

    def S(k: Known, value: Any) -> Any:
        k.told = value
        return value

    def s_term(k: Known, value: Any) -> Any:
        k.beside, k.along, k.chain = k.Xhat, k.dgamma, derived(k.variance, k.s, k.spec.eps, place)
        return k.beside * (k.along / free(k) * k.chain)

    def D(k: Known, value: Any) -> Any:
        k.first = k.S
        return k.first - k.s_term

    def gradient(k: Known, found: Any) -> Any:
        if k.layer.gamma is None:
            return found
        k.seen = k.Xhat
        k.dbeta_out = k.told.sum(axis=0)
        k.dgamma_out = (k.told * k.seen).sum(axis=0)
        return found._replace(gamma=k.dgamma_out, beta=k.dbeta_out)

    edits: dict[str, Callable] = {
        "slope": slope,
        "S": S,
        "s_term": s_term,
        "D": D,
        "mu_term": lambda k, value: k.S.sum(axis=0) / k.N,
        "weight": lambda k, weight: k.scale / k.root,
        "gradient": gradient,
    }
    if place != VARIANCE:
        edits["s"] = lambda k, s: s_of(k.variance, k.spec.eps, place)
    return {letter: (BASE, edit) for letter, edit in edits.items()}


BASES = {place: base(place) for place in PLACES}


def planted(made: Iterable[tuple[int, Mapping[str, Edit]]], place: str = VARIANCE, layers: int = 1) -> dict:
    """Edits for `formula.gradients` of so many layers, which make mistakes.

    Args:
        made: a layer, from 0, and edits of its letters each; those of the head and of the network may name any layer.
        place: what eps is added to in every layer, forward and backward alike.
        layers: how many there are.
    """
    chains: dict[Any, dict[str, list[Edit]]] = {HEAD: {}, NETWORK: {}}
    chains |= {layer: {letter: [edit] for letter, edit in BASES[place].items()} for layer in range(layers)}
    for layer, edits in made:
        for letter, edit in edits.items():
            where = HEAD if letter in OF_HEAD else NETWORK if letter == "found" else layer
            chains[where].setdefault(letter, []).append(edit)
    return {where: {letter: _in_turn(chain) for letter, chain in letters.items()} for where, letters in chains.items()}


def _in_turn(chain: list[Edit]) -> Callable[[Known, Any], Any]:
    """Edits of one letter, one after the other."""
    if len(chain) == 1:
        return chain[0][1]
    return partial(_each, [function for _, function in sorted(chain, key=lambda edit: edit[0])])


def _each(functions: list, k: Known, value: Any) -> Any:
    for function in functions:
        value = function(k, value)
    return value

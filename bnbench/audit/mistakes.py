"""The catalogue of the mistakes that people make in this gradient: what each is called, what it says, what it edits.

`mistaken` is the formula with any set of them in it, to compare a wrong answer with.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bnbench import formula
from bnbench.audit.edits import (
    BATCHED,
    BY_N,
    DOUBLE,
    EPS,
    EPS_OUTSIDE,
    FOURTH_DERIVED,
    FOURTH_POWER,
    HALF,
    INVERTED,
    INVERTED_DERIVED,
    LATER,
    LESS_ONE,
    MINUS,
    N_FOR_FREE,
    NONE,
    OF_HEAD,
    OF_Y,
    ONE,
    OUTPUT,
    OUTSIDE_DERIVED,
    OVER_N,
    ROOT_EPS_OUTSIDE,
    SQUARED,
    SQUARED_DERIVED,
    VARIANCE,
    X_WITHIN,
    Z_WITHIN,
    Edit,
    alike,
    bare,
    below,
    effect_of,
    effect_of_batch,
    free,
    ignored,
    instead,
    of_mean,
    planted,
    renewed,
    slope_at,
    through_batch,
    times,
    with_out,
    within,
    without_gamma,
)  # fmt: skip
from bnbench.problem import ACTIVATIONS, LOSSES, Batch, Gradients, Problem


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes:
        name: the mistake, as `diagnose` names it; kinds of one mistake share their name.
        where: the place of it, where it has several; "" otherwise.
        text: what was done, as a phrase.
        edits: letter of the formula to edit.
        normalized: whether it can occur with a normalization only.
        alone: whether it is only looked for by itself, not in pairs.
        whole: whether it explains all outputs together, and none by itself.
        losses: those under which it can occur.
        kinds: the normalizations with which it can occur; by default found from what it edits.
        upper: whether it can only occur in a layer that has another below.
        needs: what the head must have for it, of "linear" and "units".
        layers: where it is made, from 0, in a network of several layers; (0,) where there is but one.
        at: the same in words; "" where there is one, and for the head.
    """

    name: str
    where: str
    text: str
    edits: Mapping[str, Edit] = field(compare=False, repr=False)
    normalized: bool = True
    alone: bool = False
    whole: bool = False
    losses: tuple[str, ...] = LOSSES
    kinds: tuple[str, ...] = ()
    upper: bool = False
    needs: tuple[str, ...] = ()
    layers: tuple[int, ...] = (0,)
    at: str = ""

    @property
    def label(self) -> str:
        """Name and place."""
        where = ", ".join(filter(None, (self.where, self.at)))
        return f"{self.name} ({where})" if where else self.name

    @property
    def of_head(self) -> bool:
        """Whether it is made in the head, and so once however many layers there are."""
        return all(letter in OF_HEAD for letter in self.edits)

    def occurs(self, normalization: str, loss: str, terms: tuple[str, ...] = ()) -> bool:
        """Whether it can be made under these; terms are those that the head has, of "linear" and "units"."""
        if not set(self.needs) <= set(terms):
            return False
        if not self.normalized:
            return loss in self.losses
        kinds = self.kinds or (("batch",) if BATCHED & set(self.edits) or "dZ" in self.edits else ("batch", "frozen"))
        return loss in self.losses and normalization in kinds

    def within(self, layers: tuple[int, ...], at: str) -> "Mistake":
        """The same in a layer of a network, or in several."""
        text = self.text.replace("Γ1", "Γ").replace("Γ2", "Γ_out")
        return replace(self, text=f"{at}: {text}" if at else text, layers=layers, at=at)


EVERYWHERE, FORWARD, BACKWARD = "everywhere", "in the forward pass", "in ∂R/∂Γ1 only"
DERIVED = "in the forward pass, rightly derived"  # the backward pass is the gradient of that forward pass
ALL_BACKWARD = "in the whole backward pass"  # in what ∂R/∂Γ1 is divided by, and in X̂
IN_S, IN_S_TERM, IN_MU_TERM, IN_FIRST, IN_WEIGHT = (
    *("in s", "in the s-term", "in the μ-term", "in the first term"),
    "in what ∂R/∂Γ1 is divided by",
)
IN_BOTH = "in the μ-term and the s-term"
DGAMMA, DBETA = "in ∂R/∂γ", "in ∂R/∂β"
BUILT_IN_EPS = (0.0, *(m * 10.0**-k for k in range(16) for m in (1, 2, 5)))  # that people choose
SQUARED_LOSS, OTHER_LOSSES = LOSSES[:1], LOSSES[1:]
LINEAR, UNITS = ("linear",), ("units",)
N_LESS_UNITS = times(lambda k: np.divide(k.N, k.N - k.data.units))  # infinite where none is left
TERMS = {IN_FIRST: ("first",), IN_MU_TERM: ("mu_term",), IN_S_TERM: ("s_term",), IN_BOTH: ("mu_term", "s_term")}
MEAN_TERMS = list(TERMS.items())[1:]

MISTAKES = (
    Mistake("mu-and-s-constant", "", "μ and s are held constant in ∂R/∂Γ1", alike("mu_term", "s_term", edit=NONE)),
    Mistake("no-mu-term", "", "the μ-term 1(∂R/∂β)ᵀ/N is missing from ∂R/∂Γ1", {"mu_term": NONE}),
    Mistake("no-s-term", "", "the s-term X̂ ⊙ (∂R/∂γ)ᵀ/(N-ddof) is missing from ∂R/∂Γ1", {"s_term": NONE}),
    Mistake(
        "N-for-N-ddof", EVERYWHERE, "N stands where N-ddof belongs, in s and in the s-term",
        alike("variance", "s_term", edit=N_FOR_FREE),
    ),
    Mistake("N-for-N-ddof", IN_S, "N stands where N-ddof belongs, in s", {"variance": N_FOR_FREE}),
    Mistake("N-for-N-ddof", IN_S_TERM, "N stands where N-ddof belongs, in the s-term", {"s_term": N_FOR_FREE}),
    Mistake(
        "gamma-in-dgamma", "", "∂R/∂γ has a factor γ that does not belong",
        {"dgamma_out": times(lambda k: k.layer.gamma)},
    ),
    Mistake("no-gamma", "", "the factor γ is missing from ∂R/∂Γ1", {"scale": ONE}),
    Mistake("times-s", BACKWARD, "∂R/∂Γ1 is multiplied by s where it is to be divided", {"root": INVERTED}),
    Mistake("times-s", FORWARD, "Z - μ is multiplied by s where it is to be divided", {"s": INVERTED}),
    Mistake(
        "times-s", EVERYWHERE, "s multiplies where it is to divide, forward and backward",
        alike("s", "root", edit=INVERTED),
    ),
    Mistake("no-1/N", "", "the 1/N of the loss is missing", alike("loss", "r", edit=BY_N), normalized=False),
    Mistake("sign", "", "the sign is reversed", {"r": MINUS}, normalized=False),
    Mistake(
        "derivative-1", "", "a' is taken to be 1 everywhere", {"slope": instead(lambda k: np.ones_like(k.B), LATER)},
        normalized=False,
    ),
    Mistake(
        "eps-outside-root", EVERYWHERE, "eps is added to the standard deviation, outside the root",
        {"s": EPS_OUTSIDE, "root": ROOT_EPS_OUTSIDE},
    ),
    Mistake("eps-outside-root", FORWARD, "eps is added outside the root in the forward pass", {"s": EPS_OUTSIDE}),
    Mistake("eps-outside-root", BACKWARD, "eps is added outside the root in ∂R/∂Γ1", {"root": ROOT_EPS_OUTSIDE}),
    Mistake(
        "variance-for-s", EVERYWHERE, "the variance stands where its root belongs", alike("s", "root", edit=SQUARED)
    ),
    Mistake(
        "variance-for-s", FORWARD, "the variance stands where its root belongs in the forward pass", {"s": SQUARED}
    ),
    Mistake("variance-for-s", BACKWARD, "the variance stands where its root belongs in ∂R/∂Γ1", {"root": SQUARED}),
    Mistake(
        "swapped-outputs", "dgamma and dbeta", "∂R/∂γ and ∂R/∂β are swapped",
        {"gradient": (OUTPUT, lambda k, found: found._replace(gamma=found.beta, beta=found.gamma))},
    ),
    Mistake("swapped-outputs", "dgamma and dG2", "∂R/∂γ and ∂R/∂Γ2 are swapped", with_out("gamma")),
    Mistake("swapped-outputs", "dbeta and dG2", "∂R/∂β and ∂R/∂Γ2 are swapped", with_out("beta")),
    Mistake("transposed-dG1", "", "∂R/∂Γ1 is transposed", {"dG": (OUTPUT, lambda k, dG: dG.T)}, normalized=False),
    # of the forward pass alone: the backward pass is rightly derived from it
    Mistake(
        "eps-outside-root", DERIVED, "eps is added outside the root; the backward pass is that of this s",
        {"s": EPS_OUTSIDE, "root": ROOT_EPS_OUTSIDE, "chain": OUTSIDE_DERIVED},
    ),
    Mistake(
        "variance-for-s", DERIVED, "the variance stands where its root belongs; the backward pass is that of this",
        {"s": SQUARED, "root": SQUARED, "chain": SQUARED_DERIVED},
    ),
    Mistake(
        "times-s", DERIVED, "Z - μ is multiplied by s; the backward pass is that of this",
        {"s": INVERTED, "root": INVERTED, "chain": INVERTED_DERIVED},
    ),
    Mistake(
        "square-for-root", DERIVED, "the square stands where the root belongs; the backward pass is that of this",
        {"s": FOURTH_POWER, "root": FOURTH_POWER, "chain": FOURTH_DERIVED},
    ),
    Mistake(
        "square-for-root", FORWARD, "the square stands where the root belongs in the forward pass", {"s": FOURTH_POWER}
    ),
    Mistake("square-for-root", BACKWARD, "the square stands where the root belongs in ∂R/∂Γ1", {"root": FOURTH_POWER}),
    Mistake(
        "square-for-root", EVERYWHERE, "the square stands where the root belongs, forward and backward",
        alike("s", "root", edit=FOURTH_POWER),
    ),
    Mistake(
        "no-axis", "in μ", "the mean is taken over all nodes at once: its axis is missing",
        {"mu": instead(lambda k: k.Z.mean())},
    ),
    Mistake(
        "no-axis", IN_S, "the variance is taken over all nodes at once: its axis is missing",
        {"variance": instead(lambda k: np.full(k.Z.shape[1], np.var(k.Z) * k.N / free(k)))},
    ),
    # of the three terms of ∂R/∂Γ1
    Mistake("sign-of-s-term", "", "the s-term of ∂R/∂Γ1 has the wrong sign", {"s_term": MINUS}),
    Mistake("sign-of-mu-term", "", "the μ-term of ∂R/∂Γ1 has the wrong sign", {"mu_term": MINUS}),
    Mistake(
        "sign-of-both-terms", "", "the μ-term and the s-term of ∂R/∂Γ1 have the wrong sign",
        alike("mu_term", "s_term", edit=MINUS),
    ),
    *(
        Mistake(
            "gamma-missing", where, f"the factor γ is missing {where.replace('in', 'from', 1)} of ∂R/∂Γ1",
            without_gamma(*terms),
        )
        for where, terms in TERMS.items()
    ),
    *(
        Mistake(
            "sum-for-mean", where, f"a sum stands where its mean belongs, {where} of ∂R/∂Γ1", alike(*terms, edit=BY_N)
        )
        for where, terms in MEAN_TERMS
    ),
    *(
        Mistake(
            "mean-for-sum", where, f"a 1/N too many, a mean for a sum, {where} of ∂R/∂Γ1", alike(*terms, edit=OVER_N)
        )
        for where, terms in TERMS.items()
    ),
    Mistake(
        "sum-for-S", "", "the sum of S over the rows stands where S belongs, in the first term of ∂R/∂Γ1",
        {"first": instead(lambda k: np.broadcast_to(k.S.sum(axis=0), k.S.shape))},
    ),
    Mistake(
        "matrix-product", "", "S and γ are multiplied as matrices where they are to be multiplied elementwise",
        {"S": (LATER, lambda k, S: np.outer(S @ k.layer.gamma, np.ones_like(k.layer.gamma))), "scale": ONE},
    ),
    Mistake("mean-for-sum", DGAMMA, "∂R/∂γ is a mean where a sum belongs", {"dgamma_out": OVER_N}),
    Mistake("mean-for-sum", DBETA, "∂R/∂β is a mean where a sum belongs", {"dbeta_out": OVER_N}),
    Mistake(
        "mean-for-sum", "in ∂R/∂γ and ∂R/∂β", "∂R/∂γ and ∂R/∂β are means where sums belong",
        alike("dgamma_out", "dbeta_out", edit=OVER_N),
    ),
    Mistake(
        "mean-for-sum", EVERYWHERE, "means stand where sums belong, in ∂R/∂γ, ∂R/∂β, the μ-term and the s-term",
        alike("dgamma_out", "dbeta_out", "mu_term", "s_term", edit=OVER_N),
    ),
    Mistake(
        "no-axis", IN_MU_TERM, "the sum of the μ-term runs over all nodes: its axis is missing",
        {"mu_term": instead(lambda k: k.S.sum() / k.N)},
    ),
    Mistake(
        "no-axis", IN_S_TERM, "the sum of the s-term runs over all nodes: its axis is missing",
        {"along": instead(lambda k: (k.S * k.Xhat).sum())},
    ),
    Mistake(
        "no-axis", "in the mean of the μ-term", "the mean of the μ-term runs over all nodes: its axis is missing",
        {"mu_term": instead(lambda k: k.S.mean())},
    ),
    Mistake(
        "no-axis", "in the mean of the s-term", "the mean of the s-term runs over all nodes: its axis is missing",
        {"along": instead(lambda k: (k.S * k.Xhat).sum() / k.S.shape[1])},
    ),
    Mistake(
        "no-axis", DGAMMA, "the sum of ∂R/∂γ runs over all nodes: its axis is missing",
        {"dgamma_out": instead(lambda k: np.asarray((k.told * k.seen).sum()))},
    ),
    Mistake(
        "no-axis", DBETA, "the sum of ∂R/∂β runs over all nodes: its axis is missing",
        {"dbeta_out": instead(lambda k: np.asarray(k.told.sum()))},
    ),
    Mistake(
        "N-1-for-N", EVERYWHERE, "N-1 stands where N belongs, in s and in the s-term",
        alike("variance", "s_term", edit=LESS_ONE),
    ),
    Mistake("N-1-for-N", IN_S, "N-1 stands where N belongs, in s", {"variance": LESS_ONE}),
    Mistake("N-1-for-N", IN_S_TERM, "N-1 stands where N belongs, in the s-term", {"s_term": LESS_ONE}),
    Mistake(
        "N-1-for-N", IN_MU_TERM, "N-1 stands where N belongs, in the μ-term",
        {"mu_term": times(lambda k: np.divide(k.N, k.N - 1))},
    ),
    Mistake(
        "N-1-for-N", IN_WEIGHT, "N-1 stands where N belongs, in what ∂R/∂Γ1 is divided by", {"root_variance": LESS_ONE}
    ),
    Mistake(
        "N-for-N-ddof", IN_WEIGHT, "N stands where N-ddof belongs, in what ∂R/∂Γ1 is divided by",
        {"root_variance": N_FOR_FREE},
    ),
    Mistake(
        "half", "missing from the s-term", "the s-term is twice too large: a 1/2 is missing", {"s_term": DOUBLE}
    ),
    Mistake("half", "in the s-term", "the s-term has a 1/2 that does not belong, or misses a 2", {"s_term": HALF}),
    Mistake(
        "s-power", "s² for s³", "the s-term is s times too large: a 1/s is missing", {"s_term": times(lambda k: k.s)}
    ),
    Mistake("s-power", "1/s too many", "the s-term has a 1/s too many", {"s_term": times(lambda k: 1 / k.s)}),
    Mistake(
        "inverse-s-for-variance", BACKWARD, "the saved 1/s is taken for the variance in ∂R/∂Γ1",
        {"root": instead(lambda k: np.sqrt(1 / k.s + k.spec.eps))},
    ),
    Mistake(
        "inverse-s-for-variance", ALL_BACKWARD, "the saved 1/s is taken for the variance in the backward pass",
        {"root": instead(lambda k: np.sqrt(1 / k.s + k.spec.eps)), "renewed": (OUTPUT, renewed)},
    ),
    Mistake(
        "eps-forgotten", FORWARD, "eps is forgotten in the forward pass",
        {"s": instead(lambda k: np.sqrt(k.variance), EPS)},
    ),
    Mistake(
        "eps-forgotten", BACKWARD, "eps is forgotten in what ∂R/∂Γ1 is divided by",
        {"root": instead(lambda k: np.sqrt(k.root_variance), EPS)},
    ),
    Mistake(
        "eps-forgotten", ALL_BACKWARD, "eps is forgotten in the backward pass",
        {"root": instead(lambda k: np.sqrt(k.root_variance), EPS), "renewed": (OUTPUT, renewed)},
    ),
    Mistake(
        "diagonal-only", "", "only the diagonal of ∂X̂/∂Z is used in ∂R/∂Γ1: rows are not coupled",
        {"dZ": instead(lambda k: k.weight * k.S * (1 - 1 / k.N - k.Xhat * k.Xhat / free(k)))},
    ),
    Mistake(
        "S-for-dZ", "", "∂R/∂Γ1 is XᵀS, as if nothing were normalised", {"dZ": instead(lambda k: k.S, LATER)},
        kinds=("batch", "frozen"),
    ),
    Mistake(
        "gamma-squared", "", "∂R/∂Γ1 has the factor γ twice", {"scale": times(lambda k: k.layer.gamma)}
    ),
    # of the other gradients, and of all of them
    Mistake(
        "gamma-in-dbeta", "", "∂R/∂β has a factor γ that does not belong", {"dbeta_out": times(lambda k: k.layer.gamma)}
    ),
    Mistake("not-normalised", DGAMMA, "Z - μ stands where X̂ belongs, in ∂R/∂γ", {"seen": instead(lambda k: k.Zc)}),
    Mistake("not-normalised", IN_S_TERM, "Z - μ stands where X̂ belongs, in the s-term",
            {"beside": instead(lambda k: k.Zc)}),
    Mistake("Z-for-Xhat", DGAMMA, "Z stands where X̂ belongs, in ∂R/∂γ", {"seen": instead(lambda k: k.Z)}),
    Mistake("B-for-Xhat", DGAMMA, "B stands where X̂ belongs, in ∂R/∂γ", {"seen": instead(lambda k: k.B)}),
    Mistake(
        "no-1/N", "in the gradients", "the 1/N of the loss is missing from the gradients", {"r": BY_N},
        whole=True, normalized=False,
    ),
    Mistake(
        "no-2", "", "the gradients are half of what they should be: the 2 is missing", {"r": HALF},
        whole=True, normalized=False, losses=SQUARED_LOSS,
    ),
    Mistake(
        "loss-halved", "", "everything is that of Σε̂²/(2N), half of the loss", alike("loss", "r", edit=HALF),
        whole=True, normalized=False, losses=SQUARED_LOSS,
    ),
    Mistake("derivative-1", "in ∂R/∂Γ1", "a' is taken to be 1 in ∂R/∂Γ1", {"S": instead(lambda k: k.upstream)}),
    Mistake(
        "derivative-1", "in ∂R/∂γ and ∂R/∂β", "a' is taken to be 1 in ∂R/∂γ and ∂R/∂β",
        {"told": instead(lambda k: k.upstream)},
    ),
    Mistake("derivative-at", "A", "a' is taken at A where it belongs at B", slope_at("A"), normalized=False),
    Mistake("derivative-at", "X̂", "a' is taken at X̂ where it belongs at B", slope_at("Xhat")),
    Mistake("derivative-at", "Z", "a' is taken at Z where it belongs at B", slope_at("Z")),
    Mistake(
        "B-for-A", "in ∂R/∂Γ2", "B stands where A belongs, in ∂R/∂Γ2",
        {"dout": instead(lambda k: k.network.layers[-1].B.T @ k.r)}, normalized=False,
    ),
    *(
        Mistake(
            "activation-ignored", name, f"the activation is ignored: it is always {name}", ignored(name),
            alone=True, normalized=False,
        )
        for name in ACTIVATIONS
    ),
    # of a layer above another
    Mistake(
        "another-layer", "its Γ in ∂R/∂A", "∂R/∂A goes through the Γ of the layer below",
        {"dA": instead(lambda k: k.dZ @ below(k).layer.G.T)}, upper=True, normalized=False,
    ),
    Mistake(
        "another-layer", "its s", "s is that of the layer below", {"s": instead(lambda k: below(k).s, EPS)}, upper=True
    ),
    Mistake(
        "another-layer", "its μ", "μ is that of the layer below", {"mu": instead(lambda k: below(k).mu)},
        kinds=("batch", "frozen"), upper=True,
    ),
    Mistake(
        "another-layer", "X in ∂R/∂Γ", "X stands where the layer's own input belongs, in ∂R/∂Γ",
        {"dG": instead(lambda k: k.network.data.X.T @ k.dZ)}, upper=True, normalized=False,
    ),
    Mistake(
        "Γ-not-transposed", "in ∂R/∂A", "∂R/∂A goes through Γ where it is to go through Γᵀ",
        {"dA": instead(lambda k: k.dZ @ k.layer.G)}, upper=True, normalized=False,
    ),
    Mistake(
        "S-for-dZ", "in ∂R/∂A", "∂R/∂A is S Γᵀ, as if nothing were normalised",
        {"dA": instead(lambda k: k.S @ k.layer.G.T)}, upper=True,
    ),
    # of statistics that are given
    Mistake(
        "batch-for-given", EVERYWHERE, "the batch's mean and variance stand where those that are given belong",
        {
            "mu": instead(lambda k: k.Z.mean(axis=0)),
            "variance": instead(lambda k: k.Z.var(axis=0) * k.N / free(k)),
            "dZ": instead(through_batch),
        },
        kinds=("frozen",),
    ),
    Mistake(
        "batch-for-given", FORWARD, "the batch's mean and variance stand where those that are given belong, constant",
        {"mu": instead(lambda k: k.Z.mean(axis=0)), "variance": instead(lambda k: k.Z.var(axis=0) * k.N / free(k))},
        kinds=("frozen",),
    ),
    Mistake(
        "batch-for-given", BACKWARD, "the μ-term and the s-term are subtracted, as if the statistics were the batch's",
        {"dZ": instead(through_batch)}, kinds=("frozen",),
    ),
    # of a loss and of the head's other terms
    Mistake(
        "no-mean", "in r", "η stands where the mean of y belongs, in r",
        {"r": instead(lambda k: (k.eta - k.data.y) / k.N)}, normalized=False, losses=OTHER_LOSSES,
    ),
    Mistake(
        "squared-of-mean", "in r", "r is that of the squared distance to the mean", {"r": instead(of_mean)},
        normalized=False, losses=OTHER_LOSSES,
    ),
    Mistake(
        "stray-2", "", "the gradients are twice what they should be: the 2 of the squared loss does not belong",
        {"r": DOUBLE}, whole=True, normalized=False, losses=OTHER_LOSSES,
    ),
    *(
        replace(mistake, normalized=False, needs=needs)
        for needs, mistakes in (
            (LINEAR, (
                Mistake("no-W", "in η", "the linear terms Wδ are missing from η", {"linear": NONE}),
                Mistake("sign-of-W", "in η", "Wδ is subtracted from η where it belongs added", {"linear": MINUS}),
                Mistake("sign-of-W", "in ∂R/∂δ", "the sign of ∂R/∂δ is reversed", {"ddelta": MINUS}),
                Mistake(
                    "sign-of-W", EVERYWHERE, "Wδ is subtracted from η where it belongs added; ∂R/∂δ is that of this",
                    alike("linear", "ddelta", edit=MINUS),
                ),
            )),
            (UNITS, (
                Mistake("no-effects", EVERYWHERE, "the units' effects are left out", {"alpha": NONE}),
                Mistake(
                    "no-effects", "in r", "the gradients are those of the residual without the units' effects, ε̂ for ε̃",
                    {"r": instead(bare)},
                ),
                Mistake(
                    "no-effects", "in ∂R/∂Γ2", "∂R/∂Γ2 is that of the residual without the units' effects, Aᵀε̂ for Aᵀε̃",
                    {"dout": instead(lambda k: k.A.T @ bare(k))},
                ),
                Mistake("sign", "of α", "the units' effects have the wrong sign", {"alpha": MINUS}),
                Mistake(
                    "batch-effects", "", "one effect of the whole batch stands where those of the units belong",
                    {"alpha": instead(effect_of_batch)},
                ),
                Mistake(
                    "y-demeaned", "ŷ not", "y is demeaned within the units and ŷ is not", {"alpha": OF_Y},
                    losses=SQUARED_LOSS,
                ),
                Mistake(
                    "y-demeaned", "with X", "X and y are demeaned within the units in place of the residual",
                    X_WITHIN | {"alpha": OF_Y}, losses=SQUARED_LOSS,
                ),
                Mistake(
                    "y-demeaned", "with Z", "Z and y are demeaned within the units in place of the residual",
                    Z_WITHIN | {"alpha": OF_Y}, losses=SQUARED_LOSS,
                ),
                Mistake(
                    "ŷ-demeaned", "y not", "ŷ is demeaned within the units and y is not",
                    {"alpha": instead(lambda k: effect_of(k, 0 * k.data.y, k.eta))}, losses=SQUARED_LOSS,
                ),
                Mistake(
                    "sum-for-mean", "in α", "the units' effects are sums where means belong",
                    {"alpha": times(lambda k: np.bincount(k.data.unit))}, losses=SQUARED_LOSS,
                ),
                Mistake(
                    "X-demeaned", "for ε̂", "X is demeaned within the units in place of the residual",
                    X_WITHIN | {"alpha": NONE},
                ),
                Mistake("X-demeaned", "and ε̂", "X is demeaned within the units as well as the residual", X_WITHIN),
                Mistake(
                    "Z-demeaned", "for ε̂", "Z is demeaned within the units in place of the residual",
                    Z_WITHIN | {"alpha": NONE},
                ),
                Mistake("Z-demeaned", "and ε̂", "Z is demeaned within the units as well as the residual", Z_WITHIN),
                Mistake(
                    "N-U-for-N", EVERYWHERE, "N-U stands where N belongs, in the loss and the gradients",
                    alike("loss", "r", edit=N_LESS_UNITS),
                ),
                Mistake(
                    "N-U-for-N", "in the gradients", "N-U stands where N belongs, in the gradients",
                    {"r": N_LESS_UNITS}, whole=True,
                ),
                Mistake(
                    "effects-of-y", "", "the units' effects are those of y alone: η is left out of them",
                    {"alpha": OF_Y}, losses=OTHER_LOSSES,
                ),
                Mistake(
                    "squared-effects", "", "the units' effects are means of y - η, which is the squared loss's formula",
                    {"alpha": instead(lambda k: effect_of(k, k.data.y, k.eta, "squared"))}, losses=OTHER_LOSSES,
                ),
                Mistake(
                    "demeaned-r", "", "r is demeaned within the units, which is right for the squared loss alone",
                    {"r": instead(lambda k: within(k.data, bare(k)))}, losses=OTHER_LOSSES,
                ),
            )),
            (LINEAR + UNITS, (
                Mistake(
                    "no-effects", "in ∂R/∂δ", "∂R/∂δ is that of the residual without the units' effects, Wᵀε̂ for Wᵀε̃",
                    {"ddelta": instead(lambda k: k.data.W.T @ bare(k))},
                ),
            )),
        )
        for mistake in mistakes
    ),
)  # fmt: skip
ORDER = {(mistake.name, mistake.where): rank for rank, mistake in enumerate(MISTAKES)}


def possible(
    normalization: str, loss: str = "squared", layers: int = 1, terms: tuple[str, ...] = ()
) -> Iterator[Mistake]:
    """The mistakes that can be made, each in every layer of so many, in all of them at once, or once in the head.

    terms are those that the head has, of "linear" and "units".
    """
    for mistake in MISTAKES:
        if not mistake.occurs(normalization, loss, terms):
            continue
        if layers == 1:
            if not mistake.upper:
                yield mistake
        elif mistake.of_head or "found" in mistake.edits:
            yield mistake.within((layers - 1,), "")
        else:
            places = range(int(mistake.upper), layers)
            if len(places) > 1:
                yield mistake.within(tuple(places), "in every layer" + " but the first" * mistake.upper)
            yield from (mistake.within((place,), f"in layer {place + 1}") for place in places)


@functools.cache
def combinations(
    normalization: str, loss: str = "squared", layers: int = 1, terms: tuple[str, ...] = ()
) -> tuple[frozenset[Mistake], ...]:
    """The empty set, every mistake and, of one layer, every pair of different names; smallest sets first."""
    single = list(possible(normalization, loss, layers, terms))
    pairs = itertools.combinations([mistake for mistake in single if not mistake.alone], 2) if layers == 1 else ()
    different = (pair for pair in pairs if pair[0].name != pair[1].name)
    return frozenset(), *(frozenset([one]) for one in single), *map(frozenset, different)


def terms_of(problem: Problem) -> tuple[str, ...]:
    """Those that its head has, of "linear" and "units"."""
    return LINEAR * bool(problem.linear) + UNITS * bool(problem.units)


@functools.lru_cache(maxsize=1 << 14)
def edits_of(mistakes: frozenset[Mistake], place: str, layers: int) -> Mapping:
    """The edits of the formula that make these mistakes; one that comes first in `MISTAKES` is made first."""
    made = sorted(mistakes, key=lambda mistake: ORDER[mistake.name, mistake.where])
    return planted(((layer, mistake.edits) for mistake in made for layer in mistake.layers), place, layers)


def mistaken(batch: Batch, problem: Problem, mistakes: frozenset[Mistake], place: str = VARIANCE) -> Gradients:
    """The gradients with these mistakes in them, in float64; with none they are right.

    A mistake of the forward pass changes everything computed after it, as it does in code. `place` says what eps is
    added to, forward and backward alike.
    """
    if batch.X.dtype != np.float64:
        batch = batch.each(lambda array: array if array.dtype.kind == "i" else np.asarray(array, np.float64))
    edits = edits_of(mistakes, place, problem.depth)
    with np.errstate(all="ignore"):
        return Gradients.of(formula.gradients(batch.theta, batch.data, problem.spec, edits=edits), problem.depth > 1)

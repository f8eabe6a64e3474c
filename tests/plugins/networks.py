"""Plug-ins that take what their keywords name of networks, and no more."""

import bnbench
from bnbench import formula
from bnbench.problem import Batch, Spec


def answer(batch, *, r=1.0, **conventions):
    """The formula's gradients as a plug-in gives them; r multiplies those of the head."""
    found = formula.gradients(batch.theta, batch.data, Spec(**conventions))
    columns = [list(part) for part in zip(*found.theta.layers, strict=True)]
    if not isinstance(batch.G1, list):
        columns = [part for (part,) in columns]
    head = [part for part in (found.theta.delta, found.alpha) if part is not None]
    return found.loss, *columns, r * found.theta.out, *head


@bnbench.variant("every-network", family="matrix")
def every_network(X, y, G1, gamma, beta, G2, *, W, delta, units, statistics, depth, loss, **conventions):
    """Any network, by its keywords."""
    conventions["loss"] = loss
    return answer(Batch(X, y, G1, gamma, beta, G2, W=W, delta=delta, units=units, statistics=statistics), **conventions)


@bnbench.variant("any-loss", family="matrix")
def any_loss(X, y, G1, gamma, beta, G2, *, loss, activation, normalization, ddof, eps):
    """One layer under any loss."""
    conventions = {"loss": loss, "activation": activation, "normalization": normalization, "ddof": ddof, "eps": eps}
    return answer(Batch(X, y, G1, gamma, beta, G2), **conventions)


@bnbench.variant("squared-alone", family="matrix", supports={"losses": "squared"})
def squared_alone(X, y, G1, gamma, beta, G2, *, loss="squared", activation, ddof, eps):
    """It has a keyword loss, and says that it is right for one of them."""
    return answer(Batch(X, y, G1, gamma, beta, G2), loss="squared", activation=activation, ddof=ddof, eps=eps)


@bnbench.variant("deep-and-wrong", family="matrix")
def deep_and_wrong(X, y, G1, gamma, beta, G2, *, depth, activation, ddof, eps):
    """∂R/∂Γ2 is off by a thousandth where there are two layers."""
    batch = Batch(X, y, G1, gamma, beta, G2)
    return answer(batch, r=1.0 + 0.001 * (depth > 1), activation=activation, ddof=ddof, eps=eps)

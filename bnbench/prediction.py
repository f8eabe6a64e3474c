"""ŷ of a network: `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnbench import arguments, arrays, losses
from bnbench.networks import Network
from bnbench.problem import Problem


def predict(
    X: Any,
    G1: Any,
    gamma: Any,
    beta: Any,
    G2: Any,
    *,
    statistics: Any = None,
    W: Any = None,
    delta: Any = None,
    units: Any = None,
    alpha: Any = None,
    activation: str = Problem.activation,
    normalization: str = Problem.normalization,
    loss: str = Problem.loss,
    ddof: int = Problem.ddof,
    eps: float = Problem.eps,
) -> np.ndarray:
    """ŷ (N,), on the scale of the mean of y: a probability with loss="logistic", a rate with "poisson".

    The arguments are those of `bnbench.gradients`. Statistics that are given are used, as at inference; without them
    `normalization="batch"` takes those of X. alpha are the units' effects: a mapping of label to effect, or (U,) in the
    sorted order of the labels in units. Of a dask array X, in chunks of rows, ŷ is one too.

    Raises:
        ValueError: as in `bnbench.gradients`; a unit without an effect in alpha.
    """
    if statistics is not None and normalization == "batch":
        normalization = "frozen"
    if arrays.of_dask(X, W, units):
        from bnbench.chunked import on_dask

        return on_dask.predict(
            X, G1, gamma, beta, G2, statistics=statistics, W=W, delta=delta, units=units, alpha=alpha,
            activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip
    read, p2 = arguments.read_all(X=X, W=W, G1=G1, gamma=gamma, beta=beta, G2=G2, delta=delta, statistics=statistics)
    X = arrays.read("X", X)
    network = Network(
        X, np.zeros(X.shape[:1], arguments.common_dtype(read)), p2, W=read["W"],
        units=None, statistics=statistics, dtype=arguments.common_dtype(read), variant="matrix-numpy", regime="fresh",
        activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
    )  # fmt: skip
    theta = network.theta(G1, gamma, beta, G2, delta)
    data = network.data
    layers = network.layers(theta, data)
    if normalization == "batch" and not (
        network.fits(theta, data) or network.clear(theta, data, [layer.s.astype(np.float64) for layer in layers])
    ):
        network.check_scale(theta, data)
    with np.errstate(all="ignore"):
        eta = layers[-1].A @ theta.out
        if data.W is not None:
            eta = eta + data.W @ theta.delta
    if (units is None) != (alpha is None):
        raise ValueError(f"{'alpha' if units is None else 'units'} is given alone; allowed are both, or none")
    if units is not None:
        eta = eta + effects_of(units, alpha, len(eta)).astype(eta.dtype)
    _, _, mean = losses.functions(loss)
    with np.errstate(all="ignore"):
        found = mean(eta)
    if not np.isfinite(found).all():
        network.refuse(theta, network.data)
    return found


def effects_of(units: Any, alpha: Any, N: int) -> np.ndarray:
    """The effect of every row's unit."""
    found, unit = arguments.labels_of(units, N)
    labels = found or []
    if isinstance(alpha, Mapping):
        if absent := [label for label in labels if label not in alpha]:
            raise ValueError(f"alpha has no effect of unit {absent[0]!r} ({len(absent)} such units)")
        alpha = [alpha[label] for label in labels]
    effects = arrays.read("alpha", alpha)
    if effects.shape != (len(labels),):
        raise ValueError(
            f"alpha has shape {effects.shape}; units has {len(labels)} labels, allowed are as many effects in their "
            "order, or a mapping of label to effect"
        )
    arguments.size("alpha", effects)
    return effects[unit]

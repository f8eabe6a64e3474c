"""Loss and gradients of a network with batch normalisation: the loss written down, its derivatives by JAX.

Every hidden layer takes A (N,p_in), which is X for the first, and gives a(B) (N,p_out):

    Z = A Γ     X̂ = (Z - μ)/s     B = γ ⊙ X̂ + β     a(B)
    μ_j = the mean of column j of Z     s_j = sqrt( Σ_i (Z_ij - μ_j)²/(N - ddof) + eps )

The head is η = A Γ2, with A of the last layer. Nothing of the backward pass is written by hand: reverse mode goes
through the loss, through μ and s too.

Conventions:
    eps is inside the root. ddof=0, eps=1e-5 is PyTorch's layer; ddof=1, eps=0 is R's `scale`.
    The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
    "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
    the log of the rate; "poisson" leaves out log y!.
    The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
    normalization="frozen" has μ and s² - eps given, as at inference; "none" is B = Z, without γ and β.

Needs Python 3.10 and JAX, which computes in float32 unless `jax.config.update("jax_enable_x64", True)`.

SPDX-FileCopyrightText: 2026 The bnbench authors
SPDX-License-Identifier: MIT
"""

import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gaussian": lambda b: jnp.exp(-b * b / 2),
    "identity": lambda b: b,
    "softplus": jax.nn.softplus,
    "leaky-relu": lambda b: jnp.where(b > 0, b, 0.01 * b),  # that of jax.nn has the slope 1 at 0
}
LOSSES = {  # name: the rows' losses
    "squared": lambda y, eta: (y - eta) ** 2,
    "logistic": lambda y, eta: jax.nn.softplus(eta) - y * eta,
    "poisson": lambda y, eta: jnp.exp(eta) - y * eta,
}


def risk(theta, X, y, activation, normalization, ddof, eps, loss, statistics):
    """R, of theta = (Γ, γ, β) a layer, then Γ2."""
    *layers, G2 = theta
    A = X
    for (G, gamma, beta), given in zip(layers, statistics, strict=True):
        B = A @ G
        if normalization != "none":
            mu, variance = (B.mean(axis=0), B.var(axis=0, ddof=ddof)) if normalization == "batch" else given
            B = gamma * (B - mu) / jnp.sqrt(variance + eps) + beta
        A = ACTIVATIONS[activation](B)
    return LOSSES[loss](y, A @ G2).mean()


# Compiled once for each set of shapes and conventions.
value_and_grad = jax.jit(
    jax.value_and_grad(risk), static_argnames=("activation", "normalization", "ddof", "eps", "loss")
)


def gradients(
    X, y, G1, gamma, beta, G2, activation="relu", normalization="batch", ddof=0, eps=1e-5, loss="squared",
    statistics=None,
):  # fmt: skip
    """The loss R and its gradients by Γ1, γ, β and Γ2.

    Args:
        X, y: the data, arrays (N,p1) and (N,).
        G1, gamma, beta: Γ1 (p1,p2), γ and β (p2,); of several hidden layers lists, one a layer. γ may be negative.
            With normalization="none" gamma and beta are None.
        G2: Γ2 (p2,), of as many nodes as the last layer has.
        activation: one of ACTIVATIONS.
        normalization: "batch", "frozen" or "none".
        ddof, eps: as above.
        loss: one of LOSSES.
        statistics: for "frozen", (mean, variance), each (p2,); of several layers a list of them.

    Returns:
        loss, dG1, dgamma, dbeta, dG2, in the shapes of what they belong to: lists where G1 is one, None for None.
    """
    N = len(X)
    if tuple(y.shape) != (N,):  # (N,1) would be broadcast to (N,N), and nothing would fail
        raise ValueError(f"y has shape {tuple(y.shape)}; allowed is {(N,)}")
    if normalization not in ("batch", "frozen", "none"):
        raise ValueError(f"normalization is {normalization!r}; allowed are batch, frozen, none")
    if normalization == "batch" and N <= ddof:
        raise ValueError(f"X has {N} rows; with ddof={ddof} at least {ddof + 1} are needed")
    deep = isinstance(G1, list | tuple)
    if not deep:
        G1, gamma, beta, statistics = [G1], [gamma], [beta], [statistics]
    absent = [None] * len(G1)
    if normalization == "none":
        gamma, beta = absent, absent
    given = statistics if normalization == "frozen" else absent

    theta = (*zip(G1, gamma, beta, strict=True), G2)
    R, (*slopes, dG2) = value_and_grad(
        theta, X, y, activation=activation, normalization=normalization, ddof=ddof, eps=eps, loss=loss, statistics=given
    )
    dG1, dgamma, dbeta = (list(part) for part in zip(*slopes, strict=True))
    if not deep:
        (dG1,), (dgamma,), (dbeta,) = dG1, dgamma, dbeta
    elif normalization == "none":
        dgamma, dbeta = None, None
    return float(R), dG1, dgamma, dbeta, dG2

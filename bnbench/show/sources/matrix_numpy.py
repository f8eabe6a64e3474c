"""Loss and gradients of a network with batch normalisation, in NumPy: the matrix form.

Every hidden layer takes A (N,p_in), which is X for the first, and gives a(B) (N,p_out):

    Z = A Γ     X̂ = (Z - μ)/s     B = γ ⊙ X̂ + β     a(B)
    μ_j = the mean of column j of Z     s_j = sqrt( Σ_i (Z_ij - μ_j)²/(N - ddof) + eps )

The head is η = A Γ2, with A of the last layer. The backward pass, with S = ∂R/∂a(B) ⊙ a'(B), is

    ∂R/∂β = 1ᵀ S     ∂R/∂γ = 1ᵀ (S ⊙ X̂)     ∂R/∂Γ = Aᵀ dZ     ∂R/∂A = dZ Γᵀ
    dZ = (γ/s) ⊙ ( S - 1 (∂R/∂β)ᵀ/N - X̂ ⊙ (∂R/∂γ)ᵀ/(N - ddof) )

whose last two terms are what flows through μ and through s: hand-written versions most often forget them.

Conventions:
    eps is inside the root. ddof=0, eps=1e-5 is PyTorch's layer; ddof=1, eps=0 is R's `scale`.
    The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
    "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
    the log of the rate; "poisson" leaves out log y!.
    The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
    normalization="frozen" has μ and s² - eps given, as at inference: nothing flows through them, dZ = (γ/s) ⊙ S.
    normalization="none" is B = Z, without γ and β, and dZ = S.

Needs Python 3.10 and NumPy; arrays of float64, or all of float32.

SPDX-FileCopyrightText: 2026 The bnbench authors
SPDX-License-Identifier: MIT
"""

import numpy as np


def sigmoid(b):
    """1/(1 + exp(-b)), which never overflows."""
    return np.exp(-np.logaddexp(0, -b))


ACTIVATIONS = {  # name: a(b), and a'(b) from b and v = a(b)
    "relu": (lambda b: np.maximum(b, 0), lambda b, v: b > 0),
    "sigmoid": (sigmoid, lambda b, v: v * (1 - v)),
    "tanh": (np.tanh, lambda b, v: 1 - v * v),
    "gaussian": (lambda b: np.exp(-b * b / 2), lambda b, v: -b * v),
    "identity": (lambda b: b, lambda b, v: np.ones_like(b)),
    "softplus": (lambda b: np.logaddexp(0, b), lambda b, v: sigmoid(b)),
    "leaky-relu": (lambda b: np.where(b > 0, b, 0.01 * b), lambda b, v: np.where(b > 0, np.ones_like(b), 0.01)),
}
LOSSES = {  # name: R, and r = ∂R/∂η (N,)
    "squared": (lambda y, eta: np.mean((y - eta) ** 2), lambda y, eta: 2 * (eta - y) / len(y)),
    "logistic": (lambda y, eta: np.mean(np.logaddexp(0, eta) - y * eta), lambda y, eta: (sigmoid(eta) - y) / len(y)),
    "poisson": (lambda y, eta: np.mean(np.exp(eta) - y * eta), lambda y, eta: (np.exp(eta) - y) / len(y)),
}


def gradients(
    X, y, G1, gamma, beta, G2, activation="relu", normalization="batch", ddof=0, eps=1e-5, loss="squared",
    statistics=None,
):  # fmt: skip
    """The loss R and its gradients by Γ1, γ, β and Γ2.

    Args:
        X, y: the data, (N,p1) and (N,).
        G1, gamma, beta: Γ1 (p1,p2), γ and β (p2,); of several hidden layers lists, an array a layer. γ may be
            negative. With normalization="none" gamma and beta are None.
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
    if y.shape != (N,):  # (N,1) would be broadcast to (N,N), and nothing would fail
        raise ValueError(f"y has shape {y.shape}; allowed is {(N,)}")
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

    A, layers = X, []
    for layer in zip(G1, gamma, beta, given, strict=True):
        out, saved = forward(A, *layer, activation, normalization, ddof, eps)
        layers.append((A, *layer[:2], saved))
        A = out
    value, slope = LOSSES[loss]
    eta = A @ G2
    r = slope(y, eta)

    dG2, dA, found = A.T @ r, np.outer(r, G2), []
    for layer in reversed(layers):
        *found_here, dA = backward(dA, *layer, normalization, ddof)
        found.append(found_here)
    dG1, dgamma, dbeta = (list(part) for part in zip(*reversed(found), strict=True))
    if not deep:
        (dG1,), (dgamma,), (dbeta,) = dG1, dgamma, dbeta
    elif normalization == "none":
        dgamma, dbeta = None, None
    return float(value(y, eta)), dG1, dgamma, dbeta, dG2


def forward(A, G, gamma, beta, given, activation, normalization, ddof, eps):
    """A layer's output a(B) (N,p_out) of its input A (N,p_in), and what its backward pass needs: a'(B), X̂ and s."""
    a, da = ACTIVATIONS[activation]
    Z = A @ G
    if normalization == "none":
        B, Xhat, s = Z, None, None
    else:
        mu, variance = (Z.mean(axis=0), Z.var(axis=0, ddof=ddof)) if normalization == "batch" else given
        s = np.sqrt(variance + eps)
        Xhat = (Z - mu) / s
        B = gamma * Xhat + beta
    out = a(B)
    return out, (da(B, out), Xhat, s)


def backward(dA, A, G, gamma, saved, normalization, ddof):
    """∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂A (N,p_in) of a layer, from dA = ∂R/∂a(B) (N,p_out) and its input A."""
    slope, Xhat, s = saved
    S = dA * slope
    if normalization == "none":
        return A.T @ S, None, None, S @ G.T
    dbeta = S.sum(axis=0)
    dgamma = (S * Xhat).sum(axis=0)
    if normalization == "frozen":
        dZ = gamma / s * S
    else:
        D = S - Xhat * (dgamma / (len(A) - ddof))
        # The mean of D is dbeta/N, since the columns of X̂ add up to 0. Taken of D it makes those of dZ add up to 0 to
        # rounding; what is left of their sums would be multiplied by any offset of A in Aᵀ dZ.
        dZ = gamma / s * (D - D.mean(axis=0))
    return A.T @ dZ, dgamma, dbeta, dZ @ G.T

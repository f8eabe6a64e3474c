"""Loss and gradients of a network with batch normalisation, node by node: loops that Numba compiles.

For each node j of a hidden layer, whose input is A (N,p_in), X for the first layer:

    z_i = Σ_k A_ik Γ_kj     x̂_i = (z_i - μ)/s     b_i = γ_j x̂_i + β_j     a(b_i)
    μ = Σ z_i/N     s = sqrt( Σ (z_i - μ)²/(N - ddof) + eps )

The head is η_i = Σ_j a(b_ij) Γ2_j. The backward pass, with S_i = ∂R/∂a(b_i) a'(b_i), is

    ∂R/∂β_j = Σ S_i     ∂R/∂γ_j = Σ S_i x̂_i     ∂R/∂Γ_kj = Σ_i A_ik dz_i     ∂R/∂A_ik = Σ_j dz_ij Γ_kj
    dz_i = (γ_j/s) ( S_i - (∂R/∂β_j)/N - x̂_i (∂R/∂γ_j)/(N - ddof) )

whose last two terms are what flows through μ and through s: hand-written versions most often forget them.

Conventions:
    eps is inside the root. ddof=0, eps=1e-5 is PyTorch's layer; ddof=1, eps=0 is R's `scale`.
    The loss is a mean, so that 1/N is in every gradient. "squared" is Σ(y - η)²/N, without a half;
    "logistic" (y from 0 to 1) and "poisson" (y of at least 0) are minus the log-likelihood, η being the log-odds or
    the log of the rate; "poisson" leaves out log y!.
    The slope of ReLU at 0 is 0, that of leaky ReLU 1/100.
    normalization="frozen" has μ and s² - eps given, as at inference: nothing flows through them, dz_i = (γ_j/s) S_i.
    normalization="none" is b = z, without γ and β, and dz = S.

Needs Python 3.10, NumPy and Numba; arrays of float64. The first call of each activation compiles for seconds.

SPDX-FileCopyrightText: 2026 The bnbench authors
SPDX-License-Identifier: MIT
"""

from math import exp, log1p, sqrt, tanh

import numpy as np
from numba import njit, prange

PARALLEL = False  # True: the nodes are shared out to threads
# Sums may be added up in another order, so that they vectorise; NaN and infinity stay what they are.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}


@njit
def sigmoid(b):
    """1/(1 + exp(-b))."""
    return 1 / (1 + exp(-b))


@njit
def softplus(b):
    """log(1 + exp(b)), which never overflows."""
    return max(b, 0.0) + log1p(exp(-abs(b)))


ACTIVATIONS = {  # name: a(b), and a'(b) from b and v = a(b)
    "relu": (njit(lambda b: max(b, 0.0)), njit(lambda b, v: 1.0 if b > 0 else 0.0)),
    "sigmoid": (sigmoid, njit(lambda b, v: v * (1 - v))),
    "tanh": (njit(lambda b: tanh(b)), njit(lambda b, v: 1 - v * v)),
    "gaussian": (njit(lambda b: exp(-b * b / 2)), njit(lambda b, v: -b * v)),
    "identity": (njit(lambda b: b), njit(lambda b, v: 1.0)),
    "softplus": (softplus, njit(lambda b, v: sigmoid(b))),
    "leaky-relu": (njit(lambda b: b if b > 0 else 0.01 * b), njit(lambda b, v: 1.0 if b > 0 else 0.01)),
}
LOSSES = {  # name: R, and r = ∂R/∂η (N,)
    "squared": (lambda y, eta: np.mean((y - eta) ** 2), lambda y, eta: 2 * (eta - y) / len(y)),
    "logistic": (
        lambda y, eta: np.mean(np.logaddexp(0, eta) - y * eta),
        lambda y, eta: (np.exp(-np.logaddexp(0, -eta)) - y) / len(y),
    ),
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
    normalized, batch = normalization != "none", normalization == "batch"
    a, da = ACTIVATIONS[activation]

    A, layers = np.ascontiguousarray(X), []
    for place, G in enumerate(G1):
        # What there is not is not read: any array of numbers stands for it.
        affine = (gamma[place], beta[place]) if normalized else (G[0], G[0])
        given = statistics[place] if normalization == "frozen" else affine
        out, slope, Xhat, s = forward(A, G, *affine, *given, normalized, batch, ddof, eps, a, da)
        layers.append((A, G, affine[0], slope, Xhat, s))
        A = np.ascontiguousarray(out.T)  # row by row, as the loops over a node's inputs read it
    value, slope = LOSSES[loss]
    eta = A @ G2
    r = slope(y, eta)

    dG2, dA, found = A.T @ r, np.outer(G2, r), []
    for place, layer in reversed(list(enumerate(layers))):
        *found_here, dZ = backward(dA, *layer, normalized, batch, ddof)
        found.append(found_here)
        if place:
            dA = inputs(layer[1], dZ)
    dG1, dgamma, dbeta = (list(part) for part in zip(*reversed(found), strict=True))
    if not deep:
        (dG1,), (dgamma,), (dbeta,) = dG1, dgamma, dbeta
    if not normalized:
        dgamma, dbeta = None, None
    return float(value(y, eta)), dG1, dgamma, dbeta, dG2


@njit(parallel=PARALLEL, fastmath=FAST, error_model="numpy")
def forward(A, G, gamma, beta, mean, variance, normalized, batch, ddof, eps, a, da):
    """A layer's output, a'(B) and X̂, node by node (p_out,N), and s (p_out,), of its input A (N,p_in)."""
    N, p_in = A.shape
    p_out = G.shape[1]
    out, slope, Xhat, s = np.empty((p_out, N)), np.empty((p_out, N)), np.empty((p_out, N)), np.empty(p_out)
    for j in prange(p_out):
        g = G[:, j].copy()
        z = np.empty(N)
        for i in range(N):
            total = 0.0
            for k in range(p_in):
                total += A[i, k] * g[k]
            z[i] = total
        if normalized:
            if batch:
                total = 0.0
                for i in range(N):
                    total += z[i]
                mu = total / N
                total = 0.0
                for i in range(N):
                    total += (z[i] - mu) ** 2
                s[j] = sqrt(total / (N - ddof) + eps)
            else:
                mu = mean[j]
                s[j] = sqrt(variance[j] + eps)
            for i in range(N):
                Xhat[j, i] = (z[i] - mu) / s[j]
                z[i] = gamma[j] * Xhat[j, i] + beta[j]
        for i in range(N):
            out[j, i] = a(z[i])
            slope[j, i] = da(z[i], out[j, i])
    return out, slope, Xhat, s


@njit(parallel=PARALLEL, fastmath=FAST, error_model="numpy")
def backward(dA, A, G, gamma, slope, Xhat, s, normalized, batch, ddof):
    """∂R/∂Γ, ∂R/∂γ, ∂R/∂β and dZ (p_out,N) of a layer, from dA = ∂R/∂a(B) (p_out,N) and its input A (N,p_in)."""
    N, p_in = A.shape
    p_out = G.shape[1]
    dG, dgamma, dbeta, dZ = np.empty((p_in, p_out)), np.empty(p_out), np.empty(p_out), np.empty((p_out, N))
    for j in prange(p_out):
        dz = dZ[j]
        for i in range(N):
            dz[i] = dA[j, i] * slope[j, i]  # S
        if normalized:
            sum_S, sum_Sx = 0.0, 0.0
            for i in range(N):
                sum_S += dz[i]
                sum_Sx += dz[i] * Xhat[j, i]
            dbeta[j], dgamma[j] = sum_S, sum_Sx
            through_mu, through_s = 0.0, 0.0
            if batch:
                # Through μ goes the mean of what is left when the term through s is taken off S. It is dbeta/N, since
                # x̂ adds up to 0; taken here it makes dz add up to 0 to rounding, and what is left of that sum would be
                # multiplied by any offset of A in Σ A_ik dz_i.
                through_s = sum_Sx / (N - ddof)
                total = 0.0
                for i in range(N):
                    total += dz[i] - Xhat[j, i] * through_s
                through_mu = total / N
                for i in range(N):
                    dz[i] -= through_mu + Xhat[j, i] * through_s
            for i in range(N):
                dz[i] *= gamma[j] / s[j]
        column = np.zeros(p_in)
        for i in range(N):
            for k in range(p_in):
                column[k] += A[i, k] * dz[i]
        dG[:, j] = column
    return dG, dgamma, dbeta, dZ


@njit(parallel=PARALLEL, fastmath=FAST)
def inputs(G, dZ):
    """∂R/∂A of a layer's input, (p_in,N), from dZ (p_out,N)."""
    p_in, p_out = G.shape
    N = dZ.shape[1]
    dA = np.zeros((p_in, N))
    for k in prange(p_in):
        for j in range(p_out):
            for i in range(N):
                dA[k, i] += G[k, j] * dZ[j, i]
    return dA

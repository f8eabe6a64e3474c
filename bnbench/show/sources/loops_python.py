"""Loss and gradients of a network with batch normalisation, node by node: plain Python, nothing to install.

For each node j of a hidden layer, whose input has the rows A_i (X for the first layer):

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

To be read and stepped through; it is some hundred times slower than compiled loops. Needs Python 3.10.

SPDX-FileCopyrightText: 2026 The bnbench authors
SPDX-License-Identifier: MIT
"""

from math import exp, log1p, sqrt, tanh


def sigmoid(b):
    """1/(1 + exp(-b)), which never overflows."""
    if b >= 0:
        return 1 / (1 + exp(-b))
    return exp(b) / (1 + exp(b))


def softplus(b):
    """log(1 + exp(b)), which never overflows."""
    return max(b, 0.0) + log1p(exp(-abs(b)))


ACTIVATIONS = {  # name: a(b), and a'(b) from b and v = a(b)
    "relu": (lambda b: max(b, 0.0), lambda b, v: 1.0 if b > 0 else 0.0),
    "sigmoid": (sigmoid, lambda b, v: v * (1 - v)),
    "tanh": (tanh, lambda b, v: 1 - v * v),
    "gaussian": (lambda b: exp(-b * b / 2), lambda b, v: -b * v),
    "identity": (lambda b: b, lambda b, v: 1.0),
    "softplus": (softplus, lambda b, v: sigmoid(b)),
    "leaky-relu": (lambda b: b if b > 0 else 0.01 * b, lambda b, v: 1.0 if b > 0 else 0.01),
}
LOSSES = {  # name: a row's loss, and its derivative by η
    "squared": (lambda y, eta: (y - eta) ** 2, lambda y, eta: 2 * (eta - y)),
    "logistic": (lambda y, eta: softplus(eta) - y * eta, lambda y, eta: sigmoid(eta) - y),
    "poisson": (lambda y, eta: exp(eta) - y * eta, lambda y, eta: exp(eta) - y),
}


def gradients(
    X, y, G1, gamma, beta, G2, activation="relu", normalization="batch", ddof=0, eps=1e-5, loss="squared",
    statistics=None,
):  # fmt: skip
    """The loss R and its gradients by Γ1, γ, β and Γ2, all in lists.

    Args:
        X, y: the data: N rows of p1 numbers, and N numbers.
        G1, gamma, beta: for each hidden layer one: Γ1 (p1 rows of p2 numbers), γ and β (p2 numbers). γ may be negative.
            With normalization="none" gamma and beta are None. A single layer may be given without the list around it.
        G2: Γ2, as many numbers as the last layer has nodes.
        activation: one of ACTIVATIONS.
        normalization: "batch", "frozen" or "none".
        ddof, eps: as above.
        loss: one of LOSSES.
        statistics: for "frozen", of each layer its (mean, variance), p2 numbers each.

    Returns:
        loss, dG1, dgamma, dbeta, dG2, in the shapes of what they belong to: lists of layers where G1 is one, None for
        None.
    """
    N = len(X)
    if len(y) != N:
        raise ValueError(f"X has {N} rows and y {len(y)}; allowed are as many")
    if normalization not in ("batch", "frozen", "none"):
        raise ValueError(f"normalization is {normalization!r}; allowed are batch, frozen, none")
    if normalization == "batch" and N <= ddof:
        raise ValueError(f"X has {N} rows; with ddof={ddof} at least {ddof + 1} are needed")
    deep = hasattr(G1[0][0], "__len__")
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
    eta = [sum(v * w for v, w in zip(row, G2, strict=True)) for row in A]
    R = sum(value(yi, e) for yi, e in zip(y, eta, strict=True)) / N
    r = [slope(yi, e) / N for yi, e in zip(y, eta, strict=True)]

    dG2 = [sum(row[j] * ri for row, ri in zip(A, r, strict=True)) for j in range(len(G2))]
    dA, found = [[ri * w for w in G2] for ri in r], []
    for layer in reversed(layers):
        *found_here, dA = backward(dA, *layer, normalization, ddof)
        found.append(found_here)
    dG1, dgamma, dbeta = (list(part) for part in zip(*reversed(found), strict=True))
    if not deep:
        (dG1,), (dgamma,), (dbeta,) = dG1, dgamma, dbeta
    elif normalization == "none":
        dgamma, dbeta = None, None
    return R, dG1, dgamma, dbeta, dG2


def forward(A, G, gamma, beta, given, activation, normalization, ddof, eps):
    """A layer's output, N rows of p_out, of its input A, N rows of p_in; and a'(b), x̂ and s of every node."""
    a, da = ACTIVATIONS[activation]
    N = len(A)
    out = [[] for _ in A]
    slopes, Xhat, scale = [], [], []
    for j in range(len(G[0])):
        z = [sum(A[i][k] * G[k][j] for k in range(len(G))) for i in range(N)]
        xhat, s, b = None, None, z
        if normalization != "none":
            if normalization == "batch":
                mu = sum(z) / N
                variance = sum((zi - mu) ** 2 for zi in z) / (N - ddof)
            else:
                mu, variance = given[0][j], given[1][j]
            s = sqrt(variance + eps)
            xhat = [(zi - mu) / s for zi in z]
            b = [gamma[j] * xi + beta[j] for xi in xhat]
        values = [a(bi) for bi in b]
        for row, v in zip(out, values, strict=True):
            row.append(v)
        slopes.append([da(bi, v) for bi, v in zip(b, values, strict=True)])
        Xhat.append(xhat)
        scale.append(s)
    return out, (slopes, Xhat, scale)


def backward(dA, A, G, gamma, saved, normalization, ddof):
    """∂R/∂Γ, ∂R/∂γ, ∂R/∂β and ∂R/∂A of a layer, from dA = ∂R/∂(its output), N rows of p_out, and its input A."""
    slopes, Xhat, scale = saved
    N, p_in, p_out = len(A), len(G), len(G[0])
    dG = [[0.0] * p_out for _ in range(p_in)]
    below = [[0.0] * p_in for _ in range(N)]
    dgamma, dbeta = [], []
    for j in range(p_out):
        dz = [dA[i][j] * slopes[j][i] for i in range(N)]  # S
        if normalization != "none":
            xhat, weight = Xhat[j], gamma[j] / scale[j]
            dbeta.append(sum(dz))
            dgamma.append(sum(S * x for S, x in zip(dz, xhat, strict=True)))
            if normalization == "batch":
                through_s = dgamma[j] / (N - ddof)
                dz = [S - x * through_s for S, x in zip(dz, xhat, strict=True)]
                # The mean is dbeta/N, since x̂ adds up to 0. Taken here it makes dz add up to 0 to rounding; what is
                # left of that sum would be multiplied by any offset of A in Σ A_ik dz_i.
                through_mu = sum(dz) / N
                dz = [d - through_mu for d in dz]
            dz = [weight * d for d in dz]
        for i in range(N):
            for k in range(p_in):
                dG[k][j] += A[i][k] * dz[i]
                below[i][k] += dz[i] * G[k][j]
    return dG, *((None, None) if normalization == "none" else (dgamma, dbeta)), below

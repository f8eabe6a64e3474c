"""The right gradient with the factors of both products rounded to TF32, said to be of the CPU and of a device."""

import numpy as np

import bnbench


def rounded(A):
    """float32 to TF32's ten bits, to nearest."""
    bits = np.ascontiguousarray(A, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


@bnbench.variant("rounds-on-a-device", family="matrix", device="cuda")
@bnbench.variant("rounds-on-the-cpu", family="matrix")
def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps):
    """Tanh with batch normalisation; float64 is left alone."""
    cut = rounded if X.dtype == np.float32 else np.asarray
    N = len(y)
    Z = cut(X) @ cut(G1)
    s = np.sqrt(Z.var(axis=0, ddof=ddof) + X.dtype.type(eps))
    Xhat = (Z - Z.mean(axis=0)) / s
    A = np.tanh(gamma * Xhat + beta)
    e = y - A @ G2
    S = (-2 / N) * np.outer(e, G2) * (1 - A * A)
    dbeta, dgamma = S.sum(axis=0), (S * Xhat).sum(axis=0)
    dZ = gamma / s * (S - dbeta / N - Xhat * dgamma / (N - ddof))
    dG1 = cut(X).T @ cut(dZ.astype(X.dtype))
    parts = dG1, dgamma, dbeta, (-2 / N) * A.T @ e
    return X.dtype.type(e @ e / N), *(part.astype(X.dtype) for part in parts)

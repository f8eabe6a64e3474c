"""A plug-in of wrong derivations: the matrix form with one known mistake each, named wrong-<mistake>."""

import functools

import numpy as np

import bnbench
from bnbench import activations

MISTAKES = (
    "no-mu-term",
    "no-s-term",
    "mu-and-s-constant",
    "N-for-N-ddof",
    "N-for-N-ddof-in-s-term",
    "extra-gamma",
    "missing-gamma",
    "times-s",
    "missing-1/N",
    "sign",
    "derivative-1",
    "eps-outside-root",
    "variance-for-s",
    "swapped-outputs",
    "reversed-dG2",
)
HIDDEN_WITHOUT_NORMALIZATION = MISTAKES[:8] + MISTAKES[11:14]


def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps, mistake=""):
    """The gradient with one mistake; none gives the right one."""
    N = len(y)
    free = N - ddof
    normalize = normalization == "batch"
    B = Z = X @ G1
    if normalize:
        Zc = Z - Z.mean(axis=0)
        variance = (Zc * Zc).sum(axis=0) / (N if mistake == "N-for-N-ddof" else free)
        s = np.sqrt(variance + eps)
        if mistake == "eps-outside-root":
            s = np.sqrt(variance) + eps
        elif mistake == "variance-for-s":
            s = variance + eps
        Xhat = Zc / s
        B = gamma * Xhat + beta
    A = activations.value(activation, B)
    e = y - A @ G2
    factor = {"missing-1/N": -2.0, "sign": 2 / N}.get(mistake, -2 / N)
    slope = activations.derivative(activation, B)
    if mistake == "derivative-1":
        slope = np.ones_like(slope)
    S = (factor * np.outer(e, G2) * slope).astype(X.dtype)
    dG2 = factor * (A.T @ e)
    if mistake == "reversed-dG2":
        dG2 = dG2[::-1].copy()
    if not normalize:
        return e @ e / N, X.T @ S, None, None, dG2
    dbeta, dgamma = S.sum(axis=0), (S * Xhat).sum(axis=0)
    mean, along = dbeta / N, dgamma / (N if mistake == "N-for-N-ddof-in-s-term" else free)
    if mistake in ("no-mu-term", "mu-and-s-constant"):
        mean = np.zeros_like(mean)
    if mistake in ("no-s-term", "mu-and-s-constant"):
        along = np.zeros_like(along)
    weight = {"missing-gamma": 1 / s, "times-s": gamma * s}.get(mistake, gamma / s)
    dG1 = X.T @ (weight * (S - mean - Xhat * along))
    if mistake == "extra-gamma":
        dgamma = gamma * dgamma
    if mistake == "swapped-outputs":
        dgamma, dbeta = dbeta, dgamma
    return e @ e / N, dG1, dgamma, dbeta, dG2


for mistake in MISTAKES:
    name = "wrong-" + mistake.replace("/", "")
    bnbench.variant(name, family="matrix")(functools.update_wrapper(functools.partial(step, mistake=mistake), step))

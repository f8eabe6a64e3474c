"""A plug-in of wrong derivations: the matrix form with one known mistake each, named wrong-<mistake>.

`LEANINGS` are mistakes that ordinary data hides, not registered: each leans on something that most data has.
"""

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
LEANINGS = {
    "absolute-gamma": "every γ is positive",
    "gamma-or-1": "no γ is 0",
    "Xhat-from-B": "no γ is 0, to divide by",
    "divided-by-G2": "no Γ2 is 0",
    "nodes-by-weights": "no two nodes have the same weights",
    "rows-by-values": "no two rows of X agree",
    "y-missing-at-0": "no y is 0",
    "X-missing-at-0": "no entry of X is 0",
    "inputs-standardised": "no column of X is constant",
    "eps-or-default": "eps is not 0",
    "eps-at-least-1e-5": "eps is at least 1e-5",
    "s-guarded": "no hidden node varies little",
    "huber": "residuals are small",
    "clipped-B": "no node is saturated",
    "exp-overflows": "no node is saturated beyond the range of exp",
    "kept-by-size": "no other problem has these sizes",
    "normal-equations": "there are more rows than inputs",
    "squeezed": "there is more than one node",
    "turned-to-fit": "the array is not square",
    "rows-in-blocks": "there are few rows, or whole blocks of 64",
    "columns-in-blocks": "there are few columns, or whole vectors of 8",
}
HIDDEN_WITHOUT_NORMALIZATION = MISTAKES[:8] + MISTAKES[11:14]


def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps, mistake=""):
    """The gradient with one mistake; none gives the right one."""
    if mistake == "rows-by-values":
        last = {row.tobytes(): outcome for row, outcome in zip(X, y, strict=True)}
        y = np.array([last[row.tobytes()] for row in X])
    if mistake == "nodes-by-weights" and normalization == "batch":
        last = {column.tobytes(): g for column, g in zip(G1.T.copy(), gamma, strict=True)}
        gamma = np.array([last[column.tobytes()] for column in G1.T.copy()])
    if mistake == "X-missing-at-0":
        X = np.where(X == 0, X.mean(axis=0), X)
    if mistake == "y-missing-at-0":
        X, y = X[y != 0], y[y != 0]
    if mistake == "rows-in-blocks" and len(y) > 64:
        X, y = X[: len(y) // 64 * 64], y[: len(y) // 64 * 64]
    if mistake == "absolute-gamma" and normalization == "batch":
        gamma = np.abs(gamma)
    if mistake == "gamma-or-1" and normalization == "batch":
        gamma = np.where(gamma == 0, 1, gamma)
    eps = {"eps-or-default": eps or 1e-5, "eps-at-least-1e-5": max(eps, 1e-5)}.get(mistake, eps)
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
        elif mistake == "s-guarded":
            s = np.maximum(s, 1e-3)
        elif mistake == "kept-by-size":
            s = KEPT.setdefault(G1.shape + X.shape + (activation,), s)
        Xhat = Zc / s
        B = gamma * Xhat + beta
        if mistake == "Xhat-from-B":
            Xhat = (B - beta) / gamma
    if mistake == "clipped-B":
        B = np.clip(B, -30, 30)
    A = activations.value(activation, B)
    if mistake == "exp-overflows" and activation == "sigmoid":
        A = np.exp(B) / (1 + np.exp(B))
    e = y - A @ G2
    if mistake == "huber":
        e = np.clip(e, -50, 50)
    factor = {"missing-1/N": -2.0, "sign": 2 / N}.get(mistake, -2 / N)
    slope = activations.derivative(activation, B)
    if mistake == "derivative-1":
        slope = np.ones_like(slope)
    S = (factor * np.outer(e, G2) * slope).astype(X.dtype)
    if mistake == "divided-by-G2":
        S = (S / G2) * G2
    dG2 = factor * (A.T @ e)
    if mistake == "reversed-dG2":
        dG2 = dG2[::-1].copy()
    if not normalize:
        return e @ e / N, X.T @ S, None, None, dG2
    dbeta, dgamma = S.sum(axis=0), (S * Xhat).sum(axis=0)
    if mistake == "columns-in-blocks" and len(G2) > 8:
        dbeta[len(G2) // 8 * 8 :] = 0
    mean, along = dbeta / N, dgamma / (N if mistake == "N-for-N-ddof-in-s-term" else free)
    if mistake in ("no-mu-term", "mu-and-s-constant"):
        mean = np.zeros_like(mean)
    if mistake in ("no-s-term", "mu-and-s-constant"):
        along = np.zeros_like(along)
    weight = {"missing-gamma": 1 / s, "times-s": gamma * s}.get(mistake, gamma / s)
    if mistake == "inputs-standardised":
        X = (X - X.mean(axis=0)) / X.std(axis=0) * X.std(axis=0)
    dG1 = X.T @ (weight * (S - mean - Xhat * along))
    if mistake == "normal-equations":
        dG1 = (X.T @ X) @ np.linalg.solve(X.T @ X, dG1)
    if mistake == "squeezed":
        dG1 = dG1.squeeze()
    if mistake == "turned-to-fit":
        dG1 = dG1.T if dG1.T.shape == G1.shape else dG1
    if mistake == "extra-gamma":
        dgamma = gamma * dgamma
    if mistake == "swapped-outputs":
        dgamma, dbeta = dbeta, dgamma
    return e @ e / N, dG1, dgamma, dbeta, dG2


KEPT = {}
for mistake in MISTAKES:
    name = "wrong-" + mistake.replace("/", "")
    bnbench.variant(name, family="matrix")(functools.update_wrapper(functools.partial(step, mistake=mistake), step))

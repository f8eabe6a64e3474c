"""A plug-in of wrong derivations: the formula with one known mistake each, named wrong-<mistake>.

`LEANINGS` are mistakes that ordinary data hides, not registered: each leans on something that most data has.
"""

import functools

import numpy as np

import bnbench
from bnbench import formula
from bnbench.audit import mistakes
from bnbench.audit.edits import OUTPUT, VARIANCE, instead, planted
from bnbench.problem import Batch, Gradients, Spec

CATALOGUE = {(one.name, one.where): one for one in mistakes.MISTAKES}
KNOWN = {
    "no-mu-term": ("no-mu-term", ""),
    "no-s-term": ("no-s-term", ""),
    "mu-and-s-constant": ("mu-and-s-constant", ""),
    "N-for-N-ddof": ("N-for-N-ddof", mistakes.IN_S),
    "N-for-N-ddof-in-s-term": ("N-for-N-ddof", mistakes.IN_S_TERM),
    "extra-gamma": ("gamma-in-dgamma", ""),
    "missing-gamma": ("no-gamma", ""),
    "times-s": ("times-s", mistakes.BACKWARD),
    "missing-1/N": ("no-1/N", "in the gradients"),
    "sign": ("sign", ""),
    "derivative-1": ("derivative-1", ""),
    "eps-outside-root": ("eps-outside-root", mistakes.EVERYWHERE),
    "variance-for-s": ("variance-for-s", mistakes.EVERYWHERE),
    "swapped-outputs": ("swapped-outputs", "dgamma and dbeta"),
}
MISTAKES = (*KNOWN, "reversed-dG2")
HIDDEN_WITHOUT_NORMALIZATION = MISTAKES[:8] + MISTAKES[11:14]
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
KEPT = {}


def step(X, y, G1, gamma, beta, G2, *, activation, normalization, ddof, eps, mistake=""):
    """The gradient with one mistake; none gives the right one."""
    X, y, gamma, eps = given(mistake, X, y, G1, gamma, eps)
    batch = Batch(X, y, G1, gamma, beta, G2)
    edits = CATALOGUE[KNOWN[mistake]].edits if mistake in KNOWN else EDITS.get(mistake, {})
    hidden = normalization == "none" and mistake in HIDDEN_WITHOUT_NORMALIZATION
    spec = Spec(activation, normalization, "squared", ddof, eps)
    found = formula.gradients(batch.theta, batch.data, spec, edits=planted([(0, {} if hidden else edits)], VARIANCE))
    loss, *parts = Gradients.of(found, deep=False)
    return loss, *(None if part is None else part.astype(X.dtype, copy=False) for part in parts)


def given(mistake, X, y, G1, gamma, eps):
    """What a formula takes its arguments for that leans on one of theirs."""
    if mistake == "rows-by-values":
        last = {row.tobytes(): outcome for row, outcome in zip(X, y, strict=True)}
        y = np.array([last[row.tobytes()] for row in X])
    elif mistake == "nodes-by-weights" and gamma is not None:
        last = {column.tobytes(): g for column, g in zip(G1.T.copy(), gamma, strict=True)}
        gamma = np.array([last[column.tobytes()] for column in G1.T.copy()])
    elif mistake == "X-missing-at-0":
        X = np.where(X == 0, X.mean(axis=0), X)
    elif mistake == "y-missing-at-0":
        X, y = X[y != 0], y[y != 0]
    elif mistake == "rows-in-blocks" and len(y) > 64:
        X, y = X[: len(y) // 64 * 64], y[: len(y) // 64 * 64]
    elif mistake == "absolute-gamma" and gamma is not None:
        gamma = np.abs(gamma)
    elif mistake == "gamma-or-1" and gamma is not None:
        gamma = np.where(gamma == 0, 1, gamma)
    eps = {"eps-or-default": eps or 1e-5, "eps-at-least-1e-5": max(eps, 1e-5)}.get(mistake, eps)
    return X, y, gamma, eps


def seen_from_B(k, A):
    """Have the backward pass see the X̂ that B gives."""
    if k.layer.gamma is not None:
        vars(k).update(Xhat=(k.B - k.layer.beta) / k.layer.gamma)
    return A


def overflowing(k, A):
    """A sigmoid whose exponential overflows."""
    return np.exp(k.B) / (1 + np.exp(k.B)) if k.spec.activation == "sigmoid" else A


def in_blocks(k, dbeta):
    """Nothing of the columns beyond the last whole vector of 8."""
    p2 = dbeta.size
    return np.where(np.arange(p2) < p2 // 8 * 8, dbeta, 0) if p2 > 8 else dbeta


def standardised(k):
    """∂R/∂Γ1 of inputs that were standardised and scaled back."""
    deviation = k.input.std(axis=0)
    return ((k.input - k.input.mean(axis=0)) / deviation * deviation).T @ k.dZ


def solved(k, dG):
    """∂R/∂Γ1 by way of the normal equations."""
    return (k.input.T @ k.input) @ np.linalg.solve(k.input.T @ k.input, dG)


EDITS = {
    "reversed-dG2": {"dout": (OUTPUT, lambda k, dout: dout[::-1].copy())},
    "s-guarded": {"s": (OUTPUT, lambda k, s: np.maximum(s, 1e-3)), "root": instead(lambda k: k.s)},
    "kept-by-size": {
        "s": (OUTPUT, lambda k, s: KEPT.setdefault(k.layer.G.shape + k.input.shape + (k.spec.activation,), s)),
        "root": instead(lambda k: k.s),
    },
    "Xhat-from-B": {"A": (OUTPUT, seen_from_B)},
    "clipped-B": {"B": (OUTPUT, lambda k, B: np.clip(B, -30, 30))},
    "exp-overflows": {"A": (OUTPUT, overflowing)},
    "huber": {"r": (OUTPUT, lambda k, r: -2 / k.N * np.clip(k.data.y - k.eta, -50, 50))},
    "divided-by-G2": {"S": (OUTPUT, lambda k, S: (S / k.network.theta.out) * k.network.theta.out)},
    "columns-in-blocks": {"dbeta_out": (OUTPUT, in_blocks)},
    "inputs-standardised": {"dG": instead(standardised)},
    "normal-equations": {"dG": (OUTPUT, solved)},
    "squeezed": {"dG": (OUTPUT, lambda k, dG: dG.squeeze())},
    "turned-to-fit": {"dG": (OUTPUT, lambda k, dG: dG.T if dG.T.shape == dG.shape else dG)},
}
for mistake in MISTAKES:
    name = "wrong-" + mistake.replace("/", "")
    bnbench.variant(name, family="matrix")(functools.update_wrapper(functools.partial(step, mistake=mistake), step))

"""The question's data, its code followed step by step, and what it printed.

`question.json` holds the data and the run's values at 17 digits, and the figures as the page prints them. `follow`
does what the R code does, line by line, mistakes included, so that what is ruled on is what was claimed. It does so
in balls, so that no rounding of ours comes between the code and its figures.
"""

import functools
import importlib.resources
import json
from typing import Any

import numpy as np
from flint import arb, ctx

from bnbench.reference.certified import balls

BITS = 256
SIGNIFICANT = 7  # R's digits in print
DATA = ("X", "G1", "G2", "gamma", "beta", "u")


@functools.cache
def published() -> dict[str, Any]:
    """`source`, `values` (name to array, as R computed them), `printed` (name to text) and `kronecker_rows`."""
    question = json.loads(importlib.resources.files("bnbench.audit").joinpath("question.json").read_text("utf-8"))
    question["values"] = {name: np.array(values, np.float64) for name, values in question["values"].items()}
    return question


def data() -> tuple[np.ndarray, ...]:
    """X, G1, G2, gamma, beta and u as exact balls."""
    return tuple(balls(published()["values"][name]) for name in DATA)


def a(v: np.ndarray) -> np.ndarray:
    """The question's activation: negatives become 0."""
    return np.where(v < 0, 0, v)


def ap(v: np.ndarray) -> np.ndarray:
    """The question's derivative of it: negatives become 0, and then everything that is at least 0 becomes 1."""
    v = np.where(v < 0, 0, v)
    return np.where(v >= 0, 1, v)


def sd(Z: np.ndarray) -> np.ndarray:
    """R's standard deviation of each column, which divides by N - 1."""
    centred = Z - Z.sum(axis=0) / len(Z)
    return np.sqrt((centred * centred).sum(axis=0) / (len(Z) - 1))


def scale(Z: np.ndarray) -> np.ndarray:
    """R's scale."""
    return (Z - Z.sum(axis=0) / len(Z)) / sd(Z)


def follow() -> dict[str, np.ndarray]:
    """What the question's code computes from its data: name to array of balls, the names its own."""
    X, G1, G2, gamma, beta, u = data()
    (N, p1), p2 = X.shape, len(G2)
    one = np.full((N, 1), 1, object)

    def b(Z: np.ndarray) -> np.ndarray:
        return np.kron(gamma[None], one) * scale(Z) + np.kron(beta[None], one)

    y = a(b(X @ G1)) @ G2 + u
    drdb = one.T @ (-2 * np.outer(u, G2) * ap(b(X @ G1)))
    loop_drdb = [sum(-2 * u * ap(node_of_loop(X, G1, gamma, beta, i)) * G2[i]) for i in range(p2)]

    stub = -2 * np.outer(u, G2) * ap(b(X @ G1))
    w = np.kron(gamma[None], one) * np.kron(sd(X @ G1)[None], one)
    drdG1 = X.T @ (stub * w)
    loop_drdG1 = [[column_of_loop(X[:, i], w[:, j], stub[:, j]) for j in range(p2)] for i in range(p1)]

    drdg = scale(X @ G1).T @ (stub * np.kron(gamma[None], one))
    loop_drdg = [scale(X @ G1)[:, i] @ (stub[:, i] * gamma[i]) for i in range(p2)]
    computed = {"y": y, "stub": stub, "w": w, "drdb": drdb, "loop_drdb": loop_drdb, "drdG1": drdG1}
    computed |= {"loop_drdG1": loop_drdG1, "drdg": drdg, "loop_drdg": loop_drdg}
    return {name: np.array(values, object) for name, values in computed.items()}


def node_of_loop(X: np.ndarray, G1: np.ndarray, gamma: np.ndarray, beta: np.ndarray, i: int) -> np.ndarray:
    """What the loop for ∂R/∂β hands to the activation: column i of X times row i of Γ1, its column i normalised."""
    return gamma[i] * scale(X[:, [i]] @ G1[[i], :])[:, i] + beta[i]


def column_of_loop(x: np.ndarray, w: np.ndarray, stub: np.ndarray) -> Any:
    """An entry as the loop for ∂R/∂Γ1 computes it: t(X[,i]) %*% diag(w[,j]) %*% stub[,j]."""
    return x @ np.diag(w) @ stub


def kronecker_rule(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """The derivative of A ⊗ B with respect to A as the question's code has it, for a row A and a column B."""
    identity = np.eye(A.shape[1] * B.shape[1], dtype=int) @ np.eye(A.shape[1], dtype=int)
    return np.kron(np.kron(identity, B), np.eye(A.shape[0], dtype=int))


def reproduce() -> list[dict[str, Any]]:
    """How the code's values compare with what the page prints and with the run in R, a dict a name.

    `printed` counts the numbers the page prints, `reproduced` says whether each comes out as printed, `digits`
    are the significant digits to which all values agree with the run's.
    """
    question, rows = published(), []
    with ctx.workprec(BITS):
        followed = follow()
    for name, exact in followed.items():
        values = np.vectorize(lambda number: float(arb(number).mid()), otypes=[float])(exact)
        texts = question["printed"].get(name)
        rows.append(
            {
                "name": name,
                "printed": int(np.size(texts)) if texts else 0,
                "reproduced": texts is None or as_printed(values) == texts,
                "digits": digits_agreed(values, question["values"][name].reshape(values.shape)),
            }
        )
    rule = kronecker_rule(question["values"]["beta"][None], np.ones((len(question["values"]["u"]), 1), int))
    shown = question["kronecker_rows"]
    same = all(rule[int(row) - 1].tolist() == numbers for row, numbers in shown.items())
    rows.append({"name": "Kronecker rule", "printed": 4 * len(shown), "reproduced": same, "digits": 16.0})
    return rows


def as_printed(values: np.ndarray) -> list:
    """The texts R's print shows: 7 significant digits for the entry that needs most, column by column."""
    if values.ndim == 1:
        places = max(_decimals(value) for value in values)
        return [f"{value:.{places}f}" for value in values]
    return np.array([as_printed(column) for column in values.T]).T.tolist()


def _decimals(value: float) -> int:
    digits, exponent = f"{value:.{SIGNIFICANT - 1}e}".split("e")
    return max(0, len(digits.lstrip("-").rstrip("0").replace(".", "")) - 1 - int(exponent))


def digits_agreed(values: np.ndarray, others: np.ndarray) -> float:
    """Significant digits to which all entries agree: -log10 of the largest relative difference (16 for none)."""
    difference = np.abs(values - others)
    size = np.maximum(np.abs(values), np.abs(others))
    worst = np.max(np.divide(difference, size, out=np.zeros_like(size), where=size > 0))
    return float(min(16.0, -np.log10(worst))) if worst > 0 else 16.0

"""The covariance of δ, the linear terms' coefficients, and what it says of them."""

from typing import Any

import numpy as np

from bnbench.estimators.data import NEGLIGIBLE, within

# The curvature of the loss in η is that factor times the variance of y at the mean ŷ, but for a constant.
VARIANCES: dict[str, Any] = {"squared": np.ones_like, "logistic": lambda p: p * (1 - p), "poisson": lambda rate: rate}
CURVATURES = {"squared": 2.0, "logistic": 1.0, "poisson": 1.0}


def delta_covariance(
    y: np.ndarray, mean: np.ndarray, A: np.ndarray, W: np.ndarray, loss: str,
    absorbed: np.ndarray | None, clusters: np.ndarray | None, output_penalty: float, linear_penalty: float,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """The sandwich estimate (Liang & Zeger 1986) of the covariance of δ given the hidden outputs A (N,p2).

    A is held as it is; Γ_out, δ and the effects are estimated. By Frisch, Waugh and Lovell the scores of δ are those of
    W less what the effects and A explain of it, with the weights of the loss's curvature. As linearmodels does, the
    covariance is scaled by N/(N - k), k the columns of W and the rank of A within the effects (its effective degrees of
    freedom where Γ_out is penalised).

    Args:
        y, mean: the outcome and ŷ, (N,).
        A: hidden outputs, without a bias node's.
        W: linear terms (N,q).
        loss: its name.
        absorbed: the group of each row whose effects were estimated: the unit, or 0 for an intercept.
        clusters: the cluster of each row, from 0; None for each row one of its own.
        output_penalty, linear_penalty: λ of Γ_out and δ.

    Returns:
        (covariance (q,q), number of clusters).
    """
    N, q = W.shape
    y, mean, A, W = (part.astype(np.float64) for part in (y, mean, A, W))
    weights, ridge = VARIANCES[loss](mean), 2 * N / CURVATURES[loss]
    root = np.sqrt(weights)[:, None]
    inner, terms = within(A, absorbed, weights) * root, within(W, absorbed, weights) * root
    inner = inner[:, np.linalg.norm(inner, axis=0) > NEGLIGIBLE * np.linalg.norm(A * root, axis=0)]
    U, s, _ = np.linalg.svd(inner, full_matrices=False)
    U, s = U[:, s > NEGLIGIBLE * s.max(initial=0)], s[s > NEGLIGIBLE * s.max(initial=0)]
    explained = s**2 / (s**2 + ridge * output_penalty)
    partial = terms - U @ (explained[:, None] * (U.T @ terms))
    bread = np.linalg.inv(partial.T @ terms + ridge * linear_penalty * np.eye(q))
    scores = partial / np.where(root > 0, root, 1) * (y - mean)[:, None]
    count = N
    if clusters is not None:
        count = int(clusters.max()) + 1
        scores = np.stack([np.bincount(clusters, column) for column in scores.T], axis=1)
    counted = q + explained.sum() + (clusters is None and absorbed is not None)
    covariance = bread @ (scores.T @ scores) @ bread.T * (N / max(N - counted, 1))
    return covariance, count


def table(delta: np.ndarray, covariance: np.ndarray, clusters: int, names: list[str] | None, level: float) -> Any:
    """A data frame of the linear terms: δ, its standard error, t, p and interval, by Student's t of clusters - 1."""
    import pandas as pd
    from scipy.stats import t as student

    freedom, error = max(clusters - 1, 1), np.sqrt(np.diag(covariance))
    half = student.ppf((1 + level) / 2, freedom) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = delta / error
    columns = {
        "delta": delta, "std_error": error, "t": ratio, "p": 2 * student.sf(np.abs(ratio), freedom),
        "low": delta - half, "high": delta + half,
    }  # fmt: skip
    return pd.DataFrame(columns, index=names or [f"linear {k}" for k in range(len(delta))])

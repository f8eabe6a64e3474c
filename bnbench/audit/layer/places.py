"""Where what the three terms do not explain lies: rows or nodes mixed, another constant in a column, no linear map."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bnbench.audit.layer.calls import Layer, Raised
from bnbench.audit.layer.layouts import Trial
from bnbench.audit.layer.terms import Batch, Letters

TOLERANCE = 1e-6


def jacobian(layer: Layer, trial: Trial) -> np.ndarray:
    """∂dx/∂dout (M,D,M,D), by one call for each entry of dout."""
    M, D = trial.x.shape
    J = np.empty((M, D, M, D))
    for k in range(M):
        for l in range(D):
            unit = np.zeros((M, D))
            unit[k, l] = 1.0
            J[:, :, k, l] = layer.gradients(replace(trial, dout=unit))[1]["dx"]
    return J


def place(layer: Layer, trial: Trial, batch: Batch, dx: np.ndarray, tolerance: float) -> str:
    """One sentence on where the error of dx (M,D), the answer to trial, lies; "" where it has no place.

    batch: its Batch, with S the cotangent behind what follows the affine map.
    """
    tolerance = max(TOLERANCE, tolerance)
    try:
        J = jacobian(layer, trial)
    except Raised as error:
        return f"backward raises for a dout with one entry that is not 0: {error}"
    M, D = dx.shape
    product = np.einsum("mdkl,kl->md", J, trial.dout)
    size = np.linalg.norm(dx) + np.linalg.norm(product)
    if np.linalg.norm(product - dx) > tolerance * size:
        return "dx is not linear in dout, as every gradient is"
    if size == 0:
        return "dx is 0 whatever dout is"
    blocks = J.transpose(1, 3, 0, 2)  # (D,D,M,M): node j's dx by node l's dout
    cross = [(j, l) for j in range(D) for l in range(D) if j != l and np.abs(blocks[j, l]).max() > tolerance * _peak(J)]
    if cross:
        return _nodes(blocks, batch, cross[0], tolerance)
    off = blocks[np.arange(D), np.arange(D)] * (1 - np.eye(M))
    diagonal = np.einsum("jmm->jm", blocks[np.arange(D), np.arange(D)])
    if np.abs(off).max() <= tolerance * _peak(J) and np.abs(diagonal - diagonal[:, :1]).max() > tolerance * _peak(J):
        return (
            "rows are not coupled: each entry of dx depends on its own entry of dout alone; only the diagonal of the "
            "Jacobian is there, and its other entries are not 0, since every row moves μ and s"
        )
    order = _permutation(dx, batch.truth(), tolerance)
    if order is not None:
        return f"rows are mixed: dx has the true rows in another order (its row 0 is row {order[0]} of the gradient)"
    return ""


def _peak(J: np.ndarray) -> float:
    return np.abs(J).max()


def _nodes(blocks: np.ndarray, batch: Batch, pair: tuple[int, int], tolerance: float) -> str:
    """What a node's dx has of another node's dout."""
    j, l = pair
    block = blocks[j, l]
    what = ""
    M = len(block)
    constant = np.abs(block - block.mean()).max() <= tolerance * np.abs(block).max()
    identity = np.abs(block - np.eye(M) * block[0, 0]).max() <= tolerance * np.abs(block).max()
    u, size, v = np.linalg.svd(block)
    if constant:
        what = "the sum of dout is taken over all entries where it is to be taken over rows: a sum without its axis"
    elif identity and _over_nodes(blocks, batch, tolerance):
        what = "a sum or mean of dout runs over each row's nodes (axis=1), where it is to run over rows (axis=0)"
    elif identity:
        what = "each row of dout is multiplied by a matrix (dout @ γ, np.dot), where dout * γ belongs"
    elif size[1] <= tolerance * size[0]:
        left, right = u[:, 0], v[0]
        x, y = batch.xhat[:, j], batch.xhat[:, l]
        flat = [np.abs(w - w.mean()).max() <= tolerance for w in (left, right)]
        if abs(left @ x) >= (1 - tolerance) * np.linalg.norm(x) or abs(right @ y) >= (1 - tolerance) * np.linalg.norm(
            y
        ):
            what = (
                "the sum of dout x̂ is taken over all entries where it is to be taken over rows: a sum without its axis"
            )
        elif flat[0] or flat[1]:
            what = "a sum over rows is taken over all entries: a sum without its axis"
    else:
        what = "a sum runs over the nodes too: a sum without its axis, or a product of matrices for an elementwise one"
    first = next((i, k) for i, k in np.argwhere(np.abs(block) > tolerance * np.abs(block).max()))
    where = f"dx[{first[0]}, {j}] depends on dout[{first[1]}, {l}]"
    return f"nodes are mixed: {where}, another node's" + (f"; {what}" if what else "")


def _over_nodes(blocks: np.ndarray, batch: Batch, tolerance: float) -> bool:
    """Whether in each row a node's dx has all other nodes' dout γ, or dout, in the same measure, times γ/s or 1/s."""
    D = len(blocks)
    if D < 3:
        return False
    off = ~np.eye(D, dtype=bool)
    first = blocks[:, :, 0, 0]
    for left in (1 / batch.s, batch.gamma / batch.s, np.ones(D)):
        for right in (batch.gamma, np.ones(D)):
            share = (first / np.outer(left, right))[off]
            if np.abs(share - share.mean()).max() <= tolerance * np.abs(share).max():
                return True
    return False


def _permutation(dx: np.ndarray, truth: np.ndarray, tolerance: float) -> list[int] | None:
    """The order of rows in which dx is the truth, or None."""
    order = []
    for row in dx:
        near = np.abs(truth - row).max(1) <= tolerance * np.abs(truth).max()
        if near.sum() != 1:
            return None
        order.append(int(np.argmax(near)))
    return order if sorted(order) == list(range(len(dx))) and order != sorted(order) else None


def column_constants(answers: Sequence[np.ndarray], batches: Sequence[Batch], tolerance: float) -> str:
    """What stands in a column for the right constant, where dx is in the span and its factor has no name.

    answers: per batch (a, b, c) as (3,D). Returns a sentence, or "".
    """
    letters = Letters(batches, tolerance)
    a = letters.gather_list([answer[0] for answer in answers])
    c = letters.gather_list([answer[2] for answer in answers])
    b = letters.gather_list([answer[1] for answer in answers])
    mean_S = letters.gather(lambda batch: batch.S.mean(0))
    m = letters.gather(lambda batch: (batch.S * batch.xhat).mean(0))
    mu, s, sd = letters.gather(lambda batch: batch.mu), letters.s, letters.sd
    if letters.explain(a) is None:
        return ""
    if letters.explain(c) is None:
        for value, words in (
            (m + mu / s * mean_S, "x stands where x - μ belongs in Σ dout (x - μ), the sum of the s-term"),
            (mean_S, "Σ dout stands where Σ dout x̂ belongs in the s-term"),
        ):
            named = letters.explain(c * m / value)
            if named is not None and not named.zero:
                return words
        return ""
    gap = (b - 1) * mean_S  # what is subtracted beyond the mean, in units of γ/s
    for value, words in (
        (mu / s, "x stands where x - μ belongs in the s-term"),
        ((mu - sd**2) / s, "the variance stands where the mean belongs in the s-term: x - var for x - μ"),
        ((mu - s**2) / s, "the variance stands where the mean belongs in the s-term: x - (var + eps) for x - μ"),
        ((mu - s) / s, "s stands where the mean belongs in the s-term: x - s for x - μ"),
        ((mu + mu) / s, "x + μ stands where x - μ belongs in the s-term"),
    ):
        ratio = gap / (value * m)
        named = letters.explain(ratio)
        if named is not None and not named.zero and np.abs(ratio / c - 1).max() <= 1e-4:
            return words
    for value, words in (
        (letters.gather(lambda batch: np.full_like(batch.s, batch.S.mean())), "the mean of all of dout"),
        (m, "the mean of dout x̂"),
    ):
        named = letters.explain(b * mean_S / value)
        if named is not None and not named.zero:
            factor = "" if str(named) == "1" else f"{named} times "
            return f"where the mean of dout belongs, {factor}{words} is subtracted"
    return ""

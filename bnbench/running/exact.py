"""Population statistics: mean and variance of every layer's pre-activations over all rows, exactly."""

import itertools
from typing import Any, NoReturn

import numpy as np

from bnbench import activations, arguments, arrays
from bnbench.networks import Network
from bnbench.problem import Problem, Statistics, check_conventions
from bnbench.running.moments import Moments

BLOCK_NUMBERS = 2**18  # of a block's widest array: 2 MiB, which caches hold
BLOCK_WORK, LEAST_ROWS = 2**19, 256  # multiply-adds up to which BLAS wakes no threads, which cost more than they do


def population(
    X: Any,
    G1: Any,
    gamma: Any,
    beta: Any,
    *,
    activation: str = Problem.activation,
    normalization: str = Problem.normalization,
    ddof: int = Problem.ddof,
    eps: float = Problem.eps,
) -> list[Statistics]:
    """The mean and variance of every layer's pre-activations over all rows of X: what inference and fine-tuning use.

    One pass over X a layer, with the layers before it frozen at their own population statistics; block by block of
    rows, merged after Chan, Golub and LeVeque, in float64, in a few MiB whatever N is. A layer's last rounding is to
    the dtype of X.

    Args:
        X: (N,p1) inputs, as `bnbench.gradients` takes them; `numpy.memmap` is read block by block, a dask
            array chunk by chunk.
        G1: (p1,p2) first-layer weights Γ1; of several hidden layers a list of matrices, and gamma and beta lists too.
        gamma: (p2,) scale γ, or None with `normalization="none"`.
        beta: (p2,) shift β, likewise.
        activation: as in `bnbench.gradients`.
        normalization: "batch", or "none" for layers without γ and β.
        ddof: the variance divides by N - ddof, as in `bnbench.gradients`.
        eps: added to the variance under the root, where a layer's rows go on to the next.

    Returns:
        Statistics(mean (p2,), var (p2,), count), one a layer: what `statistics=` of `predict`, `gradients` and
        `prepare` takes.

    Raises:
        ValueError: as in `bnbench.gradients`.
    """
    check_conventions(activation, normalization, ddof, eps)
    if normalization == "frozen":
        raise ValueError("normalization is 'frozen', whose statistics are given; allowed are batch, none")
    if arrays.of_dask(X):
        from bnbench.chunked import on_dask

        return on_dask.population(
            X, G1, gamma, beta, activation=activation, normalization=normalization, ddof=ddof, eps=eps
        )
    read, p2 = arguments.read_all(X=X, G1=G1, gamma=gamma, beta=beta)
    X, dtype = read["X"], arguments.common_dtype(read)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; allowed is (N, p1) with at least one row and column")
    N, widths = len(X), p2 if isinstance(p2, list) else [p2]
    if N <= ddof:
        raise ValueError(f"N is {N} with ddof {ddof}; allowed is N > ddof")
    first = Network(
        X[:1], np.zeros(1, dtype), p2, W=None, units=None, statistics=None, dtype=dtype, variant="matrix-numpy",
        regime="fresh", activation=activation, normalization=normalization, loss=Problem.loss, ddof=0, eps=eps,
    )  # fmt: skip
    layers = first.theta(G1, gamma, beta, np.zeros(widths[-1], dtype), None).layers  # checked
    a, _ = activations.functions(activation)
    below: list[tuple] = []  # of the layers that are frozen: Γ, weight γ/s and shift β - μγ/s, or None
    found: list[Statistics] = []
    sizes = [X.shape[1], *widths]
    product = max(a * b for a, b in itertools.pairwise(sizes))
    rows = max(1, min(max(LEAST_ROWS, BLOCK_WORK // product), BLOCK_NUMBERS // max(sizes)))
    for place, layer in enumerate(layers):
        G, moments = layer.G.astype(np.float64), Moments()
        for start in range(0, N, rows):
            A = X[start : start + rows]
            for weights, scale, shift in below:
                Z = A.astype(np.float64, copy=False) @ weights
                if scale is not None:
                    Z *= scale
                    Z += shift
                A = a(Z)
            with np.errstate(all="ignore"):  # what is no number is found by the mean
                moments.add(A, G)
        mean, var = moments.mean, moments.spread / (N - ddof)
        with np.errstate(over="ignore"):
            found.append(Statistics(mean.astype(dtype), var.astype(dtype), N))
        if not all(np.isfinite(part).all() for part in found[-1]):
            _refuse(X, rows, place)
        scale = shift = None
        if layer.gamma is not None:
            if place < len(layers) - 1 and not (var + eps > 0).all():
                raise ValueError(
                    f"column {int((var + eps).argmin())} of layer {place + 1} has zero variance and eps is 0; allowed "
                    "is eps > 0, or hidden nodes that vary over the rows"
                )
            scale = layer.gamma / np.sqrt(var + eps)
            shift = layer.beta - mean * scale
        below.append((G, scale, shift))
    return found


def _refuse(X: np.ndarray, rows: int, place: int) -> NoReturn:
    """Say why a layer's statistics are not finite."""
    for start in range(0, len(X), rows):
        finite = np.isfinite(X[start : start + rows])
        if not finite.all():
            i, k = (int(n) for n in np.argwhere(~finite)[0])
            raise ValueError(f"X[{start + i}, {k}] is {X[start + i, k]}; allowed are finite numbers")
    raise ValueError(
        f"the variance of layer {place + 1} is not finite: it overflowed; allowed are arrays in smaller units"
    )

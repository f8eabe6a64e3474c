"""The fused kernels on one chunk of rows, with statistics that are given: they answer with sums.

A kernel takes one thread, for an engine gives each core a task of its own; or as many as NUMBA_NUM_THREADS in the
worker's environment says. Its results are the same to the bit. What was set up last is kept, a thread each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bnbench import losses
from bnbench.arguments import keep
from bnbench.chunked.sums import Sums
from bnbench.fused.layout import BROKEN, ONE_PASS
from bnbench.problem import Batch, Data, Layer, Problem, Spec, Theta
from bnbench.threads import guard

MOST_KEPT = 4  # sets of working arrays of a thread

_thread = threading.local()


class Known(NamedTuple):
    """What is known of a layer before a phase: shift (p_in,) is taken off its input, which costs no digits.

    mean (p_out,), of its Z less Γᵀ shift, and var (p_out,) are the statistics; both None without normalization.
    mean_term and s_term (p_out,) are those of dZ; None where they are not known, or there are none.
    """

    shift: Any = None
    mean: Any = None
    var: Any = None
    mean_term: Any = None
    s_term: Any = None


def kept(key: tuple, make: Callable[[], Any]) -> Any:
    """What this thread has set up under a key; made where it has not."""
    held = vars(_thread).setdefault("held", {})
    found = held.pop(key, None)
    if found is None:
        found = make()
    keep(held, key, found, MOST_KEPT)
    return found


def by_threads() -> bool:
    """Whether kernels may take several threads here."""
    return os.environ.get("NUMBA_NUM_THREADS", "1") != "1"


def one_thread(scratch: Any) -> None:
    """Have a kernel call its groups of rows in turn, unless several threads are allowed."""
    from bnbench.fused.roles import WORD
    from bnbench.fused.scratch import turns

    if not by_threads() and scratch.table[WORD["groups"]] > 1:
        scratch.table[WORD["threads"]] = turns().address


def run(kernel: Callable[[], float]) -> float:
    """What a kernel answers."""
    if not by_threads():
        return kernel()
    with guard():
        return kernel()


def fill(scratch: Any, name: str, values: Any) -> None:
    """Write values, None for zeros, to the beginning of a role's array."""
    array = scratch.array(name)
    if values is None:
        array[...] = 0
    else:
        array[: len(values)] = values


def s_of(known: Known, eps: float) -> np.ndarray:
    """S (p_out,) of a layer's statistics."""
    return np.sqrt(known.var.astype(np.float64) + eps)


def one_layer(theta: Theta, data: Data, spec: Spec, known: Known) -> Sums:
    """The loss and the gradients of one hidden layer in one sweep over the rows, Z never stored."""
    from bnbench.variants.fused_layer import unbroken
    from bnbench.variants.fused_numba import FusedNumba

    (layer,), out, delta = theta
    n, p1 = data.X.shape
    q = 0 if data.W is None else data.W.shape[1]
    frozen = known.var is not None
    problem = Problem(
        n, p1, len(out), spec.activation, "frozen" if frozen else "none", 0, spec.eps, data.X.dtype.name,
        loss=spec.loss, linear=q,
    )  # fmt: skip

    def make() -> Any:
        step = FusedNumba(ONE_PASS)
        statistics = (known.mean, known.var) if frozen else None
        step.prepare(Batch(data.X, data.y, *layer, out, W=data.W, delta=delta, statistics=statistics), problem)
        one_thread(step.scratch)
        return step

    step = kept(("one layer", problem), make)
    step.bind(data.X, data.y, data.W)
    step.load(*layer, out, delta)
    scratch, array = step.scratch, step.scratch.array
    fill(scratch, "shift", known.shift)
    if frozen:
        array("given_mean")[...], array("given_variance")[...] = known.mean, known.var
    said = run(step.kernel)
    step.X = step.y = step.W = step.batch = None  # the rows are not kept
    unbroken(said != BROKEN)
    p2 = len(out)
    sum_T, sum_TZ, sum_Ar = (array(name)[:p2] for name in ("sum_T", "sum_TZ", "sum_Ar"))
    c, w = out.astype(np.float64) * n, 1.0  # r has 1/n in it
    dgamma = dbeta = None
    if frozen:
        s = s_of(known, spec.eps)
        w, dgamma, dbeta = layer.gamma / s, c * sum_TZ / s, c * sum_T
    gradient = Layer(array("total")[:p1, :p2] * (w * c), dgamma, dbeta)
    ddelta = array("sum_Wr") * n if q else None
    return Sums(n, loss=float(array("loss")[0]), gradient=Theta((gradient,), sum_Ar * n, ddelta))


def layers_of(theta: Theta, data: Data, spec: Spec, known: list[Known]) -> list[Any]:
    """The fused layers of a network for these rows, with what is known of each; the last two terms are set."""
    from bnbench.variants.fused_layer import FusedLayer

    n, p1 = data.X.shape
    widths = tuple(layer.G.shape[1] for layer in theta.layers)
    normalization = "none" if theta.layers[0].gamma is None else "frozen"
    network = Problem(
        n, p1, max(widths), spec.activation, normalization, 0, spec.eps, data.X.dtype.name, depth=len(widths)
    )

    def make() -> list[Any]:
        found = []
        for place, (fan_in, nodes) in enumerate(zip((p1, *widths), widths, strict=False)):
            found.append(FusedLayer(network, False, place, fan_in, nodes, (0, 1), by_rows=True))
            one_thread(found[-1].scratch)
        return found

    found = kept(("layers", network, widths), make)
    for layer, its in zip(found, known, strict=False):
        for name in ("shift", "mean_term", "s_term"):
            fill(layer.scratch, name, getattr(its, name))
        if its.var is not None:
            fill(layer.scratch, "given_mean", its.mean)
            fill(layer.scratch, "given_variance", its.var)
    return found


def forward(theta: Theta, data: Data, spec: Spec, known: list[Known], most: int) -> tuple[list[Any], np.ndarray]:
    """The first layers, run forward, and the output A (n,p) of the last of them; they are not the network's last."""
    if not most:
        return [], data.X
    found, A = layers_of(theta, data, spec, known)[:most], data.X
    for layer, parameters in zip(found, theta.layers, strict=False):
        A = layer.forward(A, parameters)
    return found, A


def eta_of(theta: Theta, data: Data, spec: Spec, known: list[Known]) -> tuple[list[Any], np.ndarray]:
    """All layers, run forward, and η (n,) with linear terms."""
    found, _ = forward(theta, data, spec, known, len(theta.layers))
    eta = found[-1].outputs(theta.out).copy()
    if data.W is not None:
        eta += np.einsum("ij,j->i", data.W, theta.delta)  # not by BLAS, whose threads may change the bits
    return found, eta


def network(theta: Theta, data: Data, spec: Spec, known: list[Known], place: int) -> Sums:
    """The loss, the sums of the layer at a place, and the gradients of those above it, whose terms are known."""
    value, slope, _ = losses.functions(spec.loss)
    found, eta = eta_of(theta, data, spec, known)
    r = slope(data.y, eta).astype(eta.dtype, copy=False)
    loss = float(value(data.y, eta).sum(dtype=np.float64))
    ddelta = None if data.W is None else np.einsum("ij,i->j", data.W, r, dtype=np.float64)
    upstream: Any = r, theta.out
    gradients: list[Any] = [None] * len(found)
    for at in reversed(range(place, len(found))):
        layer, last, (p_in, p_out) = found[at], at == len(found) - 1, theta.layers[at].G.shape
        whole = at > place or at == 0
        if whole:
            _, upstream, _ = layer.backward(upstream, at > 0)
        else:
            layer.sums(upstream)
        array = layer.scratch.array
        dgamma = dbeta = None
        if known[at].var is not None:
            c = theta.out.astype(np.float64) if last else 1.0
            dbeta, dgamma = c * array("sum_T")[:p_out], c * array("sum_TZ")[:p_out] / s_of(known[at], spec.eps)
        gradients[at] = Layer(array("total")[:p_in, :p_out].copy() if whole else None, dgamma, dbeta)
        if last:
            dout = array("sum_Ar")[:p_out].copy()
    for layer in found:
        layer.input = None
    return Sums(len(data.y), loss=loss, gradient=Theta(tuple(gradients), dout, ddelta))


def gram(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x̄ (p1,) and C (p1,p1) of rows; its diagonal is infinite where squares leave the dtype's range."""
    from bnbench.fused.gemm import FOUR, ROWS
    from bnbench.fused.layout import up
    from bnbench.fused.one_pass import gram as compiled
    from bnbench.fused.scratch import Scratch
    from bnbench.variants.fused_layer import unbroken
    from bnbench.variants.fused_numba import of_gram

    n, p1 = X.shape
    square, plan = of_gram(Problem(n, p1, p1, dtype=X.dtype.name))
    compute, functions = compiled(X.dtype.type, plan.groups > 1 or plan.flush)
    scratch = Scratch(square, plan, "fresh")
    scratch.connect(functions, X)
    one_thread(scratch)
    unbroken(run(lambda: compute(scratch.address)) > 0)
    tiles = scratch.array("C").reshape(-1, up(p1, ROWS), FOUR)
    C = tiles.transpose(0, 2, 1).reshape(-1, up(p1, ROWS))[:p1, :p1].copy()
    np.fill_diagonal(C, scratch.array("diagonal"))
    return scratch.array("shift")[:p1] + scratch.array("rest"), C


def mean_of(A: np.ndarray, shift: Any = None) -> np.ndarray:
    """The mean of rows (p,) in float64, from sums of what is left of them when shift is taken off."""
    from bnbench.sums import deviations

    near = A[0].astype(np.float64) if shift is None else shift.astype(np.float64)
    total = np.zeros(A.shape[1])
    deviations(A, near, total)
    return near + total / len(A)


def moments(theta: Theta, data: Data, spec: Spec, known: list[Known], place: int, shift: Any) -> Sums:
    """The mean and squares of the Z of a layer, those below it known, and the mean of its input; of the first V too."""
    from bnbench.variants.fused_layer import FusedLayer

    _, A = forward(theta, data, spec, known, place)
    G = theta.layers[place].G
    n, (p_in, p_out) = len(A), G.shape
    mean = mean_of(A, shift)
    taken = mean.astype(A.dtype) if shift is None else shift
    linear = Problem(n, p_in, p_out, "identity", "none", dtype=A.dtype.name, depth=2)

    def make() -> Any:
        layer = FusedLayer(linear, False, 0, p_in, p_out, (), by_rows=True)
        one_thread(layer.scratch)
        return layer

    layer = kept(("moments", linear), make)
    fill(layer.scratch, "shift", taken)
    Z = layer.forward(A, Layer(G))  # less Γᵀ taken
    mu = mean_of(Z, np.zeros(p_out))
    Z -= mu.astype(Z.dtype)
    rest = mean_of(Z, np.zeros(p_out))  # the mean was rounded
    squares = np.einsum("ij,ij->j", Z, Z, dtype=np.float64) - n * rest * rest
    V = None
    if place == 0:
        layer.backward(Z, False)
        V = layer.scratch.array("total")[:p_in, :p_out] - np.multiply.outer((mean - taken) * n, rest)
    layer.input = None
    mu = mu.astype(Z.dtype) + rest
    if shift is None:
        mu = mu + np.einsum("k,kj->j", taken, G, dtype=np.float64)  # not by BLAS, as above
    return Sums(n, mean=mean, mu=mu, squares=squares, V=V)

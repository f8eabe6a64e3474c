"""A layer of a deeper network in the fused form: Z is stored, and A, which is the next layer's input.

Forward: a sweep for Z with its statistics, and one for A, or for η under the head. Backward: a sweep for the sums, and
one that makes dZ of a block and takes it into both products, ∂R/∂Γ and, where it is wanted, ∂R/∂(the layer's input).
What flows in is U (N,p_out) or, under the head, r ⊗ Γ_out, which is never formed.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from bnbench.elementary import compiled
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.passes import flush_now, leading_mean, take, total_row, total_rows, total_sums, up
from bnbench.fused.scratch import (
    BETA_,
    BROKEN,
    C_,
    CENTRE,
    D_BETA,
    D_G2,
    D_GAMMA,
    DONE,
    G2_,
    GAMMA,
    GAMMA2,
    MEAN,
    MU,
    SHIFT,
    SLOPE,
    SPREAD,
    WEIGHT,
    At,
    addresses,
    call_all,
    clear,
    cube,
    group_function,
    matrix,
    matrix_of,
    number,
    vector,
    vector_of,
)
from bnbench.fused.stored import merge, statistics
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def activate(code: int, last: bool, real: type) -> Callable:
    """A of a group's rows, or η = A Γ_out where the layer is the last."""
    a, _ = compiled(code)

    @group_function
    def compute(table, g, group_rows):
        Z, vectors = matrix(table, At.Z, real), matrix(table, At.vectors, real)
        A, eta = matrix(table, At.A, real), vector(table, At.all_r, real)
        beta, out, mu, weight = vectors[SHIFT], vectors[G2_], vectors[MU], vectors[WEIGHT]
        N, nodes = number(table, At.X, 2), number(table, At.G1, 3)
        for i in range(g * group_rows, lesser(N, (g + 1) * group_rows)):
            total = real(0)
            for j in range(nodes):
                v = a((Z[i, j] - mu[j]) * weight[j] + beta[j])
                if last:
                    total += v * out[j]
                else:
                    A[i, j] = v
            if last:
                eta[i] = total
        return DONE

    return compute


@functools.cache
def sums_of(code: int, last: bool, real: type) -> Callable:
    """1ᵀS and 1ᵀ(S ⊙ (Z - μ)) over a group's rows; under the head of S without Γ_out, and Aᵀr."""
    a, da = compiled(code)

    @group_function
    def compute(table, g, group_rows):
        Z, vectors = matrix(table, At.Z, real), matrix(table, At.vectors, real)
        U, r = matrix(table, At.U, real), vector(table, At.all_r, real)
        block, sums = matrix_of(table, At.block, real, g), matrix_of(table, At.sums, np.float64, g)
        d_beta, d_out, d_gamma = block[D_BETA], block[D_G2], block[D_GAMMA]
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        N, nodes, R = number(table, At.X, 2), number(table, At.G1, 3), number(table, At.T, 2)
        clear(sums, 0)
        clear(block, 0)
        end = lesser(N, (g + 1) * group_rows)
        for start in range(g * group_rows, end, R):
            for i in range(start, lesser(start + R, end)):
                ri = r[i] if last else real(0)
                for j in range(nodes):
                    z = Z[i, j] - mu[j]
                    b = z * weight[j] + beta[j]
                    v = a(b)
                    if last:
                        t = da(b, v) * ri
                        d_out[j] += v * ri
                    else:
                        t = da(b, v) * U[i, j]
                    d_beta[j] += t
                    d_gamma[j] += t * z
            take(block, 3, nodes, sums)
        return DONE

    return compute


@functools.cache
def products(code: int, last: bool, below: bool, real: type) -> Callable:
    """G += (X_b - shift)ᵀ dZ over a group's rows, and dZ Γᵀ where it is wanted below."""
    (a, da), lanes = compiled(code), VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, group_rows):
        X, Z, T = matrix(table, At.X, real), matrix(table, At.Z, real), matrix_of(table, At.T, real, g)
        P, G = vector_of(table, At.P, real, g), vector_of(table, At.G, real, g)
        panel, shift = vector_of(table, At.panel, real, g), vector(table, At.shift, real)
        U, r = matrix(table, At.U, real), vector(table, At.all_r, real)
        vectors, sums = matrix(table, At.vectors, real), matrix_of(table, At.sums, np.float64, g)
        beta, mu, weight = vectors[SHIFT], vectors[MU], vectors[WEIGHT]
        c, mean, slopes = vectors[C_], vectors[MEAN], vectors[SLOPE]
        (N, p_in), (R, ld), nodes = X.shape, T.shape, number(table, At.G1, 3)
        first, end = g * group_rows, lesser(N, (g + 1) * group_rows)
        begun = first
        for start in range(first, end, R):
            count = lesser(R, end - start)
            whole = up(count, ROWS)
            for i in range(count):
                ri = r[start + i] if last else real(0)
                for j in range(nodes):
                    z = Z[start + i, j] - mu[j]
                    b = z * weight[j] + beta[j]
                    t = da(b, a(b)) * (ri if last else U[start + i, j])
                    T[i, j] = c[j] * t - mean[j] - z * slopes[j]
            gemm.pack(X, start, count, shift, P, R)
            gemm.transposed_product(
                P, R, whole, p_in, T, ld, up(nodes, lanes) // lanes, lanes, G, panel, False, start > begun
            )
            if below:
                tiles, W = vector_of(table, At.tiles, real, g), vector(table, At.W_below, real)
                back, dA = matrix_of(table, At.back, real, g), matrix(table, At.dA, real)
                gemm.pack(T, 0, count, vector(table, At.nothing, real), tiles, R)
                gemm.product(
                    tiles, 0, R, whole, up(nodes, FOUR), W, 0, up(p_in, lanes) // lanes, lanes, back, 0, back.shape[1]
                )
                for i in range(count):
                    for k in range(p_in):
                        dA[start + i, k] = back[i, k]
            if flush_now(start, first, R, G, sums):
                begun = start + R
        return DONE

    return compute


def layer(
    code: int, normalization: str, last: bool, below: bool, real: type, several: bool
) -> tuple[Callable, Callable, np.ndarray]:
    """A layer's forward and backward pass, and `addresses` of what they call.

    several says whether there are several groups, or one whose G is flushed.
    """
    functions = {
        At.statistics: statistics(real, normalization == "batch"),
        At.sweep: activate(code, last, real),
        At.forward_backward: sums_of(code, last, real),
        At.products: products(code, last, below, real),
    }
    if several:
        functions[At.total_row] = total_row(real)
    return forward_step(normalization, real), backward_step(normalization, last, below, real), addresses(functions)


@functools.cache
def forward_step(normalization: str, real: type) -> Callable:
    """A layer's forward pass in one dtype and normalization, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize
    batch, frozen = normalization == "batch", normalization == "frozen"

    @njit(fastmath=REASSOCIATE, plain=True)
    def forward(table, group_rows, ddof, eps):
        """A, or η, on the arrays of the table; DONE, or BROKEN."""
        X, G, per_node = matrix(table, At.X, real), matrix(table, At.G1, real), matrix(table, At.per_node, real)
        vectors, sums = matrix(table, At.vectors, real), cube(table, At.sums, np.float64)
        N, nodes = X.shape[0], G.shape[1]
        gamma, beta, out = per_node[GAMMA], per_node[BETA_], per_node[GAMMA2]
        if batch:
            leading_mean(X, 0, N, vector(table, At.shift, real))
        gemm.panels(G, vector(table, At.W, real), lanes)
        if not call_all(table, At.statistics, group_rows):
            return BROKEN
        mean, s = sums[0, CENTRE], sums[0, SPREAD]
        if batch:
            merge(sums, up(nodes, lanes))
        for j in range(nodes):
            vectors[G2_, j] = out[j]
            if batch:
                s[j] = math.sqrt(s[j] / (N - ddof) + eps)
            elif frozen:
                given = matrix(table, At.given, real)
                mean[j], s[j] = given[0, j], math.sqrt(given[1, j] + eps)
            else:
                mean[j], s[j] = 0, 1
            vectors[MU, j] = mean[j]
            if batch or frozen:
                vectors[WEIGHT, j], vectors[SHIFT, j] = gamma[j] / s[j], beta[j]
            else:
                vectors[WEIGHT, j], vectors[SHIFT, j] = 1, 0
        kept = matrix(table, At.spread, np.float64)
        for j in range(nodes):
            kept[0, j], kept[1, j] = s[j], mean[j]
        if not call_all(table, At.sweep, group_rows):
            return BROKEN
        return float(DONE)

    return forward


@functools.cache
def backward_step(normalization: str, last: bool, below: bool, real: type) -> Callable:
    """A layer's backward pass in one dtype and normalization, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE, plain=True)
    def backward(table, group_rows, ddof, eps):
        """The gradients on the arrays of the table; DONE, or BROKEN."""
        G, dG = matrix(table, At.G1, real), matrix(table, At.dG1, real)
        vectors, sums = matrix(table, At.vectors, real), cube(table, At.sums, np.float64)
        d_per_node, s = matrix(table, At.d_per_node, real), matrix(table, At.spread, np.float64)[0]
        dgamma, dbeta, dout = d_per_node[GAMMA], d_per_node[BETA_], d_per_node[GAMMA2]
        N, (p_in, nodes) = number(table, At.X, 2), G.shape
        if not call_all(table, At.forward_backward, group_rows):
            return BROKEN
        total_sums(sums, nodes)
        for j in range(nodes):
            c = np.float64(vectors[G2_, j]) if last else 1.0
            db = c * sums[0, D_BETA, j]
            dg = c * sums[0, D_GAMMA, j] / s[j]
            if last:
                dout[j] = sums[0, D_G2, j]
            weight = 1.0
            if normalized:
                dbeta[j], dgamma[j] = db, dg
                weight = np.float64(vectors[WEIGHT, j])
            vectors[C_, j] = weight * c
            if batch:
                vectors[MEAN, j], vectors[SLOPE, j] = weight * db / N, weight * dg / (s[j] * (N - ddof))
        if below:
            turned = matrix(table, At.turned, real)
            for k in range(p_in):
                for j in range(nodes):
                    turned[j, k] = G[k, j]
            gemm.panels(turned, vector(table, At.W_below, real), lanes)
        if not call_all(table, At.products, group_rows):
            return BROKEN
        if not total_rows(table, real, group_rows):
            return BROKEN
        total = matrix(table, At.total, np.float64)
        for k in range(p_in):
            for j in range(nodes):
                dG[k, j] = total[k, j]
        return float(DONE)

    return backward

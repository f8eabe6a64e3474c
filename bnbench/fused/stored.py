"""The stored algorithm: Z is kept; statistics, sums and dZ in one sweep each, fused with the two products."""

import functools
import math
from collections.abc import Callable

import numpy as np

from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.passes import (
    add_statistics,
    backward_stored,
    flush_now,
    forward_stored,
    leading_mean,
    pre_activation_gradient,
    take,
    total_row,
    total_rows,
    total_sums,
    up,
)
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
    OTHERS,
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
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def statistics(real: type, wanted: bool = True) -> Callable:
    """Z of a group's rows, and its statistics where they are wanted, in one dtype."""
    lanes = VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, group_rows):
        X, Z, P = matrix(table, At.X, real), matrix(table, At.Z, real), vector_of(table, At.P, real, g)
        W, shift = vector(table, At.W, real), vector(table, At.shift, real)
        block, sums = matrix_of(table, At.block, real, g), matrix_of(table, At.sums, np.float64, g)
        (N, p1), ld, R, ldw = X.shape, Z.shape[1], number(table, At.T, 2), number(table, At.W, 2)
        cols = up(number(table, At.G1, 3), lanes)
        clear(sums, 0)
        last = lesser(N, (g + 1) * group_rows)
        for start in range(g * group_rows, last, R):
            count = lesser(R, last - start)
            gemm.pack(X, start, count, shift, P, R)
            gemm.product(P, 0, R, up(count, ROWS), up(p1, FOUR), W, ldw, cols // lanes, lanes, Z, start * ld, ld)
            if wanted:
                add_statistics(Z, start, count, cols, block, sums)
        return DONE

    return compute


@functools.cache
def forward_backward(code: int, loss: str, real: type) -> Callable:
    """r and the sums of a group's rows, for one activation, loss and dtype."""
    forward, backward, lanes = forward_stored(code, loss), backward_stored(code), VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, group_rows):
        T, Z = matrix_of(table, At.T, real, g), matrix(table, At.Z, real)
        y, r, vectors = vector(table, At.y, real), vector(table, At.all_r, real), matrix(table, At.vectors, real)
        block, sums = matrix_of(table, At.block, real, g), matrix_of(table, At.sums, np.float64, g)
        cols, R = up(number(table, At.G1, 3), lanes), T.shape[0]
        over_N = real(1 / y.size)
        clear(block, 0)
        last = lesser(y.size, (g + 1) * group_rows)
        for start in range(g * group_rows, last, R):
            count = lesser(R, last - start)
            sums[OTHERS, 0] += forward(Z, start, count, cols, y, vectors, T, r, over_N)
            backward(Z, T, start, up(count, ROWS), cols, r, vectors, block)
            take(block, 3, cols, sums)
        return DONE

    return compute


@functools.cache
def products(code: int, real: type) -> Callable:
    """G += (X_b - shift)ᵀ dZ over a group's rows, for one activation and dtype."""
    gradient, lanes = pre_activation_gradient(code), VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, group_rows):
        X, Z, T = matrix(table, At.X, real), matrix(table, At.Z, real), matrix_of(table, At.T, real, g)
        P, G = vector_of(table, At.P, real, g), vector_of(table, At.G, real, g)
        panel = vector_of(table, At.panel, real, g)
        r, shift = vector(table, At.all_r, real), vector(table, At.shift, real)
        vectors, sums = matrix(table, At.vectors, real), matrix_of(table, At.sums, np.float64, g)
        (N, p1), (R, ld), cols = X.shape, T.shape, up(number(table, At.G1, 3), lanes)
        first, last = g * group_rows, lesser(N, (g + 1) * group_rows)
        begun = first
        for start in range(first, last, R):
            count = lesser(R, last - start)
            if N > R:  # or else P holds them already
                gemm.pack(X, start, count, shift, P, R)
            gradient(Z, start, count, cols, r, vectors, T)
            gemm.transposed_product(
                P, R, up(count, ROWS), p1, T, ld, cols // lanes, lanes, G, panel, False, start > begun
            )
            if flush_now(start, first, R, G, sums):
                begun = start + R
        return DONE

    return compute


@njit(fastmath=REASSOCIATE, inner=True)
def merge(sums, cols):
    """Merge the groups' means and squared deviations into those of the first (Chan's rule)."""
    centre, spread, count = sums[0, CENTRE], sums[0, SPREAD], sums[0, OTHERS, 1]
    for g in range(1, sums.shape[0]):
        more = sums[g, OTHERS, 1]
        for j in range(cols):
            change = sums[g, CENTRE, j] - centre[j]
            centre[j] += change * more / (count + more)
            spread[j] += sums[g, SPREAD, j] + change * change * count * more / (count + more)
        count += more


def stored(code: int, loss: str, real: type, several: bool) -> tuple[Callable, np.ndarray]:
    """The step of the stored algorithm for one activation, loss and dtype, and `addresses` of what it calls.

    several says whether there are several groups, or one whose G is flushed.
    """
    functions = {
        At.statistics: statistics(real),
        At.forward_backward: forward_backward(code, loss, real),
        At.products: products(code, real),
    }
    if several:
        functions[At.total_row] = total_row(real)
    return stored_step(real), addresses(functions)


@functools.cache
def stored_step(real: type) -> Callable:
    """The step of the stored algorithm in one dtype, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, group_rows, ddof, eps):
        """One step on the arrays of the table; the loss."""
        X, G1, dG1 = matrix(table, At.X, real), matrix(table, At.G1, real), matrix(table, At.dG1, real)
        per_node, d_per_node = matrix(table, At.per_node, real), matrix(table, At.d_per_node, real)
        vectors, sums = matrix(table, At.vectors, real), cube(table, At.sums, np.float64)
        (N, p1), p2 = X.shape, G1.shape[1]
        cols = up(p2, lanes)
        gamma, beta, G2 = per_node[GAMMA], per_node[BETA_], per_node[GAMMA2]
        dgamma, dbeta, dG2 = d_per_node[GAMMA], d_per_node[BETA_], d_per_node[GAMMA2]
        leading_mean(X, 0, N, vector(table, At.shift, real))
        if number(table, At.W, 2) == 0:
            gemm.panels(G1, vector(table, At.W, real), lanes)
        if not call_all(table, At.statistics, group_rows):
            return BROKEN

        merge(sums, cols)
        centre, spread = sums[0, CENTRE], sums[0, SPREAD]
        for j in range(p2):
            spread[j] = math.sqrt(spread[j] / (N - ddof) + eps)
            vectors[SHIFT, j], vectors[G2_, j], vectors[MU, j] = beta[j], G2[j], centre[j]
            vectors[WEIGHT, j] = gamma[j] / spread[j]

        if not call_all(table, At.forward_backward, group_rows):
            return BROKEN
        total_sums(sums, cols)
        for j in range(p2):
            c = G2[j]
            db, dg = c * sums[0, D_BETA, j], c * sums[0, D_GAMMA, j] / spread[j]
            dbeta[j], dgamma[j], dG2[j] = db, dg, sums[0, D_G2, j]
            weight = gamma[j] / spread[j]
            vectors[C_, j], vectors[MEAN, j] = weight * c, weight * db / N
            vectors[SLOPE, j] = weight * dg / (spread[j] * (N - ddof))

        if not call_all(table, At.products, group_rows):
            return BROKEN
        if number(table, At.G, 0) != number(table, At.dG1, 0):
            if not total_rows(table, real, group_rows):
                return BROKEN
            total = matrix(table, At.total, np.float64)
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = total[k, j]
        return sums[0, OTHERS, 0] / N

    return step

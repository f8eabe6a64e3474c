"""The one-pass algorithm: one sweep over blocks of X, the statistics from XᵀX, Z never stored."""

import functools
import math
from collections.abc import Callable

import numpy as np

from bnbench.activations import NEEDS_B
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.passes import (
    backward_centred,
    flush_now,
    forward_centred,
    leading_mean,
    take,
    total_row,
    total_rows,
    total_sums,
    up,
)
from bnbench.fused.scratch import (
    BETA_,
    BROKEN,
    CENTRE,
    D_BETA,
    D_G2,
    D_GAMMA,
    DONE,
    FELL_BACK,
    G2_,
    GAMMA,
    GAMMA2,
    OTHERS,
    SHIFT,
    SPREAD,
    SUMS,
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

CANCELLED = 2.0**-7  # of Σ Γ²C: where s² is less, the one-pass form is left for the stored one
FAR = (
    8.0  # standard deviations from 0 to a column's mean from which on it is taken off, which then costs hardly a digit
)
LARGEST = 2.0**-3  # of the dtype's largest number: what Σ(X - x̄)² may be


@functools.cache
def sweep(code: int, loss: str, real: type) -> Callable:
    """r, T and their sums over a group's rows, for one activation, loss and dtype."""
    forward, backward, lanes = forward_centred(code, loss), backward_centred(code), VECTOR_BYTES // real().itemsize
    needs_b = code in NEEDS_B

    @group_function
    def compute(table, g, group_rows):
        X, y = matrix(table, At.X, real), vector(table, At.y, real)
        P, G = vector_of(table, At.P, real, g), vector_of(table, At.G, real, g)
        panel = vector_of(table, At.panel, real, g)
        T, r = matrix_of(table, At.T, real, g), vector_of(table, At.r, real, g)
        D = matrix_of(table, At.D if needs_b else At.T, real, g)  # T is not touched as D: see `backward_centred`
        W, shift, vectors = vector(table, At.W, real), vector(table, At.shift, real), matrix(table, At.vectors, real)
        block, sums = matrix_of(table, At.block, real, g), matrix_of(table, At.sums, np.float64, g)
        (N, p1), (R, ld), cols = X.shape, T.shape, up(number(table, At.G1, 3), lanes)
        over_N = real(1 / N)
        clear(sums, 0)
        clear(block, 0)
        first, last = g * group_rows, lesser(N, (g + 1) * group_rows)
        begun = first
        for start in range(first, last, R):
            count = lesser(R, last - start)
            whole = up(count, ROWS)
            gemm.pack(X, start, count, shift, P, R)
            gemm.product(P, 0, R, whole, up(p1, FOUR), W, 0, cols // lanes, lanes, T, 0, ld)
            sums[OTHERS, 0] += forward(T, D, count, cols, y, start, vectors, r, over_N)
            for i in range(count, whole):
                r[i] = 0
            backward(T, D, whole, cols, r, block)
            take(block, 2, cols, sums)
            gemm.transposed_product(P, R, whole, p1, T, ld, cols // lanes, lanes, G, panel, False, start > begun)
            if flush_now(start, first, R, G, sums):
                begun = start + R
        return DONE

    return compute


def one_pass(code: int, normalization: str, loss: str, real: type, several: bool) -> tuple[Callable, np.ndarray]:
    """The step of the one-pass algorithm for one activation, normalization, loss and dtype.

    And `addresses` of the group functions that it calls. several says whether there are several groups, or one whose G
    is flushed.
    """
    functions = {At.sweep: sweep(code, loss, real)}
    if several:
        functions[At.total_row] = total_row(real)
    return one_pass_step(normalization, real), addresses(functions)


@functools.cache
def one_pass_step(normalization: str, real: type) -> Callable:
    """The step of the one-pass algorithm in one dtype, for every activation and loss."""
    normalize, frozen = normalization == "batch", normalization == "frozen"
    lanes = VECTOR_BYTES // real().itemsize

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, group_rows, ddof, eps):
        """One step on the arrays of the table; the loss, or FELL_BACK where a variance cancels."""
        double = np.float64
        G1, dG1 = matrix(table, At.G1, real), matrix(table, At.dG1, real)
        per_node, d_per_node = matrix(table, At.per_node, real), matrix(table, At.d_per_node, real)
        W, vectors = vector(table, At.W, real), matrix(table, At.vectors, real)
        sums, total = cube(table, At.sums, double), matrix(table, At.total, double)
        wide, V = matrix(table, At.wide, double), matrix(table, At.V, double)
        C, diagonal = vector(table, At.C, double), vector(table, At.diagonal, double)
        rest, panels = vector(table, At.rest, double), vector(table, At.wide_panels, double)
        N, (p1, p2) = number(table, At.X, 2), G1.shape
        cols = up(p2, lanes)
        gamma, beta, G2 = per_node[GAMMA], per_node[BETA_], per_node[GAMMA2]
        dgamma, dbeta, dG2 = d_per_node[GAMMA], d_per_node[BETA_], d_per_node[GAMMA2]
        s = sums[0, SPREAD]
        if normalize:
            # V = C Γ1, then s and W = Γ1 diag(γ/s)
            for k in range(p1):
                for j in range(p2):
                    wide[k, j] = G1[k, j]
            gemm.panels(wide, panels, 4)
            c_rows, ld64 = V.shape
            depth = up(p1, FOUR)
            gemm.product(C, 0, c_rows, c_rows, depth, panels, 0, ld64 // 4, 4, V, 0, ld64)
            variance, parts = sums[0, D_BETA], sums[0, D_GAMMA]
            for j in range(p2):
                variance[j] = parts[j] = 0
            for k in range(p1):
                for j in range(p2):
                    variance[j] += wide[k, j] * V[k, j]
                    parts[j] += wide[k, j] * wide[k, j] * diagonal[k]
            for j in range(p2):
                if not CANCELLED * parts[j] <= variance[j] < np.inf:
                    return FELL_BACK
            weight = sums[0, CENTRE]
            for j in range(p2):
                weight[j] = gamma[j] / math.sqrt(variance[j] / (N - ddof) + eps)
                parts[j] = 0
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = wide[k, j] * weight[j]
                    parts[j] += rest[k] * dG1[k, j]
            gemm.panels(dG1, W, lanes)
            for j in range(p2):
                vectors[SHIFT, j], vectors[G2_, j] = beta[j] - parts[j], G2[j]
        elif frozen:
            # W = Γ1 diag(γ/s), and what is left of μ to be taken off
            given = matrix(table, At.given, real)
            weight = sums[0, CENTRE]
            for j in range(p2):
                weight[j] = gamma[j] / math.sqrt(given[1, j] + eps)
                vectors[SHIFT, j], vectors[G2_, j] = beta[j] - given[0, j] * weight[j], G2[j]
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = G1[k, j] * weight[j]
            gemm.panels(dG1, W, lanes)
        else:
            gemm.panels(G1, W, lanes)
            for j in range(p2):
                vectors[G2_, j] = G2[j]

        if not call_all(table, At.sweep, group_rows):
            return BROKEN
        total_sums(sums, cols)
        if not total_rows(table, real, group_rows):
            return BROKEN
        for j in range(p2):
            dG2[j] = sums[0, D_G2, j]
        if normalize:
            d_beta, d_gamma, weight = sums[0, D_BETA], sums[0, D_GAMMA], sums[0, CENTRE]
            for j in range(p2):
                d_gamma[j] = s[j] = 0
            for k in range(p1):
                for j in range(p2):
                    total[k, j] -= rest[k] * d_beta[j]
                    d_gamma[j] += wide[k, j] * total[k, j]
                    s[j] += wide[k, j] * V[k, j]
            for j in range(p2):
                s[j] = math.sqrt(s[j] / (N - ddof) + eps)
                c = G2[j]
                dbeta[j], d_gamma[j] = c * d_beta[j], c * d_gamma[j] / s[j]
                dgamma[j] = d_gamma[j]
                d_gamma[j], weight[j] = d_gamma[j] / (s[j] * (N - ddof)), gamma[j] / s[j]
            for k in range(p1):
                for j in range(p2):  # the factors are in memory, or a product with V may be formed first, and overflow
                    dG1[k, j] = weight[j] * (G2[j] * total[k, j] - V[k, j] * d_gamma[j])
        elif frozen:
            # Σ r a' X̂ = (Γ1ᵀ Xᵀ T - μ Σ T)/s
            given = matrix(table, At.given, real)
            d_beta, d_gamma = sums[0, D_BETA], sums[0, D_GAMMA]
            for j in range(p2):
                d_gamma[j] = -given[0, j] * d_beta[j]
                s[j] = math.sqrt(given[1, j] + eps)
            for k in range(p1):
                for j in range(p2):
                    d_gamma[j] += G1[k, j] * total[k, j]
            for j in range(p2):
                dbeta[j], dgamma[j] = G2[j] * d_beta[j], G2[j] * d_gamma[j] / s[j]
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = gamma[j] / s[j] * G2[j] * total[k, j]
        else:
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = G2[j] * total[k, j]
        return sums[0, OTHERS, 0] / N

    return step


@njit(inner=True)
def is_constant(X, k):
    """Whether a column of X is one number throughout."""
    i = 0
    while i < X.shape[0] and X[i, k] == X[0, k]:
        i += 1
    return i == X.shape[0]


@functools.cache
def gram_sweep(real: type) -> Callable:
    """Sums of X - near and of its products over a group's rows; near is the mean of the first of them."""
    lanes = VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, group_rows):
        X, T, sums = (
            matrix(table, At.X, real),
            matrix_of(table, At.T, real, g),
            matrix_of(table, At.sums, np.float64, g),
        )
        P, G = vector_of(table, At.P, real, g), vector_of(table, At.G, real, g)
        panel = vector_of(table, At.panel, real, g)
        near, column_sums = vector_of(table, At.near, real, g), vector_of(table, At.means, np.float64, g)
        (N, p1), (R, ld) = X.shape, T.shape
        first, last = g * group_rows, lesser(N, (g + 1) * group_rows)
        begun = first
        clear(sums, SUMS * ld)
        clear(column_sums, 0)
        leading_mean(X, first, last, near)
        for start in range(first, last, R):
            count = lesser(R, last - start)
            whole = up(count, ROWS)
            gemm.pack(X, start, count, near, P, R)
            for i in range(count):
                for k in range(p1):
                    T[i, k] = X[start + i, k] - near[k]
                    column_sums[k] += T[i, k]
            gemm.transposed_product(
                P, R, whole, p1, T, ld, up(p1, lanes) // lanes, lanes, G, panel, True, start > begun
            )
            if flush_now(start, first, R, G, sums):
                begun = start + R
        return DONE

    return compute


def gram(real: type, several: bool) -> tuple[Callable, np.ndarray]:
    """What computes the means of X and C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ) in one dtype, and `addresses` of what it calls."""
    functions = {At.gram_sweep: gram_sweep(real)}
    if several:
        functions[At.total_row] = total_row(real)
    return gram_step(real), addresses(functions)


@functools.cache
def gram_step(real: type) -> Callable:
    """What computes the means of X and C in one dtype."""
    least, most = float(np.finfo(real).tiny), LARGEST * float(np.finfo(real).max)

    @njit(fastmath=REASSOCIATE, plain=True)
    def compute(table, group_rows):
        """C in tiles of four columns, its diagonal, and x̄ = shift + rest, shift in X's dtype; False if it broke off.

        Where squares of a column over- or underflow, its place on the diagonal is infinite: no step can use C then.
        """
        double = np.float64
        X = matrix(table, At.X, real)
        near, means = matrix(table, At.near, real), matrix(table, At.means, double)
        products, rest = matrix(table, At.total, double), vector(table, At.rest, double)
        C, diagonal = vector(table, At.C, double), vector(table, At.diagonal, double)
        shift = vector(table, At.shift, real)
        N, (groups, p1) = number(table, At.X, 2), near.shape
        if not call_all(table, At.gram_sweep, group_rows):
            return False
        for k in range(p1):
            rest[k] = 0
        for g in range(groups):
            count = lesser(N, (g + 1) * group_rows) - g * group_rows
            for k in range(p1):
                means[g, k] /= count
                rest[k] += (near[g, k] + means[g, k]) * count / N
        if not total_rows(table, real, group_rows):
            return False
        for k in range(p1):
            for g in range(groups):
                count = lesser(N, (g + 1) * group_rows) - g * group_rows
                within, between = count * means[g, k], count * (near[g, k] + means[g, k] - rest[k])
                for m in range(k, p1):
                    products[k, m] += between * (near[g, m] + means[g, m] - rest[m]) - within * means[g, m]
        stride = FOUR * up(p1, ROWS)
        for k in range(p1):
            diagonal[k] = products[k, k]
            for m in range(k, p1):
                C[stride * (k // FOUR) + FOUR * m + k % FOUR] = products[k, m]
                C[stride * (m // FOUR) + FOUR * k + m % FOUR] = products[k, m]
        for k in range(p1):
            shift[k] = rest[k] if rest[k] * rest[k] * N > FAR * FAR * diagonal[k] else 0
            rest[k] -= shift[k]
            if not N * least <= diagonal[k] < most and not is_constant(X, k):
                diagonal[k] = np.inf
        return True

    return compute

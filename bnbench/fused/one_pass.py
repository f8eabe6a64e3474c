"""The one-pass algorithm: one sweep over blocks of X, the statistics from XᵀX, Z never stored."""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba.core.ccallback import CFunc

from bnbench.elementary import compiled
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.head import (
    add_linear,
    block_outcome,
    linear_part,
    total_linear,
    total_loss,
    unit_end,
    whole_units,
)
from bnbench.fused.layout import BROKEN, CANCELLED, FELL_BACK
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
from bnbench.fused.scratch import DONE, At, arrays, call, call_all, clear, group, group_function
from bnbench.jit import REASSOCIATE, njit

FAR = (
    8.0  # standard deviations from 0 to a column's mean from which on it is taken off, which then costs hardly a digit
)
LARGEST = 2.0**-3  # of the dtype's largest number: what Σ(X - x̄)² may be


@functools.cache
def sweep(code: int, loss: str, real: type) -> Callable:
    """r, T and their sums over a group's rows, for one activation, loss and dtype.

    Without a loss it is that of a step with linear terms or units: r is known already, or `block_outcome` gives it.
    """
    forward, backward, lanes = forward_centred(code, loss), backward_centred(code), VECTOR_BYTES // real().itemsize
    head = not loss

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, y, P, G, panel, T, D, r, W, shift = of.X, of.y, of.P, of.G, of.panel, of.T, of.D, of.r_block, of.W, of.shift
        bias, out, sum_T, sum_Ar = of.bias, of.out, of.block_T, of.block_Ar
        N, p1, (R, ld), cols = of.N, of.p1, T.shape, up(of.p2, lanes)
        over_N = real(1 / N)
        clear(of.sums)
        clear(of.block)
        clear(of.flushed)
        first, last = g * of.group_rows, lesser(N, (g + 1) * of.group_rows)
        whole_only = gathers = False
        if head:
            clear(of.sum_Wr)
            gathers = of.gathers > 0
            whole_only = of.units > 0 and not gathers
            if whole_only:
                first, last = unit_end(of, first), unit_end(of, last)
                if first == last:
                    clear(G)
        start = begun = place = first  # blocks of whole units are of any length: place counts them as if of R rows
        while start < last:
            count = lesser(R, last - start)
            if whole_only:
                count = whole_units(of, start, count)
            whole = up(count, ROWS)
            gemm.pack(X, start, count, shift, P, R)
            gemm.product(P, 0, R, whole, up(p1, FOUR), W, 0, cols // lanes, lanes, T, 0, ld)
            if head and not gathers:
                linear_part(of, start, count, r, 0)
            of.loss[0] += forward(T, D, r, y, bias, out, start, count, cols, over_N)
            if head:
                if gathers:
                    known = of.r
                    for i in range(count):
                        r[i] = known[start + i]
                else:
                    of.at[0], of.at[1] = start, count
                    if call(table, At.block_outcome, g) != DONE:
                        return 0
                add_linear(of, start, count, r, 0)
            for i in range(count, whole):
                r[i] = 0
            backward(T, D, r, sum_T, sum_Ar, whole, cols)
            take(of, cols)
            gemm.transposed_product(P, R, whole, p1, T, ld, cols // lanes, lanes, G, panel, False, place > begun)
            if flush_now(of, place, first):
                begun = place + R
            start, place = start + count, place + R
        return DONE

    return compute


@functools.cache
def outputs(code: int, real: type) -> Callable:
    """η of a group's rows, for one activation and dtype."""
    (a, _), lanes = compiled(code), VECTOR_BYTES // real().itemsize

    @njit(fastmath=REASSOCIATE, inner=True)
    def forward(T, bias, out, eta, first, rows, cols):
        """η of a block from X̂ γ in T, to what it has."""
        for i in range(rows):
            total = eta[first + i]
            for j in range(cols):
                total += a(T[i, j] + bias[j]) * out[j]
            eta[first + i] = total

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, P, T, W, shift, bias, out, eta = of.X, of.P, of.T, of.W, of.shift, of.bias, of.out, of.eta
        N, p1, (R, ld), cols = of.N, of.p1, T.shape, up(of.p2, lanes)
        last = lesser(N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, last, R):
            count = lesser(R, last - start)
            gemm.pack(X, start, count, shift, P, R)
            gemm.product(P, 0, R, up(count, ROWS), up(p1, FOUR), W, 0, cols // lanes, lanes, T, 0, ld)
            linear_part(of, start, count, eta, start)
            forward(T, bias, out, eta, start, count, cols)
        return DONE

    return compute


def one_pass(
    code: int, normalization: str, loss: str, real: type, several: bool, head: bool
) -> tuple[Callable, dict[str, CFunc]]:
    """The step of the one-pass algorithm for one activation, normalization, loss and dtype.

    And the functions that it calls, but for those of `unsorted`. several says whether there are several groups, or one
    whose G is flushed; head whether there are linear terms or units.
    """
    functions = {"sweep": sweep(code, "" if head else loss, real)}
    if head:
        functions["block_outcome"] = block_outcome(loss, False, real)
    if several:
        functions["total_row"] = total_row(real)
    return one_pass_step(normalization, head, real), functions


@functools.cache
def one_pass_step(normalization: str, head: bool, real: type) -> Callable:
    """The step of the one-pass algorithm in one dtype, for every activation and loss."""
    normalize, frozen = normalization == "batch", normalization == "frozen"
    lanes, lanes_wide = VECTOR_BYTES // real().itemsize, VECTOR_BYTES // 8

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, eps):
        """One step on the arrays of the table; the loss, or FELL_BACK where a variance cancels."""
        of = arrays(table, real, 0)
        N, p1, p2, ddof = of.N, of.p1, of.p2, of.ddof
        cols = up(p2, lanes)
        G1, gamma, beta, G2, scaled, W = of.G1, of.gamma, of.beta, of.G2, of.scaled, of.W
        bias, out, s, centre, weight = of.bias, of.out, of.s, of.centre, of.weight_wide
        if normalize:
            # V = C Γ1, then s and W = Γ1 diag(γ/s)
            wide, panels, V, C, diagonal, rest = of.G1_wide, of.G1_panels, of.V, of.C, of.diagonal, of.rest
            for k in range(p1):
                for j in range(p2):
                    wide[k, j] = G1[k, j]
            gemm.panels(wide, panels, lanes_wide)
            c_rows, ld64 = V.shape
            depth = up(p1, FOUR)
            vectors = up(p2, lanes_wide) // lanes_wide
            gemm.product(C, 0, c_rows, c_rows, depth, panels, 0, vectors, lanes_wide, V, 0, ld64)
            variance, terms, rest_part = of.variance, of.terms, of.rest_part
            for j in range(p2):
                variance[j] = terms[j] = 0
            for k in range(p1):
                for j in range(p2):
                    variance[j] += wide[k, j] * V[k, j]
                    terms[j] += wide[k, j] * wide[k, j] * diagonal[k]
            for j in range(p2):
                if not CANCELLED * terms[j] <= variance[j] < np.inf:
                    return FELL_BACK
            for j in range(p2):
                weight[j], rest_part[j] = gamma[j] / math.sqrt(variance[j] / (N - ddof) + eps), 0
            for k in range(p1):
                for j in range(p2):
                    scaled[k, j] = wide[k, j] * weight[j]
                    rest_part[j] += rest[k] * scaled[k, j]
            gemm.panels(scaled, W, lanes)
            for j in range(p2):
                bias[j], out[j] = beta[j] - rest_part[j], G2[j]
        elif frozen:
            # W = Γ1 diag(γ/s), and what is left of μ to be taken off
            given_mean, given_variance = of.given_mean, of.given_variance
            for j in range(p2):
                s[j], centre[j] = math.sqrt(given_variance[j] + eps), given_mean[j]
                weight[j] = gamma[j] / s[j]
                bias[j], out[j] = beta[j] - given_mean[j] * weight[j], G2[j]
            for k in range(p1):
                for j in range(p2):
                    scaled[k, j] = G1[k, j] * weight[j]
            gemm.panels(scaled, W, lanes)
        else:
            gemm.panels(G1, W, lanes)
            for j in range(p2):
                s[j], out[j] = 1, G2[j]

        if head and of.gathers > 0 and not (call_all(of, At.outputs) and call_all(of, At.outcome)):
            return BROKEN
        if not call_all(of, At.sweep):
            return BROKEN
        total_sums(of, cols)
        if head:
            total_linear(of)
            if of.gathers > 0:
                of.loss[0] = total_loss(of)
        if not total_rows(of):
            return BROKEN
        sum_T, sum_Ar, sum_TZ, total = of.sum_T, of.sum_Ar, of.sum_TZ, of.total
        dG1, dgamma, dbeta, dG2 = of.dG1, of.dgamma, of.dbeta, of.dG2
        for j in range(p2):
            dG2[j] = sum_Ar[j]
        if normalize:
            # (X - 1x̄ᵀ)ᵀT, of which Γ1ᵀ is 1ᵀ(T ⊙ (Z - μ))
            s_slope = of.s_slope
            for k in range(p1):
                for j in range(p2):
                    total[k, j] -= rest[k] * sum_T[j]
                    sum_TZ[j] += wide[k, j] * total[k, j]
            for j in range(p2):
                s[j] = math.sqrt(variance[j] / (N - ddof) + eps)
                c = G2[j]
                dbeta[j], s_slope[j] = c * sum_T[j], c * sum_TZ[j] / s[j]
                dgamma[j] = s_slope[j]
                s_slope[j], weight[j] = s_slope[j] / (s[j] * (N - ddof)), gamma[j] / s[j]
            for k in range(p1):
                for j in range(p2):  # the factors are in memory, or a product with V may be formed first, and overflow
                    dG1[k, j] = weight[j] * (G2[j] * total[k, j] - V[k, j] * s_slope[j])
        elif frozen:
            # Σ r a' X̂ = (Γ1ᵀ Xᵀ T - μ Σ T)/s
            for j in range(p2):
                sum_TZ[j] = -given_mean[j] * sum_T[j]
            for k in range(p1):
                for j in range(p2):
                    sum_TZ[j] += G1[k, j] * total[k, j]
            for j in range(p2):
                dbeta[j], dgamma[j] = G2[j] * sum_T[j], G2[j] * sum_TZ[j] / s[j]
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = gamma[j] / s[j] * G2[j] * total[k, j]
        else:
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = G2[j] * total[k, j]
        return of.loss[0] / N

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
    def compute(table, g):
        of = arrays(table, real, g)
        X, T, P, G, panel, near, left = of.X, of.T, of.P, of.G, of.panel, of.near, of.left
        N, p1, (R, ld) = of.N, of.p1, T.shape
        first, last = g * of.group_rows, lesser(N, (g + 1) * of.group_rows)
        begun = first
        clear(of.flushed)
        clear(left)
        leading_mean(X, first, last, near)
        for start in range(first, last, R):
            count = lesser(R, last - start)
            whole = up(count, ROWS)
            gemm.pack(X, start, count, near, P, R)
            for i in range(count):
                for k in range(p1):
                    T[i, k] = X[start + i, k] - near[k]
                    left[k] += T[i, k]
            gemm.transposed_product(
                P, R, whole, p1, T, ld, up(p1, lanes) // lanes, lanes, G, panel, True, start > begun
            )
            if flush_now(of, start, first):
                begun = start + R
        return DONE

    return compute


def gram(real: type, several: bool) -> tuple[Callable, dict[str, CFunc]]:
    """What computes the means of X and C = (X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ) in one dtype, and the functions that it calls."""
    functions = {"gram_sweep": gram_sweep(real)}
    if several:
        functions["total_row"] = total_row(real)
    return gram_step(real), functions


@functools.cache
def gram_step(real: type) -> Callable:
    """What computes the means of X and C in one dtype."""
    least, most = float(np.finfo(real).tiny), LARGEST * float(np.finfo(real).max)

    @njit(fastmath=REASSOCIATE, plain=True)
    def compute(table):
        """C in tiles of four columns, its diagonal, and x̄ = shift + rest, shift in X's dtype; False if it broke off.

        Where squares of a column over- or underflow, its place on the diagonal is infinite: no step can use C then.
        """
        of = arrays(table, real, 0)
        N, p1, groups, group_rows = of.N, of.p1, of.groups, of.group_rows
        products, rest, C, diagonal, shift = of.total, of.rest, of.C, of.diagonal, of.shift
        if not call_all(of, At.gram_sweep):
            return False
        for k in range(p1):
            rest[k] = 0
        for g in range(groups):
            its = group(of, g)
            near, left = its.near, its.left
            count = lesser(N, (g + 1) * group_rows) - g * group_rows
            for k in range(p1):
                left[k] /= count
                rest[k] += (near[k] + left[k]) * count / N
        if not total_rows(of):
            return False
        for k in range(p1):
            for g in range(groups):
                its = group(of, g)
                near, left = its.near, its.left
                count = lesser(N, (g + 1) * group_rows) - g * group_rows
                within, between = count * left[k], count * (near[k] + left[k] - rest[k])
                for m in range(k, p1):
                    products[k, m] += between * (near[m] + left[m] - rest[m]) - within * left[m]
        stride = FOUR * up(p1, ROWS)
        for k in range(p1):
            diagonal[k] = products[k, k]
            for m in range(k, p1):
                C[stride * (k // FOUR) + FOUR * m + k % FOUR] = products[k, m]
                C[stride * (m // FOUR) + FOUR * k + m % FOUR] = products[k, m]
        for k in range(p1):
            shift[k] = rest[k] if rest[k] * rest[k] * N > FAR * FAR * diagonal[k] else 0
            rest[k] -= shift[k]
            if not N * least <= diagonal[k] < most and not is_constant(of.X, k):
                diagonal[k] = np.inf
        return True

    return compute

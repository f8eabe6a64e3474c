"""The stored algorithm: Z is kept; statistics, sums and dZ in one sweep each, fused with the two products."""

import functools
import math
from collections.abc import Callable

from numba.core.ccallback import CFunc

from bnbench.elementary import compiled
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.head import add_linear, block_outcome, linear_part, total_linear, total_loss
from bnbench.fused.layout import BROKEN
from bnbench.fused.passes import (
    add_statistics,
    backward_stored,
    flush_now,
    forward_stored,
    leading_mean,
    merge_groups,
    pre_activation_gradient,
    take,
    total_row,
    total_rows,
    total_sums,
    up,
)
from bnbench.fused.scratch import DONE, At, arrays, call, call_all, clear, group_function
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def statistics(real: type, wanted: bool = True) -> Callable:
    """Z of a group's rows, and its statistics where they are wanted, in one dtype."""
    lanes = VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, Z, P, W, shift = of.X, of.Z, of.P, of.W, of.shift
        N, p1, ld, R, cols = of.N, of.p1, Z.shape[1], of.rows, up(of.p2, lanes)
        clear(of.sums)
        last = lesser(N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, last, R):
            count = lesser(R, last - start)
            gemm.pack(X, start, count, shift, P, R)
            gemm.product(P, 0, R, up(count, ROWS), up(p1, FOUR), W, of.row_W, cols // lanes, lanes, Z, start * ld, ld)
            if wanted:
                add_statistics(of, start, count, cols)
        return DONE

    return compute


@functools.cache
def outputs(code: int, real: type) -> Callable:
    """η of a group's rows, for one activation and dtype."""
    a, _ = compiled(code)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        Z, eta, bias, out, mu, weight = of.Z, of.eta, of.bias, of.out, of.mu, of.weight
        first, last = g * of.group_rows, lesser(of.N, (g + 1) * of.group_rows)
        linear_part(of, first, last - first, eta, first)
        for i in range(first, last):
            total = eta[i]
            for j in range(of.p2):
                total += a((Z[i, j] - mu[j]) * weight[j] + bias[j]) * out[j]
            eta[i] = total
        return DONE

    return compute


@functools.cache
def forward_backward(code: int, loss: str, real: type) -> Callable:
    """r and the sums of a group's rows, for one activation, loss and dtype; without a loss as `one_pass.sweep`."""
    forward, backward, lanes = forward_stored(code, loss), backward_stored(code), VECTOR_BYTES // real().itemsize
    head = not loss

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        N, R, cols = of.N, of.rows, up(of.p2, lanes)
        over_N = real(1 / N)
        clear(of.block)
        if head:
            clear(of.sum_Wr)
        last = lesser(N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, last, R):
            count = lesser(R, last - start)
            if head and of.gathers == 0:
                linear_part(of, start, count, of.r, start)
            of.loss[0] += forward(of, start, count, cols, over_N)
            if head:
                of.at[0], of.at[1] = start, count
                if of.gathers == 0 and call(table, At.block_outcome, g) != DONE:
                    return 0
                add_linear(of, start, count, of.r, start)
            backward(of, start, up(count, ROWS), cols)
            take(of, cols)
        return DONE

    return compute


@functools.cache
def products(code: int, real: type) -> Callable:
    """G += (X_b - shift)ᵀ dZ over a group's rows, for one activation and dtype."""
    gradient, lanes = pre_activation_gradient(code), VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, P, shift, dZ, G, panel = of.X, of.P, of.shift, of.dZ, of.G, of.panel
        N, p1, (R, ld), cols = of.N, of.p1, dZ.shape, up(of.p2, lanes)
        clear(of.flushed)
        first, last = g * of.group_rows, lesser(N, (g + 1) * of.group_rows)
        begun = first
        for start in range(first, last, R):
            count = lesser(R, last - start)
            if N > R:  # or else P holds them already
                gemm.pack(X, start, count, shift, P, R)
            gradient(of, start, count, cols)
            gemm.transposed_product(
                P, R, up(count, ROWS), p1, dZ, ld, cols // lanes, lanes, G, panel, False, start > begun
            )
            if flush_now(of, start, first):
                begun = start + R
        return DONE

    return compute


def stored(code: int, loss: str, real: type, several: bool, head: bool) -> tuple[Callable, dict[str, CFunc]]:
    """The step of the stored algorithm for one activation, loss and dtype, and the functions that it calls.

    several says whether there are several groups, or one whose G is flushed; head whether there are linear terms or
    units.
    """
    functions = {
        "statistics": statistics(real),
        "forward_backward": forward_backward(code, "" if head else loss, real),
        "products": products(code, real),
    }
    if head:
        functions["block_outcome"] = block_outcome(loss, True, real)
    if several:
        functions["total_row"] = total_row(real)
    return stored_step(head, real), functions


@functools.cache
def stored_step(head: bool, real: type) -> Callable:
    """The step of the stored algorithm in one dtype, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, eps):
        """One step on the arrays of the table; the loss."""
        of = arrays(table, real, 0)
        N, p1, p2, ddof = of.N, of.p1, of.p2, of.ddof
        cols = up(p2, lanes)
        G1, gamma, beta, G2 = of.G1, of.gamma, of.beta, of.G2
        leading_mean(of.X, 0, N, of.shift)
        if of.row_W == 0:
            gemm.panels(G1, of.W, lanes)
        if not call_all(of, At.statistics):
            return BROKEN

        merge_groups(of, cols)
        mean, squares, s, centre = of.mean, of.squares, of.s, of.centre
        bias, out, mu, weight = of.bias, of.out, of.mu, of.weight
        for j in range(p2):
            s[j], centre[j] = math.sqrt(squares[j] / (N - ddof) + eps), mean[j]
            bias[j], out[j], mu[j] = beta[j], G2[j], mean[j]
            weight[j] = gamma[j] / s[j]

        if head and of.gathers > 0 and not (call_all(of, At.outputs) and call_all(of, At.outcome)):
            return BROKEN
        if not call_all(of, At.forward_backward):
            return BROKEN
        total_sums(of, cols)
        if head:
            total_linear(of)
            if of.gathers > 0:
                of.loss[0] = total_loss(of)
        sum_T, sum_Ar, sum_TZ = of.sum_T, of.sum_Ar, of.sum_TZ
        dgamma, dbeta, dG2 = of.dgamma, of.dbeta, of.dG2
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        for j in range(p2):
            c = G2[j]
            db, dg = c * sum_T[j], c * sum_TZ[j] / s[j]
            dbeta[j], dgamma[j], dG2[j] = db, dg, sum_Ar[j]
            w = gamma[j] / s[j]
            slope[j], mean_term[j] = w * c, w * db / N
            s_term[j] = w * dg / (s[j] * (N - ddof))

        if not call_all(of, At.products):
            return BROKEN
        if of.in_place == 0:
            if not total_rows(of):
                return BROKEN
            total, dG1 = of.total, of.dG1
            for k in range(p1):
                for j in range(p2):
                    dG1[k, j] = total[k, j]
        return of.loss[0] / N

    return step

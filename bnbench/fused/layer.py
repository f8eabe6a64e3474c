"""A layer of a deeper network in the fused form: Z is stored, and A, which is the next layer's input.

Forward: a sweep for Z with its statistics, and one for A, or for η under the head. Backward: a sweep for the sums, and
one that makes dZ of a block and takes it into both products, ∂R/∂Γ and, where it is wanted, ∂R/∂(the layer's input).
What flows in is U (N,p_out) or, under the head, r ⊗ Γ_out, which is never formed.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba.core.ccallback import CFunc

from bnbench.elementary import compiled
from bnbench.fused import gemm
from bnbench.fused.gemm import FOUR, ROWS, VECTOR_BYTES, lesser
from bnbench.fused.layout import BROKEN
from bnbench.fused.passes import flush_now, leading_mean, merge_groups, take, total_row, total_rows, total_sums, up
from bnbench.fused.scratch import DONE, At, arrays, call_all, clear, group_function
from bnbench.fused.stored import statistics
from bnbench.jit import REASSOCIATE, njit


@functools.cache
def activate(code: int, last: bool, real: type) -> Callable:
    """A of a group's rows, or η = A Γ_out where the layer is the last."""
    a, _ = compiled(code)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        Z, A, eta = of.Z, of.A, of.eta
        bias, out, mu, weight, nodes = of.bias, of.out, of.mu, of.weight, of.p2
        for i in range(g * of.group_rows, lesser(of.N, (g + 1) * of.group_rows)):
            total = real(0)
            for j in range(nodes):
                v = a((Z[i, j] - mu[j]) * weight[j] + bias[j])
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
    def compute(table, g):
        of = arrays(table, real, g)
        Z, U, r, bias, mu, weight = of.Z, of.U, of.r, of.bias, of.mu, of.weight
        sum_T, sum_Ar, sum_TZ = of.block_T, of.block_Ar, of.block_TZ
        N, nodes, R = of.N, of.p2, of.rows
        clear(of.sums)
        clear(of.block)
        end = lesser(N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, end, R):
            for i in range(start, lesser(start + R, end)):
                ri = r[i] if last else real(0)
                for j in range(nodes):
                    z = Z[i, j] - mu[j]
                    b = z * weight[j] + bias[j]
                    v = a(b)
                    if last:
                        t = da(b, v) * ri
                        sum_Ar[j] += v * ri
                    else:
                        t = da(b, v) * U[i, j]
                    sum_T[j] += t
                    sum_TZ[j] += t * z
            take(of, nodes)
        return DONE

    return compute


@functools.cache
def products(code: int, last: bool, below: bool, real: type) -> Callable:
    """G += (X_b - shift)ᵀ dZ over a group's rows, and dZ Γᵀ where it is wanted below."""
    (a, da), lanes = compiled(code), VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, P, shift, G, panel = of.X, of.P, of.shift, of.G, of.panel
        Z, U, r, dZ, bias, mu, weight = of.Z, of.U, of.r, of.dZ, of.bias, of.mu, of.weight
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        N, p_in, (R, ld), nodes = of.N, of.p1, dZ.shape, of.p2
        clear(of.flushed)
        first, end = g * of.group_rows, lesser(N, (g + 1) * of.group_rows)
        begun = first
        for start in range(first, end, R):
            count = lesser(R, end - start)
            whole = up(count, ROWS)
            for i in range(count):
                ri = r[start + i] if last else real(0)
                for j in range(nodes):
                    z = Z[start + i, j] - mu[j]
                    b = z * weight[j] + bias[j]
                    t = da(b, a(b)) * (ri if last else U[start + i, j])
                    dZ[i, j] = slope[j] * t - mean_term[j] - z * s_term[j]
            gemm.pack(X, start, count, shift, P, R)
            gemm.transposed_product(
                P, R, whole, p_in, dZ, ld, up(nodes, lanes) // lanes, lanes, G, panel, False, start > begun
            )
            if below:
                tiles, W, back, dA = of.tiles, of.W_below, of.back, of.dA
                gemm.pack(dZ, 0, count, of.nothing, tiles, R)
                gemm.product(
                    tiles, 0, R, whole, up(nodes, FOUR), W, 0, up(p_in, lanes) // lanes, lanes, back, 0, back.shape[1]
                )
                for i in range(count):
                    for k in range(p_in):
                        dA[start + i, k] = back[i, k]
            if flush_now(of, start, first):
                begun = start + R
        return DONE

    return compute


def layer(
    code: int, normalization: str, last: bool, below: bool, real: type, several: bool
) -> tuple[Callable, Callable, dict[str, CFunc]]:
    """A layer's forward and backward pass, and the functions that they call.

    several says whether there are several groups, or one whose G is flushed.
    """
    functions = {
        "statistics": statistics(real, normalization == "batch"),
        "sweep": activate(code, last, real),
        "forward_backward": sums_of(code, last, real),
        "products": products(code, last, below, real),
    }
    if several:
        functions["total_row"] = total_row(real)
    return forward_step(normalization, real), backward_step(normalization, last, below, real), functions


@functools.cache
def forward_step(normalization: str, real: type) -> Callable:
    """A layer's forward pass in one dtype and normalization, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize
    batch, frozen = normalization == "batch", normalization == "frozen"

    @njit(fastmath=REASSOCIATE, plain=True)
    def forward(table, eps):
        """A, or η, on the arrays of the table; DONE, or BROKEN."""
        of = arrays(table, real, 0)
        N, nodes, ddof = of.N, of.p2, of.ddof
        gamma, beta, G2 = of.gamma, of.beta, of.G2
        if batch:
            leading_mean(of.X, 0, N, of.shift)
        gemm.panels(of.G1, of.W, lanes)
        if not call_all(of, At.statistics):
            return BROKEN
        s, centre, bias, out, mu, weight = of.s, of.centre, of.bias, of.out, of.mu, of.weight
        mean, squares, given_mean, given_variance = of.mean, of.squares, of.given_mean, of.given_variance
        if batch:
            merge_groups(of, up(nodes, lanes))
        for j in range(nodes):
            out[j] = G2[j]
            if batch:
                centre[j], s[j] = mean[j], math.sqrt(squares[j] / (N - ddof) + eps)
            elif frozen:
                centre[j], s[j] = given_mean[j], math.sqrt(given_variance[j] + eps)
            else:
                centre[j], s[j] = 0, 1
            mu[j] = centre[j]
            if batch or frozen:
                weight[j], bias[j] = gamma[j] / s[j], beta[j]
            else:
                weight[j], bias[j] = 1, 0
        if not call_all(of, At.sweep):
            return BROKEN
        return float(DONE)

    return forward


@functools.cache
def sums_step(real: type) -> Callable:
    """The sums of a layer's backward pass alone, in one dtype."""

    @njit(plain=True)
    def sums(table):
        """1ᵀT, Aᵀr and 1ᵀ(T ⊙ (Z - μ)) on the arrays of the table; whether every call came to its end."""
        of = arrays(table, real, 0)
        if not call_all(of, At.forward_backward):
            return False
        total_sums(of, of.p2)
        return True

    return sums


@functools.cache
def backward_step(normalization: str, last: bool, below: bool, real: type) -> Callable:
    """A layer's backward pass in one dtype and normalization, for every activation."""
    lanes = VECTOR_BYTES // real().itemsize
    batch, normalized = normalization == "batch", normalization != "none"

    @njit(fastmath=REASSOCIATE, plain=True)
    def backward(table, eps):
        """The gradients on the arrays of the table; DONE, or BROKEN."""
        of = arrays(table, real, 0)
        N, p_in, nodes, ddof = of.N, of.p1, of.p2, of.ddof
        G, dG, dgamma, dbeta, dG2 = of.G1, of.dG1, of.dgamma, of.dbeta, of.dG2
        s, out, weight, sum_T, sum_Ar, sum_TZ = of.s, of.out, of.weight, of.sum_T, of.sum_Ar, of.sum_TZ
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        if not call_all(of, At.forward_backward):
            return BROKEN
        total_sums(of, nodes)
        for j in range(nodes):
            c = np.float64(out[j]) if last else 1.0
            db = c * sum_T[j]
            dg = c * sum_TZ[j] / s[j]
            if last:
                dG2[j] = sum_Ar[j]
            w = 1.0
            if normalized:
                dbeta[j], dgamma[j] = db, dg
                w = np.float64(weight[j])
            slope[j] = w * c
            if batch:
                mean_term[j], s_term[j] = w * db / N, w * dg / (s[j] * (N - ddof))
        if below:
            turned = of.turned
            for k in range(p_in):
                for j in range(nodes):
                    turned[j, k] = G[k, j]
            gemm.panels(turned, of.W_below, lanes)
        if not call_all(of, At.products):
            return BROKEN
        if not total_rows(of):
            return BROKEN
        total = of.total
        for k in range(p_in):
            for j in range(nodes):
                dG[k, j] = total[k, j]
        return float(DONE)

    return backward

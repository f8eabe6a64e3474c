"""Few hidden nodes: loops over rows as they lie, without tiles.

A tile takes whole vectors of nodes and a copy of X: with few nodes most of both would be waste. The products are those
of `rows`. Z and T are kept node by node (p2, N), so that all that lies between the products is long loops over rows.
"""

import functools
import math
from collections.abc import Callable

from numba.core.ccallback import CFunc

from bnbench.elementary import compiled, compiled_loss
from bnbench.fused.gemm import lesser
from bnbench.fused.head import add_linear, block_outcome, linear_part, total_linear, total_loss
from bnbench.fused.layout import BROKEN
from bnbench.fused.passes import merge_groups, moved
from bnbench.fused.rows import far_mean, product, transposed_product
from bnbench.fused.scratch import DONE, At, arrays, call, call_all, clear, group, group_function
from bnbench.jit import REASSOCIATE, njit

FLUSH_ROWS = 2048  # after which float32 sums go to float64

of_lines = njit(fastmath=REASSOCIATE, forceinline=True, inner=True, apart=True)


@of_lines
def moments(z):
    """The mean of z, Σ(z - mean), which is 0 but for rounding, and Σ(z - mean)²."""
    mean = rest = squares = z.dtype.type(0)
    for i in range(z.size):
        mean += z[i]
    mean /= z.size
    for i in range(z.size):
        d = z[i] - mean
        rest += d
        squares += d * d
    return mean, rest, squares


@njit(fastmath=REASSOCIATE, inner=True)
def add_statistics(of, first, rows):
    """Merge the means and squared deviations of some rows into their group's."""
    Z, of_group, of_squares, count = of.Z_rows, of.mean, of.squares, of.count[0]
    for j in range(of.p2):
        mean, rest, squares = moments(Z[j, first : first + rows])
        more = rest / rows
        of_mean, of_distance = moved(mean + more - of_group[j], count, rows)
        of_group[j] += of_mean
        of_squares[j] += squares - rest * more + of_distance
    of.count[0] = count + rows


@functools.cache
def forward(code: int) -> Callable:
    """A of a node's rows, and its part of η, for one activation."""
    a, _ = compiled(code)

    @of_lines
    def compute(z, mu, weight, bias, out, v, eta):
        for i in range(z.size):
            v[i] = a((z[i] - mu) * weight + bias)
            eta[i] += v[i] * out

    return compute


@functools.cache
def backward(code: int) -> Callable:
    """T of a node's rows in place of A, and its sums, for one activation."""
    _, da = compiled(code)

    @of_lines
    def compute(z, mu, weight, bias, r, t):
        """1ᵀT, Aᵀr and 1ᵀ(T ⊙ (Z - μ))."""
        sum_T = sum_Ar = sum_TZ = z.dtype.type(0)
        for i in range(z.size):
            x, v = z[i] - mu, t[i]
            slope = da(x * weight + bias, v) * r[i]
            t[i] = slope
            sum_T += slope
            sum_Ar += v * r[i]
            sum_TZ += slope * x
        return sum_T, sum_Ar, sum_TZ

    return compute


@of_lines
def gradient(z, mu, slope, mean_term, s_term, t):
    """dZ of a node's rows in place of T."""
    for i in range(z.size):
        t[i] = slope * t[i] - mean_term - (z[i] - mu) * s_term


@functools.cache
def risk(loss: str) -> Callable:
    """r in place of η, and Σ ℓ, of some rows, for one loss."""
    value, slope = compiled_loss(loss)

    @of_lines
    def compute(y, r, over_N):
        total = 0.0
        for i in range(r.size):
            eta = r[i]
            total += value(y[i], eta)
            r[i] = slope(y[i], eta) * over_N
        return total

    return compute


@functools.cache
def statistics(real: type) -> Callable:
    """Z of a group's rows and its statistics, in one dtype."""

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        clear(of.sums)
        last = lesser(of.N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, last, of.rows):
            count = lesser(of.rows, last - start)
            product(of, start, count)
            add_statistics(of, start, count)
        return DONE

    return compute


@functools.cache
def outputs(code: int, real: type) -> Callable:
    """η of a group's rows, for one activation and dtype."""
    activate = forward(code)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        Z, T, eta, mu, weight, bias, out = of.Z_rows, of.T_rows, of.eta, of.mu, of.weight, of.bias, of.out
        first = g * of.group_rows
        last = lesser(of.N, first + of.group_rows)
        linear_part(of, first, last - first, eta, first)
        for j in range(of.p2):
            activate(Z[j, first:last], mu[j], weight[j], bias[j], out[j], T[j, first:last], eta[first:last])
        return DONE

    return compute


@functools.cache
def block_sums(code: int, loss: str, real: type) -> Callable:
    """r, T and the sums of some rows, for one activation, loss and dtype; without a loss as `one_pass.sweep`.

    Whether it came to its end.
    """
    activate, add_up, of_rows, head = forward(code), backward(code), risk(loss or "squared"), not loss

    @njit(inner=True)
    def compute(table, of, g, first, count):
        Z, T, mu, weight, bias, out = of.Z_rows, of.T_rows, of.mu, of.weight, of.bias, of.out
        last, gathers = first + count, head and of.gathers > 0
        r = of.r[first:last]
        eta = of.eta_block[:count] if gathers else r
        if head and not gathers:
            linear_part(of, first, count, of.r, first)
        else:
            for i in range(count):
                eta[i] = 0
        for j in range(of.p2):
            activate(Z[j, first:last], mu[j], weight[j], bias[j], out[j], T[j, first:last], eta)
        if head:
            of.at[0], of.at[1] = first, count
            if not gathers and call(table, At.block_outcome, g) != DONE:
                return False
            add_linear(of, first, count, of.r, first)
        else:
            of.loss[0] += of_rows(of.y[first:last], r, real(1 / of.N))
        for j in range(of.p2):
            t, Ar, tz = add_up(Z[j, first:last], mu[j], weight[j], bias[j], r, T[j, first:last])
            of.sum_T[j] += t
            of.sum_Ar[j] += Ar
            of.sum_TZ[j] += tz
        return True

    return compute


@njit(inner=True)
def add_gradients(of, first, count, begun, last):
    """dZ of some rows, and their part of ∂R/∂Γ1, which has rows from `begun` on; from where it has them then."""
    Z, dZ, part, whole = of.Z_rows, of.T_rows, of.dG_rows, of.dG_sum
    mu, slope, mean_term, s_term = of.mu, of.slope, of.mean_term, of.s_term
    p2, depth = part.shape
    end = first + count
    for j in range(p2):
        gradient(Z[j, first:end], mu[j], slope[j], mean_term[j], s_term[j], dZ[j, first:end])
    transposed_product(of, first, count)
    if end < last and end - begun < FLUSH_ROWS:
        return begun
    for j in range(p2):
        for k in range(depth):
            whole[j, k] += part[j, k]
            part[j, k] = 0
    return end


@functools.cache
def forward_backward(code: int, loss: str, real: type) -> Callable:
    """r, T and the sums of a group's rows, for one activation, loss and dtype."""
    add_block = block_sums(code, loss, real)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        clear(of.sum_Wr)
        last = lesser(of.N, (g + 1) * of.group_rows)
        for start in range(g * of.group_rows, last, of.rows):
            if not add_block(table, of, g, start, lesser(of.rows, last - start)):
                return 0
        return DONE

    return compute


@functools.cache
def products(real: type) -> Callable:
    """(X - shift)ᵀ dZ of a group's rows, in one dtype."""

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        clear(of.dG_sum)
        first, last = g * of.group_rows, lesser(of.N, (g + 1) * of.group_rows)
        begun = first
        for start in range(first, last, of.rows):
            begun = add_gradients(of, start, lesser(of.rows, last - start), begun, last)
        return DONE

    return compute


@functools.cache
def sweep(code: int, loss: str, real: type) -> Callable:
    """All that a group's rows give where statistics are given, for one activation, loss and dtype."""
    add_block = block_sums(code, loss, real)

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        clear(of.sums)
        clear(of.sum_Wr)
        clear(of.dG_sum)
        first, last = g * of.group_rows, lesser(of.N, (g + 1) * of.group_rows)
        begun = first
        for start in range(first, last, of.rows):
            count = lesser(of.rows, last - start)
            product(of, start, count)
            if not add_block(table, of, g, start, count):
                return 0
            begun = add_gradients(of, start, count, begun, last)
        return DONE

    return compute


def thin(code: int, normalization: str, loss: str, real: type, head: bool) -> tuple[Callable, dict[str, CFunc]]:
    """The step for one activation, normalization, loss and dtype, and the functions that it calls.

    head says whether there are linear terms or units.
    """
    of_block = code, "" if head else loss, real
    if normalization == "batch":
        functions = {"forward_backward": forward_backward(*of_block), "products": products(real)}
    else:
        functions = {"sweep": sweep(*of_block)}
    if head or normalization == "batch":
        functions["statistics"] = statistics(real)
    if head:
        functions["block_outcome"] = block_outcome(loss, True, real)
    return thin_step(normalization, head, real), functions


@functools.cache
def thin_step(normalization: str, head: bool, real: type) -> Callable:
    """The step in one dtype, for every activation and loss."""
    batch, frozen = normalization == "batch", normalization == "frozen"

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, eps):
        """One step on the arrays of the table; the loss, or BROKEN."""
        of = arrays(table, real, 0)
        N, p1, p2, ddof = of.N, of.p1, of.p2, of.ddof
        G1, gamma, beta, G2, turned = of.G1, of.gamma, of.beta, of.G2, of.G_rows
        s, centre, mu, weight, bias, out = of.s, of.centre, of.mu, of.weight, of.bias, of.out
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        for k in range(p1):
            for j in range(p2):
                turned[j, k] = G1[k, j]
        if batch:
            far_mean(of.X, of.shift)
        gathers = head and of.gathers > 0
        if (batch or gathers) and not call_all(of, At.statistics):
            return BROKEN
        if batch:
            merge_groups(of, p2)
        for j in range(p2):
            w = 1.0
            if batch:
                s[j], centre[j] = math.sqrt(of.squares[j] / (N - ddof) + eps), of.mean[j]
            elif frozen:
                s[j], centre[j] = math.sqrt(of.given_variance[j] + eps), of.given_mean[j]
            else:
                s[j], centre[j] = 1, 0
            if batch or frozen:
                w = gamma[j] / s[j]
                bias[j] = beta[j]
            mu[j], weight[j], out[j], slope[j] = centre[j], w, G2[j], w * G2[j]
        if gathers and not (call_all(of, At.outputs) and call_all(of, At.outcome)):
            return BROKEN
        if not call_all(of, At.forward_backward if batch else At.sweep):
            return BROKEN
        sum_T, sum_Ar, sum_TZ = of.sum_T, of.sum_Ar, of.sum_TZ
        for g in range(1, of.groups):
            its = group(of, g)
            of.loss[0] += its.loss[0]
            for j in range(p2):
                sum_T[j] += its.sum_T[j]
                sum_Ar[j] += its.sum_Ar[j]
                sum_TZ[j] += its.sum_TZ[j]
        if head:
            total_linear(of)
            if gathers:
                of.loss[0] = total_loss(of)
        dG1, dgamma, dbeta, dG2 = of.dG1, of.dgamma, of.dbeta, of.dG2
        for j in range(p2):
            db, dg = G2[j] * sum_T[j], G2[j] * sum_TZ[j] / s[j]
            dG2[j] = sum_Ar[j]
            if batch or frozen:
                dbeta[j], dgamma[j] = db, dg
            if batch:
                w = gamma[j] / s[j]
                mean_term[j], s_term[j] = w * db / N, w * dg / (s[j] * (N - ddof))
        if batch and not call_all(of, At.products):
            return BROKEN
        total = of.dG_sum
        for g in range(1, of.groups):
            part = group(of, g).dG_sum
            for j in range(p2):
                for k in range(p1):
                    total[j, k] += part[j, k]
        for k in range(p1):
            for j in range(p2):
                dG1[k, j] = total[j, k]
        return of.loss[0] / N

    return step

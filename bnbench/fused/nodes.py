"""A layer shared out by its hidden nodes: for few rows and a Γ that is larger than X and Z.

A thread has some columns of Z for all rows: their statistics, their sums and their part of ∂R/∂Γ are its own, and
nothing is merged. Only η, which is a sum over nodes, and ∂R/∂(the layer's input) are put together of all.
Which nodes go together depends on the problem alone, so bits are the same for every number of threads.

X, less `shift`, is kept in tiles (see `gemm`), a block of rows after the other; Γ is copied a strip of panel at a time.
"""

import collections
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bnbench.activations import CODES
from bnbench.compiling import called
from bnbench.elementary import compiled, compiled_loss
from bnbench.fused.gemm import FOUR, INDEX, PANEL, VECTOR_BYTES, Emitter, WHOLE, copy3, copy_four, lesser, shifted_four, tile_G3, tile_Z3
from bnbench.fused.layout import BLOCK_ROWS, LINE_BYTES
from bnbench.fused.passes import leading_mean, up
from bnbench.fused.scratch import (
    BROKEN,
    COLUMNS,
    DONE,
    call,
    clear,
    group_function,
    matrix,
    matrix_of,
    number,
    threads,
    turns,
    vector,
    vector_of,
)
from bnbench.jit import REASSOCIATE, njit
from bnbench.problem import Problem
from bnbench.threads import alone

MOST_PANELS, WASTE = 8, 0.15  # of a task; of the time of two and of four threads, together
STRIP = 256  # rows of Γ that are copied at once
INPUTS = 48  # of a task that makes ∂R/∂(the input)
TILES = 64  # columns of X in a task that makes tiles
ROW_FIELDS = "X y U r P Q Z A T lying dZ G dG gamma beta out dgamma dbeta dout mu weight c mean slope mean64 s parts four sums shift given"
ROW_FIELDS += " panel edge eta dA turned corner conventions tiles forward backward below threads"
ARRAYS = ROW_FIELDS.split()


Rows: Any = collections.namedtuple("Rows", ARRAYS)  # type: ignore[misc]
Row: Any = Rows(*range(len(ARRAYS)))  # where in the table each array, and each function of a task, is
FIRST_FUNCTION = Row.tiles


@intrinsic
def turn_four(typing, G, g0, ldg, panel, p0, width):
    """Four columns of four rows of G, ldg apart, as four rows of a panel."""
    index = types.intp
    signature = types.void(G, index, index, panel, index, index)

    def build(context, builder, signature, arguments):
        G0, g0, ldg, panel0, p0, width = arguments
        emit = Emitter(context, builder, G.dtype, FOUR)
        source, target = emit.pointer(G, G0, g0), emit.pointer(panel, panel0, p0)

        def shuffled(one, other, *places):
            return builder.shuffle_vector(one, other, ir.VectorType(WHOLE, FOUR)(list(places)))

        rows = [emit.load(builder.gep(source, [builder.mul(ldg, INDEX(m))])) for m in range(FOUR)]
        even, odd = (
            [shuffled(rows[m], rows[m + 1], u, FOUR + u, 2 + u, FOUR + 2 + u) for m in (0, 2)] for u in (0, 1)
        )
        low, high = (0, 1, 4, 5), (2, 3, 6, 7)
        columns = (shuffled(*pair, *places) for places in (low, high) for pair in (even, odd))
        for u, column in enumerate(columns):
            emit.store(column, builder.gep(target, [builder.mul(width, INDEX(u))]))
        return context.get_dummy_value()

    return signature, build


@functools.cache
def make_tiles(real: type) -> Callable:
    """Some columns of X, less `shift`, in tiles of four rows in P and in tiles of a block's rows in Q."""

    @group_function
    def compute(table, g, _):
        X, shift = matrix(table, Row.X, real), vector(table, Row.shift, real)
        P, Q, R = vector(table, Row.P, real), vector(table, Row.Q, real), number(table, Row.Q, 2)
        N, p1 = X.shape
        depth, first, end = up(p1, FOUR), g * TILES, lesser(p1, (g + 1) * TILES)
        whole = first + (end - first) // FOUR * FOUR
        for b in range(number(table, Row.Q, 1)):
            for i in range(lesser(R, N - b * R)):
                row = b * R + i
                x0, p0, q0 = row * p1, row // FOUR * FOUR * depth + row % FOUR * FOUR, b * R * depth + FOUR * i
                for k in range(first, whole, FOUR):
                    shifted_four(X, x0 + k, shift, k, P, p0 + FOUR * k)
                    shifted_four(X, x0 + k, shift, k, Q, q0 + k * R)
                for k in range(whole, end):
                    x = X[row, k] - shift[k]
                    P[p0 + FOUR * whole + k - whole] = Q[q0 + whole * R + k - whole] = x
        return DONE

    return compute


inlined = njit(fastmath=REASSOCIATE, forceinline=True, inner=True, apart=True)


@inlined
def four_times(values, q, end, width, four):
    """Some nodes' numbers from q on, once for each of four rows, with 0 for those from `end` on."""
    for n in range(width):
        x = values[q + n] if q + n < end else values[q] * 0
        four[n] = four[width + n] = four[2 * width + n] = four[3 * width + n] = x


@inlined
def folded(four, n, width):
    """What four rows have added up for a node."""
    return (four[n] + four[width + n]) + (four[2 * width + n] + four[3 * width + n])


@functools.cache
def statistics_of(width: int) -> Callable:
    """The statistics of a panel's nodes."""

    @inlined
    def compute(Z, first, N, sums, mean, spread):
        """The mean and the sum of squared deviations of the rows of Z from `first` on; sums is room."""
        total, more, squares = sums[0], sums[1], sums[2]
        whole, rest = first + N // FOUR, (N & (FOUR - 1)) * width
        for n in range(FOUR * width):
            total[n] = more[n] = squares[n] = 0
        for i in range(first, whole):
            z = Z[i]
            for n in range(FOUR * width):
                total[n] += z[n]
        for n in range(rest):
            total[n] += Z[whole, n]
        for n in range(width):
            mean[n] = folded(total, n, width) / N
        four_times(mean, 0, width, width, total)
        for i in range(first, whole):
            z = Z[i]
            for n in range(FOUR * width):
                d = z[n] - total[n]
                more[n] += d  # the mean is rounded; this is what mends it
                squares[n] += d * d
        for n in range(rest):
            d = Z[whole, n] - total[n]
            more[n] += d
            squares[n] += d * d
        for n in range(width):
            x = folded(more, n, width)
            mean[n] += x / N
            spread[n] = folded(squares, n, width) - x * (x / N)

    return compute


@functools.cache
def forward_of(code: int, normalization: str, last: bool, real: type) -> Callable:
    """Z, the statistics and A of a task's nodes, and under the head their part of η."""
    (a, _), width = compiled(code), PANEL * VECTOR_BYTES // real().itemsize
    batch, frozen, take_statistics = normalization == "batch", normalization == "frozen", statistics_of(width)

    @inlined
    def activate(Z, first, rows, four, A, parts):
        """A of a panel, and A ⊙ Γ_out added to the parts of η."""
        mu, weight, beta, out = four[0], four[1], four[2], four[3]
        for i in range(rows):
            z, v, part = Z[first + i], A[first + i], parts[i]
            for n in range(FOUR * width):
                v[n] = a((z[n] - mu[n]) * weight[n] + beta[n])
                if last:
                    part[n] += v[n] * out[n]

    @group_function
    def compute(table, g, nodes):
        P, G, Z = vector(table, Row.P, real), matrix(table, Row.G, real), matrix(table, Row.Z, real)
        A, panel, parts = matrix(table, Row.A, real), vector_of(table, Row.panel, real, g), matrix_of(table, Row.parts, real, g)
        mu, weight, beta = vector(table, Row.mu, real), vector(table, Row.weight, real), vector(table, Row.beta, real)
        gamma, out, eta = vector(table, Row.gamma, real), vector(table, Row.out, real), vector_of(table, Row.eta, real, g)
        mean, s = vector(table, Row.mean64, np.float64), vector(table, Row.s, np.float64)
        four, sums = matrix_of(table, Row.four, real, g), matrix_of(table, Row.sums, np.float64, g)
        conventions, lying = vector(table, Row.conventions, np.float64), matrix(table, Row.lying, real)
        ddof, eps = conventions[0], conventions[1]
        (p1, p2), N = G.shape, number(table, Row.X, 2)
        depth, fours, R = up(p1, FOUR), number(table, Row.Z, 2), number(table, Row.Q, 2)
        first, end = g * nodes, lesser(p2, (g + 1) * nodes)
        for k0 in range(0, p1, STRIP):
            strip = lesser(STRIP, p1 - k0)
            for q in range(first, end, width):
                at = (q - first) * STRIP
                if q + width <= p2:
                    for k in range(strip):
                        copy3(G, (k0 + k) * p2 + q, panel, at + k * width)
                else:
                    for k in range(strip):
                        for n in range(width):
                            panel[at + k * width + n] = G[k0 + k, q + n] if q + n < p2 else real(0)
                for n in range(strip * width, up(strip, FOUR) * width):
                    panel[at + n] = 0
            for block in range(0, FOUR * fours, R):
                for q in range(first, end, width):
                    for i in range(block, block + R, FOUR):
                        tile_Z3(
                            P, i * depth + FOUR * k0, FOUR * FOUR, panel, (q - first) * STRIP, width,
                            Z, FOUR * q * fours + i * width, width, up(strip, FOUR), k0 > 0,
                        )  # fmt: skip
        if last:
            clear(parts, 0)
        for q in range(first, end, width):
            start = q // width * fours
            if batch:
                take_statistics(Z, start, N, sums, mean[q:], s[q:])
            for j in range(q, lesser(p2, q + width)):
                if batch:
                    s[j] = math.sqrt(s[j] / (N - ddof) + eps)
                elif frozen:
                    given = matrix(table, Row.given, real)
                    mean[j], s[j] = given[0, j], math.sqrt(given[1, j] + eps)
                mu[j] = mean[j]
                if batch or frozen:
                    weight[j] = gamma[j] / s[j]
            four_times(mu, q, p2, width, four[0])
            four_times(weight, q, p2, width, four[1])
            four_times(beta, q, p2, width, four[2])
            four_times(out, q, p2, width, four[3])
            activate(Z, start, fours, four, A, parts)
            if not last:
                for i in range(N):
                    for n in range(lesser(width, p2 - q)):
                        lying[i, q + n] = A[start + i // FOUR, i % FOUR * width + n]
        if last:
            for i in range(N):
                total = real(0)
                for n in range(width):
                    total += parts[i // FOUR, i % FOUR * width + n]
                eta[i] = total
        return DONE

    return compute


@functools.cache
def backward_of(code: int, normalization: str, last: bool, below: bool, real: type) -> Callable:
    """The gradients of a task's nodes, and dZ of them in T."""
    (_, da), width = compiled(code), PANEL * VECTOR_BYTES // real().itemsize
    batch, normalized = normalization == "batch", normalization != "none"

    @inlined
    def add_up(Z, first, rows, four, A, r, T, sums):
        """T = ∂R/∂A ⊙ a'(B) of a panel, whose ∂R/∂A is in T, or r ⊗ 1, and its sums."""
        mu, weight, beta = four[0], four[1], four[2]
        d_beta, d_gamma, d_out = sums[0], sums[1], sums[2]
        for n in range(FOUR * width):
            d_beta[n] = d_gamma[n] = d_out[n] = 0
        for i in range(rows):
            zs, v, ts = Z[first + i], A[first + i], T[first + i]
            u = r[i] if last else ts
            for n in range(FOUR * width):
                z = zs[n] - mu[n]
                t = da(z * weight[n] + beta[n], v[n]) * u[n]
                if last:
                    d_out[n] += v[n] * u[n]
                ts[n] = t
                d_beta[n] += t
                d_gamma[n] += t * z

    @inlined
    def finish(Z, first, rows, four, T):
        """dZ of a panel in place of T."""
        mu, c, mean, slope = four[0], four[3], four[4], four[5]
        for i in range(first, first + rows):
            z, t = Z[i], T[i]
            for n in range(FOUR * width):
                t[n] = c[n] * t[n] - mean[n] - (z[n] - mu[n]) * slope[n]

    @group_function
    def compute(table, g, nodes):
        Q, dG, Z = vector(table, Row.Q, real), matrix(table, Row.dG, real), matrix(table, Row.Z, real)
        A, T, U = matrix(table, Row.A, real), matrix(table, Row.T, real), matrix(table, Row.U, real)
        dZ = vector(table, Row.dZ, real)
        r, parts, edge = vector(table, Row.r, real), matrix_of(table, Row.parts, real, g), vector_of(table, Row.edge, real, g)
        mu, weight, beta = vector(table, Row.mu, real), vector(table, Row.weight, real), vector(table, Row.beta, real)
        c, mean, slope = vector(table, Row.c, real), vector(table, Row.mean, real), vector(table, Row.slope, real)
        out, s = vector(table, Row.out, real), vector(table, Row.s, np.float64)
        four, sums = matrix_of(table, Row.four, real, g), matrix_of(table, Row.sums, np.float64, g)
        dgamma, dbeta = vector(table, Row.dgamma, real), vector(table, Row.dbeta, real)
        dout, ddof = vector(table, Row.dout, real), vector(table, Row.conventions, np.float64)[0]
        (p1, p2), N, fours = dG.shape, number(table, Row.X, 2), number(table, Row.Z, 2)
        blocks, R, depth = number(table, Row.Q, 1), number(table, Row.Q, 2), up(p1, FOUR)
        first, end = g * nodes, lesser(p2, (g + 1) * nodes)
        if last:
            for i in range(FOUR * fours):
                ri = r[i] if i < N else real(0)
                for n in range(width):
                    parts[i // FOUR, i % FOUR * width + n] = ri
        for q in range(first, end, width):
            start = q // width * fours
            if not last:
                for i in range(FOUR * fours):
                    for n in range(lesser(width, p2 - q)):
                        T[start + i // FOUR, i % FOUR * width + n] = U[i, q + n] if i < N else real(0)
            four_times(mu, q, p2, width, four[0])
            four_times(weight, q, p2, width, four[1])
            four_times(beta, q, p2, width, four[2])
            add_up(Z, start, fours, four, A, parts, T, sums)
            for j in range(q, lesser(p2, q + width)):
                times = np.float64(out[j]) if last else 1.0
                db, dg = times * folded(sums[0], j - q, width), times * folded(sums[1], j - q, width)
                if last:
                    dout[j] = folded(sums[2], j - q, width)
                if normalized:
                    dg /= s[j]
                    dbeta[j], dgamma[j] = db, dg
                c[j] = weight[j] * times
                if batch:
                    mean[j], slope[j] = weight[j] * db / N, weight[j] * dg / (s[j] * (N - ddof))
            four_times(c, q, p2, width, four[3])
            four_times(mean, q, p2, width, four[4])
            four_times(slope, q, p2, width, four[5])
            finish(Z, start, fours, four, T)
            for i in range(N, FOUR * fours):
                for n in range(width):
                    T[start + i // FOUR, i % FOUR * width + n] = 0
            if below:
                for i in range(fours):
                    for m in range(FOUR):
                        for n in range(0, lesser(width, up(p2 - q, FOUR)), FOUR):
                            copy_four(T, ((start + i) * FOUR + m) * width + n, dZ, FOUR * (i * up(p2, FOUR) + q + n + m))
        for b in range(blocks):
            for m0 in range(0, p1, TILES):
                for q in range(first, end, width):
                    t0 = FOUR * q * fours + b * R * width
                    for m in range(m0, lesser(p1, m0 + TILES), FOUR):
                        p0 = (b * depth + m) * R
                        if q + width <= p2 and m + FOUR <= p1:
                            tile_G3(Q, p0, FOUR * R, T, t0, width, dG, m * p2 + q, p2, R, b > 0)
                        else:
                            tile_G3(Q, p0, FOUR * R, T, t0, width, edge, 0, width, R, False)
                            for k in range(lesser(FOUR, p1 - m)):
                                for n in range(lesser(width, p2 - q)):
                                    old = dG[m + k, q + n] if b > 0 else real(0)
                                    dG[m + k, q + n] = edge[k * width + n] + old
        return DONE

    return compute


@functools.cache
def below_of(real: type) -> Callable:
    """∂R/∂(the input) = dZ Γᵀ at some of its columns."""
    width = PANEL * VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g, _):
        dZ, G, dA = vector(table, Row.dZ, real), matrix(table, Row.G, real), matrix(table, Row.dA, real)
        panel, edge = vector_of(table, Row.turned, real, g), vector_of(table, Row.corner, real, g)
        (p1, p2), rows = G.shape, dA.shape[0]
        depth, first, end = up(p2, FOUR), g * INPUTS, lesser(p1, (g + 1) * INPUTS)
        for j0 in range(0, p2, STRIP):
            strip = lesser(STRIP, p2 - j0)
            whole = strip // FOUR * FOUR
            for k in range(first, end, width):
                at, count = (k - first) * STRIP, lesser(width, p1 - k)
                fours = count // FOUR * FOUR
                for n in range(0, fours, FOUR):
                    for j in range(0, whole, FOUR):
                        turn_four(G, (k + n) * p2 + j0 + j, p2, panel, at + j * width + n, width)
                for j in range(up(strip, FOUR)):
                    for n in range(fours if j < whole else 0, width):
                        x = G[k + n, j0 + j] if n < count and j < strip else real(0)
                        panel[at + j * width + n] = x
            for i in range(0, rows, FOUR):
                for k in range(first, end, width):
                    left, at = i * depth + FOUR * j0, (k - first) * STRIP
                    if k + width <= p1:
                        tile_Z3(
                            dZ, left, FOUR * FOUR, panel, at, width, dA, i * p1 + k, p1, up(strip, FOUR), j0 > 0
                        )
                    else:
                        tile_Z3(dZ, left, FOUR * FOUR, panel, at, width, edge, 0, width, up(strip, FOUR), False)
                        for m in range(FOUR):
                            for n in range(p1 - k):
                                dA[i + m, k + n] = edge[m * width + n] + (dA[i + m, k + n] if j0 > 0 else real(0))
        return DONE

    return compute


@njit(inner=True)
def share(table, row, nodes):
    """Call a task's function for each of its tasks, by threads; whether every call came to its end."""
    return call(table, Row.threads, row, nodes) == number(table, row, 1) * DONE


@functools.cache
def forward_step(normalization: str, real: type) -> Callable:
    """A layer's forward pass in one dtype, for every activation."""
    batch = normalization == "batch"

    @njit(fastmath=REASSOCIATE, plain=True)
    def forward(table, nodes, tiled):
        """A, or η in r; the tiles of X are as they are where it is tiled. DONE, or BROKEN."""
        X, r, eta = matrix(table, Row.X, real), vector(table, Row.r, real), matrix(table, Row.eta, real)
        if not tiled:
            if batch:
                leading_mean(X, 0, X.shape[0], vector(table, Row.shift, real))
            if not share(table, Row.tiles, nodes):
                return BROKEN
        if not share(table, Row.forward, nodes):
            return BROKEN
        for i in range(r.size):
            total = eta[0, i]
            for g in range(1, eta.shape[0]):
                total += eta[g, i]
            r[i] = total
        return float(DONE)

    return forward


@functools.cache
def backward_step(below: bool) -> Callable:
    """A layer's backward pass, for every activation."""

    @njit(plain=True)
    def backward(table, nodes):
        """The gradients. DONE, or BROKEN."""
        if not share(table, Row.backward, nodes):
            return BROKEN
        if below:
            if not share(table, Row.below, nodes):
                return BROKEN
        return float(DONE)

    return backward


@functools.cache
def whole_step(loss: str, normalization: str, real: type) -> Callable:
    """The step of a network of one layer, for every activation."""
    forward, backward, (value, slope) = forward_step(normalization, real), backward_step(False), compiled_loss(loss)

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, nodes, tiled):
        """One step; the loss, or BROKEN."""
        y, r = vector(table, Row.y, real), vector(table, Row.r, real)
        if forward(table, nodes, tiled) < 0:
            return BROKEN
        over_N, total = real(1 / y.size), 0.0
        for i in range(y.size):
            total += value(y[i], r[i])
            r[i] = slope(y[i], r[i]) * over_N
        if backward(table, nodes) < 0:
            return BROKEN
        return total / y.size

    return step


class Nodes:
    """The arrays of a layer that is shared out by nodes, and its passes.

    Attributes:
        G, gamma, beta, out: where the passes read the parameters; dG, dgamma, dbeta, dout: where they write.
        A (N,p2), r (N,): the layer's output; under the head η, and what flows in.
        dA (N,p1): what flows out, where it is wanted below.
    """

    def __init__(self, problem: Problem, given: Any = (), *, last: bool = True, below: bool = False) -> None:
        N, p1, p2, dtype = problem.N, problem.p1, problem.p2, np.dtype(problem.dtype)
        real, code, normalization = dtype.type, CODES[problem.activation], problem.normalization
        width = PANEL * VECTOR_BYTES // dtype.itemsize
        self.nodes = width * panels_of_task(-(-p2 // width))
        tasks, blocks = -(-p2 // self.nodes), -(-N // BLOCK_ROWS)
        R, ld = up_to(-(-N // blocks), FOUR), up_to(p2, width)
        rows = blocks * R
        panels = (ld // width, rows // FOUR, FOUR * width)
        shapes = {
            "X": (N, p1), "y": (N,), "U": (N, p2), "r": (N,), "P": (rows * up_to(p1, FOUR),),
            "Q": (blocks, R, up_to(p1, FOUR)), "Z": panels, "A": panels, "T": panels, "G": (p1, p2), "dG": (p1, p2),
            "given": (2, p2), "shift": (p1,), "panel": (tasks, STRIP * self.nodes), "parts": (tasks, rows // FOUR, FOUR * width),
            "four": (tasks, 6, FOUR * width), "edge": (tasks, FOUR * width), "eta": (tasks, N),
            "lying": (1, 1) if last else (N, p2), "dZ": (rows * up_to(p2, FOUR) if below else 1,),
            "dA": (rows, p1) if below else (1, 1), "turned": (-(-p1 // INPUTS), STRIP * INPUTS),
            "corner": (-(-p1 // INPUTS), FOUR * width),
        }  # fmt: skip
        names = "gamma beta out dgamma dbeta dout mu weight c mean slope"
        shapes |= dict.fromkeys(names.split(), (ld,))
        wide = {"mean64": (ld,), "s": (ld,), "sums": (tasks, 3, FOUR * width), "conventions": (2,)}
        self.arrays = {
            name: zeros(shape, dtype) for name, shape in shapes.items() if name not in ("X", "y", "U", "G")
        } | {name: zeros(shape, np.float64) for name, shape in wide.items()}
        self.table = np.zeros((len(ARRAYS), COLUMNS), np.int64)
        for name, shape in (shapes | wide).items():
            address = self.arrays[name].ctypes.data if name in self.arrays else 0
            self.table[getattr(Row, name)] = address, *(1,) * (COLUMNS - 1 - len(shape)), *shape
        self.arrays["conventions"][:] = problem.ddof, problem.eps
        self.arrays["weight"][:] = 1
        if normalization == "frozen":
            self.arrays["given"][...] = given
        functions = {
            "tiles": (make_tiles(real), -(-p1 // TILES)),
            "forward": (forward_of(code, normalization, last, real), tasks),
            "backward": (backward_of(code, normalization, last, below, real), tasks),
            "threads": (turns() if alone() else threads(), 1),
        } | ({"below": (below_of(real), -(-p1 // INPUTS))} if below else {})
        for name, (function, count) in functions.items():
            self.table[getattr(Row, name), :2] = function.address, count
        called(self.table[FIRST_FUNCTION:, 0])
        self.forward_kernel, self.backward_kernel = forward_step(normalization, real), backward_step(below)
        self.whole_kernel = whole_step(problem.loss, normalization, real) if last else None
        self.normalized = normalization != "none"
        self.p2, self.address = p2, self.table.ctypes.data
        for name in ("dG", "r"):
            setattr(self, name, self.arrays[name])
        self.A = self.arrays["lying"]
        for name in ("gamma", "beta", "out", "dgamma", "dbeta", "dout"):
            setattr(self, name, self.arrays[name][:p2])
        self.dA = self.arrays["dA"][:N] if below else None

    def bind(self, name: str, array: np.ndarray) -> None:
        """Read X, y, U or G, C-contiguous, from an array that must stay alive."""
        setattr(self, name, array)
        self.table[getattr(Row, name), 0] = array.ctypes.data

    def forward(self, tiled: bool = False) -> bool:
        """A, or η in r; whether it came to its end."""
        return self.forward_kernel(self.address, self.nodes, tiled) > 0

    def backward(self) -> bool:
        """The gradients from r, or U; whether it came to its end."""
        return self.backward_kernel(self.address, self.nodes) > 0

    def step(self, tiled: bool = False) -> float:
        """The whole step of one layer; the loss, or BROKEN."""
        return self.whole_kernel(self.address, self.nodes, tiled)


def panels_of_task(panels: int) -> int:
    """So many panels a task that two and four threads have as much to do each, or nearly; the most of such."""

    def waste(each: int) -> float:
        tasks = -(-panels // each)
        most = (min(panels, -(-tasks // threads) * each) for threads in (2, 4))
        return sum(count * threads / panels for count, threads in zip(most, (2, 4), strict=True))

    sizes = range(1, MOST_PANELS + 1)
    least = min(map(waste, sizes))
    return max(each for each in sizes if waste(each) <= least + WASTE)


def up_to(number: int, multiple: int) -> int:
    """The next multiple at or above a number."""
    return -(-number // multiple) * multiple


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros on a cache line, with a line of zeros behind them."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + 2 * LINE_BYTES, np.uint8)
    return np.ndarray(shape, dtype, room, -room.ctypes.data % LINE_BYTES)

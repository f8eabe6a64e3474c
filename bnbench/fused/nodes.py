"""Hidden nodes shared out, not rows: for few rows and a Γ that is larger than X and Z.

A group has some columns of Z for all rows: their statistics, their sums and their part of ∂R/∂Γ are its own, and
nothing is merged. Only η, which is a sum over nodes, and ∂R/∂(the layer's input) are put together of all groups.
Which nodes go together depends on the problem alone, so bits are the same for every number of threads.

X, less shift, is kept in tiles (see `gemm`) twice, once for each product. A group's nodes are taken a *panel* at a
time. A panel's columns of Z, A and T lie together, row by row, so that four rows are one line of the
arrays `Z_panels`, `A_panels` and `T_panels`: a loop over a line is long enough for vector instructions, and what
belongs to a node is written four times side by side for it.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from bnbench.elementary import compiled, compiled_loss
from bnbench.fused import gemm
from bnbench.fused.gemm import (
    FOUR,
    INDEX,
    NODE_ROWS,
    VECTOR_BYTES,
    WHOLE,
    Emitter,
    copy_four,
    copy_vectors,
    lesser,
    shifted_four,
    tile_of_any,
)
from bnbench.fused.head import add_linear, linear_part, total_loss
from bnbench.fused.layout import BROKEN, STRIP, TILES, inputs_each
from bnbench.fused.passes import leading_mean, up
from bnbench.fused.scratch import DONE, At, arrays, call, call_all, clear, group, group_function
from bnbench.jit import REASSOCIATE, njit

INPUTS_EACH = inputs_each()
tile_of_rows = tile_of_any(transposed=False, height=NODE_ROWS)  # of Z, and of ∂R/∂(the input)
tile_that_copies = gemm.tile_that_copies(height=NODE_ROWS)
tile_of_inputs = tile_of_any(transposed=True, height=NODE_ROWS)  # of ∂R/∂Γ
four_rows, four_inputs = (tile_of_any(transposed=transposed, height=FOUR) for transposed in (False, True))
SOME_LEFT = NODE_ROWS > FOUR

of_lines = njit(fastmath=REASSOCIATE, forceinline=True, inner=True, apart=True)


@intrinsic
def turn_four(typing, G, g0, ldg, panel, p0, width):
    """Four columns of four rows of G, ldg apart, as four rows of a panel."""
    index = types.intp
    signature = types.void(G, index, index, panel, index, index)

    def build(context, builder, signature, arguments):
        G0, g0, ldg, panel0, p0, width = arguments
        emit = Emitter(context, builder, G.dtype, lanes=FOUR)
        source, target = emit.pointer(G, G0, g0), emit.pointer(panel, panel0, p0)

        def shuffled(one, other, *places):
            return builder.shuffle_vector(one, other, ir.VectorType(WHOLE, FOUR)(list(places)))

        rows = [emit.load(builder.gep(source, [builder.mul(ldg, INDEX(m))])) for m in range(FOUR)]
        even, odd = ([shuffled(rows[m], rows[m + 1], u, FOUR + u, 2 + u, FOUR + 2 + u) for m in (0, 2)] for u in (0, 1))
        low, high = (0, 1, 4, 5), (2, 3, 6, 7)
        columns = (shuffled(*pair, *places) for places in (low, high) for pair in (even, odd))
        for u, column in enumerate(columns):
            emit.store(column, builder.gep(target, [builder.mul(width, INDEX(u))]))
        return context.get_dummy_value()

    return signature, build


@functools.cache
def make_tiles(real: type) -> Callable:
    """Some columns of X, less shift, in tiles of a few rows and in tiles of a block's."""

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, shift, fours, blocks = of.X, of.shift, of.X_fours, of.X_blocks
        N, p1, R = of.N, of.p1, of.rows
        depth, first, end = up(p1, FOUR), g * TILES, lesser(p1, (g + 1) * TILES)
        whole = first + (end - first) // FOUR * FOUR
        for start in range(0, N, R):
            for i in range(lesser(R, N - start)):
                row = start + i
                at_X, at_four = row * p1, row // NODE_ROWS * NODE_ROWS * depth + row % NODE_ROWS * FOUR
                at_block = start * depth + FOUR * i
                for k in range(first, whole, FOUR):
                    shifted_four(X, at_X + k, shift, k, fours, at_four + NODE_ROWS * k)
                    shifted_four(X, at_X + k, shift, k, blocks, at_block + k * R)
                for k in range(end - whole):
                    x = X[row, whole + k] - shift[whole + k]
                    fours[at_four + NODE_ROWS * whole + k] = blocks[at_block + whole * R + k] = x
        return DONE

    return compute


@njit(inner=True)
def nodes_of(of, g, width):
    """The first of a group's nodes, and the first after them."""
    panels = (of.p2 + width - 1) // width
    return panels * g // of.groups * width, lesser(of.p2, panels * (g + 1) // of.groups * width)


@of_lines
def four_times(values, q, end, width, line):
    """The numbers of a panel's nodes from q on, once for each of four rows, with 0 for nodes from `end` on."""
    for n in range(width):
        x = values[q + n] if q + n < end else values[q] * 0
        line[n] = line[width + n] = line[2 * width + n] = line[3 * width + n] = x


@of_lines
def folded(line, n, width):
    """What four rows have added up for a node."""
    return (line[n] + line[width + n]) + (line[2 * width + n] + line[3 * width + n])


@of_lines
def add_statistics(Z, first, N, width, mean, rest, squares):
    """Column means of a panel's N rows, in lines from `first` on, Σ(Z - mean), and Σ(Z - mean)², in two passes."""
    whole, left = first + N // FOUR, (N & (FOUR - 1)) * width
    for n in range(FOUR * width):
        mean[n] = rest[n] = squares[n] = 0
    for i in range(first, whole):
        z = Z[i]
        for n in range(FOUR * width):
            mean[n] += z[n]
    for n in range(left):
        mean[n] += Z[whole, n]
    for n in range(width):
        x = folded(mean, n, width) / N
        mean[n] = mean[width + n] = mean[2 * width + n] = mean[3 * width + n] = x
    for i in range(first, whole):
        z = Z[i]
        for n in range(FOUR * width):
            d = z[n] - mean[n]
            rest[n] += d  # the mean is rounded; this is what mends it
            squares[n] += d * d
    for n in range(left):
        d = Z[whole, n] - mean[n]
        rest[n] += d
        squares[n] += d * d


@functools.cache
def product(normalization: str, real: type, panel: int) -> Callable:
    """Z of a group's nodes, their statistics, and what passes read of them."""
    width = panel * VECTOR_BYTES // real().itemsize
    batch, frozen = normalization == "batch", normalization == "frozen"

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        G, X, Z, strips = of.Gamma, of.X_fours, of.Z_panels, of.strips
        N, p1, p2, R = of.N, of.p1, of.p2, of.rows
        depth, rows, (first, end) = up(p1, FOUR), up(N, FOUR), nodes_of(of, g, width)
        for k0 in range(0, p1, STRIP):
            strip = lesser(STRIP, p1 - k0)
            for q in range(first, end, width):
                at = (q - first) * STRIP
                if q + width <= p2 and strip & (FOUR - 1) == 0 and R >= NODE_ROWS:
                    tile_that_copies(
                        X, NODE_ROWS * k0, FOUR * NODE_ROWS, G, k0 * p2 + q, p2,
                        Z, q * rows, width, strip, k0 > 0, panel, strips, at,
                    )  # fmt: skip
                elif q + width <= p2:
                    for k in range(strip):
                        copy_vectors(G, (k0 + k) * p2 + q, strips, at + k * width, panel)
                else:
                    for k in range(strip):
                        for n in range(width):
                            strips[at + k * width + n] = G[k0 + k, q + n] if q + n < p2 else real(0)
                for n in range(strip * width, up(strip, FOUR) * width):
                    strips[at + n] = 0
            for block in range(0, rows, R):
                below = lesser(rows, block + R)
                for q in range(first, end, width):
                    at, z, deep = (q - first) * STRIP, q * rows, up(strip, FOUR)
                    i = block
                    if block == 0 and q + width <= p2 and strip & (FOUR - 1) == 0 and R >= NODE_ROWS:
                        i = NODE_ROWS  # these rows are there already
                    while i + NODE_ROWS <= below:
                        tile_of_rows(
                            X, i * depth + NODE_ROWS * k0, FOUR * NODE_ROWS, strips, at, width,
                            Z, z + i * width, width, deep, k0 > 0, panel,
                        )  # fmt: skip
                        i += NODE_ROWS
                    if SOME_LEFT and i < below:
                        four_rows(
                            X, i * depth + NODE_ROWS * k0, FOUR * NODE_ROWS, strips, at, width,
                            Z, z + i * width, width, deep, k0 > 0, panel,
                        )  # fmt: skip
        gamma, beta, G2, s, centre = of.gamma, of.beta, of.G2, of.s, of.centre
        mu, weight, bias, out, eps, ddof = of.mu, of.weight, of.bias, of.out, of.eps[0], of.ddof
        mean, rest, squares = of.four_mean, of.four_rest, of.four_squares
        given_mean, given_variance = of.given_mean, of.given_variance
        for q in range(first, end, width):
            if batch:
                add_statistics(Z, q // width * (rows // FOUR), N, width, mean, rest, squares)
            for j in range(q, lesser(end, q + width)):
                out[j] = G2[j]
                if batch:
                    more = folded(rest, j - q, width)
                    variance = (folded(squares, j - q, width) - more * (more / N)) / (N - ddof)
                    centre[j], s[j] = mean[j - q] + more / N, math.sqrt(variance + eps)
                elif frozen:
                    centre[j], s[j] = given_mean[j], math.sqrt(given_variance[j] + eps)
                else:
                    centre[j], s[j] = 0, 1
                mu[j] = centre[j]
                if batch or frozen:
                    weight[j], bias[j] = gamma[j] / s[j], beta[j]
                else:
                    weight[j], bias[j] = 1, 0
        return DONE

    return compute


@functools.cache
def forward(code: int, last: bool, real: type, panel: int) -> Callable:
    """Z and A of a group's nodes, or under the head their part of η, for one activation."""
    (a, _), width = compiled(code), panel * VECTOR_BYTES // real().itemsize

    @of_lines
    def activate(Z, first, lines, mu, weight, bias, out, A, parts):
        """A of a panel; under the head A ⊙ Γ_out is added to the parts of η."""
        for i in range(lines):
            z, v, part = Z[first + i], A[first + i], parts[i]
            for n in range(FOUR * width):
                v[n] = a((z[n] - mu[n]) * weight[n] + bias[n])
                if last:
                    part[n] += v[n] * out[n]

    @group_function
    def compute(table, g):
        if call(table, At.nodes_product, g) != DONE:
            return 0
        of = arrays(table, real, g)
        Z, A, parts, eta = of.Z_panels, of.A_panels, of.eta_parts, of.eta_group
        N, p2, lines, (first, end) = of.N, of.p2, parts.shape[0], nodes_of(of, g, width)
        if last:
            clear(parts)
        for q in range(first, end, width):
            start = q // width * lines
            four_times(of.mu, q, p2, width, of.four_mu)
            four_times(of.weight, q, p2, width, of.four_weight)
            four_times(of.bias, q, p2, width, of.four_bias)
            four_times(of.out, q, p2, width, of.four_out)
            activate(Z, start, lines, of.four_mu, of.four_weight, of.four_bias, of.four_out, A, parts)
            if not last:
                output = of.A
                for i in range(N):
                    for n in range(lesser(width, p2 - q)):
                        output[i, q + n] = A[start + i // FOUR, i % FOUR * width + n]
        if last:
            for i in range(N):
                total = real(0)
                for n in range(width):
                    total += parts[i // FOUR, i % FOUR * width + n]
                eta[i] = total
        return DONE

    return compute


@functools.cache
def gradient(normalization: str, last: bool, below: bool, real: type, panel: int) -> Callable:
    """The gradients of a group's nodes from their sums and T, and dZ."""
    width = panel * VECTOR_BYTES // real().itemsize
    batch, normalized = normalization == "batch", normalization != "none"

    @of_lines
    def finish(Z, first, lines, mu, slope, mean_term, s_term, T):
        """dZ of a panel in place of T."""
        for i in range(first, first + lines):
            z, t = Z[i], T[i]
            for n in range(FOUR * width):
                t[n] = slope[n] * t[n] - mean_term[n] - (z[n] - mu[n]) * s_term[n]

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        X, Z, T, dG, edge = of.X_blocks, of.Z_panels, of.T_panels, of.dG1, of.edge
        N, p1, p2, R, lines = of.N, of.p1, of.p2, of.rows, of.eta_parts.shape[0]
        dgamma, dbeta, dG2, s, out, weight, ddof = of.dgamma, of.dbeta, of.dG2, of.s, of.out, of.weight, of.ddof
        node_T, node_Ar, node_TZ = of.node_T, of.node_Ar, of.node_TZ
        slope, mean_term, s_term = of.slope, of.mean_term, of.s_term
        depth, (first, end) = up(p1, FOUR), nodes_of(of, g, width)
        for j in range(first, end):
            c = np.float64(out[j]) if last else 1.0
            db, dg = c * node_T[j], c * node_TZ[j] / s[j]
            if last:
                dG2[j] = node_Ar[j]
            w = 1.0
            if normalized:
                dbeta[j], dgamma[j] = db, dg
                w = np.float64(weight[j])
            slope[j] = w * c
            if batch:
                mean_term[j], s_term[j] = w * db / N, w * dg / (s[j] * (N - ddof))
        for q in range(first, end, width):
            start = q // width * lines
            four_times(of.mu, q, p2, width, of.four_mu)
            four_times(slope, q, p2, width, of.four_slope)
            four_times(mean_term, q, p2, width, of.four_mean_term)
            four_times(s_term, q, p2, width, of.four_s_term)
            finish(Z, start, lines, of.four_mu, of.four_slope, of.four_mean_term, of.four_s_term, T)
            for i in range(N, FOUR * lines):
                for n in range(width):
                    T[start + i // FOUR, i % FOUR * width + n] = 0
            if below:
                tiles, depth_below = of.dZ_fours, up(p2, FOUR)
                for i in range(FOUR * lines):
                    at = i // NODE_ROWS * NODE_ROWS * depth_below + FOUR * (i % NODE_ROWS)
                    for n in range(0, lesser(width, depth_below - q), FOUR):
                        copy_four(T, (start * FOUR + i) * width + n, tiles, at + NODE_ROWS * (q + n))
        for block in range(0, FOUR * lines, R):
            rows = lesser(R, FOUR * lines - block)
            for k0 in range(0, p1, TILES):
                for q in range(first, end, width):
                    t0 = (q * FOUR * lines) + block * width
                    k, bottom = k0, lesser(p1, k0 + TILES)
                    if q + width <= p2:
                        while k + NODE_ROWS <= bottom:
                            x0 = block * depth + k * R
                            tile_of_inputs(X, x0, FOUR * R, T, t0, width, dG, k * p2 + q, p2, rows, block > 0, panel)
                            k += NODE_ROWS
                    while k < bottom:
                        four_inputs(
                            X, block * depth + k * R, FOUR * R, T, t0, width, edge, 0, width, rows, False, panel
                        )
                        for m in range(lesser(FOUR, p1 - k)):
                            for n in range(lesser(width, p2 - q)):
                                old = dG[k + m, q + n] if block > 0 else real(0)
                                dG[k + m, q + n] = edge[m * width + n] + old
                        k += FOUR
        return DONE

    return compute


@functools.cache
def backward(code: int, last: bool, real: type, panel: int) -> Callable:
    """T, the sums and the gradients of a group's nodes, for one activation."""
    (_, da), width = compiled(code), panel * VECTOR_BYTES // real().itemsize

    @of_lines
    def add_up(Z, first, lines, mu, weight, bias, A, r, T, sum_T, sum_Ar, sum_TZ):
        """T = a'(B) ⊙ ∂R/∂A of a panel, whose ∂R/∂A is r ⊗ 1 under the head, in T else, and its sums."""
        for n in range(FOUR * width):
            sum_T[n] = sum_Ar[n] = sum_TZ[n] = 0
        for i in range(lines):
            zs, v, ts = Z[first + i], A[first + i], T[first + i]
            u = r[i] if last else ts
            for n in range(FOUR * width):
                z = zs[n] - mu[n]
                t = da(z * weight[n] + bias[n], v[n]) * u[n]
                if last:
                    sum_Ar[n] += v[n] * u[n]
                ts[n] = t
                sum_T[n] += t
                sum_TZ[n] += t * z

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        Z, A, T, r, of_rows = of.Z_panels, of.A_panels, of.T_panels, of.r, of.eta_parts
        node_T, node_Ar, node_TZ = of.node_T, of.node_Ar, of.node_TZ
        N, p2, lines, (first, end) = of.N, of.p2, of_rows.shape[0], nodes_of(of, g, width)
        if last:
            for i in range(FOUR * lines):
                ri = r[i] if i < N else real(0)
                for n in range(width):
                    of_rows[i // FOUR, i % FOUR * width + n] = ri
        for q in range(first, end, width):
            start = q // width * lines
            if not last:
                U = of.U
                for i in range(FOUR * lines):
                    for n in range(lesser(width, p2 - q)):
                        T[start + i // FOUR, i % FOUR * width + n] = U[i, q + n] if i < N else real(0)
            four_times(of.mu, q, p2, width, of.four_mu)
            four_times(of.weight, q, p2, width, of.four_weight)
            four_times(of.bias, q, p2, width, of.four_bias)
            add_up(
                Z,
                start,
                lines,
                of.four_mu,
                of.four_weight,
                of.four_bias,
                A,
                of_rows,
                T,
                of.four_T,
                of.four_Ar,
                of.four_TZ,
            )
            for j in range(q, lesser(end, q + width)):
                node_T[j], node_TZ[j] = folded(of.four_T, j - q, width), folded(of.four_TZ, j - q, width)
                if last:
                    node_Ar[j] = folded(of.four_Ar, j - q, width)
        return call(table, At.nodes_gradient, g)

    return compute


@functools.cache
def below_of(real: type, panel: int) -> Callable:
    """∂R/∂(the input) = dZ Γᵀ at a group of inputs."""
    width = panel * VECTOR_BYTES // real().itemsize

    @group_function
    def compute(table, g):
        of = arrays(table, real, g)
        dZ, G, dA, strips, edge = of.dZ_fours, of.Gamma, of.dA, of.turned_strips[g], of.edges_below[g]
        p1, p2, rows = of.p1, of.p2, dA.shape[0]
        depth, first, end = up(p2, FOUR), g * INPUTS_EACH, lesser(p1, (g + 1) * INPUTS_EACH)
        for j0 in range(0, p2, STRIP):
            strip = lesser(STRIP, p2 - j0)
            whole = strip // FOUR * FOUR
            for k in range(first, end, width):
                at, count = (k - first) * STRIP, lesser(width, p1 - k)
                fours = count // FOUR * FOUR
                for n in range(0, fours, FOUR):
                    for j in range(0, whole, FOUR):
                        turn_four(G, (k + n) * p2 + j0 + j, p2, strips, at + j * width + n, width)
                for j in range(up(strip, FOUR)):
                    for n in range(fours if j < whole else 0, width):
                        strips[at + j * width + n] = G[k + n, j0 + j] if n < count and j < strip else real(0)
            for i in range(0, rows, NODE_ROWS):
                count, left = lesser(NODE_ROWS, rows - i), i * depth + NODE_ROWS * j0
                for k in range(first, end, width):
                    at, deep = (k - first) * STRIP, up(strip, FOUR)
                    if k + width <= p1 and count == NODE_ROWS:
                        tile_of_rows(
                            dZ, left, FOUR * NODE_ROWS, strips, at, width, dA, i * p1 + k, p1, deep, j0 > 0, panel
                        )
                    else:
                        tile_of_rows(dZ, left, FOUR * NODE_ROWS, strips, at, width, edge, 0, width, deep, False, panel)
                        for m in range(count):
                            for n in range(lesser(width, p1 - k)):
                                dA[i + m, k + n] = edge[m * width + n] + (dA[i + m, k + n] if j0 > 0 else real(0))
        return DONE

    return compute


def functions(code: int, normalization: str, last: bool, below: bool, real: type, panel: int) -> dict[str, CFunc]:
    """The functions that a layer's passes call, its panels of so many vectors.

    A whole step with units calls `head.outcome` too.
    """
    return {
        "make_tiles": make_tiles(real),
        "nodes_product": product(normalization, real, panel),
        "nodes_forward": forward(code, last, real, panel),
        "nodes_gradient": gradient(normalization, last, below, real, panel),
        "nodes_backward": backward(code, last, real, panel),
    } | ({"nodes_below": below_of(real, panel)} if below else {})


@functools.cache
def tiles_step(batch: bool, real: type) -> Callable:
    """X in tiles."""

    @njit(plain=True)
    def tile(table):
        """The tiles of X. DONE, or BROKEN."""
        of = arrays(table, real, 0)
        if batch:
            leading_mean(of.X, 0, of.N, of.shift)
        return float(DONE) if call_all(of, At.make_tiles) else BROKEN

    return tile


@functools.cache
def forward_step(normalization: str, last: bool, real: type) -> Callable:
    """A layer's forward pass, for every activation."""
    batch = normalization == "batch"

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, eps):
        """A, or η; with tiles of X that are made first where they are not there. DONE, or BROKEN."""
        of = arrays(table, real, 0)
        of.eps[0] = eps
        if of.tiled == 0:
            if batch:
                leading_mean(of.X, 0, of.N, of.shift)
            if not call_all(of, At.make_tiles):
                return BROKEN
        if not call_all(of, At.nodes_forward):
            return BROKEN
        if last:
            eta = of.eta
            linear_part(of, 0, of.N, eta, 0)
            for g in range(of.groups):
                its = group(of, g).eta_group
                for i in range(of.N):
                    eta[i] += its[i]
        return float(DONE)

    return step


@functools.cache
def backward_step(below: bool, real: type) -> Callable:
    """A layer's backward pass, for every activation."""

    @njit(plain=True)
    def step(table, eps):
        """The gradients. DONE, or BROKEN."""
        of = arrays(table, real, 0)
        if not call_all(of, At.nodes_backward):
            return BROKEN
        if below and not call_all(of, At.nodes_below):
            return BROKEN
        return float(DONE)

    return step


@functools.cache
def whole_step(loss: str, normalization: str, real: type) -> Callable:
    """The step of a network of one layer, for every activation."""
    forth, back, (value, slope) = (
        forward_step(normalization, True, real),
        backward_step(False, real),
        compiled_loss(loss),
    )

    @njit(fastmath=REASSOCIATE, plain=True)
    def step(table, eps):
        """One step; the loss, or BROKEN."""
        if forth(table, eps) < 0:
            return BROKEN
        of = arrays(table, real, 0)
        y, r, N = of.y, of.r, of.N
        over_N, total = real(1 / N), 0.0
        if of.units > 0:
            if not call_all(of, At.outcome):
                return BROKEN
            total = total_loss(of)
        else:
            for i in range(N):
                eta = r[i]
                total += value(y[i], eta)
                r[i] = slope(y[i], eta) * over_N
        clear(of.sum_Wr)
        add_linear(of, 0, N, r, 0)
        if back(table, eps) < 0:
            return BROKEN
        return total / N

    return step

"""Few hidden nodes: loops over rows as they lie, without tiles.

A tile takes whole vectors of nodes and a copy of X: with few nodes most of both would be waste. Here vectors lie along
a row of X. Z is a dot product a row and node (`dots`), ∂R/∂Γ1 a sum of rows, each times a number a node (`add_rows`);
a row that is in registers serves up to four nodes. Z and T are kept node by node (p2, N), so that all that lies between
the products is long loops over rows.

A row's last vector reaches into the next row: what it finds there meets zeros of Γ1ᵀ, or ends in columns that nobody
reads. The last rows of X, and all of them where a column is far from 0 (`far_mean`), are copied first, less shift.
"""

import functools
import math
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from bnbench.elementary import compiled, compiled_loss
from bnbench.fused.gemm import INDEX, SUMS, VECTOR_BYTES, WHOLE, Emitter, lesser
from bnbench.fused.head import add_linear, block_outcome, linear_part, total_linear, total_loss
from bnbench.fused.layout import BROKEN, CACHE_BYTES, EIGHT, FOUR, LINE_BYTES
from bnbench.fused.passes import merge_groups, moved, up
from bnbench.fused.scratch import DONE, At, arrays, call, call_all, clear, group, group_function
from bnbench.jit import REASSOCIATE, njit

MOST_NODES = 4 if SUMS > 12 else 3  # that a row in registers serves: of 32 or of 16 registers
STRIP_VECTORS = 4  # of a row of ∂R/∂Γ1ᵀ whose sums stay in registers, for up to three nodes; half for four
CHAINS = 8  # sums that are independent of each other, so that none waits for another
NEAR = 8  # a column is taken to be far from 0 where its first rows lie within this part of their mean
AHEAD_BYTES = 2**16  # of what is read, where X does not stay in a cache
FLUSH_ROWS = 2048  # after which float32 sums go to float64

of_lines = njit(fastmath=REASSOCIATE, forceinline=True, inner=True, apart=True)


def summed(builder, vectors):
    """The sums of so many vectors' lanes, in their order, as vectors: a power of two of each."""
    lanes = vectors[0].type.count
    if len(vectors) > lanes:
        half = len(vectors) // 2
        return [*summed(builder, vectors[:half]), *summed(builder, vectors[half:])]

    def picked(one, other, places):
        return builder.shuffle_vector(one, other, ir.VectorType(WHOLE, len(places))(places))

    width = 1  # of blocks that hold sums of one vector each
    while len(vectors) > 1:
        even = [q + n for q in range(0, lanes, 2 * width) for n in (*range(width), *range(lanes, lanes + width))]
        vectors = [
            builder.fadd(picked(one, other, even), picked(one, other, [place + width for place in even]))
            for one, other in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width *= 2
    (vector,) = vectors
    while lanes > width:
        lanes //= 2
        vector = builder.fadd(*(picked(vector, vector, [n + at for n in range(lanes)]) for at in (0, lanes)))
    return [vector]


def fetch(builder, pointer, count, size, wanted):
    """Have so many lines of memory brought into a cache from an address on, if wanted; it may lie anywhere."""
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, WHOLE, WHOLE, WHOLE])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, level, data = WHOLE(0), WHOLE(2), WHOLE(1)  # the second level: the first has no room to wait in
    with builder.if_then(wanted):
        for line in range(count):
            place = builder.gep(pointer, [INDEX(line * LINE_BYTES // size)])
            builder.call(prefetch, [builder.bitcast(place, cgutils.voidptr_t), to_read, level, data])


def dots(nodes: int) -> Callable:
    """The intrinsic for Z of some rows and nodes: Z[h, m] = Σ_k X[m, k] G[h, k] over so many vectors of k, one or more.

    x0, g0, z0 are where they begin in each array, ldx, ldg and ldz the numbers from one row of it to the next. X is
    fetched so many numbers ahead, where that is not 0.
    """
    rows = FOUR if nodes > 1 else EIGHT

    @intrinsic
    def compute(typing, X, x0, ldx, G, g0, ldg, Z, z0, ldz, vectors, ahead):
        index = types.intp
        signature = types.void(X, index, index, G, index, index, Z, index, index, index, index)

        def build(context, builder, signature, arguments):
            X0, x0, ldx, G0, g0, ldg, Z0, z0, ldz, vectors, ahead = arguments
            emit = Emitter(context, builder, X.dtype)

            def lines(start, apart, count):
                return [builder.gep(start, [builder.mul(apart, INDEX(m))]) for m in range(count)]

            left = lines(emit.pointer(X, X0, x0), ldx, rows)
            right = lines(emit.pointer(G, G0, g0), ldg, nodes)
            end, wanted = builder.mul(vectors, INDEX(emit.lanes)), builder.icmp_signed(">", ahead, INDEX(0))
            before = builder.block
            loop, done = builder.append_basic_block("dots"), builder.append_basic_block("dots.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(INDEX)
            sums = [[builder.phi(emit.vector) for _ in range(rows)] for _ in range(nodes)]
            future = builder.gep(left[0], [builder.add(ahead, builder.mul(k, INDEX(rows)))])
            fetch(builder, future, rows * VECTOR_BYTES // LINE_BYTES, emit.size, wanted)
            xs, gs = ([emit.load(builder.gep(line, [k])) for line in side] for side in (left, right))
            new = [
                [
                    builder.fadd(s, builder.fmul(x, g, flags=("contract",)), flags=("contract",))
                    for s, x in zip(line, xs, strict=True)
                ]
                for line, g in zip(sums, gs, strict=True)
            ]
            zero = ir.Constant(emit.vector, [0.0] * emit.lanes)
            next_k = builder.add(k, INDEX(emit.lanes))
            k.add_incoming(INDEX(0), before)
            k.add_incoming(next_k, builder.block)
            for line, later in zip(sums, new, strict=True):
                for phi, value in zip(line, later, strict=True):
                    phi.add_incoming(zero, before)
                    phi.add_incoming(value, builder.block)
            builder.cbranch(builder.icmp_signed("<", next_k, end), loop, done)
            builder.position_at_end(done)
            for line, place in zip(new, lines(emit.pointer(Z, Z0, z0), ldz, nodes), strict=True):
                at = 0
                for part in summed(builder, line):
                    pointer = builder.gep(place, [INDEX(at)])
                    builder.store(part, builder.bitcast(pointer, part.type.as_pointer())).align = emit.size
                    at += part.type.count
            return context.get_dummy_value()

        return signature, build

    return compute


def add_rows(nodes: int, vectors: int) -> Callable:
    """The intrinsic for C[h, :] += Σ_i D[h, i] X[i, :] over so many rows, a multiple of four, for some vectors of C."""
    sets = max(1, min(FOUR, CHAINS // (nodes * vectors)))  # of sums: of every row, or of every second or fourth

    @intrinsic
    def compute(typing, D, d0, ldd, X, x0, ldx, C, c0, ldc, rows, ahead):
        index = types.intp
        signature = types.void(D, index, index, X, index, index, C, index, index, index, index)

        def build(context, builder, signature, arguments):
            D0, d0, ldd, X0, x0, ldx, C0, c0, ldc, rows, ahead = arguments
            emit = Emitter(context, builder, X.dtype)
            factors = [builder.gep(emit.pointer(D, D0, d0), [builder.mul(ldd, INDEX(h))]) for h in range(nodes)]
            source, out = emit.pointer(X, X0, x0), emit.pointer(C, C0, c0)
            places = [
                (builder.gep(out, [builder.mul(ldc, INDEX(h))]), v * emit.lanes)
                for h in range(nodes)
                for v in range(vectors)
            ]
            zero = ir.Constant(emit.vector, [0.0] * emit.lanes)
            started = [[emit.load(*place) for place in places]] + [[zero] * len(places) for _ in range(sets - 1)]
            before, wanted = builder.block, builder.icmp_signed(">", ahead, INDEX(0))
            loop, done = builder.append_basic_block("rows"), builder.append_basic_block("rows.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            i, row = builder.phi(INDEX), builder.phi(source.type)
            phis = [[builder.phi(emit.vector) for _ in places] for _ in range(sets)]
            sums, x = [list(line) for line in phis], row
            future = builder.gep(source, [builder.add(ahead, builder.mul(i, INDEX(vectors * emit.lanes)))])
            fetch(builder, future, FOUR * vectors * VECTOR_BYTES // LINE_BYTES, emit.size, wanted)
            for u in range(FOUR):
                values = [emit.load(x, v * emit.lanes) for v in range(vectors)]
                line = sums[u % sets]
                for h, factor in enumerate(factors):
                    d = emit.spread(builder.gep(factor, [builder.add(i, INDEX(u))]))
                    for v, value in enumerate(values):
                        product = builder.fmul(d, value, flags=("contract",))
                        line[h * vectors + v] = builder.fadd(line[h * vectors + v], product, flags=("contract",))
                x = builder.gep(x, [ldx])
            next_i = builder.add(i, INDEX(FOUR))
            for phi, first, later in (
                (i, INDEX(0), next_i),
                (row, source, x),
                *(three for lines in zip(phis, started, sums, strict=True) for three in zip(*lines, strict=True)),
            ):
                phi.add_incoming(first, before)
                phi.add_incoming(later, builder.block)
            builder.cbranch(builder.icmp_signed("<", next_i, rows), loop, done)
            builder.position_at_end(done)
            for place, *parts in zip(places, *sums, strict=True):
                while len(parts) > 1:
                    parts = [builder.fadd(one, other) for one, other in zip(parts[::2], parts[1::2], strict=True)]
                emit.store(parts[0], *place)
            return context.get_dummy_value()

        return signature, build

    return compute


dots1, dots2, dots3, dots4 = map(dots, (1, 2, 3, 4))
(one4, one2, one1), (two4, two2, two1), (three4, three2, three1) = (
    (add_rows(nodes, 4), add_rows(nodes, 2), add_rows(nodes, 1)) for nodes in (1, 2, 3)
)
four2, four1 = add_rows(4, 2), add_rows(4, 1)


@njit(inner=True)
def nodes_at_once(left):
    """So many of the nodes that are left, in shares that are nearly even."""
    shares = (left + MOST_NODES - 1) // MOST_NODES
    return (left + shares - 1) // shares


@njit(inner=True)
def rows_times_nodes(X, x0, ldx, rows, G, Z, z0, ahead):
    """Z of rows that begin at x0, a multiple of eight, from column z0 of Z on: their products with rows of G."""
    (p2, ldg), ldz, lanes = G.shape, Z.shape[1], VECTOR_BYTES // X.itemsize
    vectors, j = ldg // lanes, 0
    while j < p2:
        nodes, g, z = nodes_at_once(p2 - j), j * ldg, j * ldz + z0
        if nodes == 1:
            for i in range(0, rows, EIGHT):
                dots1(X, x0 + i * ldx, ldx, G, g, ldg, Z, z + i, ldz, vectors, ahead)
        elif nodes == 2:
            for i in range(0, rows, FOUR):
                dots2(X, x0 + i * ldx, ldx, G, g, ldg, Z, z + i, ldz, vectors, ahead)
        elif nodes == 3:
            for i in range(0, rows, FOUR):
                dots3(X, x0 + i * ldx, ldx, G, g, ldg, Z, z + i, ldz, vectors, ahead)
        else:
            for i in range(0, rows, FOUR):
                dots4(X, x0 + i * ldx, ldx, G, g, ldg, Z, z + i, ldz, vectors, ahead)
        j += nodes


@njit(inner=True)
def nodes_times_rows(X, x0, ldx, rows, D, d0, C, ahead):
    """C += D X, of columns of D from d0 on and so many rows of X, a multiple of four, that begin at x0."""
    (p2, ldc), ldd, lanes = C.shape, D.shape[1], VECTOR_BYTES // X.itemsize
    vectors, j = ldc // lanes, 0
    while j < p2:
        nodes, d, v = nodes_at_once(p2 - j), j * ldd + d0, 0
        while v < vectors:
            left, x, c = vectors - v, x0 + v * lanes, j * ldc + v * lanes
            far = ahead + rows * ldx + v * lanes * (rows - 1) if ahead > 0 else 0
            if nodes == 4:
                if left > 1:
                    four2(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                    v += 2
                else:
                    four1(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                    v += 1
            elif left > 3:
                if nodes == 1:
                    one4(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                elif nodes == 2:
                    two4(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                else:
                    three4(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                v += 4
            elif left > 1:
                if nodes == 1:
                    one2(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                elif nodes == 2:
                    two2(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                else:
                    three2(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                v += 2
            else:
                if nodes == 1:
                    one1(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                elif nodes == 2:
                    two1(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                else:
                    three1(D, d, ldd, X, x, ldx, C, c, ldc, rows, far)
                v += 1
        j += nodes


@njit(inner=True)
def in_place(of, first, last):
    """The first row, a multiple of eight from `first` on, that must be copied before it is read."""
    shift, depth = of.shift, of.G_rows.shape[1]
    for k in range(of.p1):
        if shift[k] != 0:
            return first
    end = lesser(last, of.N - (depth - 1) // of.p1)  # of the rows whose last vectors lie within X
    return lesser(last, first + (end - first) // EIGHT * EIGHT) if end > first else first


@njit(inner=True)
def copy_rows(of, first, rows):
    """Rows of X, less shift, into X_rows, and zeros up to a multiple of eight."""
    X, shift, copy = of.X, of.shift, of.X_rows
    for i in range(rows):
        for k in range(of.p1):
            copy[i, k] = X[first + i, k] - shift[k]
    for i in range(rows, up(rows, EIGHT)):
        for k in range(of.p1):
            copy[i, k] = 0


@njit(inner=True)
def how_far(of):
    """So many numbers ahead X is fetched: its own prefetcher loses sight of rows that are read side by side."""
    itemsize = of.X.itemsize
    return AHEAD_BYTES // itemsize if of.N * of.p1 * itemsize > CACHE_BYTES else 0


@njit(inner=True)
def product(of, first, count):
    """Z of some rows."""
    X, copy, G, Z, p1 = of.X, of.X_rows, of.G_rows, of.Z_rows, of.p1
    most, depth = copy.shape
    last, start = first + count, first
    whole = in_place(of, first, last)
    if whole > first:
        rows_times_nodes(X, first * p1, p1, whole - first, G, Z, first, how_far(of))
        start = whole
    while start < last:
        rows = lesser(most, last - start)
        copy_rows(of, start, rows)
        rows_times_nodes(copy, 0, depth, up(rows, EIGHT), G, Z, start, 0)
        start += rows


@njit(inner=True)
def transposed_product(of, first, count):
    """(X - shift)ᵀ dZ of some rows, added to the group's."""
    X, copy, dZ, C, p1 = of.X, of.X_rows, of.T_rows, of.dG_rows, of.p1
    most, depth = copy.shape
    last, start = first + count, first
    whole = in_place(of, first, last)
    while start < whole:
        rows = lesser(most, whole - start)
        nodes_times_rows(X, start * p1, p1, rows, dZ, start, C, how_far(of))
        start += rows
    while start < last:
        rows = lesser(most, last - start)
        copy_rows(of, start, rows)
        nodes_times_rows(copy, 0, depth, up(rows, EIGHT), dZ, start, C, 0)
        start += rows


@njit(fastmath=REASSOCIATE, inner=True)
def far_mean(X, shift):
    """The mean of the first rows of a column that is far from 0, into shift; 0 for all others.

    There X - shift loses three binary digits at most, and here it spares most steps a copy of X.
    """
    rows = lesser(EIGHT, X.shape[0])
    for k in range(X.shape[1]):
        shift[k] = 0
    for i in range(rows):
        for k in range(X.shape[1]):
            shift[k] += X[i, k]
    for k in range(X.shape[1]):
        shift[k] /= rows
    for i in range(rows):
        for k in range(X.shape[1]):
            middle = shift[k]
            shift[k] = middle if NEAR * abs(X[i, k] - middle) <= abs(middle) else 0


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

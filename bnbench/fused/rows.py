"""Products with rows of X as they lie, for few hidden nodes: no tiles, no copy of what can be read in place.

Vectors lie along a row of X. Z is a dot product a row and node (`dots`), ∂R/∂Γ1 a sum of rows, each times a number a
node (`add_rows`); a row that is in registers serves up to four nodes.

A row's last vector reaches into the next row: what it finds there meets zeros of Γ1ᵀ, or ends in columns that nobody
reads. The last rows of X, and all of them where a column is far from 0 (`far_mean`), are copied first, less shift.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from bnbench.fused.gemm import INDEX, SUMS, VECTOR_BYTES, WHOLE, Emitter, lesser
from bnbench.fused.layout import CACHE_BYTES, EIGHT, FOUR, LINE_BYTES
from bnbench.fused.passes import up
from bnbench.jit import REASSOCIATE, njit

MOST_NODES = 4 if SUMS > 12 else 3  # that a row in registers serves: of 32 or of 16 registers
STRIP_VECTORS = 4  # of a row of ∂R/∂Γ1ᵀ whose sums stay in registers, for up to three nodes; half for four
CHAINS = 8  # sums that are independent of each other, so that none waits for another
NEAR = 8  # a column is taken to be far from 0 where its first rows lie within this part of their mean
AHEAD_BYTES = 2**16  # of what is read, where X does not stay in a cache


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

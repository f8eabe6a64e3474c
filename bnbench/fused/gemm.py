"""Matrix products with a block of rows of X, for compiled code: register tiles in vector instructions.

A block of R rows is copied once into *tiles of four columns*, element (i, k) at `4 R (k // 4) + 4 i + k % 4`, which
serves both products of the step without a further copy: Z = X_b W, where it is read along k, and G += X_bᵀ T, where
it is read along i. The right-hand matrix is read in panels of three or four vectors, the last of fewer, and a tile of
the result stays in registers over the whole sum; that order of the sum is fixed, so equal inputs give equal bits.

Sizes are padded so that no tile has an edge: rows of a block to a multiple of 12, columns of X to 4 (8 in G), those of
the right-hand matrix to whole vectors, of 32 bytes at most. Where a register holds two of them, two are one. What lies
in the padding of T must be finite; that of P and W must be 0.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bnbench.fused.layout import FOUR, INPUTS, LINE_BYTES, ROWS
from bnbench.jit import njit
from bnbench.width import vectors

VECTOR_BYTES, WIDE, PANEL, SUMS, NODE_ROWS = (
    getattr(vectors(), name) for name in ("bytes", "wide", "panel", "sums", "node_rows")
)
AHEAD = 8  # rows of B that a tile which copies them asks for before it reads them
FEW_SUMS = 16  # up to which a tile of G takes four rows in a pass of its loop, else two

WHOLE, INDEX = ir.IntType(32), ir.IntType(64)


class Emitter:
    """What the intrinsics below share: vectors of one dtype, loaded from and stored to arrays."""

    def __init__(self, context: Any, builder: Any, dtype: Any, count: int = 1, lanes: int = 0) -> None:
        """For vectors of so many numbers, or so many of those that columns are padded to."""
        self.context, self.builder = context, builder
        self.number = context.get_value_type(dtype)
        self.size = context.get_abi_sizeof(self.number)
        self.lanes = lanes or count * VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.number, self.lanes)

    def pointer(self, array_type: Any, array: Any, offset: Any) -> Any:
        """Where an array's element lies."""
        data = self.context.make_array(array_type)(self.context, self.builder, value=array).data
        return self.builder.gep(data, [offset])

    def at(self, pointer: Any, offset: Any) -> Any:
        """The vector that begins so many numbers further on."""
        moved = self.builder.gep(pointer, [INDEX(offset)])
        return self.builder.bitcast(moved, self.vector.as_pointer())

    def load(self, pointer: Any, offset: Any = 0) -> Any:
        """A vector, of any alignment."""
        value = self.builder.load(self.at(pointer, offset))
        value.align = self.size
        return value

    def store(self, value: Any, pointer: Any, offset: Any = 0) -> None:
        """Write a vector, of any alignment."""
        self.builder.store(value, self.at(pointer, offset)).align = self.size

    def prefetch(self, pointer: Any, stride: Any, rows: int, count: int, near: int = 2) -> None:
        """Have so many vectors of so many rows brought to a cache: to the second, to be written, or the first, 3."""
        byte, whole = ir.IntType(8).as_pointer(), [ir.IntType(32)] * 3
        kind = ir.FunctionType(ir.VoidType(), [byte, *whole])
        fetch = self.builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        for _ in range(rows):
            for place in range(0, count * self.lanes * self.size, LINE_BYTES):
                at = self.builder.bitcast(self.builder.gep(pointer, [INDEX(place // self.size)]), byte)
                self.builder.call(fetch, [at, WHOLE(int(near == 2)), WHOLE(near), WHOLE(1)])
            pointer = self.builder.gep(pointer, [stride])

    def spread(self, pointer: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, self.builder.load(pointer), WHOLE(0))
        return self.builder.shuffle_vector(one, undefined, ir.VectorType(WHOLE, self.lanes)([0] * self.lanes))


def registers(count: int) -> int:
    """The registers that so many vectors take, which are one or a multiple of what a register holds."""
    return max(1, count // WIDE)


def height_Z(count: int) -> int:
    """Rows of a tile of Z of so many vectors: a divisor of `ROWS`."""
    return min(ROWS // 2 if count == PANEL else ROWS, SUMS // registers(count))


def height_G(count: int) -> int:
    """Rows of a tile of G of so many vectors: a divisor of `INPUTS`."""
    return min(INPUTS, SUMS // registers(count) // FOUR * FOUR)


def tile(*, transposed: bool, height: int, count: int) -> Callable:
    """The intrinsic `tile(P, p0, stride, B, b0, ldb, C, c0, ldc, K, add)` for a tile of so many vectors, in registers.

    With transposed off, C[m, :] = Σ_k P(m, k) B[k, :] over K columns of the block; with it on, C[m, :] = Σ_i P(i, m)
    B[i, :] over K rows. With add that is added to C. stride is 4 R, K a multiple of 4; p0, b0, c0 are where the tile
    begins in each array, ldb and ldc the numbers from one row to the next.
    """

    @intrinsic
    def compute(typing, P, p0, stride, B, b0, ldb, C, c0, ldc, K, add):
        index = types.intp
        signature = types.void(P, index, index, B, index, index, C, index, index, index, types.boolean)
        return signature, tile_code(transposed, height, count)

    return compute


def tile_of_any(*, transposed: bool, height: int) -> Callable:
    """The same with the number of vectors, a constant, as a last argument."""

    @intrinsic(prefer_literal=True)
    def compute(typing, P, p0, stride, B, b0, ldb, C, c0, ldc, K, add, count):
        index = types.intp
        signature = types.void(P, index, index, B, index, index, C, index, index, index, types.boolean, count)
        return signature, tile_code(transposed, height, count.literal_value)

    return compute


def tile_that_copies(*, height: int) -> Callable:
    """The same of Z, which copies what it reads of B to S[s0:], row after row: tiles of other rows read it there."""

    @intrinsic(prefer_literal=True)
    def compute(typing, P, p0, stride, B, b0, ldb, C, c0, ldc, K, add, count, S, s0):
        index = types.intp
        signature = types.void(P, index, index, B, index, index, C, index, index, index, types.boolean, count, S, index)
        return signature, tile_code(False, height, count.literal_value, copies=True)

    return compute


def tile_code(transposed: bool, height: int, count: int, copies: bool = False) -> Callable:
    """What writes a tile's code."""
    each = registers(count)
    steps = 2 if transposed and height * each > FEW_SUMS else FOUR

    def build(context, builder, signature, arguments):
        P0, p0, stride, B0, b0, ldb, C0, c0, ldc, K, add = arguments[:11]
        P, B, C = (signature.args[place] for place in (0, 3, 6))
        emit = Emitter(context, builder, P.dtype, count // registers(count))
        kept = emit.pointer(signature.args[12], *arguments[12:]) if copies else None
        left, right, out = emit.pointer(P, P0, p0), emit.pointer(B, B0, b0), emit.pointer(C, C0, c0)
        if transposed and count == PANEL:
            emit.prefetch(out, ldc, height, each)
        before = builder.block
        loop, done = builder.append_basic_block("sum"), builder.append_basic_block("sum.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k, a, b = builder.phi(INDEX), builder.phi(left.type), builder.phi(right.type)
        copy = builder.phi(kept.type) if copies else None
        start = [[builder.phi(emit.vector) for _ in range(each)] for _ in range(height)]
        sums, row = start, b
        if transposed:
            columns = [builder.gep(a, [builder.mul(INDEX(m // FOUR), stride)]) for m in range(0, height, FOUR)]
        for u in range(steps):
            values = [emit.load(row, v * emit.lanes) for v in range(each)]
            if copies:
                emit.prefetch(builder.gep(row, [builder.mul(ldb, INDEX(AHEAD))]), ldb, 1, each, near=3)
                for v, value in enumerate(values):
                    emit.store(value, copy, (u * each + v) * emit.lanes)
            new = []
            for m in range(height):
                if transposed:
                    place = builder.gep(columns[m // FOUR], [INDEX(FOUR * u + m % FOUR)])
                else:
                    place = builder.gep(a, [INDEX(FOUR * m + u)])
                x = emit.spread(place)
                products = [builder.fmul(x, value, flags=("contract",)) for value in values]
                new.append([builder.fadd(s, t, flags=("contract",)) for s, t in zip(sums[m], products, strict=True)])
            sums, row = new, builder.gep(row, [ldb])
        next_k = builder.add(k, INDEX(steps))
        next_a = builder.gep(a, [INDEX(FOUR * steps) if transposed else stride])
        zero = ir.Constant(emit.vector, [0.0] * emit.lanes)
        first = [INDEX(0), left, right, *(zero for line in start for _ in line)]
        later = [next_k, next_a, row, *(value for line in sums for value in line)]
        phis = [k, a, b, *(s for line in start for s in line)]
        if copies:
            phis.append(copy)
            first.append(kept)
            later.append(builder.gep(copy, [INDEX(FOUR * each * emit.lanes)]))
        for phi, one, other in zip(phis, first, later, strict=True):
            phi.add_incoming(one, before)
            phi.add_incoming(other, loop)
        builder.cbranch(builder.icmp_signed("<", next_k, K), loop, done)
        builder.position_at_end(done)
        with builder.if_else(add) as (adding, storing):
            for branch, old in ((adding, True), (storing, False)):
                with branch:
                    row = out
                    for line in sums:
                        for v, value in enumerate(line):
                            place = v * emit.lanes
                            emit.store(builder.fadd(emit.load(row, place), value) if old else value, row, place)
                        row = builder.gep(row, [ldc])
        return context.get_dummy_value()

    return build


@intrinsic
def lesser(typing, one, other):
    """The lesser of two whole numbers: Numba's `min` is a function of its own, which takes long to compile."""

    def build(context, builder, signature, arguments):
        return builder.select(builder.icmp_signed("<", *arguments), *arguments)

    return types.intp(types.intp, types.intp), build


@intrinsic
def shifted_four(typing, X, x0, shift, k, P, p0):
    """P[p0 : p0+4] = X[x0 : x0+4] - shift[k : k+4]."""
    index = types.intp
    signature = types.void(X, index, shift, index, P, index)

    def build(context, builder, signature, arguments):
        X0, x0, shift0, k, P0, p0 = arguments
        emit = Emitter(context, builder, X.dtype, lanes=FOUR)
        value = emit.load(emit.pointer(X, X0, x0))
        value = builder.fsub(value, emit.load(emit.pointer(shift, shift0, k)))
        emit.store(value, emit.pointer(P, P0, p0))
        return context.get_dummy_value()

    return signature, build


@intrinsic(prefer_literal=True)
def copy_vectors(typing, T, t0, B, b0, count):
    """Copy so many vectors, a constant, from T[t0:] to B[b0:]."""
    signature, each = types.void(T, types.intp, B, types.intp, count), registers(count.literal_value)

    def build(context, builder, signature, arguments):
        T0, t0, B0, b0, _ = arguments
        emit = Emitter(context, builder, T.dtype, count.literal_value // each)
        source, target = emit.pointer(T, T0, t0), emit.pointer(B, B0, b0)
        for v in range(each):
            emit.store(emit.load(source, v * emit.lanes), target, v * emit.lanes)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def copy_four(typing, T, t0, B, b0):
    """Copy four numbers from T[t0:] to B[b0:]."""
    signature = types.void(T, types.intp, B, types.intp)

    def build(context, builder, signature, arguments):
        T0, t0, B0, b0 = arguments
        emit = Emitter(context, builder, T.dtype, lanes=FOUR)
        emit.store(emit.load(emit.pointer(T, T0, t0)), emit.pointer(B, B0, b0))
        return context.get_dummy_value()

    return signature, build


HEIGHT_Z, HEIGHT_Z2, HEIGHT_Z1 = map(height_Z, (PANEL, 2, 1))
HEIGHT_G, HEIGHT_G2, HEIGHT_G1 = map(height_G, (PANEL, 2, 1))
tile_Z, tile_Z2, tile_Z1 = (tile(transposed=False, height=height_Z(count), count=count) for count in (PANEL, 2, 1))
tile_G, tile_G2, tile_G1 = (tile(transposed=True, height=height_G(count), count=count) for count in (PANEL, 2, 1))
tile_G_rest = tile(transposed=True, height=FOUR, count=PANEL)


@njit(inner=True)
def pack(X, first, rows, shift, P, R):
    """Rows first to first + rows of X (N, p1), less shift (p1,), into tiles of four columns in P.

    P is of R rows. Rows up to the next multiple of 12 become 0; the columns beyond p1 are left as they are.
    """
    p1 = X.shape[1]
    whole, rest = p1 // FOUR, p1 & (FOUR - 1)
    for i in range(rows):
        x = (first + i) * p1
        for t in range(whole):
            shifted_four(X, x + FOUR * t, shift, FOUR * t, P, FOUR * (t * R + i))
        for k in range(rest):
            P[FOUR * (whole * R + i) + k] = X[first + i, FOUR * whole + k] - shift[FOUR * whole + k]
    for i in range(rows, (rows + ROWS - 1) // ROWS * ROWS):
        for t in range(whole):
            for k in range(FOUR):
                P[FOUR * (t * R + i) + k] = 0
        for k in range(rest):
            P[FOUR * (whole * R + i) + k] = 0


@njit(inner=True)
def panels(G, W, lanes):
    """A matrix G (p1, p2) as panels, the last of fewer vectors, one after the other in W.

    Each panel has its rows in turn, as many as p1 rounded up to 4; what is padding is left as it is.
    """
    p1, p2 = G.shape
    depth = (p1 + FOUR - 1) // FOUR * FOUR
    start = j = 0
    while j + PANEL * lanes <= p2:
        for k in range(p1):
            copy_vectors(G, k * p2 + j, W, start + k * PANEL * lanes, PANEL)
        start += depth * PANEL * lanes
        j += PANEL * lanes
    wide = (p2 - j + lanes - 1) // lanes * lanes
    for k in range(p1):
        for c in range(p2 - j):
            W[start + k * wide + c] = G[k, j + c]


@njit(inner=True)
def product(P, p0, R, rows, depth, W, ldw, vectors, lanes, Z, z0, ld):
    """Z = X_b W: rows (a multiple of 12) of Z from z0 on, ld apart, from the tiles P, with depth a multiple of 4.

    W is panels of that depth where ldw is 0, or else the matrix itself, its rows ldw apart, in whole vectors.
    """
    j = w = 0
    while vectors >= PANEL:
        for i in range(0, rows, HEIGHT_Z):
            tile_Z(P, p0 + FOUR * i, FOUR * R, W, w, ldw or PANEL * lanes, Z, z0 + i * ld + j, ld, depth, False)
        j += PANEL * lanes
        w = j if ldw > 0 else j * depth
        vectors -= PANEL
    ldw = ldw or vectors * lanes
    if vectors >= 2:
        for i in range(0, rows, HEIGHT_Z2):
            tile_Z2(P, p0 + FOUR * i, FOUR * R, W, w, ldw, Z, z0 + i * ld + j, ld, depth, False)
        j += 2 * lanes
        w += 2 * lanes
        vectors -= 2
    if vectors == 1:
        for i in range(0, rows, HEIGHT_Z1):
            tile_Z1(P, p0 + FOUR * i, FOUR * R, W, w, ldw, Z, z0 + i * ld + j, ld, depth, False)


@njit(inner=True)
def transposed_product(P, R, rows, p1, T, ld, vectors, lanes, G, panel, upper, add):
    """G = X_bᵀ T, or G += that with add, over rows (a multiple of 12), the rows of T and of G ld apart.

    panel is room for R rows of a panel. With upper only what lies on and above the diagonal of G need be right.
    """
    j = 0
    while vectors >= PANEL:
        last = lesser(p1, j + PANEL * lanes) if upper else p1
        half = 2 * lanes if upper and WIDE == 2 else 0
        if last >= COPY_PANEL and rows > COPY_ROWS:
            for i in range(rows):
                copy_vectors(T, i * ld + j, panel, i * PANEL * lanes, PANEL)
            panel_of_G(P, R, last, panel, 0, PANEL * lanes, G, j, ld, rows, add, half)
        else:
            panel_of_G(P, R, last, T, j, ld, G, j, ld, rows, add, half)
        j += PANEL * lanes
        vectors -= PANEL
    if vectors >= 2:
        for m in range(0, p1, HEIGHT_G2):
            tile_G2(P, m * R, FOUR * R, T, j, ld, G, m * ld + j, ld, rows, add)
        j += 2 * lanes
        vectors -= 2
    if vectors == 1:
        for m in range(0, p1, HEIGHT_G1):
            tile_G1(P, m * R, FOUR * R, T, j, ld, G, m * ld + j, ld, rows, add)


@njit(inner=True)
def panel_of_G(P, R, last, T, t0, ldt, G, j, ld, rows, add, half):
    """A panel of G from column j on, down to row `last`, from one of T.

    With half, columns of half a panel, only what lies on and above the diagonal need be right.
    """
    m, whole = 0, lesser(last, j + half) if half > 0 else last
    if HEIGHT_G > FOUR:
        while m + HEIGHT_G <= whole:
            tile_G(P, m * R, FOUR * R, T, t0, ldt, G, m * ld + j, ld, rows, add)
            m += HEIGHT_G
    while m < whole:
        tile_G_rest(P, m * R, FOUR * R, T, t0, ldt, G, m * ld + j, ld, rows, add)
        m += FOUR
    if WIDE == 2 and half > 0:
        for m in range(whole, last, HEIGHT_G2):
            tile_G2(P, m * R, FOUR * R, T, t0 + half, ldt, G, m * ld + j + half, ld, rows, add)


COPY_PANEL, COPY_ROWS = 64, 24  # columns of X and rows from which a panel of T is worth copying together

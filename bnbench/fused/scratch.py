"""The arrays of a fused step: their sizes, and how compiled code finds them.

A kernel gets one table in place of some twenty arrays, which would take Numba a microsecond to hand over: row `At.T`
says where T lies and its shape, with ones in front up to three axes. The first axis of what each group has its own is
the group's. A row of a function says where it lies and how often it is called. Kernels get the table's address.
X, y, G1, dG1 are as everywhere (all but X and y lie in the scratch), and beside them lie

    P (groups, inputs * rows)    a block of X in tiles (see `gemm`)
    T (groups, rows, ld)         A of a block, then T or dZ; D is like it, a' of the Gaussian
    G (groups, inputs * ld)      X_bᵀ T summed over a group; panel (groups, room) is room for a panel of T
    r (groups, rows)             r of a block; Z and all_r are Z and r of all rows
    given (2, p2)                mean and variance, where they are given
    A, U (N, p2), dA (N, p1)     of a layer: its output, and ∂R/∂ of its output, the layer's above, and of its input
    turned, W_below, tiles, back, nothing      Γᵀ, the same in panels, dZ of a block in tiles, dZ Γᵀ of it, and zeros
    spread (1, p2)               s of a layer (float64)
    block (groups, 3, ld)        sums over a block, in the arrays' dtype
    sums (groups, SUMS or more, ld)   sums over a group, float64; then the rows of its flushed G, if it is flushed
    vectors (VECTORS, ld)        what belongs to the hidden nodes, padded with zeros
    W, shift, total              Γ1 in panels, what is taken off the columns of X, G over all groups (float64)
    C, diagonal, rest            XᵀX centred, in tiles, its diagonal, and x̄ - shift (float64)
    wide, wide_panels, V         Γ1 in float64, the same in panels, and C Γ1
    near, means                  by group, what is near the mean of X, and what is left of it (float64)
    per_node, d_per_node (3, p2)        γ, β and Γ2, and their gradients
"""

import collections
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from bnbench.activations import CODES, NEEDS_B
from bnbench.compiling import called
from bnbench.fused.gemm import FOUR, INDEX, PANEL, ROWS, VECTOR_BYTES
from bnbench.fused.layout import BROKEN as BROKEN
from bnbench.fused.layout import FELL_BACK as FELL_BACK
from bnbench.fused.layout import FIRST_LAYER, LAYERS, LINE_BYTES, ONE_PASS, Layout, leading, up
from bnbench.jit import REASSOCIATE, cfunc, njit
from bnbench.problem import Problem
from bnbench.threads import alone

# Rows of `vectors`: b = (z - MU) WEIGHT + SHIFT, dz = C t - MEAN - (z - MU) SLOPE.
SHIFT, G2_, MU, WEIGHT, C_, MEAN, SLOPE = range(7)
VECTORS = 7
# Rows of `sums`; the last holds the loss and the number of rows.
D_BETA, D_G2, D_GAMMA, CENTRE, SPREAD, OTHERS = range(6)
SUMS = 6
GAMMA, BETA_, GAMMA2 = range(3)  # rows of per_node and d_per_node

FLOAT64 = np.dtype(np.float64)

# The row of each array, and of each function of a group, in the table. Plain integers: Numba before 0.68 indexes with
# no members of an enumeration.
ARRAYS = "X y G1 per_node dG1 d_per_node P T D G panel block sums r W vectors shift total Z all_r given"
ARRAYS += " A U dA turned W_below tiles back nothing spread"
ARRAYS += " C diagonal rest wide wide_panels V near means"
FUNCTION_ROWS = "statistics forward_backward products sweep gram_sweep total_row threads"
Rows: Any = collections.namedtuple("Rows", f"{ARRAYS} {FUNCTION_ROWS}")  # type: ignore[misc]
At: Any = Rows(*range(len(Rows._fields)))

COLUMNS = 4  # of the table
FUNCTIONS = At.statistics  # the row from which on there are functions
UNPACKED_ROWS = 24  # up to which Γ1 is not worth copying into panels
PARAMETERS = ("G1", "per_node", "dG1", "d_per_node")


def addresses(functions: dict[int, CFunc]) -> np.ndarray:
    """The addresses of group functions by row, from `FUNCTIONS` on, 0 for those that are not among them."""
    lying = np.zeros(len(At) - FUNCTIONS, np.int64)
    for row, function in functions.items():
        lying[row - FUNCTIONS] = function.address
    return lying


def table(rows: np.ndarray, functions: np.ndarray, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """A copy of a table that `allocate` began with X, y and the addresses of functions in it; all must stay alive."""
    rows = rows.copy()
    rows[FUNCTIONS:, 0] = functions
    rows[FUNCTIONS:, 1] = rows[At.sums, 1]
    rows[At.total_row, 1] = X.shape[1]
    if rows[At.sums, 1] > 1:
        rows[At.threads, 0] = (turns() if alone() else threads()).address
    called(rows[FUNCTIONS:, 0])
    rows[At.X] = X.ctypes.data, 1, *X.shape
    if y is not None:
        rows[At.y] = y.ctypes.data, 1, 1, *y.shape
    return rows


def load(builder: Any, table: Any, row: Any, column: Any) -> Any:
    """A number of the table at an address."""
    place = builder.add(table, builder.mul(row, INDEX(8 * COLUMNS)))
    return builder.load(builder.gep(builder.inttoptr(place, INDEX.as_pointer()), [INDEX(column)]))


def view(axes: int, grouped: bool = False) -> Callable:
    """The intrinsic `array(table, row, dtype)`: the array in a row, with the last so many of its axes.

    With grouped it is `array(table, row, dtype, g)`, a group's part, whose axis is the one before these. It does what
    Numba's `carray` does, which takes ten times as long to compile.
    """

    def prepared(table, row, dtype, *group):
        kind = types.Array(dtype.dtype, axes, "C")

        def build(context, builder, signature, arguments):
            table, row, _, *group = arguments
            number = context.get_value_type(kind.dtype)
            size = context.get_abi_sizeof(number)
            shape = [load(builder, table, row, COLUMNS - axes + axis) for axis in range(axes)]
            strides = [INDEX(size)]
            for length in shape[:0:-1]:
                strides.insert(0, builder.mul(strides[0], length))
            address = load(builder, table, row, 0)
            for g in group:
                address = builder.add(address, builder.mul(g, builder.mul(strides[0], shape[0])))
            array = context.make_array(kind)(context, builder)
            data = builder.inttoptr(address, number.as_pointer())
            populate_array(array, data, shape, strides, size, None)
            return array._getvalue()

        return kind(table, row, dtype, *group), build

    if grouped:
        return intrinsic(lambda typing, table, row, dtype, g: prepared(table, row, dtype, g))
    return intrinsic(lambda typing, table, row, dtype: prepared(table, row, dtype))


cube, matrix, vector = (view(axes) for axes in (3, 2, 1))
matrix_of, vector_of = (view(axes, grouped=True) for axes in (2, 1))


@intrinsic
def number(typing, table, row, column):
    """A number of the table; the column is known when this is compiled."""

    def build(context, builder, signature, arguments):
        return load(builder, *arguments[:2], column.literal_value)

    return (types.intp(table, row, column), build) if isinstance(column, types.Literal) else None


@intrinsic
def clear(typing, array, first):
    """Make an array 0, from its element `first` on, all its axes taken as one."""

    def build(context, builder, signature, arguments):
        held = context.make_array(array)(context, builder, value=arguments[0])
        count = functools.reduce(builder.mul, cgutils.unpack_tuple(builder, held.shape))
        size = builder.mul(builder.sub(count, arguments[1]), held.itemsize)
        cgutils.memset(builder, builder.gep(held.data, [arguments[1]]), size, 0)
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@intrinsic
def small(typing):
    """Have the function that calls this compiled to little code in little time: its loops are seldom run."""

    def build(context, builder, signature, arguments):
        for attribute in ("optsize", "noinline"):
            builder.function.attributes.add(attribute)
        return context.get_dummy_value()

    return types.void(), build


GROUP_FUNCTION = types.int64(types.intp, types.intp, types.intp)
DONE = 1  # what a group function answers; where it was left before its end the answer is 0


def group_function(function: Callable) -> CFunc:
    """Compile function(table, i, group_rows) for one group, or one row of G, to be called by its address.

    So what calls it is compiled without it, once for all, and it but once for one thread and for many. `table` is the
    table's address. The function ends with DONE, which its callers count:
    Numba prints an exception in such a function and goes on.
    """
    return cfunc(GROUP_FUNCTION, fastmath=REASSOCIATE)(function)


@intrinsic
def call(typing, table, row, i, group_rows):
    """Call the function in a row of the table; its answer, `DONE` or 0."""
    signature = types.int64(*[types.intp] * 4)

    def build(context, builder, signature, arguments):
        table, row, *rest = arguments
        kind = ir.FunctionType(INDEX, [INDEX] * 3)
        return builder.call(builder.inttoptr(load(builder, table, row, 0), kind.as_pointer()), [table, *rest])

    return signature, build


@functools.cache
def threads() -> CFunc:
    """The function that calls another in the table by threads, for every group or row of G; how often it ended."""

    @cfunc(GROUP_FUNCTION, parallel=True)
    def call_by_threads(table, row, group_rows):
        done = 0
        for i in prange(number(table, row, 1)):
            done += call(table, row, np.int64(i), group_rows)
        return done

    return call_by_threads


@functools.cache
def turns() -> CFunc:
    """As `threads`, one after the other."""

    @cfunc(GROUP_FUNCTION)
    def call_in_turn(table, row, group_rows):
        done = 0
        for i in range(number(table, row, 1)):
            done += call(table, row, i, group_rows)
        return done

    return call_in_turn


@njit(inner=True)
def call_all(table, row, group_rows):
    """Call the function in a row of the table as often as it must be, by threads where there are groups.

    Whether every call came to its end.
    """
    count = number(table, row, 1)
    done = 0
    if number(table, At.sums, 1) > 1:
        done = call(table, At.threads, row, group_rows)
    else:
        for i in range(count):
            done += call(table, row, i, group_rows)
    return done == count * DONE


def allocate(problem: Problem, plan: Layout, regime: str) -> tuple[np.ndarray, np.ndarray]:
    """The scratch of a layout, touched and all 0: its bytes, which must stay alive, and the table of its arrays."""
    begun, present, size = template(problem, plan, regime)
    room = np.empty(size + LINE_BYTES, np.uint8)
    room.fill(0)
    address = room.ctypes.data
    start = -address % LINE_BYTES
    rows = begun.copy()
    rows[:, 0] += present * (address + start)
    return room[start:], rows


def scratch_array(name: str, problem: Problem, plan: Layout, regime: str, room: np.ndarray) -> np.ndarray:
    """An array in a scratch that `allocate` made."""
    places, _ = scratch_places(problem, plan, regime)
    return next(np.ndarray(shape, kind, room, offset) for one, shape, kind, offset in places if one == name)


def parameters(problem: Problem, plan: Layout, regime: str, room: np.ndarray) -> list[np.ndarray]:
    """Γ1, per_node, dΓ1 and d_per_node in a scratch that `allocate` made."""
    return [scratch_array(name, problem, plan, regime, room) for name in PARAMETERS]


def unpacked(problem: Problem, plan: Layout) -> bool:
    """Whether Γ1 is read as it is: it needs no padding, and is not worth the copy."""
    return plan.in_place and problem.N <= UNPACKED_ROWS


@functools.lru_cache(maxsize=256)
def template(problem: Problem, plan: Layout, regime: str) -> tuple[np.ndarray, np.ndarray, int]:
    """A table with offsets in place of addresses, 1 for each row that is in it and else 0, and the bytes of all."""
    places, size = scratch_places(problem, plan, regime)
    rows, present = np.zeros((len(At), COLUMNS), np.int64), np.zeros(len(At), np.int64)
    for name, shape, _, offset in places:
        rows[getattr(At, name)] = offset, *(1,) * (3 - len(shape)), *shape
        present[getattr(At, name)] = 1
    rows[At.W, 2] = 0  # the numbers from one row of W to the next, where it is no panels
    if unpacked(problem, plan):
        rows[At.W] = rows[At.G1, 0], 1, problem.p2, problem.p1 * problem.p2
    if plan.in_place:
        rows[At.G] = rows[At.dG1, 0], 1, 1, problem.p1 * problem.p2
        present[At.G] = 1
    return rows, present, size


@functools.lru_cache(maxsize=256)
def scratch_places(
    problem: Problem, plan: Layout, regime: str
) -> tuple[tuple[tuple[str, tuple[int, ...], np.dtype, int], ...], int]:
    """Name, shape, dtype and offset of every scratch array, each on a cache line, and the bytes of all."""
    N, p1, p2, dtype = problem.N, problem.p1, problem.p2, np.dtype(problem.dtype)
    lanes = VECTOR_BYTES // dtype.itemsize
    groups, rows, ld, inputs, depth = plan.groups, plan.rows, plan.ld, plan.inputs, plan.depth
    normalize = problem.normalization == "batch"
    one_pass = plan.algorithm == ONE_PASS
    numbers = {name: (p1, p2) if name.endswith("G1") else (3, p2) for name in PARAMETERS} | {
        "P": (groups, inputs * rows),
        "T": (groups, rows, ld),
        "panel": (groups, rows * PANEL * lanes),
        "block": (groups, 3, ld),
        "W": (depth * plan.vectors * lanes,),
        "vectors": (VECTORS, ld),
        "shift": (inputs,),
    }
    if problem.normalization == "frozen":
        numbers["given"] = 2, p2
    wide = {"sums": (groups, SUMS + (inputs if plan.flush else 0), ld), "total": (inputs, ld)}
    if not plan.in_place:
        numbers["G"] = groups, inputs * ld
    if one_pass:
        numbers["r"] = groups, rows
        if CODES[problem.activation] in NEEDS_B:
            numbers["D"] = numbers["T"]
    else:
        numbers |= {"Z": (up(N, ROWS), ld), "all_r": (up(N, ROWS),)}
    if one_pass and normalize:
        square, columns = up(p1, ROWS), up(p2, 4)
        wide |= {
            "C": (depth * square,),
            "diagonal": (p1,),
            "rest": (p1,),
            "wide": (p1, p2),
            "wide_panels": (depth * columns,),
            "V": (square, columns),
        }
        if regime == "fresh":
            numbers["near"] = groups, p1
            wide["means"] = groups, p1
    if plan.algorithm in LAYERS:
        numbers["A"] = N, p2
        wide["spread"] = 1, p2
        if plan.algorithm != FIRST_LAYER:
            across, ld_in = leading(p1, dtype.itemsize)
            numbers |= {
                "dA": (N, p1),
                "turned": (p2, p1),
                "W_below": (up(p2, FOUR) * across * lanes,),
                "tiles": (groups, ld * rows),
                "back": (groups, rows, ld_in),
                "nothing": (ld,),
            }
    places, offset = [], 0
    for sizes, kind in ((numbers, dtype), (wide, FLOAT64)):
        for name, shape in sizes.items():
            places.append((name, shape, kind, offset))
            offset += up(math.prod(shape) * kind.itemsize, LINE_BYTES)
    return tuple(places), offset

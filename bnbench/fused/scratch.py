"""The memory of a fused step, and how compiled code reaches what lies in it: by role, through the table (`roles`).

A kernel gets one address in place of some twenty arrays, which would take Numba a microsecond to hand over. It makes
`of = arrays(table, real)` of it, or `arrays(table, real, g)` for a group's part: `of.Z` is then the array of that role
and `of.N` the number of that name.
"""

import collections
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numba.np.arrayobj import populate_array

from bnbench.compiling import called
from bnbench.fused.gemm import INDEX
from bnbench.fused.layout import LINE_BYTES, Layout
from bnbench.fused.roles import FUNCTIONS, NUMBERS, OUTSIDE, ROLES, WORD, WORDS, Role, scratch_places, template
from bnbench.jit import REASSOCIATE, cfunc, njit
from bnbench.problem import Problem
from bnbench.threads import alone

Functions: Any = collections.namedtuple("Functions", FUNCTIONS)  # type: ignore[misc]
At = Functions(*(WORD[name] for name in FUNCTIONS))  # where each lies in the table
WORD_X, WORD_Y = WORD["X"], WORD["y"]


class Arrays(types.Type):
    """The type of what `arrays` makes: the arrays and numbers of a table, as attributes."""

    def __init__(self, real: Any) -> None:
        super().__init__(name=f"Arrays({real})")
        self.real = real


@register_model(Arrays)
class ArraysModel(models.StructModel):
    """A table's address, and a group."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("table", types.voidptr), ("group", types.intp)])


@infer_getattr
class ArraysAttributes(AttributeTemplate):
    """The type of each attribute."""

    key = Arrays

    def generic_resolve(self, of: Arrays, name: str) -> Any:
        """A whole number, or an array with a role's axes; None where there is no such role."""
        if name in ROLES:
            return array_type(ROLES[name], of.real)
        return types.intp if name == "table" or name in NUMBERS else None


def array_type(role: Role, real: Any) -> types.Array:
    """The type of a role's array, real that of most."""
    number = types.intp if role.whole else types.float64 if role.wide else real
    return types.Array(number, role.axes, "C")


def load(builder: Any, table: Any, word: int, kind: Any = INDEX) -> Any:
    """A word of a table: a whole number, or an address as a pointer."""
    return builder.load(builder.gep(builder.bitcast(table, kind.as_pointer()), [INDEX(word)]))


@lower_getattr_generic(Arrays)
def attribute(context: Any, builder: Any, kind: Arrays, value: Any, name: str) -> Any:
    """An attribute's value.

    Arrays are made as Numba's `carray` does, which takes ten times as long to compile. They are reached from the
    table's pointer: of an address that is a number LLVM makes a pointer in every loop, and fewer sums at a time.
    """
    of = cgutils.create_struct_proxy(kind)(context, builder, value=value)
    if name not in ROLES:
        return builder.ptrtoint(of.table, INDEX) if name == "table" else load(builder, of.table, WORD[name])
    role, word = ROLES[name], WORD[name]
    own_type = array_type(role, kind.real)
    number = context.get_value_type(own_type.dtype)
    size = context.get_abi_sizeof(number)
    if role in OUTSIDE:
        data = load(builder, of.table, word, of.table.type)
    else:
        offset = load(builder, of.table, word)
        if role.grouped:
            offset = builder.add(offset, builder.mul(of.group, load(builder, of.table, word + 1)))
        data = builder.gep(of.table, [offset])
    shape = [load(builder, of.table, word + 4 - role.axes + axis) for axis in range(role.axes)]
    strides = [builder.mul(INDEX(size), length) for length in shape[:0:-1]] + [INDEX(size)]
    array = context.make_array(own_type)(context, builder)
    populate_array(array, builder.bitcast(data, number.as_pointer()), shape, strides, size, None)
    return array._getvalue()


def made(context: Any, builder: Any, kind: Arrays, table: Any, group: Any) -> Any:
    """A value of the type `Arrays`."""
    of = cgutils.create_struct_proxy(kind)(context, builder)
    of.table, of.group = table, group
    return of._getvalue()


@intrinsic
def arrays(typing, table, real, g):
    """The arrays and numbers of the table at an address, in a dtype; a group's where groups have their own."""
    kind = Arrays(real.dtype)

    def build(context, builder, signature, arguments):
        table, _, g = arguments
        return made(context, builder, kind, builder.inttoptr(table, cgutils.voidptr_t), g)

    return kind(table, real, types.intp), build


@intrinsic
def group(typing, of, g):
    """The same arrays with another group's."""

    def build(context, builder, signature, arguments):
        table = cgutils.create_struct_proxy(of)(context, builder, value=arguments[0]).table
        return made(context, builder, of, table, arguments[1])

    return of(of, types.intp), build


@intrinsic
def clear(typing, array):
    """Make an array 0."""

    def build(context, builder, signature, arguments):
        held = context.make_array(array)(context, builder, value=arguments[0])
        count = functools.reduce(builder.mul, cgutils.unpack_tuple(builder, held.shape))
        cgutils.memset(builder, held.data, builder.mul(count, held.itemsize), 0)
        return context.get_dummy_value()

    return types.void(array), build


@intrinsic
def small(typing):
    """Have the function that calls this compiled to little code in little time: its loops are seldom run."""

    def build(context, builder, signature, arguments):
        for attribute in ("optsize", "noinline"):
            builder.function.attributes.add(attribute)
        return context.get_dummy_value()

    return types.void(), build


GROUP_FUNCTION = types.int64(types.intp, types.intp)
DONE = 1  # what a group function answers; where it was left before its end the answer is 0


def group_function(function: Callable) -> CFunc:
    """Compile function(table, i) for one group, or one row of G, to be called by its address.

    So what calls it is compiled without it, once for all, and it but once for one thread and for many. `table` is the
    table's address. The function ends with DONE, which its callers count:
    Numba prints an exception in such a function and goes on.
    """
    return cfunc(GROUP_FUNCTION, fastmath=REASSOCIATE)(function)


@intrinsic
def word(typing, table, place):
    """A word of the table at an address."""

    def build(context, builder, signature, arguments):
        table, place = arguments
        return builder.load(builder.gep(builder.inttoptr(table, INDEX.as_pointer()), [place]))

    return types.intp(types.intp, types.intp), build


@intrinsic
def call(typing, table, function, i):
    """Call a function of the table, which lies at a word; its answer, `DONE` or 0."""

    def build(context, builder, signature, arguments):
        table, function, i = arguments
        address = builder.load(builder.gep(builder.inttoptr(table, INDEX.as_pointer()), [function]))
        kind = ir.FunctionType(INDEX, [INDEX] * 2)
        return builder.call(builder.inttoptr(address, kind.as_pointer()), [table, i])

    return types.int64(types.intp, types.intp, types.intp), build


@functools.cache
def threads() -> CFunc:
    """The function that calls another in the table by threads, for every group or row of G; how often it ended."""

    @cfunc(GROUP_FUNCTION, parallel=True)
    def call_by_threads(table, function):
        done = 0
        for i in prange(word(table, function + 1)):
            done += call(table, function, np.int64(i))
        return done

    return call_by_threads


@functools.cache
def turns() -> CFunc:
    """As `threads`, one after the other."""

    @cfunc(GROUP_FUNCTION)
    def call_in_turn(table, function):
        done = 0
        for i in range(word(table, function + 1)):
            done += call(table, function, i)
        return done

    return call_in_turn


@njit(inner=True)
def call_all(of, function):
    """Call a function of the table as often as it must be, by threads where there are groups.

    Whether every call came to its end.
    """
    count = word(of.table, function + 1)
    done = 0
    if of.groups > 1:
        done = call(of.table, At.threads, function)
    else:
        for i in range(count):
            done += call(of.table, function, i)
    return done == count * DONE


class Scratch:
    """The memory of one step, touched and all 0 at first.

    Attributes:
        room: its bytes, which begin with the table.
        address: theirs, which is what kernels take.
    """

    def __init__(self, problem: Problem, plan: Layout, regime: str) -> None:
        self.places, size = scratch_places(problem, plan, regime)
        room = np.empty(size + LINE_BYTES, np.uint8)
        room.fill(0)
        start = -room.ctypes.data % LINE_BYTES
        self.room = room[start : start + size]
        self.address = self.room.ctypes.data
        self.table = self.room[: 8 * WORDS].view(np.int64)
        self.table[:] = template(problem, plan, regime)

    def array(self, name: str) -> np.ndarray:
        """The array of a role; of the first group where each has one."""
        offset, _, shape, dtype = self.places[name]
        return np.ndarray(shape, dtype, self.room, offset)

    def connect(self, functions: dict[str, CFunc], X: np.ndarray, y: np.ndarray | None = None) -> None:
        """Enter what lies outside: functions by their names in the table, X and y. All must stay alive."""
        shared_out = self.table[WORD["groups"]] > 1
        more = {"threads": turns() if alone() else threads()} if shared_out else {}
        for name, function in (functions | more).items():
            self.table[WORD[name]] = function.address
        called(function.address for function in (functions | more).values())
        self.enter("X", X)
        if y is not None:
            self.enter("y", y)

    def enter(self, name: str, array: np.ndarray) -> None:
        """Enter an array that lies outside."""
        word = WORD[name]
        self.table[word : word + 4] = array.ctypes.data, 0, *(1,) * (2 - array.ndim), *array.shape

    def count(self, name: str, value: int) -> None:
        """Enter a number of `NUMBERS`."""
        self.table[WORD[name]] = value

    def bind(self, X: np.ndarray, y: np.ndarray) -> None:
        """Enter another X and y of the same shapes."""
        self.table[WORD_X], self.table[WORD_Y] = X.ctypes.data, y.ctypes.data

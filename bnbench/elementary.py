"""exp, tanh, sigmoid, gaussian and the activations of one number, float64 or float32, so that LLVM vectorises loops.

This module is a table of `operations` for compiled code: an activation's scalar form is its definition over it.

Numba calls the C library for `math.exp` and `math.tanh`, one number at a time. Here every function is a few
multiplications, additions and bit operations without a branch. Errors stay within 4 ulp over the whole range,
subnormal results included; overflow gives inf, underflow 0, and a NaN passes through. That is what compiled code gets;
the interpreter gets the same functions by NumPy, for those who step through a kernel with NUMBA_DISABLE_JIT.

The scheme is the usual one: x = n ln 2 + r with |r| <= ln 2/2, exp(r) = 1 + r + r² P(r), times 2ⁿ made from bits.
P is the Chebyshev fit to (exp(r) - 1 - r)/r², whose error is below a fifth of an ulp; a test computes it anew.
"""

import functools
import math
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from bnbench import losses
from bnbench.activations import CODES
from bnbench.activations import functions as definitions
from bnbench.jit import REASSOCIATE, njit

LOG2_E = 1.4426950408889634
FLOAT64 = SimpleNamespace(
    number=np.float64,
    round=1.5 * 2.0**52,  # adding it rounds to a whole number, which the last bits then hold
    high=float.fromhex("0x1.62e42feep-1"),  # ln 2 in two parts; any n times the first is exact
    low=float.fromhex("0x1.a39ef35793c76p-33"),
    P=tuple(
        float.fromhex(f"0x1.{digits}")  # of P, lowest power first
        for digits in (
            *("0000000000001p-1", "5555555555556p-3", "5555555553d63p-5", "11111111109b3p-7", "6c16c1788bd90p-10"),
            *("a01a01a7c41d5p-13", "a019b90d2ae7ap-16", "71de0dae63bb3p-19", "289185613a3d6p-22", "af38a9b0ec855p-26"),
        )
    ),
    highest=710.0,  # exp is inf from here on
    lowest=-746.0,  # and 0 from here down
    flat=44.0,  # tanh is 1 from half of this on
    widest=39.0,  # gaussian is 0 from here on
)
FLOAT32 = SimpleNamespace(
    number=np.float32,
    round=1.5 * 2.0**23,
    high=float.fromhex("0x1.62ep-1"),
    low=float.fromhex("0x1.0bfbe8e7bcd5ep-15"),
    P=(0.5, 0.16666576989698775, 0.041666554617204574, 0.008363179052722578, 0.0013926183587713494),
    highest=89.0,
    lowest=-104.0,
    flat=20.0,
    widest=15.0,
)


@intrinsic
def power_of_two(typing, n):
    """2ⁿ of a float that holds a whole number within the exponents of its type."""
    bits, mantissa, bias, rounding = (
        (64, 52, 1023, FLOAT64.round) if n == types.float64 else (32, 23, 127, FLOAT32.round)
    )

    def build(context, builder, signature, arguments):
        whole = ir.IntType(bits)
        (number,) = arguments
        rounded = builder.bitcast(builder.fadd(number, ir.Constant(number.type, rounding)), whole)
        exponent = builder.add(rounded, ir.Constant(whole, bias))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, mantissa)), number.type)

    return n(n), build


@intrinsic
def reduced(typing, x, n):
    """exp(r) - 1 = r + r² P(r), where r = x - n ln 2."""
    of = FLOAT64 if x == types.float64 else FLOAT32

    def build(context, builder, signature, arguments):
        x, n = arguments

        def add(a, b):
            return builder.fadd(a, b, flags=("contract",))

        def times(a, b):
            return builder.fmul(a, b, flags=("contract",))

        for part in (of.high, of.low):
            x = builder.fsub(x, times(n, x.type(part)), flags=("contract",))
        total = x.type(float(of.number(of.P[-1])))
        for coefficient in of.P[-2::-1]:
            total = add(x.type(float(of.number(coefficient))), times(x, total))
        return add(x, times(times(x, x), total))

    return x(x, n), build


def functions(of: SimpleNamespace) -> dict[str, Callable]:
    """The four functions in one type.

    Fused multiply-adds are allowed, no other rearrangement: the order of the operations is the accuracy.
    """
    compiled = njit(fastmath={"contract"}, forceinline=True, inner=True)
    zero, half, one, two = (of.number(value) for value in (0, 0.5, 1, 2))
    log2_e, rounding = of.number(LOG2_E), of.number(of.round)
    highest, lowest, flat, widest = (of.number(value) for value in (of.highest, of.lowest, of.flat, of.widest))

    @compiled
    def exp(x):
        x = highest if x > highest else x
        x = lowest if x < lowest else x
        n = (x * log2_e + rounding) - rounding
        m = (n * half + rounding) - rounding  # 2ⁿ in two steps: 2¹⁰²⁴ is no number, and subnormal results need it
        return (one + reduced(x, n)) * power_of_two(m) * power_of_two(n - m)

    @compiled
    def tanh(x):
        u = two * abs(x)
        u = flat if u > flat else u
        n = (u * log2_e + rounding) - rounding
        scale = power_of_two(n)
        t = (scale - one) + scale * reduced(u, n)  # exp(u) - 1
        t = t / (t + two)
        return -t if x < zero else t

    @compiled
    def sigmoid(x):
        z = exp(-abs(x))
        return (one if x >= zero else z) / (one + z)

    split = of.number(2.0 ** (27 if of is FLOAT64 else 12) + 1)

    @njit(forceinline=True, inner=True)
    def rounded_off(w, square):
        """w² - square, exactly (Dekker 1971)."""
        c = split * w
        upper = c - (c - w)
        lower = w - upper
        return ((upper * upper - square) + two * upper * lower) + lower * lower

    @compiled
    def gaussian(x):
        w = abs(x)
        w = widest if w > widest else w
        square = w * w
        return exp(-half * square) * (one - half * rounded_off(w, square))

    return {"exp": exp, "tanh": tanh, "sigmoid": sigmoid, "gaussian": gaussian}


COMPILED = {types.float64: functions(FLOAT64), types.float32: functions(FLOAT32)}


def _of_a_number(stub: Callable) -> Callable:
    """Make a name stand for the function of the argument's type in compiled code."""

    @overload(stub, jit_options={"error_model": "numpy", "forceinline": True})
    def choose(x):
        if x not in COMPILED:
            return None
        function = COMPILED[x][stub.__name__]
        return lambda x: function(x)

    return stub


@_of_a_number
def exp(x):
    """exp(x)."""
    return np.exp(x)


@_of_a_number
def tanh(x):
    """tanh(x)."""
    return np.tanh(x)


@_of_a_number
def sigmoid(x):
    """1/(1 + exp(-x))."""
    z = np.exp(-abs(x))
    return (1 if x >= 0 else z) / (1 + z)


@_of_a_number
def gaussian(x):
    """exp(-x²/2)."""
    w = np.minimum(abs(x), FLOAT64.widest)
    return np.exp(-w * w / 2)


_of_numbers = register_jitable(error_model="numpy", forceinline=True)


@_of_numbers
def number(like, x):
    """The number x in like's dtype."""
    return type(like)(x)


@_of_numbers
def choose(b, above, below):
    """`above` where b > 0, `below` elsewhere."""
    return above if b > 0 else below


@_of_numbers
def relu(b):
    """max(b, 0)."""
    return b if not b <= 0 else type(b)(0)


@_of_numbers
def softplus(b):
    """log(1 + exp(b))."""
    return relu(b) + math.log1p(exp(-abs(b)))


@functools.cache
def compiled(code: int) -> tuple[Callable, Callable]:
    """a(b) and a'(b, v) of one number in its own dtype, to be called in compiled code.

    code is the activation's, one of `activations.CODES`. The second has v = a(b); it uses b where the activation's
    definition says so, and v alone elsewhere.
    """
    name = next(name for name, each in CODES.items() if each == code)
    inlined = njit(forceinline=True, inner=True)
    return tuple(map(inlined, definitions(name, sys.modules[__name__])))


@functools.cache
def compiled_loss(loss: str) -> tuple[Callable, Callable]:
    """ℓ(y, η) and ∂ℓ/∂η (y, η) of two numbers of one dtype, to be called in compiled code."""
    inlined = njit(forceinline=True, inner=True)
    value, slope, _ = losses.functions(loss, sys.modules[__name__])
    return inlined(value), inlined(slope)


@functools.cache
def outcome(loss: str) -> Callable:
    """What gives the loss, and r = ∂R/∂η in place of η (N,), for one loss: the head after η."""
    value, slope = compiled_loss(loss)

    @njit(fastmath=REASSOCIATE, forceinline=True)
    def compute(y, r):
        N = y.size
        over_N = r.dtype.type(1 / N)
        total = 0.0
        for i in range(N):
            eta = r[i]
            total += value(y[i], eta)
            r[i] = slope(y[i], eta) * over_N
        return total / N

    return compute

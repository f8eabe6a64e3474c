"""Double-double arithmetic: a number is the unevaluated sum h + l of two float64, |l| <= ulp(h)/2.

The reference gradient must be far more exact than what it judges, at sizes of 10⁹ products. A pair of float64
gives about 32 digits from the ordinary operations of every IEEE 754 machine (x87's long double is absent
elsewhere, and NumPy's means another format on each platform), and its loops vectorise: a product and its sum
at 10⁻³⁰ cost nine flops, where arbitrary precision (mpmath, Arb) costs a thousand times that.

Operations take and return (h, l), expect normalised operands, and are compiled without fastmath, because
reassociation would delete the error terms. Bounds are relative to the exact result, in units of u² with
u = `UNIT` = 2⁻⁵³. They hold short of overflow and for results above `SMALLEST`; below it l runs out of
digits, and the functions' absolute error is up to `UNDERFLOW`.

Sources: Joldes, Muller, Popescu, "Tight and rigorous error bounds for basic building blocks of double-word
arithmetic" (ACM TOMS 44, 2017), here JMP; Muller, Rideau, "Formalization of double-word arithmetic, and
comments on" JMP (ACM TOMS 48, 2022); Ogita, Rump, Oishi, "Accurate sum and dot product" (SIAM J. Sci. Comput.
26, 2005).
"""

import math
from fractions import Fraction

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from bnbench.jit import njit
from bnbench.reference.chunks import each, empty

UNIT = 2.0**-53
ADD_BOUND = 3 * UNIT**2 / (1 - 4 * UNIT)
MUL_BOUND = 4 * UNIT**2
DIV_BOUND = 12 * UNIT**2
SQRT_BOUND = 5 * UNIT**2
ACTIVATION_BOUND = 64 * UNIT**2  # exp, the activations and their derivatives: 2⁻¹⁰⁰
SMALLEST = 2.0**-960
UNDERFLOW = 2.0**-1068

# ln 2 in words of 42, 42 and 53 bits: k times the first two is exact for |k| < 2¹¹.
LN2 = tuple(map(float.fromhex, ("0x1.62e42fefa3800p-1", "0x1.ef35793c76800p-45", "-0x1.9ff0342542fc3p-90")))
INVERSE_LN2 = 1 / math.log(2)
ROUND_TO_INTEGER = 1.5 * 2.0**52  # x + this - this is the integer next to x, held in the sum's low bits
ROUND_BITS = int(np.float64(ROUND_TO_INTEGER).view(np.int64))
EXP_CLAMP = 800.0  # beyond it exp has overflowed or underflowed
GAUSSIAN_CLAMP = 64.0  # exp(-64²/2) is 0
TANH_CLAMP = 150.0  # 1 - tanh(150) < 2⁻⁴³¹

TERMS = 24  # 0.35ⁿ/n! < 2⁻¹¹⁵ from here on
PAIR_TERMS = 14  # and < 2⁻⁵⁷ from here on, where one word of the coefficient is enough


def _inverse_factorial(n: int) -> tuple[float, float]:
    """1/n! as a pair, each word correctly rounded (division of integers is)."""
    f = math.factorial(n)
    h = 1 / f
    a, b = h.as_integer_ratio()
    return h, (b - a * f) / (b * f)


INVERSE_FACTORIAL = tuple(_inverse_factorial(n) for n in range(TERMS))

# A tile of B (depth × columns) stays in second-level cache, and so does one of the result (rows × columns).
TILE_ROWS, TILE_DEPTH, TILE_COLUMNS = 32, 16, 256
TASKS, ALONE = 16, 2**18  # of a product with few rows; numbers of terms up to which it is one


def dot_bound(n: int) -> float:
    """Bound on |computed - exact| / (|A||B|) of an element of `product` that sums n products.

    The kernel is Dot2 with its final pair kept, so that Proposition 5.5 of Ogita, Rump, Oishi loses its term
    u|exact| and only γ_n² remains. In detail: the errors gathered in l add up to at most (n + 1)u|A||B| and
    pass at most n roundings each, and the two FMAs of `_dot_step` add (3n + 1)u². The sum n² + 4n + 1 leaves
    room below (n + 4)² for the higher orders up to n = 2²⁶. Underflow adds at most 3n·2⁻¹⁰⁷⁴.
    """
    return ((n + 4) * UNIT) ** 2


@intrinsic
def fma(typing_context, a, b, c):
    """a·b + c, rounded once."""
    return types.float64(*[types.float64] * 3), lambda context, builder, signature, args: builder.fma(*args)


@intrinsic
def _bits_of(typing_context, x):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _float_of(typing_context, bits):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


if numba.config.DISABLE_JIT:  # the same three for the interpreter

    def fma(a, b, c):
        """a·b + c, rounded once."""
        plain = a * b + c
        return float(Fraction(a) * Fraction(b) + Fraction(c)) if math.isfinite(plain) else plain

    def _bits_of(x):
        return np.float64(x).view(np.int64)

    def _float_of(bits):
        return np.int64(bits).view(np.float64)


@njit(inner=True)
def two_sum(a, b):
    """a + b = s + e exactly (Knuth)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@njit(inner=True)
def quick_two_sum(a, b):
    """a + b = s + e exactly, where |a| >= |b| or a = 0 (Dekker)."""
    s = a + b
    return s, b - (s - a)


@njit(inner=True)
def two_prod(a, b):
    """a·b = p + e exactly, where a·b is 0 or above 2⁻⁹⁶⁹."""
    p = a * b
    return p, fma(a, b, -p)


@njit(inner=True)
def add(ah, al, bh, bl):
    """a + b within 3u²/(1 - 4u), cancellation included (JMP, AccurateDWPlusDW)."""
    sh, sl = two_sum(ah, bh)
    th, tl = two_sum(al, bl)
    vh, vl = quick_two_sum(sh, sl + th)
    return quick_two_sum(vh, tl + vl)


@njit(inner=True)
def sub(ah, al, bh, bl):
    """a - b, as `add`."""
    return add(ah, al, -bh, -bl)


@njit(inner=True)
def mul(ah, al, bh, bl):
    """a·b within 4u² (JMP, DWTimesDW3; the bound from Muller, Rideau)."""
    ph, pl = two_prod(ah, bh)
    return quick_two_sum(ph, pl + fma(al, bh, fma(ah, bl, al * bl)))


@njit(inner=True)
def div(ah, al, bh, bl):
    """a/b within 12u².

    JMP's DWDivDW2 (15u²) with the residual by FMA: ah - q·bh is exact, al - q·bl rounds by 2u², their sum by
    3u², the quotient of that by 3u², and bh for b costs 3u²: 11u² + O(u³).
    """
    q = ah / bh
    return quick_two_sum(q, (fma(-q, bh, ah) + fma(-q, bl, al)) / bh)


@njit(inner=True)
def sqrt(h, l):
    """√a within 5u²; √0 = 0, NaN below (Lefèvre et al., "Accurate calculation of Euclidean norms", 2022).

    One Newton step: the residual h - s² is exact, its sum with l rounds by 1.5u², the quotient by 1.5u², and
    the term left out is 9/8 u²: 33/8 u² + O(u³).
    """
    s = np.sqrt(h)
    if not s > 0.0:
        return s, 0.0
    return quick_two_sum(s, (fma(-s, s, h) + l) / (2.0 * s))


@njit(inner=True)
def _expm1_reduced(h, l, t):
    """(k, ph, pl) with exp(h + l + t) = 2ᵏ(1 + p), |p| < 0.42, |h| <= EXP_CLAMP; p within 10u² if k = 0."""
    shifted = h * INVERSE_LN2 + ROUND_TO_INTEGER
    k = shifted - ROUND_TO_INTEGER
    a, b = two_sum(h - k * LN2[0], -k * LN2[1])
    c, d = two_sum(a, l)
    rh, rl = two_sum(c, b + d + (t - k * LN2[2]))
    tail = 0.0
    for n in range(TERMS - 1, PAIR_TERMS - 1, -1):
        tail = tail * rh + INVERSE_FACTORIAL[n][0]
    qh, ql = tail, 0.0
    for n in range(PAIR_TERMS - 1, 0, -1):  # the sums do not cancel: c > 2|r q|
        ph, pl = mul(qh, ql, rh, rl)
        ch, cl = INVERSE_FACTORIAL[n]
        sh, sl = quick_two_sum(ch, ph)
        qh, ql = quick_two_sum(sh, sl + (cl + pl))
    ph, pl = mul(qh, ql, rh, rl)
    return _bits_of(shifted) - ROUND_BITS, ph, pl


@njit(inner=True)
def _power_of_two(k):
    """2ᵏ for -1022 <= k <= 1023."""
    return _float_of((k + 1023) << 52)


@njit(inner=True)
def _exp(h, l, t):
    """exp(h + l + t), t below l's last digit."""
    if abs(h) > EXP_CLAMP:
        h, l, t = math.copysign(EXP_CLAMP, h), 0.0, 0.0
    k, ph, pl = _expm1_reduced(h, l, t)
    h, l = add(1.0, 0.0, ph, pl)
    half = k >> 1  # 2ᵏ itself may overflow or underflow where the product does not
    first, second = _power_of_two(half), _power_of_two(k - half)
    h, l = h * first * second, l * first * second
    return h, l if abs(h) < np.inf else 0.0


@njit(inner=True)
def exp(h, l):
    """exp(x) within `ACTIVATION_BOUND`; inf past 709.78, 0 below -745.13, NaN for NaN.

    x = k ln 2 + r, |r| < 0.35, Taylor series of expm1(r): reduction 3u², series (9u² of p) 4u², 1 + p 3u².
    """
    return _exp(h, l, 0.0)


@njit(inner=True)
def sigmoid(h, l):
    """σ(x) = 1/(1 + e^-x), within `ACTIVATION_BOUND` at both ends: e^-|x| over or under 1 + e^-|x|."""
    eh, el = exp(h, l) if h < 0.0 else exp(-h, -l)
    dh, dl = add(1.0, 0.0, eh, el)
    return div(eh, el, dh, dl) if h < 0.0 else div(1.0, 0.0, dh, dl)


@njit(inner=True)
def tanh(h, l):
    """tanh(x) = -t/(2 + t) with t = expm1(-2|x|), within `ACTIVATION_BOUND` near 0 too."""
    sign = math.copysign(1.0, h)
    if abs(h) > TANH_CLAMP:
        return sign, 0.0
    k, ph, pl = _expm1_reduced(-2.0 * sign * h, -2.0 * sign * l, 0.0)
    scale = _power_of_two(k)
    wh, wl = two_sum(scale, -1.0)
    th, tl = add(wh, wl, scale * ph, scale * pl)
    dh, dl = add(2.0, 0.0, th, tl)
    qh, ql = div(-th, -tl, dh, dl)
    return sign * qh, sign * ql


@njit(inner=True)
def gaussian(h, l):
    """exp(-x²/2) within `ACTIVATION_BOUND`; x² keeps three words, for exp makes absolute errors relative."""
    if abs(h) > GAUSSIAN_CLAMP:
        h, l = GAUSSIAN_CLAMP, 0.0
    ph, pl = two_prod(h, h)
    ch, cl = two_prod(2.0 * h, l)
    mh, ml = two_sum(pl, ch)
    sh, sl = quick_two_sum(ph, mh)
    return _exp(-0.5 * sh, -0.5 * sl, -0.5 * (ml + (cl + l * l)))


@njit(inner=True)
def _dot_step(h, l, a, bh, bl):
    """(h, l) + a(bh + bl): h takes the rounded sum, l the errors of sum and product.

    TwoSum's b - v and TwoProduct's error are one FMA here, a·bh - v; a·bl joins TwoSum's other half.
    """
    s = h + a * bh
    v = s - h
    return s, l + (fma(a, bl, h - (s - v)) + fma(a, bh, -v))


@njit(plain=True)
def _accumulate(A, Bh, Bl, H, L):
    """H + L = A(Bh + Bl) into zeroed H, L; an element sums in order of k, whatever the tiles."""
    m, n = A.shape
    q = Bh.shape[1]
    for j0 in range(0, q, TILE_COLUMNS):
        j1 = min(q, j0 + TILE_COLUMNS)
        for k0 in range(0, n, TILE_DEPTH):
            for i in range(m):
                h, l = H[i, j0:j1], L[i, j0:j1]
                for k in range(k0, min(n, k0 + TILE_DEPTH)):
                    a, bh, bl = A[i, k], Bh[k, j0:j1], Bl[k, j0:j1]
                    for j in range(h.size):
                        h[j], l[j] = _dot_step(h[j], l[j], a, bh[j], bl[j])
        for i in range(m):
            for j in range(j0, j1):
                H[i, j], L[i, j] = two_sum(H[i, j], L[i, j])


def product(A: np.ndarray, Bh: np.ndarray, Bl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A(Bh + Bl) as (H, L), (n,q), for float64 A (n,p) and a double-double (p,q).

    |H + L - AB| <= dot_bound(p) |A||B| elementwise; bit-identical for every number of threads.
    """
    H, L = empty((len(A), Bh.shape[1])), empty((len(A), Bh.shape[1]))
    step = max(1, min(TILE_ROWS, len(A) // TASKS) if H.size * A.shape[1] > ALONE else len(A))
    pieces = [slice(first, first + step) for first in range(0, len(A), step)]

    def run(rows: slice) -> None:
        H[rows] = L[rows] = 0
        _accumulate(A[rows], Bh, Bl, H[rows], L[rows])

    each(run, pieces)
    return H, L

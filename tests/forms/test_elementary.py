"""The vectorised exp, tanh, sigmoid and gaussian against mpmath: within 4 ulp everywhere, edges included."""

import functools
import re

import mpmath
import numba
import numpy as np
import pytest
from cases import covering

from bnbench import elementary
from bnbench.jit import REASSOCIATE

mpmath.mp.prec = 160
TRUE = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "gaussian": lambda x: mpmath.exp(-x * x / 2),
}
CASES = [(name, dtype) for name in TRUE for dtype in (np.float64, np.float32)]


@functools.cache
def loop(name):
    """A loop as the variants have it, with their fast-math flags."""
    function = getattr(elementary, name)

    @numba.njit(error_model="numpy", fastmath=REASSOCIATE)
    def apply(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return apply


def computed(name, x):
    """The function over an array."""
    out = np.empty_like(x)
    loop(name)(x, out)
    return out


def grid(dtype, every):
    """Dense where something happens, down to the smallest and up to the largest numbers; or a part of that."""
    wide = 760 if dtype == np.float64 else 110
    info = np.finfo(dtype)
    tiny = np.geomspace(float(info.smallest_subnormal), 1, 400, dtype=np.float64)
    parts = [np.linspace(-1.5, 1.5, 3001), np.linspace(-45, 45, 3001), np.linspace(-wide, wide, 3001), tiny, -tiny]
    halves = np.arange(-1100, 1101) * (np.log(2) / 2)  # where r is largest
    edges = [float(np.log(float(info.max))), float(np.log(float(info.smallest_subnormal)))]
    near = [np.nextafter(dtype(e), dtype(way)) for e in edges for way in (-np.inf, np.inf)]
    parts.append(halves[np.abs(halves) < wide])
    return np.concatenate([*(part[::every] for part in parts), edges, near]).astype(dtype)


def ulps(value, true, info):
    """|value - true| in units of the true value's last place; an overflow counts as the power above the largest."""
    bits = info.nmant + 1
    above = mpmath.ldexp(1, info.maxexp)
    if true > above:
        return 0.0 if np.isinf(value) else float("inf")
    value = above if np.isinf(value) else mpmath.mpf(float(value))
    exponent = mpmath.frexp(true)[1] if true else -10_000
    return float(abs(value - true) / mpmath.ldexp(1, max(exponent - bits, info.minexp - info.nmant)))


@pytest.mark.parametrize(
    ("name", "dtype", "every"),
    covering([(*case, every) for every in (5, 1) for case in CASES], [(*case, 5) for case in CASES]),
)
def test_within_four_ulp_everywhere(name, dtype, every):
    """Catches a wrong coefficient, a lost low part of ln 2, an x² rounded before it is exponentiated."""
    x, info = grid(dtype, every), np.finfo(dtype)
    worst = max(
        (ulps(value, TRUE[name](mpmath.mpf(float(at))), info), float(at))
        for at, value in zip(x, computed(name, x), strict=True)
    )
    print(f"{name} {info.dtype}: {worst[0]:.2f} ulp at {worst[1]:.9g}, {x.size} points")
    assert worst[0] <= 4, worst


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_edges(name, dtype):
    """NaN passes through, infinities and overflow give the limits, zeros the values there."""
    # catches: a NaN that becomes a number, an overflow before the limit
    large = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, large, -large, 0.0, -0.0], dtype)
    limits = {
        "exp": [np.nan, np.inf, 0, np.inf, 0, 1, 1],
        "tanh": [np.nan, 1, -1, 1, -1, 0, 0],
        "sigmoid": [np.nan, 1, 0, 1, 0, 0.5, 0.5],
        "gaussian": [np.nan, 0, 0, 0, 0, 1, 1],
    }
    np.testing.assert_array_equal(computed(name, x), np.array(limits[name], dtype))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_loops_are_vectorised(name, dtype):
    """The loop's machine code holds packed arithmetic and calls no mathematics library."""
    # catches: a branch or a call that keeps LLVM from vectorising
    x = np.ones(8, dtype)
    computed(name, x)
    wanted = numba.from_dtype(x.dtype)
    (code,) = [text for types, text in loop(name).inspect_asm().items() if types[0].dtype == wanted]
    packed = r"v?(mul|fmadd\d+)pd|fml?(a|mul).*\.2d" if dtype == np.float64 else r"v?(mul|fmadd\d+)ps|fml?(a|mul).*\.4s"
    assert re.search(packed, code)
    assert not re.search(r"[^\w.](exp|tanh|expf|tanhf)@PLT|_?\b(exp|tanh|expf|tanhf)\s*$", code, re.M)


@pytest.mark.parametrize(("of", "degree"), [(elementary.FLOAT64, 9), (elementary.FLOAT32, 4)])
def test_the_polynomial_is_the_fit_it_is_said_to_be(of, degree):
    """Computed anew: the coefficients are the Chebyshev fit's, and its error is below a fifth of an ulp of 1."""
    # catches: a coefficient typed wrong, a low part of ln 2 that is none
    reach = mpmath.log(2) / 2 * mpmath.mpf("1.0001")

    def rest(r):
        return sum(r**k / mpmath.factorial(k + 2) for k in range(40))

    fitted, error = mpmath.chebyfit(rest, [-reach, reach], degree + 1, error=True)
    np.testing.assert_allclose(of.P, [float(c) for c in fitted[::-1]], rtol=1e-9)
    assert error * reach**2 < np.finfo(of.number).eps / 5
    assert abs(mpmath.mpf(of.high) + mpmath.mpf(of.low) - mpmath.log(2)) < mpmath.mpf(2) ** (
        -70 if degree == 9 else -35
    )


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_the_interpreter_has_the_same_functions(name, dtype):
    """Catches one that raises, or overflows with a warning, where kernels are stepped through."""
    function, far = getattr(elementary, name), np.finfo(dtype).max
    x = np.array([-20.0, -1.5, 0.0, 0.3, 5.0, *([-far, far] if name != "exp" else [])], dtype)
    with np.errstate(over="raise", invalid="raise"):
        values = [function(one) for one in x]
    assert {value.dtype for value in values} == {np.dtype(dtype)}
    np.testing.assert_allclose(values, computed(name, x), rtol=16 * np.finfo(dtype).eps)
    assert np.isnan(function(dtype(np.nan)))

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from mpmath import mp

from bnbench.jit import njit
from bnbench.reference import doubledouble as dd
from bnbench.reference import pairs

ADD, SUB, MUL, DIV = range(4)
SQRT, EXP, SIGMOID, TANH, GAUSSIAN, LOG, SOFTPLUS = range(7)


@njit()
def binary(operation, ah, al, bh, bl, h, l):
    for i in range(h.size):
        a, b, c, d = ah[i], al[i], bh[i], bl[i]
        if operation == ADD:
            h[i], l[i] = dd.add(a, b, c, d)
        elif operation == SUB:
            h[i], l[i] = dd.sub(a, b, c, d)
        elif operation == MUL:
            h[i], l[i] = dd.mul(a, b, c, d)
        else:
            h[i], l[i] = dd.div(a, b, c, d)


@njit()
def unary(operation, ah, al, h, l):
    for i in range(h.size):
        if operation == SQRT:
            h[i], l[i] = dd.sqrt(ah[i], al[i])
        elif operation == EXP:
            h[i], l[i] = dd.exp(ah[i], al[i])
        elif operation == SIGMOID:
            h[i], l[i] = dd.sigmoid(ah[i], al[i])
        elif operation == TANH:
            h[i], l[i] = dd.tanh(ah[i], al[i])
        elif operation == GAUSSIAN:
            h[i], l[i] = dd.gaussian(ah[i], al[i])
        elif operation == LOG:
            h[i], l[i] = pairs.log(ah[i], al[i])
        else:
            h[i], l[i] = pairs.softplus(ah[i], al[i])


@njit()
def transform(a, b, out):
    for i in range(a.size):
        out[0, i], out[1, i] = dd.two_sum(a[i], b[i])
        out[2, i], out[3, i] = dd.two_prod(a[i], b[i])
        larger, smaller = (a[i], b[i]) if abs(a[i]) >= abs(b[i]) else (b[i], a[i])
        out[4, i], out[5, i] = dd.quick_two_sum(larger, smaller)


def evaluate(loop, operation, *words):
    """(h, l) of an operation on arrays of words."""
    h, l = np.full((2, len(words[0])), 12345.0)
    loop(operation, *words, h, l)
    return h, l


def normalised(a, b):
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def random_pairs(rng, n, spread):
    """Pairs of both signs over 2^±spread; some with a low word of 0, half an ulp or far less."""
    h = rng.uniform(1, 2, n) * rng.choice([-1, 1], n) * 2.0 ** rng.integers(-spread, spread + 1, n)
    kind = rng.integers(0, 6, n)
    fraction = np.select([kind == 0, kind == 1, kind == 2], [0.0, 0.5, 2.0**-60], rng.uniform(-0.5, 0.5, n))
    h[kind == 3] = 2.0 ** rng.integers(-spread, spread + 1, n)[kind == 3]
    return normalised(h, fraction * np.spacing(h))


def fraction_pairs(h, l):
    return [Fraction(a) + Fraction(b) for a, b in zip(h.tolist(), l.tolist(), strict=True)]


def assert_normalised(h, l):
    finite = np.isfinite(h)
    np.testing.assert_array_equal((h + l)[finite], h[finite])


def assert_close(result, exact, bound):
    """Every pair of `result` lies within bound·|exact| of the Fraction in `exact`."""
    assert_normalised(*result)
    bound = Fraction(bound)
    for i, (got, want) in enumerate(zip(fraction_pairs(*result), exact, strict=True)):
        floor = Fraction(dd.UNDERFLOW) if abs(want) < dd.SMALLEST else 0
        error = abs(got - want)
        assert error <= bound * abs(want) + floor, (i, float(want), float(error / (abs(want) or 1)))


def operands(rng, spread=200, n=1500):
    """Two arrays of pairs: unrelated, close in size, and cancelling to the last digits."""
    a = random_pairs(rng, n, spread)
    b = random_pairs(rng, n, spread)
    third = n // 3
    b[0][:third] = -a[0][:third] * (1 + rng.integers(-3, 4, third) * 2.0**-52)
    b[1][:third] = -a[1][:third] * rng.choice([0.0, 1.0, 1 + 2.0**-40], third)
    close = slice(third, 2 * third)
    b[0][close] = a[0][close] * rng.uniform(-2, 2, third)
    b[1][close] = rng.uniform(-0.5, 0.5, third) * np.spacing(b[0][close])
    return *a, *normalised(*b)


def test_transforms_are_exact(rng):
    # catches: fast-math, which takes the error terms for 0
    ah, _, bh, _ = operands(rng)
    ah[:5], bh[:5] = [0.0, -0.0, 1.0, 1.0, 2.0**53], [-0.0, 0.0, 2.0**-1074, -1.0, 1.0]
    out = np.empty((6, len(ah)))
    transform(ah, bh, out)
    for a, b, (s, t, p, e, u, v) in zip(ah.tolist(), bh.tolist(), out.T.tolist(), strict=True):
        assert Fraction(s) + Fraction(t) == Fraction(u) + Fraction(v) == Fraction(a) + Fraction(b)
        assert s == u == a + b
        assert p == a * b
        if abs(p) > 2.0**-969:
            assert Fraction(p) + Fraction(e) == Fraction(a) * Fraction(b)


@pytest.mark.parametrize("spread", [2, 60, 200])
@pytest.mark.parametrize(
    ("operation", "exact", "bound"),
    [
        (ADD, Fraction.__add__, dd.ADD_BOUND),
        (SUB, Fraction.__sub__, dd.ADD_BOUND),
        (MUL, Fraction.__mul__, dd.MUL_BOUND),
        (DIV, Fraction.__truediv__, dd.DIV_BOUND),
    ],
    ids=["add", "sub", "mul", "div"],
)
def test_binary_operation_keeps_its_bound(rng, operation, exact, bound, spread):
    # catches: a sloppy variant of an operation
    ah, al, bh, bl = operands(rng, spread)
    if operation == SUB:
        bh, bl = -bh, -bl
    want = list(map(exact, fraction_pairs(ah, al), fraction_pairs(bh, bl)))
    assert_close(evaluate(binary, operation, ah, al, bh, bl), want, bound)


def test_bound_of_add_is_nearly_reached():
    """JMP's example for AccurateDWPlusDW: 2.25u², so ADD_BOUND cannot be an accident of slack."""
    # catches: a bound so wide that it holds for anything
    u = dd.UNIT
    x = np.array([1.0]), np.array([u - u**2])
    y = np.array([-0.5 + u / 2]), np.array([-(u**2) / 2 + u**3])
    (got,) = fraction_pairs(*evaluate(binary, ADD, *x, *y))
    (want,) = map(Fraction.__add__, fraction_pairs(*x), fraction_pairs(*y))
    assert 2.2 * u**2 < abs(got - want) / want <= dd.ADD_BOUND


def test_sums_and_products_with_zero():
    # catches: a 0 with a low word, or the sign of one that is lost
    zeros = np.array([0.0, -0.0, 0.0, -0.0]), np.zeros(4)
    others = np.array([0.0, -0.0, 3.0, -3.0]), np.array([0.0, 0.0, 2.0**-53, 2.0**-60])
    for h, l, want in [
        (*evaluate(binary, ADD, *zeros, *others), others),
        (*evaluate(binary, MUL, *zeros, *others), zeros),
        (*evaluate(binary, ADD, *others, -others[0], -others[1]), zeros),
        (*evaluate(unary, SQRT, *zeros), zeros),
    ]:
        np.testing.assert_array_equal(h, want[0])
        np.testing.assert_array_equal(l, want[1])


@pytest.mark.parametrize("spread", [2, 300])
def test_sqrt_keeps_its_bound(rng, spread):
    # catches: a Newton step too few
    h, l = random_pairs(rng, 1500, spread)
    sign = np.sign(h)
    h, l = h * sign, l * sign
    got = evaluate(unary, SQRT, h, l)
    assert_normalised(*got)
    low, high = 1 - Fraction(dd.SQRT_BOUND), 1 + Fraction(dd.SQRT_BOUND)
    for root, x in zip(fraction_pairs(*got), fraction_pairs(h, l), strict=True):
        assert (root / high) ** 2 <= x <= (root / low) ** 2
    h, _ = evaluate(unary, SQRT, np.array([-1.0, np.nan]), np.zeros(2))
    assert np.isnan(h).all()


def test_constants_are_exact():
    # catches: a digit that was typed wrong
    with mp.workprec(400):
        words = [mp.mpf(word) for word in dd.LN2]
        assert abs(sum(words) - mp.log(2)) < mp.mpf(2) ** -140
        for word in dd.LN2[:2]:
            a, _ = word.as_integer_ratio()
            assert (a // (a & -a)).bit_length() <= 42
        for n, (h, l) in enumerate(dd.INVERSE_FACTORIAL):
            assert abs(mp.mpf(h) + mp.mpf(l) - 1 / mp.factorial(n)) <= mp.mpf(2) ** -106 / mp.factorial(n)
            assert h + l == h
        assert (mp.log(2) / 2) ** (dd.TERMS - 1) / mp.factorial(dd.TERMS) < mp.mpf(2) ** -113


EXACT = {
    EXP: mpmath.exp,
    SIGMOID: lambda x: 1 / (1 + mpmath.exp(-x)),
    TANH: mpmath.tanh,
    GAUSSIAN: lambda x: mpmath.exp(-x * x / 2),
    LOG: mpmath.log,
    SOFTPLUS: lambda x: x + mpmath.log1p(mpmath.exp(-x)) if x > 0 else mpmath.log1p(mpmath.exp(x)),
}
NAMES = {EXP: "exp", SIGMOID: "sigmoid", TANH: "tanh", GAUSSIAN: "gaussian", LOG: "log", SOFTPLUS: "softplus"}
ABSOLUTE = (LOG, SOFTPLUS)  # the bound is of the larger of 1 and the value
EDGES = [
    0.0,
    5e-324,
    1e-300,
    1e-170,
    1e-20,
    2.0**-27,
    0.34657359027997264,
    0.3465735902799727,
    1.0,
    19.5,
    37.0,
]
EDGES += [
    38.5,
    38.6,
    63.9,
    64.1,
    372.0,
    400.1,
    690.0,
    700.0,
    708.3,
    709.78,
    709.79,
    745.0,
    745.2,
    799.0,
    800.0,
    801.0,
]
EDGES += [1e5, 1e155, 1e308]


def function_arguments(rng):
    """Dense where the functions live, on both sides of 0, of the reduction's seams and of overflow."""
    seams = np.arange(-60, 61) * (math.log(2) / 2)
    seams = np.concatenate([seams, np.nextafter(seams, np.inf)])
    h = np.concatenate(
        [
            rng.uniform(-1, 1, 250),
            rng.uniform(-40, 40, 350),
            rng.uniform(-720, 720, 200),
            rng.choice([-1, 1], 150) * 2.0 ** rng.uniform(-300, 0, 150),
            seams,
        ]
    )
    edges = np.concatenate([EDGES, np.negative(EDGES)])
    h, l = normalised(h, rng.uniform(-0.5, 0.5, len(h)) * np.spacing(h))
    return np.concatenate([h, edges]), np.concatenate([l, np.zeros(len(edges))])


@pytest.mark.parametrize("operation", EXACT, ids=NAMES.get)
def test_function_keeps_its_bound(rng, operation):
    # catches: a series that is cut off too early, an argument that is reduced in double alone
    h, l = function_arguments(rng)
    if operation == LOG:
        inside = (h > 2.0**-900) & (h < 2.0**900)
        h, l = h[inside], l[inside]
    gh, gl = evaluate(unary, operation, h, l)
    assert not np.isnan(gh).any()
    assert_normalised(gh, gl)
    with mp.workprec(220):
        for x, low, a, b in zip(h.tolist(), l.tolist(), gh.tolist(), gl.tolist(), strict=True):
            want = EXACT[operation](mp.fadd(x, low, exact=True))
            if abs(want) >= mp.mpf(2) ** 1024:
                assert (a, b) == (math.copysign(math.inf, want), 0.0), x
                continue
            error = abs(mp.fadd(a, b, exact=True) - want)
            floor = dd.UNDERFLOW if abs(want) < dd.SMALLEST else 0
            size = max(abs(want), 1) if operation in ABSOLUTE else abs(want)
            assert error <= dd.ACTIVATION_BOUND * size + floor, (x, low, float(error / (abs(want) or 1)))


@pytest.mark.parametrize(
    ("operation", "at_minus_infinity", "at_infinity"),
    [
        (EXP, 0.0, math.inf),
        (SIGMOID, 0.0, 1.0),
        (TANH, -1.0, 1.0),
        (GAUSSIAN, 0.0, 0.0),
    ],
    ids=NAMES.get,
)
def test_function_at_infinity_and_nan(operation, at_minus_infinity, at_infinity):
    # catches: a NaN where there is a limit, or a limit where there is a NaN
    h, l = evaluate(unary, operation, np.array([-np.inf, np.inf, np.nan]), np.zeros(3))
    assert h[:2].tolist() == [at_minus_infinity, at_infinity]
    assert l[:2].tolist() == [0.0, 0.0]
    assert np.isnan(h[2])


def test_symmetries_are_exact(rng):
    # catches: two branches that do not meet
    h, l = function_arguments(rng)
    for operation, sign in [(TANH, -1), (GAUSSIAN, 1)]:
        np.testing.assert_array_equal(
            evaluate(unary, operation, h, l), sign * np.array(evaluate(unary, operation, -h, -l))
        )
    assert math.copysign(1, evaluate(unary, TANH, np.array([-0.0]), np.zeros(1))[0][0]) == -1


def test_relu_decides_on_both_words():
    # catches: a sign taken from the high word where that is 0
    h, l = np.array([0.0, -0.0, 0.0, 0.0, 1.0, -1.0]), np.array([0.0, 0.0, 5e-324, -5e-324, -1e-17, 1e-17])
    value = pairs.PAIRS.relu(pairs.Pairs(h, l))
    assert value.high.tolist() == [0, 0, 0, 0, 1, 0]
    assert value.low.tolist() == [0, 0, 5e-324, 0, -1e-17, 0]


def integers(M, scale):
    """M·2^scale as Python integers, exactly."""
    return np.array([[int(Fraction(x) * 2**scale) for x in row] for row in M.tolist()], dtype=object)


def assert_product(result, A, Bh, Bl):
    """result = A(Bh + Bl) within `dot_bound`, and normalised."""
    assert_normalised(*result)
    A, B = integers(A, 400), integers(Bh, 400) + integers(Bl, 400)
    exact, magnitude = A @ B, abs(A) @ abs(B)
    error = abs(integers(result[0], 800) + integers(result[1], 800) - exact)
    bound = Fraction(dd.dot_bound(A.shape[1]))
    assert (error * bound.denominator <= magnitude * bound.numerator).all()
    return exact, magnitude


def hard_matrices(rng, n, p, q):
    """A with offsets of 1e8 and rows that repeat with their sign turned; B of 2^±40."""
    A = 1e8 + rng.standard_normal((n, p))
    A[:, 1::2] = -A[:, : p - p % 2 : 2] * (1 + 2.0**-50 * rng.integers(-2, 3, (n, p // 2)))
    B = rng.standard_normal((p, q)) * 2.0 ** rng.integers(-40, 41, (p, q))
    B[1::2, : q // 2] = B[: p - p % 2 : 2, : q // 2]
    return A, B


SHAPES = [(1, 1, 1), (37, 70, 19), (70, 17, 261), (2, 300, 3), (129, 1, 5), (3, 16, 256)]


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize(("n", "p", "q"), SHAPES)
def test_product_keeps_its_bound(rng, n, p, q, low):
    # catches: a product in double precision, low halves that are lost, a tile that is left out
    A, B = hard_matrices(rng, n, p, q)
    Bl = np.zeros_like(B)
    if low:
        B, Bl = normalised(B, rng.uniform(-0.5, 0.5, B.shape) * np.spacing(B))
    exact, magnitude = assert_product(dd.product(A, B, Bl), A, B, Bl)
    if p > 1 and q > 1:
        assert (magnitude > 10**12 * abs(exact)).any()  # there was something to lose


def test_products_find_what_cancellation_hides():
    # catches: a product in double precision
    A = np.array([[1e16, 1.0, -1e16, 2.0**-60]])
    H, L = dd.product(A, np.array([[1e16], [3.0], [1e16], [1.0]]), np.zeros((4, 1)))
    assert (H[0, 0], L[0, 0]) == (3.0, 2.0**-60)
    H, L = dd.product(A, np.ones((4, 1)), np.array([[2.0**-60], [0.0], [2.0**-60], [2.0**-90]]))
    assert (H[0, 0], L[0, 0]) == (1.0, 2.0**-60)  # a(2⁻⁹⁰) is below l's last digit


def test_products_of_nothing():
    # catches: an error, or memory as it was, where a side is 0
    H, L = dd.product(np.ones((3, 0)), np.ones((0, 2)), np.ones((0, 2)))
    assert H.shape == L.shape == (3, 2)
    assert not H.any()
    assert dd.product(np.ones((0, 4)), np.ones((4, 2)), np.ones((4, 2)))[0].shape == (0, 2)


def test_products_take_any_layout_of_their_left_side(rng):
    # catches: strides that are taken for those of C
    A, B = rng.standard_normal((90, 70)), rng.standard_normal((70, 50))
    want = dd.product(A, B, np.zeros_like(B))
    np.testing.assert_array_equal(dd.product(np.asfortranarray(A), B, np.zeros_like(B)), want)


@pytest.fixture
def rng():
    return np.random.default_rng(20240611)

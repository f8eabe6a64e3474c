"""Every numbered equality of the derivation, in ball arithmetic at random fractions; those of calculus by SymPy too."""

import functools
import importlib.resources
import re
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from flint import arb, arb_series, ctx

from bnbench.activations import functions
from bnbench.audit.claims import fractions
from bnbench.audit.letters import Letters, diagonal, identity, vec
from bnbench.audit.question import ap, column_of_loop, kronecker_rule
from bnbench.definition import preactivation
from bnbench.problem import ACTIVATIONS, Batch, Layer, Problem, Spec
from bnbench.reference.balls import BALLS
from bnbench.reference.certified import balls, certify

TEXT = importlib.resources.files("bnbench.audit").joinpath("derivation.md").read_text("utf-8")
LABELS = re.findall(r"^\*\*\((\d\.\d+)\)\*\*$", TEXT, re.M)
N, P1, P2 = 5, 3, 2


@functools.cache
def setting(seed, normalization="batch"):
    """Letters at random fractions, and the gradients that power series give there from the definitions alone."""
    random = np.random.default_rng(seed)
    problem = Problem(N, P1, P2, ACTIVATIONS[seed % 5], normalization, ddof=seed % 2, eps=(0.0, 0.5, 3.0)[seed % 3])
    shapes = ((N, P1), (N,), (P1, P2), (P2,), (P2,), (P2,))
    batch = Batch(*(balls(fractions(random, shape)) for shape in shapes))
    if normalization == "none":
        batch = batch._replace(gamma=None, beta=None)
    enclosure = certify(batch, problem, inputs=True)
    assert not enclosure.kinks
    letters = Letters(batch, problem, arb(problem.eps))
    letters.seed = seed
    return letters, enclosure.gradients


def jacobian(function, at):
    """The Jacobian at a vector of balls of a function from a list of series to a list of series."""
    columns = []
    for moved in range(len(at)):
        series = [arb_series([value, int(place == moved)], prec=2) for place, value in enumerate(at)]
        columns.append([value[1] if isinstance(value, arb_series) else arb(0) for value in function(series)])
    return np.array(columns, object).T


def columns_of(values):
    """The columns of an (N,P2) matrix from its vec."""
    return [values[j * N : (j + 1) * N] for j in range(P2)]


def vector(values):
    """A list of series as an array: NumPy takes a series for a sequence."""
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def activate(q, values):
    """a of a list of series, from its definition."""
    return list(functions(q.activation, BALLS)[0](vector(values)))


def normalise(z, q):
    """x̂ of one column, a list of series, from its definition."""
    one = balls([1])
    layer = Layer(one[:, None], one, balls([0]))
    spec = Spec(ddof=N - q.free, eps=q.eps)  # as balls
    return list(preactivation(vector(z)[:, None], layer, None, spec, BALLS)[:, 0])


def jacobian_of_normalisation(q):
    """∂vec X̂/∂(vec Z)ᵀ from the definition of X̂."""
    return jacobian(lambda z: [x for column in columns_of(z) for x in normalise(column, q)], vec(q.Z))


def blocks(q):
    """(5.5)'s right side."""
    J = np.full((N * P2, N * P2), 0, object)
    for j in range(P2):
        x = q.Xhat[:, [j]]
        block = slice(j * N, (j + 1) * N)
        J[block, block] = (identity(N) - q.one @ q.one.T / arb(N) - x @ x.T / q.free) / q.s[j]
    return J


def selection():
    """K of (5.3)."""
    K = np.full((P2 * P2, P2), 0, object)
    for j in range(P2):
        K[j * P2 + j, j] = 1
    return K


def commutation():
    """K of (5.11)."""
    K = np.full((P1 * P2, P1 * P2), 0, object)
    for k, j in np.ndindex(P1, P2):
        K[k * P2 + j, j * P1 + k] = 1
    return K


def xbar_and_C(q):
    """x̄ and C of section 6."""
    xbar = q.X.sum(axis=0) / N
    centred = q.X - xbar
    return xbar, centred.T @ centred


def missing(q):
    """(7.2)'s right side."""
    xbar, C = xbar_and_C(q)
    return (np.outer(xbar, q.dbeta) + C @ q.G1 @ diagonal(q.dgamma / (q.free * q.s))) @ diagonal(q.gamma / q.s)


def d_mu(q, true):
    """(4.1)."""
    return jacobian(lambda z: [sum(z) / N], q.Z[:, 0]), np.full((1, N), 1, object) / arb(N)


def d_s(q, true):
    """(4.2)."""

    def s(z):
        mu = sum(z) / N
        return [(sum((value - mu) * (value - mu) for value in z) / q.free + q.eps).sqrt()]

    return jacobian(s, q.Z[:, 0]), (q.Xhat[:, [0]] / q.free).T


def d_B(q, wanted):
    """∂vec B with respect to β, γ or vec X̂, from B's definition."""
    at = {"beta": q.beta, "gamma": q.gamma, "Xhat": vec(q.Xhat)}

    def B(values):
        letters = dict(at, **{wanted: values})
        x = columns_of(letters["Xhat"])
        return [letters["gamma"][j] * value + letters["beta"][j] for j in range(P2) for value in x[j]]

    return jacobian(B, at[wanted])


def d_A(q):
    """∂R/∂A from R's definition."""

    def R(a):
        columns = columns_of(a)
        fitted = [sum(columns[j][i] * q.G2[j] for j in range(P2)) for i in range(N)]
        return [sum((q.y[i] - fitted[i]) ** 2 for i in range(N)) / N]

    return jacobian(R, vec(q.A))


def d_R_by_B(q):
    """∂R/∂B from the definitions of A and R."""

    def R(b):
        columns = columns_of(activate(q, b))
        fitted = [sum(columns[j][i] * q.G2[j] for j in range(P2)) for i in range(N)]
        return [sum((q.y[i] - fitted[i]) ** 2 for i in range(N)) / N]

    return jacobian(R, vec(q.B))


def d_R_by_Z(q):
    """∂R/∂Z from the definitions of X̂, B, A and R."""

    def R(z):
        normal = [normalise(column, q) for column in columns_of(z)]
        columns = [activate(q, [q.gamma[j] * x + q.beta[j] for x in normal[j]]) for j in range(P2)]
        fitted = [sum(columns[j][i] * q.G2[j] for j in range(P2)) for i in range(N)]
        return [sum((q.y[i] - fitted[i]) ** 2 for i in range(N)) / N]

    return jacobian(R, vec(q.Z))


def by_entries(q):
    """(4.4)'s right side, entry by entry."""
    dZ = np.empty((N, P2), object)
    for i, j in np.ndindex(N, P2):
        first, second = sum(q.S[:, j]) / N, sum(q.S[:, j] * q.Xhat[:, j]) * q.Xhat[i, j] / q.free
        dZ[i, j] = q.gamma[j] / q.s[j] * (q.S[i, j] - first - second)
    return dZ


def d_Z(q, wanted):
    """∂vec Z with respect to vec Γ1 or vec X, from the product's definition."""

    def Z(values):
        X, G1 = q.X, q.G1
        matrix = np.empty((len(values) // (P1 if wanted == "G1" else N), P1 if wanted == "G1" else N), object)
        for place, value in enumerate(values):
            matrix.flat[place] = value
        X, G1 = (X, matrix.T) if wanted == "G1" else (matrix.T, G1)
        return [sum((X[i, k] * G1[k, j] for k in range(P1)), arb_series([0, 0], prec=2))
                for j in range(P2) for i in range(N)]  # fmt: skip

    return jacobian(Z, vec(q.G1 if wanted == "G1" else q.X))


def without_normalization(q, true):
    """(4.8) at the same data."""
    q, true = setting(q.seed, "none")
    return true.dG1, q.X.T @ q.S


def swapped(q, true):
    """(7.5)."""
    q, true = setting(q.seed, "none")
    outer = q.X.T @ (q.slope * 2 * np.outer(q.e, q.G2))
    return both((2 * q.A.T @ q.e, -N * true.dG2), (outer, -N * true.dG1))


def both(*pairs):
    """Several equalities as one."""
    return tuple(
        np.concatenate([np.asarray(part, object).reshape(-1) for part in side]) for side in zip(*pairs, strict=True)
    )


CHECKS = {
    "1.1": lambda q, true: (q.Xhat.sum(axis=0), np.full(P2, arb(0), object)),
    "1.2": lambda q, true: ((q.Xhat * q.Xhat).sum(axis=0), q.free * (q.s * q.s - q.eps) / (q.s * q.s)),
    "2.1": lambda q, true: (d_A(q)[0], vec(-2 * np.outer(q.e, q.G2) / arb(N))),
    "2.2": lambda q, true: (d_R_by_B(q)[0], vec(q.S)),
    "3.1": lambda q, true: (true.dbeta, (q.S.T @ q.one)[:, 0]),
    "3.2": lambda q, true: (true.dgamma, np.diagonal(q.Xhat.T @ q.S)),
    "3.3": lambda q, true: (true.dG2, -2 * (q.A.T @ q.e) / arb(N)),
    "4.1": d_mu,
    "4.2": d_s,
    "4.3": lambda q, true: (jacobian_of_normalisation(q)[:N, :N], blocks(q)[:N, :N]),
    "4.4": lambda q, true: (d_R_by_Z(q)[0], vec(by_entries(q))),
    "4.5": lambda q, true: (d_R_by_Z(q)[0], vec(q.dZ)),
    "4.6": lambda q, true: (true.dG1, q.X.T @ q.dZ),
    "4.7": lambda q, true: (true.dX, q.dZ @ q.G1.T),
    "4.8": without_normalization,
    "5.1": lambda q, true: (vec(q.X.T @ q.Z @ q.G1.T), np.kron(q.G1, q.X.T) @ vec(q.Z)),
    "5.2": lambda q, true: (d_B(q, "beta"), np.kron(identity(P2), q.one)),
    "5.3": lambda q, true: both(
        (d_B(q, "gamma"), np.kron(identity(P2), q.Xhat) @ selection()),
        (vec(diagonal(q.gamma)), selection() @ q.gamma),
    ),
    "5.4": lambda q, true: (d_B(q, "Xhat"), np.kron(diagonal(q.gamma), identity(N))),
    "5.5": lambda q, true: (jacobian_of_normalisation(q), blocks(q)),
    "5.6": lambda q, true: both(
        (d_Z(q, "G1"), np.kron(identity(P2), q.X)), (d_Z(q, "X"), np.kron(q.G1.T, identity(N)))
    ),
    "5.7": lambda q, true: (
        d_R_by_B(q)[0], -2 * q.e / arb(N) @ np.kron(q.G2[None], identity(N)) @ diagonal(vec(q.slope)),
    ),
    "5.8": lambda q, true: (vec(q.S) @ np.kron(identity(P2), q.one), true.dbeta),
    "5.9": lambda q, true: (vec(q.S) @ np.kron(identity(P2), q.Xhat) @ selection(), true.dgamma),
    "5.10": lambda q, true: (
        vec(q.S) @ np.kron(diagonal(q.gamma), identity(N)) @ blocks(q) @ np.kron(identity(P2), q.X), vec(true.dG1),
    ),
    "5.11": lambda q, true: (commutation() @ vec(q.G1), vec(q.G1.T)),
    "6.1": lambda q, true: (q.mu, q.G1.T @ xbar_and_C(q)[0]),
    "6.2": lambda q, true: (q.s * q.s, np.diagonal(q.G1.T @ xbar_and_C(q)[1] @ q.G1) / q.free + q.eps),
    "6.3": lambda q, true: (q.X.T @ q.Xhat, xbar_and_C(q)[1] @ q.G1 @ diagonal(1 / q.s)),
    "6.4": lambda q, true: (true.dG1, q.X.T @ q.S @ diagonal(q.gamma / q.s) - missing(q)),
    "7.1": lambda q, true: both(
        (ap(q.B), np.full((N, P2), 1, object)),
        ((-2 * np.outer(q.e, q.G2) * ap(q.B)).sum(axis=0), -2 * q.e.sum() * q.G2),
    ),
    "7.2": lambda q, true: (q.X.T @ (q.S * (q.gamma / q.s)) - true.dG1, missing(q)),
    "7.3": lambda q, true: (
        [[column_of_loop(q.X[:, k], q.Z[:, j], q.B[:, j]) for j in range(P2)] for k in range(P1)],
        q.X.T @ (q.B * q.Z),
    ),
    "7.4": lambda q, true: (np.diagonal(q.Xhat.T @ (q.S * q.gamma)), q.gamma * true.dgamma),
    "7.5": swapped,
    "8.1": lambda q, true: (d_R_by_Z(q)[0].reshape(P2, N).sum(axis=1), np.full(P2, arb(0), object)),
    "8.2": lambda q, true: ((q.X + np.array([3, -2, 7], object)).T @ q.dZ, true.dG1),
    "8.3": lambda q, true: ((q.G1 * true.dG1).sum(axis=0), q.gamma * true.dgamma * q.eps / (q.s * q.s)),
}  # fmt: skip


def test_every_numbered_equality_has_a_check():
    """A new equality cannot stand unchecked, nor a check outlive its equality."""
    # catches: an equality added, or numbered anew, without a check
    assert sorted(LABELS) == sorted(CHECKS)
    assert len(LABELS) == len(set(LABELS))


@pytest.mark.parametrize("label", CHECKS)
def test_in_balls(label):
    """Both sides overlap to 1e-25 at five draws: every activation, ddof 0 and 1, eps 0 and not."""
    # catches: an equality that does not hold
    with ctx.workprec(256):
        for seed in range(5):
            left, right = CHECKS[label](*setting(seed))
            left, right = np.asarray(left, object), np.asarray(right, object)
            assert left.shape == right.shape
            for one, other in zip(left.flat, right.flat, strict=True):
                difference = arb(one) - arb(other)
                assert difference.contains(0)
                assert difference.rad() < 1e-25


# The calculus once more, symbolically: three rows, two inputs, one node and any differentiable a.

ROWS, INPUTS = 3, 2


@pytest.fixture(scope="module")
def symbols():
    """The network in symbols, its definitions only."""
    m = SimpleNamespace()
    m.n, m.eps = sympy.symbols("n epsilon", positive=True)
    m.gamma, m.beta, m.G2 = sympy.symbols("gamma beta Gamma2", real=True)
    m.z, m.y = (sympy.symbols(f"{name}1:{ROWS + 1}", real=True) for name in "zy")
    m.b = sympy.symbols(f"b1:{ROWS + 1}", real=True)
    m.a = sympy.Function("a")
    m.mu = sum(m.z) / ROWS
    m.s = sympy.sqrt(sum((z - m.mu) ** 2 for z in m.z) / m.n + m.eps)
    m.xhat = [(z - m.mu) / m.s for z in m.z]
    m.e = [y - m.a(b) * m.G2 for y, b in zip(m.y, m.b, strict=True)]
    m.R = sum(e**2 for e in m.e) / ROWS
    m.S = [-sympy.Rational(2, ROWS) * e * m.G2 * m.a(b).diff(b) for e, b in zip(m.e, m.b, strict=True)]
    return m


def zero(expression):
    """Whether an expression is 0 identically."""
    return sympy.simplify(expression) == 0


def test_sums_of_a_normalised_column_in_symbols(symbols):
    """(1.1) and (1.2)."""
    # catches: (1.1) or (1.2) wrong for a ddof that no draw has
    m = symbols
    assert zero(sum(m.xhat))
    assert zero(sum(x**2 for x in m.xhat) - m.n * (m.s**2 - m.eps) / m.s**2)


def test_the_stub_in_symbols(symbols):
    """(2.2), and (3.1) to (3.3) by the chain rule through b = γ x + β."""
    # catches: a chain rule that holds for the five activations alone
    m = symbols
    assert all(zero(m.R.diff(b) - S) for b, S in zip(m.b, m.S, strict=True))
    x = sympy.symbols(f"x1:{ROWS + 1}", real=True)
    put = {b: m.gamma * value + m.beta for b, value in zip(m.b, x, strict=True)}
    R, S = m.R.subs(put), [S.subs(put).doit() for S in m.S]
    assert zero(R.diff(m.beta).doit() - sum(S))
    assert zero(R.diff(m.gamma).doit() - sum(s * value for s, value in zip(S, x, strict=True)))
    assert zero(m.R.diff(m.G2) + sympy.Rational(2, ROWS) * sum(m.a(b) * e for b, e in zip(m.b, m.e, strict=True)))


def test_mean_deviation_and_normalised_column_in_symbols(symbols):
    """(4.1), (4.2) and every entry of (4.3)."""
    # catches: a Jacobian that holds at the drawn numbers alone
    m = symbols
    for i in range(ROWS):
        assert zero(m.mu.diff(m.z[i]) - sympy.Rational(1, ROWS))
        assert zero(m.s.diff(m.z[i]) - m.xhat[i] / m.n)
        for row in range(ROWS):
            right = (int(i == row) - sympy.Rational(1, ROWS) - m.xhat[row] * m.xhat[i] / m.n) / m.s
            assert zero(m.xhat[row].diff(m.z[i]) - right)


def test_the_gradient_of_Z_in_symbols(symbols):
    """(4.4), and with it (8.1) and (8.3), from (4.3) for any stub."""
    # catches: a closed dZ that needs a property of S
    m = symbols
    S = sympy.symbols(f"S1:{ROWS + 1}", real=True)
    through = [sum(m.gamma * S[row] * m.xhat[row].diff(z) for row in range(ROWS)) for z in m.z]
    along = sum(s * x for s, x in zip(S, m.xhat, strict=True))
    for i in range(ROWS):
        right = m.gamma / m.s * (S[i] - sum(S) / ROWS - m.xhat[i] / m.n * along)
        assert zero(through[i] - right)
    assert zero(sum(through))
    assert zero(sum(z * d for z, d in zip(m.z, through, strict=True)) - m.gamma * along * m.eps / m.s**2)


def test_the_product_in_symbols():
    """(4.6), (4.7) and (5.6): entries of Z = XΓ1 by entries of Γ1 and of X."""
    # catches: a transposed factor where p1 is p2
    X = sympy.Matrix(ROWS, INPUTS, sympy.symbols(f"x1:{ROWS * INPUTS + 1}"))
    G1 = sympy.Matrix(INPUTS, 1, sympy.symbols(f"g1:{INPUTS + 1}"))
    dZ = sympy.Matrix(ROWS, 1, sympy.symbols(f"d1:{ROWS + 1}"))
    linear = (dZ.T * X * G1)[0]
    assert sympy.Matrix(INPUTS, 1, [linear.diff(g) for g in G1]) == (X.T * dZ).expand()
    assert sympy.Matrix(ROWS, INPUTS, [linear.diff(x) for x in X]) == (dZ * G1.T).expand()


def test_the_rule_for_the_kronecker_product():
    """7.5: the question's rule gives (5.2)'s Jacobian."""
    # catches: the question's rule read wrong
    rule = kronecker_rule(np.array([[2, 3, 5]]), np.ones((4, 1), int))
    assert (rule == np.kron(np.eye(3, dtype=int), np.ones((4, 1), int))).all()


def test_the_formulas_are_well_formed():
    """Fences close, and braces and \\left-like pairs balance, in every display and inline formula."""
    # catches: a formula that a page does not draw
    displays = re.findall(r"^```math\n(.*?)^```$", TEXT, re.M | re.S)
    assert len(displays) == TEXT.count("```math")
    assert len(displays) == len(LABELS) + 2, "each numbered equality has one display, the definitions have two"
    inline = re.findall(r"\$`(.*?)`\$", TEXT, re.S)
    assert TEXT.count("$`") == TEXT.count("`$") == len(inline)
    for formula in displays + inline:
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\Big(") + formula.count(r"\big(") == formula.count(r"\Big)") + formula.count(r"\big)")
        assert r"\operatorname" not in formula, "GitHub refuses it"

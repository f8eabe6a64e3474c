"""The formula against SymPy, which differentiates the definition's expressions, to thirty digits."""

import itertools

import numpy as np
import pytest
import sympy
from cases import covering
from networks import distances

from bnbench import formula
from bnbench.definition import Tensors, leaves, placed, rebuilt, risk
from bnbench.problem import LOSSES, Data, Layer, NetworkGradients, Spec, Theta

DIGITS = 30


def each(function):
    """A function of one expression as one of an object array."""
    return np.frompyfunc(function, 1, 1)


def exact(numbers):
    """The doubles as SymPy's numbers."""
    return each(lambda number: sympy.Float(float(number), DIGITS))(numbers)


class Symbols(Tensors):
    """Operations of object arrays of expressions.

    Products and sums over rows get a letter each, with what it stands for in `meaning`, in order: of expressions that
    hold each other whole, three layers deep, derivatives take minutes.
    """

    exp, log, sqrt, tanh = (staticmethod(each(one)) for one in (sympy.exp, sympy.log, sympy.sqrt, sympy.tanh))
    constant = staticmethod(exact)

    def __init__(self):
        self.meaning = {}

    def letter(self, expression):
        new = sympy.Symbol(f"v{len(self.meaning)}")
        self.meaning[new] = expression
        return new

    def product(self, A, B):
        return each(self.letter)(A @ B)

    def total(self, M, *others):
        return each(self.letter)(M.sum(axis=0))

    def sigmoid(self, b):
        return 1 / (1 + self.exp(-b))

    def softplus(self, b):
        return self.log(1 + self.exp(b))

    def slopes(self, R, values):
        """R and its derivatives by every letter: the chain rule over `meaning`; values has those of the parameters."""
        for letter, expression in self.meaning.items():
            values[letter] = sympy.N(expression.subs(values), DIGITS)
        slopes = {letter: sympy.Integer(0) for letter in values} | {R: sympy.Integer(1)}
        for letter, expression in reversed(self.meaning.items()):
            for of in expression.free_symbols:
                slopes[of] += slopes[letter] * sympy.N(expression.diff(of).subs(values), DIGITS)
        return values, slopes


@pytest.mark.parametrize(
    ("activation", "normalization", "loss"),
    covering(
        list(itertools.product(("tanh", "sigmoid"), ("batch", "frozen"), LOSSES)),
        [
            ("tanh", "batch", "squared"),
            ("sigmoid", "batch", "logistic"),
            ("tanh", "batch", "poisson"),
            ("sigmoid", "frozen", "squared"),
            ("tanh", "frozen", "logistic"),
            ("sigmoid", "frozen", "poisson"),
        ],
    ),
)
def test_the_formula_is_what_sympy_derives(activation, normalization, loss):
    """Two layers, three rows, a linear term, and effects where they have a closed form."""
    # catches: a formula and machines that are wrong alike, since each was held against the other alone
    random = np.random.default_rng(1)
    draw = random.standard_normal
    theta = Theta((Layer(draw((2, 2)), draw(2), draw(2)), Layer(draw((2, 1)), draw(1), draw(1))), draw(1), draw(1))
    given = tuple((draw(p), random.uniform(0.5, 2, p)) for p in (2, 1)) if normalization == "frozen" else ()
    panel = {} if loss == "logistic" else {"unit": np.array([0, 1, 0]), "units": 2}
    data = Data(draw((3, 2)), np.array([0.25, 0.5, 0.75]), draw((3, 1)), statistics=given, **panel)
    spec = Spec(activation, normalization, loss, ddof=1, eps=0.25)

    m = Symbols()
    letters = [np.array(sympy.symbols(f"t{place}_:{array.size}"), object).reshape(array.shape)
               for place, array in enumerate(leaves(theta))]  # fmt: skip
    held = placed(data, exact)._replace(unit=data.unit)
    R, alpha = risk(rebuilt(theta, letters), held, spec, m)
    R = m.letter(R)
    alpha = None if alpha is None else each(m.letter)(alpha)
    numbers = (number for array in leaves(theta) for number in exact(array).flat)
    values, slopes = m.slopes(
        R, dict(zip((letter for array in letters for letter in array.flat), numbers, strict=True))
    )
    found = [each(slopes.get)(array).astype(float) for array in letters]
    effects = None if alpha is None else each(values.get)(alpha).astype(float)
    known = NetworkGradients(float(values[R]), rebuilt(theta, found), None, effects)
    assert max(distances(formula.gradients(theta, data, spec), known)) < 1e-12

"""Arrays that round at random: `formula` run over them a few times answers with a spread, which is what rounding does.

Every operation returns its result v as v(1 + uξ), ξ uniform on [-1, 1] and u the dtype's rounding unit; what lies below
the smallest normal number is lost at random too, and what lies above the largest is infinite. A sum of n terms errs by
√n u √Σv²: the size of the error of recursive summation of terms of both signs, √n times less than its worst case and
√n times more than that of pairwise summation. The arithmetic beneath is float64's, whatever the dtype.

The idea is Parker's Monte Carlo arithmetic (D. S. Parker, UCLA CSD-970002, 1997) and Vignes' CESTAC (Mathematics and
Computers in Simulation 35, 1993); no line of error analysis is needed, whatever the depth.
"""

import numpy as np

from bnbench.operations import NUMPY, Operations

SPARE = 2**14  # random numbers more than the largest array so far takes


class Rounding:
    """Where the random errors of one run come from, and their size: that of a dtype."""

    def __init__(self, dtype, seed):
        info = np.finfo(dtype)
        self.unit, self.least, self.most = float(info.eps) / 2, float(info.tiny), float(info.max)
        self.random = np.random.default_rng(seed)
        self.pool = np.empty(0)

    def noise(self, shape):
        """Numbers uniform on [-1, 1]: those of a pool, from a random place on."""
        size = int(np.prod(shape))
        if size + SPARE > len(self.pool):
            self.pool = self.random.uniform(-1, 1, size + SPARE)
        start = int(self.random.integers(SPARE))
        return self.pool[start : start + size].reshape(shape)

    def rounded(self, v, scale=None):
        """v with an error of unit times scale, by default its own size; infinite where the dtype ends."""
        error = self.unit * (v if scale is None else scale)
        error += self.least
        error *= self.noise(np.shape(v))
        v = error + v
        if np.size(v) and not (v.max() <= self.most and v.min() >= -self.most):
            v = np.where(np.abs(v) <= self.most, v, np.inf)
        return v


class Rounded:
    """An array whose every operation rounds at random.

    Attributes:
        v: its value, float64.
        rounding: the `Rounding` that it draws on.
        scale: of a sum over rows, a mean or a product of matrices, √n √Σ(terms²) (over n), so that unit times scale is
            what that sum alone rounds by; else None.
    """

    __array_ufunc__ = None

    def __init__(self, v, rounding, scale=None):
        self.v, self.rounding, self.scale = v, rounding, scale

    shape = property(lambda self: self.v.shape)
    T = property(lambda self: Rounded(self.v.T, self.rounding))

    def __len__(self):
        return len(self.v)

    def __getitem__(self, key):
        return Rounded(self.v[key], self.rounding)

    def __neg__(self):
        return Rounded(-self.v, self.rounding)

    def made(self, v, scale=None):
        """A result, rounded."""
        return Rounded(self.rounding.rounded(v, scale), self.rounding, scale)

    def __add__(self, other):
        return self.made(self.v + value(other))

    def __sub__(self, other):
        return self.made(self.v - value(other))

    def __rsub__(self, other):
        return self.made(value(other) - self.v)

    def __mul__(self, other):
        return self.made(self.v * value(other))

    def __truediv__(self, other):
        found = self.made(self.v / value(other))
        if self.scale is not None and isinstance(other, int):  # a mean is as rough as its sum
            found.scale = self.scale / other
        return found

    def __rtruediv__(self, other):
        return self.made(value(other) / self.v)

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other):
        return self.v > value(other)

    def __matmul__(self, other):
        other, n = value(other), self.v.shape[-1]
        return self.made(self.v @ other, np.sqrt(n * ((self.v * self.v) @ (other * other))))

    def __rmatmul__(self, other):
        return Rounded(other, self.rounding) @ self


def value(x):
    """The value of an array that rounds at random, or of another."""
    return x.v if isinstance(x, Rounded) else x


def elementwise(name):
    """One of NumPy's operations over arrays that round at random."""
    return lambda self, x: x.made(getattr(NUMPY, name)(x.v))


class RoundedOperations(Operations):
    """The operations of `Rounded`."""

    exp, log, sqrt, tanh = map(elementwise, ("exp", "log", "sqrt", "tanh"))
    sigmoid, softplus, gaussian = map(elementwise, ("sigmoid", "softplus", "gaussian"))

    def number(self, like, x):
        """The number x."""
        return x

    def choose(self, b, above, below):
        """`above` where b > 0, `below` elsewhere."""
        return Rounded(np.where(b.v > 0, value(above), value(below)), b.rounding)

    def relu(self, b):
        """max(b, 0)."""
        return Rounded(np.maximum(b.v, 0), b.rounding)

    def total(self, M, *others):
        """1ᵀ(M ⊙ others)."""
        v = M.v
        for other in others:
            v = v * other.v
        return M.made(v.sum(axis=0), np.sqrt(len(v) * (v * v).sum(axis=0)))

    def by_unit(self, v, unit, units):
        """The sums of v (N,) within each unit, (U,)."""
        size = np.sqrt(np.bincount(unit, minlength=units) * np.bincount(unit, v.v * v.v, units))
        return v.made(np.bincount(unit, v.v, units), size)

    def settled(self, step, alpha):
        """Whether a step of Newton's method no longer changes alpha by more than rounding."""
        return bool((np.abs(step.v) <= 8 * alpha.rounding.unit * (1 + np.abs(alpha.v))).all())


ROUNDED = RoundedOperations()

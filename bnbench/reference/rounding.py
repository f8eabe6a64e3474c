"""Arrays that round at random: `formula` run over them a few times answers with a spread, which is what rounding does.

Every operation returns its result v as v(1 + uξ), ξ uniform on [-1, 1] and u the dtype's rounding unit; what lies below
the smallest normal number is lost at random too, and what lies above the largest is infinite. A sum S of n terms v errs
by u (Σ|v| + √n |S|): about √Σ(partial sums)², the size of the error of recursive summation, each of whose partial sums
rounds by u times itself, and is kS/n and a walk at random of k steps. Its worst case is √n times as much, and a
pairwise sum's error √n times less.
The arithmetic beneath is float64's, whatever the dtype.

Hardware that rounds the factors of matrix products to fewer digits may as well cut them off: an error of up to two of
that format's units, f, always in the same direction. So a factor is changed by up to f at random, and the whole matrix
by up to f besides.

Several runs are one run over arrays with one more axis, the first: of small arrays what takes the time is the number of
operations.

The idea is Parker's Monte Carlo arithmetic (D. S. Parker, UCLA CSD-970002, 1997) and Vignes' CESTAC (Mathematics and
Computers in Simulation 35, 1993); no line of error analysis is needed, whatever the depth.
"""

import functools

import numpy as np

from bnbench.jit import njit
from bnbench.operations import NUMPY, Operations
from bnbench.reference.chunks import chunks, each, empty

PIECE, PLACES = 2**12, 2**16  # numbers that are drawn in a row from the pool, and places where they may begin
MULTIPLIER = 0x9E3779B1  # Knuth's, for multiplicative hashing: pieces in a row begin far from each other


@functools.cache
def pool():
    """Numbers uniform on [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, PLACES + PIECE).astype(np.float32)


@njit(plain=True)
def round_at_random(v, scale, root, noise, key, unit, least, most, out):
    """Into out: v off by (unit (scale + root |v|) + least) times noise; infinite where it is beyond most."""
    for first in range(0, v.size, PIECE):
        place = ((key + first // PIECE) * MULTIPLIER & 0xFFFFFFFF) >> 16
        last = min(v.size, first + PIECE)
        a, b, c, d = v[first:last], scale[first:last], noise[place : place + PIECE], out[first:last]
        for i in range(a.size):
            x = a[i] + (unit * (b[i] + root * abs(a[i])) + least) * c[i]
            d[i] = x if abs(x) <= most else np.inf


class Rounding:
    """So many runs' random errors, and their size: that of a dtype."""

    def __init__(self, dtype, runs, seed, factor_unit=0.0):
        info = np.finfo(dtype)
        self.unit, self.least, self.most = float(info.eps) / 2, float(info.tiny), float(info.max)
        self.runs, self.key, self.factor_unit = runs, seed * PLACES * PIECE, factor_unit

    def __call__(self, operation, *arrays, scale=None, root=0.0, unit=None):
        """operation(*arrays), or arrays alone where it is None, with an error of unit times (scale + root |result|).

        By default the scale is the result, and the unit the dtype's.

        Arrays (1,...) or (runs,...), or without that axis.
        """
        shape = (self.runs, *np.broadcast_shapes(*map(np.shape, arrays))[1:])
        size = int(np.prod(shape))
        out = empty(shape)
        unit, key = self.unit if unit is None else unit, self.key
        self.key += size // PIECE + 1

        def run(arrays, out, scale, key):
            v = arrays[0] if operation is None else operation(*arrays)
            if v.shape != out.shape:  # the same before it is rounded in every run
                v = np.broadcast_to(v, out.shape)
            flat = np.ascontiguousarray(v).reshape(-1)
            scale = flat if scale is None else np.ascontiguousarray(np.broadcast_to(scale, out.shape)).reshape(-1)
            round_at_random(flat, scale, root, pool(), key, unit, self.least, self.most, out.reshape(-1))

        if self.runs > 1 or len(shape) < 3:
            run(arrays, out, scale, key)
            return out
        rows, width = shape[1:]

        def chunk(rows):
            parts = [a[:, rows] if np.ndim(a) == 3 and a.shape[1] > 1 else a for a in arrays]
            run(parts, out[:, rows], None if scale is None else scale[:, rows], key + rows.start * width // PIECE)

        each(chunk, chunks(rows, width))
        return out


class Rounded:
    """An array whose every operation rounds at random.

    Attributes:
        v: its value in every run, float64 (runs,...), or (1,...) where it is the same.
        rounding: the `Rounding` that it draws on.
        sizes, root: of a sum over rows or a product of matrices, Σ|terms| and √n; of a mean, Σ|terms|/n and √n.
    """

    __array_ufunc__ = None

    def __init__(self, v, rounding, sizes=None, root=0.0):
        self.v, self.rounding, self.sizes, self.root = v, rounding, sizes, root

    @property
    def least(self):
        """What the last sum alone rounds by, in every run; 0 where there is none."""
        return 0.0 if self.sizes is None else self.rounding.unit * (self.sizes + self.root * np.abs(self.v))

    shape = property(lambda self: self.v.shape[1:])
    T = property(lambda self: Rounded(self.v.swapaxes(1, -1), self.rounding))

    def __len__(self):
        return self.v.shape[1]

    def __getitem__(self, key):
        return Rounded(self.v[(slice(None), *key) if isinstance(key, tuple) else (slice(None), key)], self.rounding)

    def __neg__(self):
        return Rounded(-self.v, self.rounding)

    def made(self, operation, *arrays, **how):
        """A result, rounded."""
        return Rounded(self.rounding(operation, *arrays, **how), self.rounding)

    def summed(self, v, sizes, n):
        """A sum of n terms, rounded, with the sum of their sizes."""
        return Rounded(self.rounding(None, v, scale=sizes, root=n**0.5), self.rounding, sizes, n**0.5)

    def binary(self, other, operation, swapped=False):
        """An operation of this and another array or number, in either order."""
        one, other = self.v, other.v if isinstance(other, Rounded) else np.asarray(other)[None]
        most = max(one.ndim, other.ndim)
        one, other = (a.reshape(len(a), *(1,) * (most - a.ndim), *a.shape[1:]) for a in (one, other))
        return self.made(operation, *((other, one) if swapped else (one, other)))

    def __add__(self, other):
        return self.binary(other, np.add)

    def __sub__(self, other):
        return self.binary(other, np.subtract)

    def __rsub__(self, other):
        return self.binary(other, np.subtract, swapped=True)

    def __mul__(self, other):
        return self.binary(other, np.multiply)

    def __truediv__(self, other):
        found = self.binary(other, np.divide)
        if self.sizes is not None and isinstance(other, int):  # a mean is as rough as its sum
            found.sizes, found.root = self.sizes / other, self.root
        return found

    def __rtruediv__(self, other):
        return self.binary(other, np.divide, swapped=True)

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other):
        return self.v > value(other)

    def factor(self):
        """The value as a factor of a product of matrices."""
        f = self.rounding.factor_unit
        if not f:
            return self.v
        whole = self.rounding(None, np.ones((1, *(1,) * (self.v.ndim - 1))), unit=f)
        return self.rounding(np.multiply, self.v, whole, unit=f)

    def __matmul__(self, other):
        a, b, columns = self.factor(), other.factor(), other.v.ndim == 2
        a, b = a[:, None] if a.ndim == 2 else a, b[..., None] if columns else b
        left, right = (np.abs(x, out=empty(x.shape)) for x in (a, b))
        shape = max(len(a), len(b)), a.shape[1], b.shape[2]
        v, sizes = np.matmul(a, b, out=empty(shape)), np.matmul(left, right, out=empty(shape))
        if columns:
            v, sizes = v[..., 0], sizes[..., 0]
        return self.summed(v, sizes, a.shape[-1])

    def forget(self):
        """Free what it holds."""
        self.v = self.sizes = None


def value(x):
    """The value of an array that rounds at random, or of another."""
    return x.v if isinstance(x, Rounded) else x


def elementwise(name):
    """One of NumPy's operations over arrays that round at random."""
    return lambda self, x: x.made(getattr(NUMPY, name), x.v)


def choose(b, above, below):
    """`above` where b > 0, `below` elsewhere."""
    return np.where(b > 0, above, below)


class RoundedOperations(Operations):
    """The operations of `Rounded`."""

    exp, log, sqrt, tanh = map(elementwise, ("exp", "log", "sqrt", "tanh"))
    sigmoid, softplus, gaussian = map(elementwise, ("sigmoid", "softplus", "gaussian"))

    def number(self, like, x):
        """The number x."""
        return x

    def choose(self, b, above, below):
        """`above` where b > 0, `below` elsewhere."""
        return b.made(choose, b.v, value(above), value(below), unit=0.0)

    def relu(self, b):
        """max(b, 0)."""
        return b.made(NUMPY.relu, b.v, unit=0.0)

    def total(self, M, *others):
        """1ᵀ(M ⊙ others)."""

        def part(rows):
            v = M.v[:, rows]
            for other in others:
                v = v * other.v[:, rows]
            return v.sum(axis=1), np.abs(v).sum(axis=1)

        parts = each(part, chunks(len(M), M.v[:, :1].size))
        return M.summed(*(sum(sums) for sums in zip(*parts, strict=True)), len(M))

    def by_unit(self, v, unit, units):
        """The sums of v (N,) within each unit, (U,)."""

        def sums(rows):
            return np.stack([np.bincount(unit, row, units) for row in rows])

        found, n = sums(v.v), np.bincount(unit, minlength=units)
        return v.made(None, found, scale=sums(np.abs(v.v)) + np.sqrt(n) * np.abs(found))

    def settled(self, step, alpha):
        """Whether a step of Newton's method no longer changes alpha by more than rounding."""
        return bool((np.abs(step.v) <= 8 * alpha.rounding.unit * (1 + np.abs(alpha.v))).all())


ROUNDED = RoundedOperations()

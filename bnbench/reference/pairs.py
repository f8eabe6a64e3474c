"""Arrays of double-doubles, over which `formula` runs unchanged: the reference.

Every operation is `doubledouble`'s, element by element, in compiled loops over matrices (n,p); what it takes may be a
row (1,p), a column (n,1) or a number (1,1) beside it.
"""

import numpy as np

from bnbench.jit import njit
from bnbench.operations import Operations
from bnbench.reference import doubledouble as dd
from bnbench.reference.chunks import chunks, each, empty


@njit(inner=True)
def log(h, l):
    """log(x) by one step of Newton's method from float64's; where |log(x)| < 1 the error is relative to 1.

    For x from 2⁻⁹⁰⁰ to 2⁹⁰⁰: exp(-log(x)) has its low half there.
    """
    y = np.log(h)
    if not 0.0 < h < np.inf:
        return y, 0.0
    eh, el = dd.exp(-y, 0.0)
    eh, el = dd.mul(h, l, eh, el)
    th, tl = dd.add(eh, el, -1.0, 0.0)  # log(x) = y + log(1 + t), |t| < 2⁻⁵⁰
    sh, sl = dd.mul(th, tl, th, tl)
    th, tl = dd.add(th, tl, -0.5 * sh, -0.5 * sl)
    return dd.add(y, 0.0, th, tl)


@njit(inner=True)
def softplus(h, l):
    """log(1 + exp(x)) = max(x, 0) + 2 artanh(u), u = t/(2 + t), t = exp(-|x|): right in its own digits everywhere."""
    th, tl = dd.exp(h, l) if h < 0.0 else dd.exp(-h, -l)
    uh, ul = dd.add(th, tl, 2.0, 0.0)
    uh, ul = dd.div(th, tl, uh, ul)
    qh, ql = dd.mul(uh, ul, uh, ul)  # at most 1/9
    terms = 1
    power = qh
    while power > 2.0**-110:
        power *= qh
        terms += 1
    sh, sl = 0.0, 0.0
    for n in range(terms, -1, -1):
        sh, sl = dd.mul(sh, sl, qh, ql)
        ch, cl = dd.div(2.0, 0.0, 2.0 * n + 1.0, 0.0)
        sh, sl = dd.add(sh, sl, ch, cl)
    sh, sl = dd.mul(sh, sl, uh, ul)
    return dd.add(h, l, sh, sl) if h > 0.0 else (sh, sl)


@njit(inner=True)
def gaussian(h, l):
    """exp(-x²/2)."""
    return dd.gaussian(h, l)


def binary(operation):
    """An operation of two matrices, a row, a column or a number of which may stand for a matrix."""

    @njit()
    def run(ah, al, bh, bl, oh, ol):
        n, p = oh.shape
        for i in range(n):
            ai, bi = min(i, ah.shape[0] - 1), min(i, bh.shape[0] - 1)
            xh, xl, yh, yl, rh, rl = ah[ai], al[ai], bh[bi], bl[bi], oh[i], ol[i]
            if xh.size == p and yh.size == p:
                for j in range(p):
                    rh[j], rl[j] = operation(xh[j], xl[j], yh[j], yl[j])
            elif xh.size == p:
                h, l = yh[0], yl[0]
                for j in range(p):
                    rh[j], rl[j] = operation(xh[j], xl[j], h, l)
            else:
                h, l = xh[0], xl[0]
                for j in range(p):
                    rh[j], rl[j] = operation(h, l, yh[min(j, yh.size - 1)], yl[min(j, yl.size - 1)])

    return run


def unary(operation):
    """An operation of one vector."""

    @njit()
    def run(h, l, oh, ol):
        for i in range(h.size):
            oh[i], ol[i] = operation(h[i], l[i])

    return run


ADD, SUBTRACT, MULTIPLY, DIVIDE = binary(dd.add), binary(dd.sub), binary(dd.mul), binary(dd.div)
SQRT, EXP, LOG, TANH, SIGMOID = unary(dd.sqrt), unary(dd.exp), unary(log), unary(dd.tanh), unary(dd.sigmoid)
SOFTPLUS, GAUSSIAN = unary(softplus), unary(gaussian)


@njit()
def sums(h, l, oh, ol):
    """The sums over rows of a matrix (n,p) into oh, ol (p,)."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            oh[j], ol[j] = dd.add(oh[j], ol[j], h[i, j], l[i, j])


@njit()
def sums_of_products(ah, al, bh, bl, oh, ol):
    """The same of A ⊙ B."""
    for i in range(ah.shape[0]):
        for j in range(ah.shape[1]):
            ph, pl = dd.mul(ah[i, j], al[i, j], bh[i, j], bl[i, j])
            oh[j], ol[j] = dd.add(oh[j], ol[j], ph, pl)


@njit()
def sums_by_unit(h, l, unit, oh, ol):
    """The sums of a vector within each unit."""
    for i in range(h.size):
        oh[unit[i]], ol[unit[i]] = dd.add(oh[unit[i]], ol[unit[i]], h[i], l[i])


def matrix(array):
    """A vector as a row, a number as (1,1); C-contiguous."""
    return np.ascontiguousarray(array).reshape((1,) * (2 - array.ndim) + array.shape)


class Pairs:
    """An array of double-doubles, of at most two dimensions: high + low.

    Attributes:
        exact: whether low is 0 everywhere; it then takes no memory.
    """

    __array_ufunc__ = None  # NumPy's operators leave theirs to these

    def __init__(self, high, low=None):
        self.high, self._low = np.asarray(high, np.float64), low

    shape = property(lambda self: self.high.shape)
    exact = property(lambda self: self._low is None)
    low = property(lambda self: np.zeros(self.high.shape) if self._low is None else self._low)
    parts = property(lambda self: (self.high, self.low))
    T = property(lambda self: Pairs(self.high.T, None if self._low is None else self._low.T))

    def __len__(self):
        return len(self.high)

    def __getitem__(self, key):
        return Pairs(self.high[key], None if self._low is None else self._low[key])

    def __neg__(self):
        return Pairs(-self.high, None if self._low is None else -self._low)

    def forget(self, low_only=False):
        """Free what it holds, or its low halves alone."""
        self.high, self._low = self.high if low_only else None, None

    def binary(self, other, kernel, swapped=False):
        """An operation of this and another array or number, in either order."""
        one, other = self, other if isinstance(other, Pairs) else Pairs(other)
        if swapped:
            one, other = other, one
        shape = np.broadcast_shapes(one.shape, other.shape)
        found = Pairs(empty(shape), empty(shape))
        parts = [matrix(part) for array in (one, other, found) for part in (array.high, array.low)]
        pieces = chunks(*parts[-1].shape)
        if len(pieces) < 2:
            kernel(*parts)
        else:
            each(lambda rows: kernel(*(part[rows] if len(part) > 1 else part for part in parts)), pieces)
        return found

    def __add__(self, other):
        return self.binary(other, ADD)

    def __sub__(self, other):
        return self.binary(other, SUBTRACT)

    def __rsub__(self, other):
        return self.binary(other, SUBTRACT, swapped=True)

    def __mul__(self, other):
        return self.binary(other, MULTIPLY)

    def __truediv__(self, other):
        return self.binary(other, DIVIDE)

    def __rtruediv__(self, other):
        return self.binary(other, DIVIDE, swapped=True)

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other):
        above = self.high > other
        return above if self.exact else above | ((self.high == other) & (self.low > 0))

    def unary(self, kernel):
        """A function of every element."""
        found = Pairs(empty(self.shape), empty(self.shape))
        parts = [np.ascontiguousarray(part).ravel() for array in (self, found) for part in (array.high, array.low)]
        each(lambda places: kernel(*(part[places] for part in parts)), chunks(self.high.size, 1))
        return found

    def __matmul__(self, other):
        other = other if isinstance(other, Pairs) else Pairs(other)
        left, columns = self.high.reshape((1,) * (2 - self.high.ndim) + self.shape), other.high.ndim == 1
        right = [np.ascontiguousarray(part[:, None] if columns else part) for part in (other.high, other.low)]
        high, low = dd.product(left, *right)
        if not self.exact:  # the product with the low halves is so small that float64 is enough
            extra = self.low.reshape(left.shape) @ right[0]
            high, low = (Pairs(high, low) + extra).parts
        shape = self.shape[:-1] + other.shape[1:]
        return Pairs(high.reshape(shape), low.reshape(shape))

    def __rmatmul__(self, other):
        return Pairs(other) @ self


def chosen(positive, above, below):
    """`np.where` in memory that is used again."""
    found = empty(positive.shape)
    np.copyto(found, below)
    np.copyto(found, above, where=positive)
    return found


class DoubleDoubles(Operations):
    """The operations of `Pairs`."""

    exp = staticmethod(lambda x: x.unary(EXP))
    log = staticmethod(lambda x: x.unary(LOG))
    sqrt = staticmethod(lambda x: x.unary(SQRT))
    tanh = staticmethod(lambda x: x.unary(TANH))
    sigmoid = staticmethod(lambda x: x.unary(SIGMOID))
    softplus = staticmethod(lambda x: x.unary(SOFTPLUS))
    gaussian = staticmethod(lambda x: x.unary(GAUSSIAN))

    def number(self, like, x):
        """The double x, exactly."""
        return Pairs(x)

    def choose(self, b, above, below):
        """`above` where b > 0, `below` elsewhere."""
        positive = b > 0
        above, below = (x if isinstance(x, Pairs) else Pairs(x) for x in (above, below))
        parts = zip(above.parts, below.parts, strict=True)
        if above.exact and below.exact:
            return Pairs(chosen(positive, above.high, below.high))
        return Pairs(*(chosen(positive, *part) for part in parts))

    def relu(self, b):
        """max(b, 0)."""
        return self.choose(b, b, Pairs(0.0))

    def total(self, M, *others):
        """1ᵀ(M ⊙ others), sums over rows; at most one other, of M's shape."""
        flat = M.high.ndim == 1
        parts = [part[:, None] if flat else part for array in (M, *others) for part in array.parts]
        parts, kernel = list(map(np.ascontiguousarray, parts)), sums_of_products if others else sums
        pieces = chunks(*parts[0].shape)
        found = np.zeros((2, len(pieces), parts[0].shape[1]))

        def add_up(place):
            kernel(*(part[pieces[place]] for part in parts), *found[:, place])

        each(add_up, range(len(pieces)))
        if len(pieces) > 1:
            total = np.zeros((2, found.shape[2]))
            sums(*found, *total)
        else:
            total = found[:, 0]
        high, low = total
        return Pairs(high[0], low[0]) if flat else Pairs(high, low)

    def by_unit(self, v, unit, units):
        """The sums of v (N,) within each unit, (U,)."""
        high, low = np.zeros((2, units))
        sums_by_unit(v.high, v.low, unit, high, low)
        return Pairs(high, low)

    def settled(self, step, alpha):
        """Whether a step of Newton's method no longer changes alpha by more than rounding."""
        return bool((np.abs(step.high) <= 2.0**-98 * (1 + np.abs(alpha.high))).all())


PAIRS = DoubleDoubles()

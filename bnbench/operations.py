"""What the mathematics needs of an array type beside + - * / @: a class of operations for each type.

`activations`, `losses`, `formula` and `definition` are written over these names, so that one text serves float32 and
float64, double-doubles, balls, arrays that round at random, the frameworks' tensors and, through `elementary`, numbers
in compiled code.
"""

from typing import Any

import numpy as np

FEW = 64  # rows, up to which `sum` takes less time than `einsum`
NEWTON_STEPS = 60
LONGEST_STEP = 2.0  # of Newton's method in a logit


class Operations:
    """Those of NumPy's float arrays; another type takes functions of its own in place of some.

    M and v are arrays of the type, y and η (N,), unit (N,) whole numbers from 0 to U-1.
    """

    exp: Any = np.exp
    log: Any = np.log
    sqrt: Any = np.sqrt
    tanh: Any = np.tanh

    def __init__(self, **own):
        self.__dict__.update(own)

    def number(self, like, x):
        """The number x as one of the array's dtype."""
        return like.dtype.type(x)

    def choose(self, b, above, below):
        """`above` where b > 0, `below` elsewhere."""
        if isinstance(above, np.generic) and above == 1 and below == 0:
            return (b > 0).astype(above.dtype)  # a tenth of the time
        return np.where(b > 0, above, below)

    def relu(self, b):
        """max(b, 0)."""
        return np.maximum(b, 0)

    def sigmoid(self, b):
        """1/(1 + exp(-b))."""
        with np.errstate(over="ignore"):  # exp(-b) = inf gives the right limit, 0
            return 1 / (1 + self.exp(-b))

    def softplus(self, b):
        """log(1 + exp(b))."""
        return np.logaddexp(0, b)

    def gaussian(self, b):
        """exp(-b²/2)."""
        return self.exp(-0.5 * b * b)

    def total(self, M, *others):
        """1ᵀ(M ⊙ others), the sums over rows (first axis) in M's dtype, added up in float64.

        Of many short rows `einsum` takes a third of `sum`'s time, of few it takes more.
        """
        if len(M) < FEW:
            for other in others:
                M = np.multiply(M, other, dtype=np.float64)
            total = M.sum(axis=0, dtype=np.float64)
        else:
            axes = ",".join(["i..."] * (1 + len(others)))
            total = np.einsum(f"{axes}->...", M, *others, dtype=np.float64)
        return total.astype((others[0] if others else M).dtype, copy=False)

    def by_unit(self, v, unit, units):
        """The sums of v (N,) within each unit, (U,)."""
        return np.bincount(unit, v, units).astype(v.dtype, copy=False)

    def root(self, function, start):
        """The root α (U,) of F, where function(α) is (F, F'), entry by entry: Newton's method with bounded steps."""
        alpha = start
        for _ in range(NEWTON_STEPS):
            alpha, step = self.newton(function, alpha)
            if self.settled(step, alpha):
                break
        return alpha

    def newton(self, function, alpha):
        """Where a step of the method leads from alpha, and the step."""
        F, slope = function(alpha)
        step = LONGEST_STEP * self.tanh(F / (LONGEST_STEP * slope))  # the step itself where it is small
        return alpha - step, step

    def settled(self, step, alpha):
        """Whether a step of Newton's method no longer changes alpha by more than rounding."""
        return (abs(step) <= 2 * np.finfo(step.dtype).eps * (1 + abs(alpha))).all()


NUMPY = Operations()

"""The gradient as a library call: `gradients` once, `prepare` for a training loop."""

import numpy as np

from bnbench.jit import REASSOCIATE, njit
from bnbench.problem import DTYPES, REGIMES, Batch, Gradients, Problem
from bnbench.variants import variants

DTYPE_NAMES = {np.dtype(name): name for name in DTYPES}
AUTO = "fused-numba"  # what variant="auto" stands for


def gradients(
    X,
    y,
    G1,
    gamma,
    beta,
    G2,
    *,
    variant="auto",
    activation="relu",
    normalization="batch",
    ddof=0,
    eps=1e-5,
) -> Gradients:
    """The loss and its gradients with respect to Γ1, γ, β and Γ2 (README, "The network").

    Args:
        X: (N,p1) inputs. Every array is float32 or every array float64, in any layout; whole numbers count
            as the dtype of the others. None is modified.
        y: (N,) outcome.
        G1: (p1,p2) first-layer weights Γ1.
        gamma: (p2,) scale γ, or None with `normalization="none"`.
        beta: (p2,) shift β, or None with `normalization="none"`.
        G2: (p2,) second-layer weights Γ2.
        variant: a name of `bnbench.variants()`, or "auto".
        activation: relu, sigmoid, tanh, gaussian or identity.
        normalization: "batch", or "none" for B = X Γ1.
        ddof: the variance divides by N - ddof.
        eps: added to the variance under the root.

    Returns:
        Gradients with loss (the mean squared error R), dG1 (p1,p2), dgamma, dbeta and dG2 (p2,).

    Raises:
        ValueError: mismatched shapes, dtypes other than these, non-finite entries, N <= ddof, a hidden node
            of zero variance with eps = 0, an unknown name; the message says which array or column.
    """
    X, y, dtype = _data(X, y, (G1, gamma, beta, G2))
    prepared = Prepared(X, y, _p2(G1), dtype, variant, "fresh", activation, normalization, ddof, eps)
    return prepared.gradients(G1, gamma, beta, G2)


def prepare(
    X,
    y,
    p2,
    *,
    variant="auto",
    regime="fixed",
    activation="relu",
    normalization="batch",
    ddof=0,
    eps=1e-5,
) -> "Prepared":
    """Check the data and set up once; the result's `.gradients(G1, gamma, beta, G2)` is what a loop calls.

    The arguments are those of `gradients`, with p2 the number of hidden nodes. In the regime "fixed" what
    depends on X alone is computed here; X and y must then not be changed afterwards.

    Raises:
        ValueError: as in `gradients`.
    """
    X, y, dtype = _data(X, y, ())
    return Prepared(X, y, p2, dtype, variant, regime, activation, normalization, ddof, eps)


class Prepared:
    """A checked and set-up gradient for one X (N,p1), y (N,) and p2; made by `prepare`."""

    def __init__(self, X, y, p2, dtype, variant, regime, activation, normalization, ddof, eps):
        if regime not in REGIMES:
            raise ValueError(f"regime is {regime!r}; allowed are {', '.join(REGIMES)}")
        N, p1 = X.shape
        self.problem = problem = Problem(N, p1, p2, activation, normalization, ddof, eps, dtype)
        cls = _variant(variant)
        reason = cls.unavailable() or cls.unsupported(problem, regime)
        if reason:
            raise ValueError(f"variant {cls.name} cannot be used here: {reason}")
        dtype = X.dtype
        ones = np.ones(p1 * p2 + 3 * p2, dtype)
        G1, (gamma, beta, G2) = ones[: p1 * p2].reshape(p1, p2), ones[p1 * p2 :].reshape(3, p2)
        if normalization == "none":
            gamma = beta = None
        self.batch = Batch(X, y, G1, gamma, beta, G2)
        few = (p2,), dtype
        affine = None if gamma is None else few
        self.expected = (("G1", ((p1, p2), dtype)), ("gamma", affine), ("beta", affine), ("G2", few))
        self.variant = cls()
        self.variant.prepare(self.batch, problem, regime)

    def gradients(self, G1, gamma, beta, G2) -> Gradients:
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`."""
        problem = self.problem
        parameters = [
            self._parameter(name, value, expected)
            for (name, expected), value in zip(self.expected, (G1, gamma, beta, G2), strict=True)
        ]
        if problem.normalization == "batch" and problem.eps == 0:
            _check_variance(self.batch.X, parameters[0])
        self.variant.load(*parameters)
        self.variant.step()
        return self.variant.result()

    def _parameter(self, name, value, expected):
        """A parameter checked, as a contiguous array of the problem's dtype."""
        if expected is None:
            if value is not None:
                raise ValueError(f'{name} is given; with normalization="none" allowed is None')
            return None
        shape, dtype = expected
        if not (type(value) is np.ndarray and value.dtype is dtype and value.flags.c_contiguous):
            value = _array(name, value, self.problem.dtype)
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}; with this X and p2 allowed is {shape}")
        if not all_finite(value.reshape(-1)):
            _check_finite(name, value)
        return value


@njit(fastmath=REASSOCIATE)
def all_finite(values):
    """Whether no number is NaN or infinite."""
    zero = values.dtype.type(0)
    total = zero
    for i in range(values.size):
        total += values[i] * zero
    return total == 0


def _variant(name):
    known = variants()
    name = AUTO if name == "auto" else name
    if name not in known:
        raise ValueError(f"variant is {name!r}; allowed are auto, {', '.join(known)}")
    return known[name]


def _p2(G1):
    shape = np.shape(G1)
    if len(shape) != 2:
        raise ValueError(f"G1 has shape {shape}; allowed is (p1, p2)")
    return shape[1]


def _float_dtype(name, array):
    """The float dtype of an array that has one; None for whole numbers."""
    if array.dtype in DTYPE_NAMES:
        return DTYPE_NAMES[array.dtype]
    if array.dtype.kind in "iub":
        return None
    raise ValueError(f"{name} is of dtype {array.dtype}; allowed are float64 and float32")


def _array(name, value, dtype):
    """The value as a C-contiguous array of the problem's dtype, copied only where it must be."""
    if value is None:
        raise ValueError(f"{name} is None; allowed is an array")
    array = np.asarray(value)
    own = _float_dtype(name, array)
    if own is not None and own != dtype:
        raise ValueError(f"{name} is {own} and X is {dtype}; allowed is one dtype for all arrays")
    return np.ascontiguousarray(array, dtype)


def _data(X, y, others):
    """X and y checked, with the dtype that all the arrays share."""
    dtype = None
    for name, value in zip(("X", "y", "G1", "gamma", "beta", "G2"), (X, y, *others), strict=False):
        if dtype is None and value is not None:
            dtype = _float_dtype(name, np.asarray(value))
    dtype = dtype or "float64"
    X, y = _array("X", X, dtype), _array("y", y, dtype)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; allowed is (N, p1)")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y has shape {y.shape}; with X of shape {X.shape} allowed is {X.shape[:1]}")
    for name, array in (("X", X), ("y", y)):
        if not all_finite(array.reshape(-1)):
            _check_finite(name, array)
    X, y = X.view(), y.view()  # read-only, always: to Numba that is a type of its own, compiled for anew
    X.flags.writeable = y.flags.writeable = False
    return X, y, dtype


def _check_finite(name, array):
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        index = ", ".join(map(str, place))
        count = int(np.size(finite) - np.count_nonzero(finite))
        raise ValueError(f"{name}[{index}] is {array[place]} ({count} such entries); allowed are finite numbers")


def _check_variance(X, G1):
    """Refuse a hidden node whose pre-activation is constant up to rounding: with eps = 0 it has no X̂."""
    Z = X @ G1
    spread = np.abs(Z - Z.mean(axis=0)).max(axis=0)
    rounding = np.finfo(X.dtype).eps * X.shape[1] ** 0.5 * (np.abs(X).max(axis=0) @ np.abs(G1))
    constant = np.flatnonzero(spread <= rounding)
    if constant.size:
        raise ValueError(
            f"column {constant[0]} of X G1 has zero variance and eps is 0 ({constant.size} such columns); "
            "allowed is eps > 0, or hidden nodes that vary over the rows"
        )

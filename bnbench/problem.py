"""What is asked (`Problem`), its arrays (`Batch`) and the answer (`Gradients`), whose annotations name the shapes."""

import sys
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple

import numpy as np

ACTIVATIONS = ("relu", "sigmoid", "tanh", "gaussian", "identity")
NORMALIZATIONS = ("batch", "none")
DTYPES = ("float64", "float32")
REGIMES = ("fresh", "fixed")


class Batch(NamedTuple):
    """The arrays of one problem: the data X (N,p1), y (N,) and the parameters.

    G1 is Γ1 (p1,p2), gamma and beta are (p2,), G2 is Γ2 (p2,); with `normalization="none"` gamma and beta
    are None (their type says Any, so that nobody who normalises has to ask).
    """

    X: Annotated[np.ndarray, "N", "p1"]
    y: Annotated[np.ndarray, "N"]
    G1: Annotated[np.ndarray, "p1", "p2"]
    gamma: Annotated[np.ndarray | Any, "p2"]
    beta: Annotated[np.ndarray | Any, "p2"]
    G2: Annotated[np.ndarray, "p2"]


class Gradients(NamedTuple):
    """The loss R and its gradients: dG1 (p1,p2), dgamma (p2,), dbeta (p2,), dG2 (p2,).

    With `normalization="none"` dgamma and dbeta are None.
    """

    loss: float
    dG1: Annotated[np.ndarray, "p1", "p2"]
    dgamma: Annotated[np.ndarray | Any, "p2"]
    dbeta: Annotated[np.ndarray | Any, "p2"]
    dG2: Annotated[np.ndarray, "p2"]


@dataclass(frozen=True)
class Problem:
    """One gradient that is asked for: its sizes, its conventions and the seed of its data.

    The network is Z = X Γ1, B = γ (Z - μ)/s + β, A = a(B), ŷ = A Γ2, R = Σ(y - ŷ)²/N, with
    s² = Σ(Z - μ)²/(N - ddof) + eps. `normalization="none"` is the same with B = Z.

    Args:
        N: rows (observations), at least 1 and more than ddof.
        p1: inputs, at least 1.
        p2: hidden nodes, at least 1.
        activation: one of `ACTIVATIONS`; gaussian is exp(-b²/2). ReLU's derivative at 0 is 0.
        normalization: "batch" or "none".
        ddof: the variance divides by N - ddof; at least 0. R's `sd` has 1, the frameworks 0.
        eps: added to the variance under the root, at least 0.
        dtype: "float64" or "float32", that of every array.
        seed: of the data that `sample` draws, at least 0.

    Raises:
        ValueError: a value is out of range; the message names the field and what is allowed.
    """

    N: int
    p1: int
    p2: int
    activation: str = "relu"
    normalization: str = "batch"
    ddof: int = 0
    eps: float = 1e-5
    dtype: str = "float64"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("N", 1), ("p1", 1), ("p2", 1), ("ddof", 0), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int:  # the common case is spared the slower checks
                if not isinstance(value, Integral) or isinstance(value, bool):
                    raise ValueError(f"{name} is {value!r}; allowed is a whole number of at least {least}")
                object.__setattr__(self, name, int(value))
            if value < least:
                raise ValueError(f"{name} is {value!r}; allowed is a whole number of at least {least}")
        check_conventions(self.activation, self.normalization, self.ddof, self.eps)
        if type(self.eps) is not float:
            object.__setattr__(self, "eps", float(self.eps))
        if isinstance(self.dtype, str) and self.dtype in DTYPES:
            pass
        elif self.dtype in (np.float64, np.float32):
            object.__setattr__(self, "dtype", np.dtype(self.dtype).name)
        else:
            raise ValueError(f"dtype is {self.dtype!r}; allowed are {', '.join(DTYPES)}")
        if self.N <= self.ddof:
            raise ValueError(f"N is {self.N} with ddof {self.ddof}; allowed is N > ddof")

    @property
    def work(self) -> int:
        """Multiply-adds of one pass over the data: N p1 p2."""
        return self.N * self.p1 * self.p2

    @property
    def batch_bytes(self) -> int:
        """Bytes of X and y."""
        return self.N * (self.p1 + 1) * np.dtype(self.dtype).itemsize

    def sample(self, X: np.ndarray | None = None, y: np.ndarray | None = None) -> Batch:
        """Draw the arrays from the seed; a real table's X (N,p1) and y (N,) may take the drawn ones' place.

        X and y are standard normal, Γ1 and Γ2 normal with variances 1/p1 and 1/p2 (so that Z and ŷ keep a
        size near 1), |γ| uniform on [0.5, 1.5] with either sign, β normal with sd 0.5. Every array has a stream of
        its own, and a smaller N has the leading rows of a larger one.
        """
        dtype = np.dtype(self.dtype)
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence(self.seed).spawn(6)]

        def normal(stream: int, shape: int | tuple[int, ...], sd: float = 1.0) -> np.ndarray:
            values = streams[stream].standard_normal(shape, dtype=dtype)
            return values if sd == 1.0 else values * dtype.type(sd)

        X = normal(0, (self.N, self.p1)) if X is None else np.ascontiguousarray(X, dtype)
        y = normal(1, self.N) if y is None else np.ascontiguousarray(y, dtype)
        if X.shape != (self.N, self.p1) or y.shape != (self.N,):
            raise ValueError(f"X is {X.shape} and y {y.shape}; allowed are {(self.N, self.p1)} and {(self.N,)}")
        G1 = normal(2, (self.p1, self.p2), self.p1**-0.5)
        G2 = normal(3, self.p2, self.p2**-0.5)
        if self.normalization == "none":
            return Batch(X, y, G1, None, None, G2)
        gamma = (streams[4].uniform(0.5, 1.5, self.p2) * streams[4].choice((-1, 1), self.p2)).astype(dtype)
        beta = normal(5, self.p2, 0.5)
        return Batch(X, y, G1, gamma, beta, G2)


FIELDS = tuple(field.name for field in fields(Problem))


def check_conventions(activation: object, normalization: object, ddof: Any, eps: Any) -> None:
    """Raise ValueError, naming the field, where a convention is not one of the allowed."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {', '.join(ACTIVATIONS)}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is {normalization!r}; allowed are {', '.join(NORMALIZATIONS)}")
    if (type(ddof) is not int and (not isinstance(ddof, Integral) or isinstance(ddof, bool))) or ddof < 0:
        raise ValueError(f"ddof is {ddof!r}; allowed is a whole number of at least 0")
    real = type(eps) is float or (isinstance(eps, Real) and not isinstance(eps, bool))
    if not real or not 0 <= eps <= sys.float_info.max:
        raise ValueError(f"eps is {eps!r}; allowed is a finite number of at least 0")

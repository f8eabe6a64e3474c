"""What is asked (`Problem`, `Spec`), its arrays (`Batch`; `Theta`, `Data`) and the answer (`Gradients`), by shape."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple, Self

import numpy as np

from bnbench import notebook

ACTIVATIONS = ("relu", "sigmoid", "tanh", "gaussian", "identity", "softplus", "leaky-relu")
NORMALIZATIONS = ("batch", "none", "frozen")
LOSSES = ("squared", "logistic", "poisson")
MOST_DEPTH, MOST_COLUMNS = 1000, 2**31  # of layers; of linear terms, and of units
FIRST_OF_LAYERS, OF_A_LAYER = 9, 5  # streams of random numbers
WHOLE = (("N", 1), ("p1", 1), ("p2", 1), ("ddof", 0), ("seed", 0), ("depth", 1), ("linear", 0), ("units", 0))
DTYPES = ("float64", "float32")
REGIMES = ("fresh", "fixed")


class SixArrays(NamedTuple):
    """What a `Batch` is as a tuple."""

    X: Annotated[np.ndarray, "N", "p1"]
    y: Annotated[np.ndarray, "N"]
    G1: Annotated[np.ndarray | Any, "p1", "p2"]
    gamma: Annotated[np.ndarray | Any, "p2"]
    beta: Annotated[np.ndarray | Any, "p2"]
    G2: Annotated[np.ndarray, "p2"]


class Batch(SixArrays):
    """The arrays of one problem: the data X (N,p1), y (N,) and the parameters.

    G1 is Γ1 (p1,p2), gamma and beta are (p2,), G2 is Γ2 (p2,); of several hidden layers G1, gamma and beta are lists,
    an array a layer. With `normalization="none"` gamma and beta are None (their type says Any, so that nobody who
    normalises has to ask).

    Attributes:
        W, delta: linear terms (N,q) and their coefficients (q,), or None.
        units: the unit of each row, (N,), whole numbers from 0; or None.
        statistics: for "frozen", (mean, variance), or a list of them where G1 is one; else None.
    """

    W: Annotated[np.ndarray | Any, "N", "q"] = None
    delta: Annotated[np.ndarray | Any, "q"] = None
    units: Annotated[np.ndarray | Any, "N"] = None
    statistics: Any = None

    def __new__(  # noqa: D102 - as the class's
        cls, *six: Any, W: Any = None, delta: Any = None, units: Any = None, statistics: Any = None, **named: Any
    ) -> Self:
        made = super().__new__(cls, *six, **named)
        vars(made).update(W=W, delta=delta, units=units, statistics=statistics)
        return made

    @property
    def more(self) -> dict[str, Any]:
        """W, delta, units and statistics by name, as `bnbench.gradients` takes them."""
        return {name: getattr(self, name) for name in ("W", "delta", "units", "statistics")}

    def _replace(self, **changed: Any) -> Self:
        """The batch with other arrays in the place of those that are named."""
        return type(self)(**{**self._asdict(), **self.more, **changed})

    def each(self, function: Any) -> Self:
        """The batch with function(array) in the place of every array; None stays."""
        return type(self)(**{name: _each(function, part) for name, part in (self._asdict() | self.more).items()})

    def parameters(self) -> tuple:
        """G1, gamma, beta, G2, and delta where there are linear terms: what `Variant.load` takes."""
        return self[2:] if self.delta is None else (*self[2:], self.delta)

    def named_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array with its name; a layer's is named as G1[0]."""
        for name, part in (self._asdict() | self.more).items():
            yield from named_arrays(name, part)

    @property
    def theta(self) -> "Theta":
        """The parameters as a `Theta`."""
        if not isinstance(self.G1, list):
            return Theta((Layer(self.G1, self.gamma, self.beta),), self.G2, self.delta)
        none = [None] * len(self.G1)
        columns = zip(self.G1, self.gamma or none, self.beta or none, strict=True)
        return Theta(tuple(Layer(*column) for column in columns), self.G2, self.delta)

    def with_theta(self, theta: "Theta") -> Self:
        """The batch with a `Theta` of the same shapes for its parameters."""
        deep = isinstance(self.G1, list)
        columns: list = [list(column) for column in zip(*theta.layers, strict=True)]
        named = dict(zip(("G1", "gamma", "beta"), columns if deep else [part for (part,) in columns], strict=True))
        if self.gamma is None:
            named |= {"gamma": None, "beta": None}
        return self._replace(**named, G2=theta.out, delta=theta.delta)

    @property
    def data(self) -> "Data":
        """The data as a `Data`."""
        given = self.statistics if isinstance(self.G1, list) else self.statistics and [self.statistics]
        units = 0 if self.units is None else int(self.units.max()) + 1
        return Data(self.X, self.y, self.W, self.units, units, tuple(map(tuple, given or ())))


class FiveParts(NamedTuple):
    """What a `Gradients` is as a tuple."""

    loss: float
    dG1: Annotated[np.ndarray | Any, "p1", "p2"]
    dgamma: Annotated[np.ndarray | Any, "p2"]
    dbeta: Annotated[np.ndarray | Any, "p2"]
    dG2: Annotated[np.ndarray, "p2"]


class Gradients(FiveParts):
    """The loss R and its gradients: dG1 (p1,p2), dgamma (p2,), dbeta (p2,), dG2 (p2,).

    With `normalization="none"` dgamma and dbeta are None. Where the parameters are lists, so are dG1, dgamma and dbeta.

    Attributes:
        ddelta: ∂R/∂δ (q,), or None without W.
        alpha: the units' effects (U,), in the sorted order of their labels, or None without units.
        dX: ∂R/∂X (N,p1), or None where it was not asked for.
    """

    ddelta: Annotated[np.ndarray | Any, "q"] = None
    alpha: Annotated[np.ndarray | Any, "U"] = None
    dX: Annotated[np.ndarray | Any, "N", "p1"] = None

    def __new__(  # noqa: D102 - as the class's
        cls, *five: Any, ddelta: Any = None, alpha: Any = None, dX: Any = None, **named: Any
    ) -> Self:
        made = super().__new__(cls, *five, **named)
        if not (ddelta is alpha is dX is None):
            made.ddelta, made.alpha, made.dX = ddelta, alpha, dX
        return made

    @classmethod
    def of(cls, found: "NetworkGradients", deep: bool) -> Self:
        """A network's answer, in lists where it is asked to be deep; of one layer else."""
        columns: list = [list(parts) for parts in zip(*found.theta.layers, strict=True)]
        if not deep:
            columns = [part for (part,) in columns]
        elif columns[1][0] is None:
            columns[1:] = None, None
        theta = found.theta
        return cls(found.loss, *columns, theta.out, ddelta=theta.delta, alpha=found.alpha, dX=found.dX)

    def _replace(self, **changed: Any) -> Self:
        """The same with other parts in the place of those that are named."""
        more = {name: getattr(self, name) for name in ("ddelta", "alpha", "dX")}
        return type(self)(**{**self._asdict(), **more, **changed})

    def copied(self) -> Self:
        """The same in arrays of its own."""
        every = self._asdict() | {name: getattr(self, name) for name in ("ddelta", "alpha", "dX")}
        return self._replace(**{name: _each(np.copy, part) for name, part in every.items() if name != "loss"})

    def parts(self) -> dict[str, Any]:
        """Every part by name, without ddelta, alpha and dX where there is none; a layer's is named as dG1[0]."""
        more = {name: getattr(self, name) for name in ("ddelta", "alpha", "dX") if getattr(self, name) is not None}
        named: dict[str, Any] = {}
        for name, part in (self._asdict() | more).items():
            named.update(named_arrays(name, part) if isinstance(part, list) else [(name, part)])
        return named

    def _repr_html_(self) -> str:
        """In a notebook: the loss, and of every gradient its shape, its norm and its largest entry."""
        rows = [
            (name, " × ".join(map(str, np.shape(part))), float(np.linalg.norm(part)), float(np.max(np.abs(part))))
            for name, part in self.parts().items()
            if name != "loss" and part is not None
        ]
        return notebook.table(f"loss {self.loss:.10g}", ("gradient", "shape", "‖·‖₂", "largest entry"), rows)


def named_arrays(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    """The arrays that a part is or has in lists, each with its name; nothing of None."""
    if isinstance(part, list | tuple):
        for place, one in enumerate(part):
            yield from named_arrays(f"{name}[{place}]", one)
    elif part is not None:
        yield name, part


def _each(function: Any, part: Any) -> Any:
    """function(array) of every array in a part."""
    if isinstance(part, list | tuple):
        return type(part)(_each(function, one) for one in part)
    return None if part is None else function(part)


class Layer(NamedTuple):
    """The parameters of a hidden layer, or their gradients: G is Γ (p_in,p_out), gamma and beta (p_out,) or None."""

    G: Any
    gamma: Any = None
    beta: Any = None


class Theta(NamedTuple):
    """The parameters of a network, or their gradients: a `Layer` each, out is Γ_out (p_L,), delta is δ (q,) or None."""

    layers: tuple[Layer, ...]
    out: Any
    delta: Any = None


def leaves(theta: Theta) -> list:
    """The arrays of the parameters, in order, without those that are None."""
    arrays = [array for layer in theta.layers for array in layer] + [theta.out, theta.delta]
    return [array for array in arrays if array is not None]


def rebuilt(theta: Theta, arrays: Iterable) -> Theta:
    """The parameters with other arrays in the place of `leaves`."""
    rest = iter(arrays)

    def each(array: Any) -> Any:
        return None if array is None else next(rest)

    layers = tuple(type(layer)(*map(each, layer)) for layer in theta.layers)
    return Theta(layers, each(theta.out), each(theta.delta))


class Data(NamedTuple):
    """X (N,p1), y (N,); linear terms W (N,q) and unit (N,), whole numbers from 0 to units-1, or None; statistics.

    statistics are a layer's (mean (p,), variance (p,)) each, for `normalization="frozen"`.
    """

    X: Any
    y: Any
    W: Any = None
    unit: Any = None
    units: int = 0
    statistics: tuple = ()


class Statistics(NamedTuple):
    """The mean (p,) and variance (p,) of a layer's pre-activations over count rows."""

    mean: Any
    var: Any
    count: int  # type: ignore[assignment]  # a tuple has a method of that name


class NetworkGradients(NamedTuple):
    """The loss R, its gradients as a `Theta`, dX (N,p1) or None, and α (U,), the units' effects, or None."""

    loss: Any
    theta: Theta
    dX: Any = None
    alpha: Any = None


@dataclass(frozen=True)
class Spec:
    """The conventions of a network, as in `Problem`; normalization may be "frozen": the statistics are given."""

    activation: str = "relu"
    normalization: str = "batch"
    loss: str = "squared"
    ddof: int = 0
    eps: float = 1e-5


@dataclass(frozen=True)
class Problem:
    """One gradient that is asked for: its sizes, its conventions and the seed of its data.

    The network is Z = X Γ1, B = γ (Z - μ)/s + β, A = a(B), η = A Γ2, with s² = Σ(Z - μ)²/(N - ddof) + eps, as many such
    layers as depth says, each on the A of the one before; R = Σ(y - η)²/N or another loss's mean.

    Args:
        N: rows (observations), at least 1, more than ddof and no fewer than units.
        p1: inputs, at least 1.
        p2: nodes of every hidden layer, at least 1.
        activation: one of `ACTIVATIONS`; gaussian is exp(-b²/2). ReLU's derivative at 0 is 0.
        normalization: "batch", "none" (B = Z), or "frozen" (μ and s² - eps are given, and constant).
        ddof: the variance divides by N - ddof; at least 0. R's `sd` has 1, the frameworks 0.
        eps: added to the variance under the root, at least 0.
        dtype: "float64" or "float32", that of every array.
        seed: of the data that `sample` draws, at least 0.
        loss: "squared", "logistic" (y from 0 to 1) or "poisson" (y of at least 0).
        depth: hidden layers, at least 1.
        linear: linear terms W of the head, q; 0 for none.
        units: units of a panel, U, each with an effect that is profiled out; 0 for none.

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
    loss: str = field(default="squared", kw_only=True)
    depth: int = field(default=1, kw_only=True)
    linear: int = field(default=0, kw_only=True)
    units: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        for name, least in WHOLE:
            value = getattr(self, name)
            if type(value) is not int:  # the common case is spared the slower checks
                if not isinstance(value, Integral) or isinstance(value, bool):
                    raise ValueError(f"{name} is {value!r}; allowed is a whole number of at least {least}")
                object.__setattr__(self, name, int(value))
            if value < least:
                raise ValueError(f"{name} is {value!r}; allowed is a whole number of at least {least}")
        check_conventions(self.activation, self.normalization, self.ddof, self.eps, self.loss)
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
        if self.depth > MOST_DEPTH:
            raise ValueError(f"depth is {self.depth}; allowed is 1 to {MOST_DEPTH}")
        if self.units > self.N:
            raise ValueError(f"units is {self.units} with N {self.N}; allowed is a row for every unit")

    @property
    def spec(self) -> Spec:
        """The conventions alone."""
        return Spec(self.activation, self.normalization, self.loss, self.ddof, self.eps)

    @property
    def plain(self) -> bool:
        """Whether it is one layer under the squared loss, with statistics of the batch or none, and nothing beside."""
        return (
            self.depth == 1
            and self.loss == "squared"
            and self.normalization != "frozen"
            and not (self.linear or self.units)
        )

    @property
    def work(self) -> int:
        """Multiply-adds of the layers' forward products: N p1 p2, and N p2² for every further layer."""
        return self.N * self.p2 * (self.p1 + (self.depth - 1) * self.p2)

    @property
    def flops(self) -> int:
        """Operations in the layers' products of a step: forward, ∂R/∂Γ, and ∂R/∂A between layers."""
        return 4 * self.work + 2 * self.N * self.p2 * self.p2 * (self.depth - 1)

    @property
    def batch_bytes(self) -> int:
        """Bytes of X, W and y."""
        return self.N * (self.p1 + self.linear + 1) * np.dtype(self.dtype).itemsize

    def sample(self, X: np.ndarray | None = None, y: np.ndarray | None = None) -> Batch:
        """Draw the arrays from the seed; a real table's X (N,p1) and y (N,) may take the drawn ones' place.

        X and W are standard normal, and so is y; under the logistic loss it is uniform on [0.05, 0.95], under Poisson's
        a count of mean 2, of at least 1 where there are units. Weights are normal with variance 1 over the number of
        what they weigh (so that Z and η keep a size near 1), |γ| is uniform on [0.5, 1.5] with either sign, β normal
        with sd 0.5. Statistics that are given have means of sd 0.5 and variances uniform on [0.5, 2]. The first rows
        are one of each unit, the others' units are drawn. Every array has a stream of its own, and a smaller N has the
        leading rows of a larger one.
        """
        dtype, p2 = np.dtype(self.dtype), self.p2
        seeds = np.random.SeedSequence(self.seed).spawn(FIRST_OF_LAYERS + OF_A_LAYER * self.depth)
        streams = [np.random.default_rng(s) for s in seeds]

        def normal(stream: int, shape: int | tuple[int, ...], sd: float = 1.0) -> np.ndarray:
            values = streams[stream].standard_normal(shape, dtype=dtype)
            return values if sd == 1.0 else values * dtype.type(sd)

        X = normal(0, (self.N, self.p1)) if X is None else np.ascontiguousarray(X, dtype)
        if y is not None:
            y = np.ascontiguousarray(y, dtype)
        elif self.loss == "squared":
            y = normal(1, self.N)
        elif self.loss == "logistic":
            y = streams[1].uniform(0.05, 0.95, self.N).astype(dtype)
        else:
            y = np.maximum(streams[1].poisson(2.0, self.N), 1 if self.units else 0).astype(dtype)
        if X.shape != (self.N, self.p1) or y.shape != (self.N,):
            raise ValueError(f"X is {X.shape} and y {y.shape}; allowed are {(self.N, self.p1)} and {(self.N,)}")
        layers, statistics = [], []
        for place in range(self.depth):  # the first has the streams that it had when there was but one
            first = FIRST_OF_LAYERS + OF_A_LAYER * place
            of_G, of_gamma, of_beta = (2, 4, 5) if place == 0 else (first, first + 1, first + 2)
            fan_in = p2 if place else self.p1
            G, gamma, beta = normal(of_G, (fan_in, p2), fan_in**-0.5), None, None
            if self.normalization != "none":
                gamma = (streams[of_gamma].uniform(0.5, 1.5, p2) * streams[of_gamma].choice((-1, 1), p2)).astype(dtype)
                beta = normal(of_beta, p2, 0.5)
            layers.append((G, gamma, beta))
            if self.normalization == "frozen":
                variances = streams[first + 4].uniform(0.5, 2.0, p2).astype(dtype)
                statistics.append((normal(first + 3, p2, 0.5), variances))
        G2 = normal(3, p2, p2**-0.5)
        more: dict[str, Any] = {"statistics": (statistics if self.depth > 1 else statistics[0]) if statistics else None}
        if self.linear:
            more |= {"W": normal(6, (self.N, self.linear)), "delta": normal(7, self.linear, self.linear**-0.5)}
        if self.units:
            unit = streams[8].integers(0, self.units, self.N)
            unit[: self.units] = np.arange(self.units)
            more["units"] = unit
        if self.depth == 1:
            return Batch(X, y, *layers[0], G2, **more)
        G1, gammas, betas = map(list, zip(*layers, strict=True))
        affine = (None, None) if self.normalization == "none" else (gammas, betas)
        return Batch(X, y, G1, *affine, G2, **more)


FIELDS = tuple(one.name for one in fields(Problem))


def check_conventions(activation: object, normalization: object, ddof: Any, eps: Any, loss: object = LOSSES[0]) -> None:
    """Raise ValueError, naming the field, where a convention is not one of the allowed."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {', '.join(ACTIVATIONS)}")
    if not isinstance(normalization, str) or normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is {normalization!r}; allowed are {', '.join(NORMALIZATIONS)}")
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; allowed are {', '.join(LOSSES)}")
    if (type(ddof) is not int and (not isinstance(ddof, Integral) or isinstance(ddof, bool))) or ddof < 0:
        raise ValueError(f"ddof is {ddof!r}; allowed is a whole number of at least 0")
    real = type(eps) is float or (isinstance(eps, Real) and not isinstance(eps, bool))
    if not real or not 0 <= eps <= sys.float_info.max:
        raise ValueError(f"eps is {eps!r}; allowed is a finite number of at least 0")

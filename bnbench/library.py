"""The gradient as a library call: `gradients` once, `prepare` for a training loop."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bnbench import arguments, arrays
from bnbench.problem import REGIMES, Batch, Gradients, Problem
from bnbench.scale import Scale
from bnbench.threads import survive
from bnbench.variants import Variant

if TYPE_CHECKING:  # what type checkers alone look at
    from numpy.typing import ArrayLike, DTypeLike

    from bnbench.chunked import Chunked
    from bnbench.networks import Network

INFINITE = math.inf
MOST_RECENT, RECENT_BYTES = 8, 2**20  # calls that are kept set up, and the scratch of one of them at most


def gradients(
    X: ArrayLike,
    y: ArrayLike,
    G1: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    G2: ArrayLike,
    *,
    W: ArrayLike | None = None,
    delta: ArrayLike | None = None,
    units: Any = None,
    statistics: Any = None,
    inputs: bool = False,
    variant: str = "auto",
    activation: str = Problem.activation,
    normalization: str = Problem.normalization,
    loss: str = Problem.loss,
    ddof: int = Problem.ddof,
    eps: float = Problem.eps,
) -> Gradients:
    """The loss and its gradients with respect to Γ1, γ, β and Γ2 (`bnbench docs gradient`).

    Args:
        X: (N,p1) inputs. Every array is float32 or every array float64, in any layout and byte order, a list or a
            data frame; whole numbers and bools count as the dtype of the others. None is modified. X, y, W and units
            may be dask arrays in chunks of rows (`bnbench docs beyond`).
        y: (N,) outcome.
        G1: (p1,p2) first-layer weights Γ1; of several hidden layers a list of matrices, and gamma and beta lists too.
        gamma: (p2,) scale γ, or None with `normalization="none"`.
        beta: (p2,) shift β, or None with `normalization="none"`.
        G2: (p2,) the head's weights Γ2.
        W: (N,q) linear terms, whose coefficients are delta (q,).
        units: (N,) labels, one a row, of units with an effect each, which is profiled out.
        statistics: for "frozen", (mean (p2,), variance (p2,)), or a list of them, one a layer.
        inputs: whether ∂R/∂X is wanted too.
        variant: a name of `bnbench.variants()`, or "auto". `matrix-kronecker`, R's loops and the CUDA forms have one
            layer under the squared loss, with statistics of the batch or without; `r-matrix` has one layer.
        activation: relu, sigmoid, tanh, gaussian, identity, softplus or leaky-relu.
        normalization: "batch", "none" for B = X Γ1, or "frozen" for statistics that are given and held constant.
        loss: "squared", "logistic" (y from 0 to 1) or "poisson" (y of at least 0).
        ddof: the variance divides by N - ddof.
        eps: added to the variance under the root.

    Returns:
        Gradients with loss (R), dG1 (p1,p2), dgamma, dbeta and dG2 (p2,); lists where the parameters are. W, units and
        inputs are answered by its ddelta (q,), alpha (U,), in the labels' sorted order, and dX (N,p1).

    Raises:
        ValueError: mismatched shapes, dtypes other than these, non-finite or masked entries, N <= ddof, a hidden
            node of zero variance with eps = 0, or of a variance beyond what the dtype holds, more than there is
            memory for, a y outside the loss's domain, an unknown name; the message says which array or column.
    """
    plain = inputs is False and (W is None is delta is units is statistics)
    key: tuple | None = None
    if plain and type(X) is type(y) is type(G1) is np.ndarray:
        key = (
            X.shape, y.shape, G1.shape, X.dtype, variant, activation, normalization, loss, ddof, eps, type(ddof),
            type(eps),
        )  # fmt: skip
        try:
            held = recent().get(key)
        except TypeError:  # a convention that is no name and no number, which the checks below tell
            held = key = None
        if held is not None and held.rebound(X, y):
            return held.gradients(G1, gamma, beta, G2)
    if key is None and arrays.of_dask(X, y, W, units):
        from bnbench.chunked import on_dask

        return on_dask.gradients(
            X, y, G1, gamma, beta, G2, W=W, delta=delta, units=units, statistics=statistics, inputs=inputs,
            variant=variant, activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip
    deep = [G1] if arguments.is_deep(G1) else None
    arguments.check_inputs(inputs)
    if not plain or _beyond(deep, W, units, statistics, normalization, loss):
        from bnbench import networks

        return networks.gradients(
            X, y, G1, gamma, beta, G2, W=W, delta=delta, units=units, statistics=statistics, inputs=inputs,
            variant=variant, activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip
    p2 = arguments.width(G1)
    read: dict[str, Any] = {name: value if value is None else arrays.read(name, value) for name, value in
            (("X", X), ("y", y), ("G1", G1), ("gamma", gamma), ("beta", beta), ("G2", G2))}  # fmt: skip
    checked_X, checked_y, largest = arguments.checked_data(read["X"], read["y"], arguments.common_dtype(read))
    prepared = Prepared(checked_X, checked_y, largest, p2, variant, "fresh", activation, normalization, ddof, eps)
    found = prepared.gradients(*(read[name] for name in ("G1", "gamma", "beta", "G2")))
    if key is not None and prepared.reusable:
        arguments.keep(recent(), key, prepared, MOST_RECENT)
    return found


def recent() -> dict[tuple, Prepared]:
    """Small problems that this thread asked for last, set up: the next of the same shape takes one's place."""
    if not hasattr(_thread, "recent"):
        _thread.recent = {}
    return _thread.recent


def prepare(
    X: ArrayLike,
    y: ArrayLike,
    p2: Any,
    *,
    W: ArrayLike | None = None,
    units: Any = None,
    statistics: Any = None,
    dtype: DTypeLike | None = None,
    variant: str = "auto",
    regime: str = "fixed",
    activation: str = Problem.activation,
    normalization: str = Problem.normalization,
    loss: str = Problem.loss,
    ddof: int = Problem.ddof,
    eps: float = Problem.eps,
) -> Prepared | Network | Chunked:
    """Check the data and set up once; the result's `.gradients(G1, gamma, beta, G2[, delta])` is what a loop calls.

    The arguments are those of `gradients`, with p2 the number of hidden nodes, or a list of them, one a layer. X, y and
    W are copied, whatever their layout and the regime: later changes to them are not seen. In the regime "fixed", what
    depends on X alone is computed here. Where X and y are whole numbers, dtype ("float64" or "float32") is that of the
    parameters to come; elsewhere it must be theirs or None.

    Raises:
        ValueError: as in `gradients`.
    """
    if regime not in REGIMES:
        raise ValueError(f"regime is {regime!r}; allowed are {', '.join(REGIMES)}")
    if arrays.of_dask(X, y, W, units):
        from bnbench.chunked import on_dask

        return on_dask.prepare(
            X, y, p2, W=W, units=units, statistics=statistics, dtype=dtype, variant=variant, regime=regime,
            activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip
    read: dict[str, Any] = {"X": arrays.read("X", X), "y": arrays.read("y", y)}
    held = arguments.common_dtype(read, dtype)
    if _beyond(p2, W, units, statistics, normalization, loss):
        from bnbench.networks import Network

        return Network(
            read["X"], read["y"], p2, W=W, units=units, statistics=statistics, dtype=held, variant=variant, copy=True,
            regime=regime, activation=activation, normalization=normalization, loss=loss, ddof=ddof, eps=eps,
        )  # fmt: skip
    checked_X, checked_y, largest = arguments.checked_data(read["X"], read["y"], held, copy=True)
    prepared = Prepared(checked_X, checked_y, largest, p2, variant, regime, activation, normalization, ddof, eps)
    prepared.set_up(prepared.ones())
    return survive(prepared)


def _beyond(layers: Any, W: Any, units: Any, statistics: Any, normalization: str, loss: str) -> bool:
    """Whether a network is more than one layer under the squared loss with what every form has."""
    more = isinstance(layers, list | tuple) or not (W is None is units is statistics)
    return more or loss != Problem.loss or normalization == "frozen"


class Prepared:
    """A checked and set-up gradient for one X (N,p1), y (N,) and p2; made by `prepare`.

    It may be called from many threads, which take turns. Copies, pickles and what a forked child inherits are set up
    again on their first call.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        largest: float,
        p2: int,
        variant: str,
        regime: str,
        activation: str,
        normalization: str,
        ddof: int,
        eps: float,
    ) -> None:
        N, p1 = X.shape
        self.problem = problem = Problem(N, p1, p2, activation, normalization, ddof, eps, X.dtype.name)
        self.X, self.y, self.regime, self.cls = X, y, regime, arguments.chosen_variant(variant)
        self.dtype, self.scale = X.dtype, Scale(X, largest, problem)
        affine = None if normalization == "none" else (problem.p2,)
        self.affine = affine is not None
        self.shapes = (("G1", (p1, problem.p2)), ("gamma", affine), ("beta", affine), ("G2", (problem.p2,)))
        self.renew()

    def renew(self) -> None:
        """Forget what was set up and who holds the lock."""
        self.variant: Any = None
        vars(self).pop("network", None)
        self.load: Callable | None = None  # where the variant keeps its parameters and can say what s was: copies them
        self.size: Callable = math.nan.conjugate  # and Σ |entries| of the gradients
        self.minibatches: dict[int, Prepared] = {}  # by their rows
        self.lock = threading.RLock()

    def set_up(self, parameters: list[Any]) -> Variant:
        """The variant prepared with these parameters, (G1, gamma, beta, G2) checked already.

        Raises:
            ValueError: it cannot run here, cannot take this problem, or there is no memory for it.
        """
        problem, cls = self.problem, self.cls
        reason = cls.unavailable() or cls.unsupported(problem, self.regime)
        if reason:
            raise ValueError(f"variant {cls.name} cannot be used here: {reason}")
        arguments.check_memory(cls, problem, self.regime)
        variant: Any = cls()
        variant.prepare(Batch(self.X, self.y, *parameters), problem, self.regime)
        if hasattr(cls, "spreads"):
            from bnbench.sums import absolute_sums, loader

            self.load = functools.partial(loader(parameters), variant.G1, variant.per_node)
            self.size = functools.partial(absolute_sums, variant.dG1, variant.d_per_node)
        self.variant = variant
        return variant

    @property
    def reusable(self) -> bool:
        """Whether it is small, and takes other data of the same shape at little cost."""
        return self.load is not None and not self.variant.shared_out and self.variant.room.nbytes <= RECENT_BYTES

    def rebound(self, X: np.ndarray, y: np.ndarray) -> bool:
        """Take other data of its shape and dtype, if these are right at first sight."""
        if self.variant is None or not (X.flags.c_contiguous and y.flags.c_contiguous and y.dtype is X.dtype):
            return False
        sums = arguments.absolute_sum()
        total = sums(X.reshape(-1))
        if not (total < np.inf and sums(y) < np.inf):
            return False
        self.take(X, y, total)
        return True

    def take(self, X: np.ndarray, y: np.ndarray, largest: float) -> None:
        """Take other data of its shape and dtype, checked, whose |X_ik| are at most `largest`; not fixed."""
        self.X, self.y = X, y
        vars(self).pop("network", None)
        self.scale.take(X, largest)
        if self.variant is not None:
            self.variant.bind(X, y)

    def ones(self) -> list[np.ndarray | None]:
        """Parameters to set up with until real ones are given."""
        arguments.check_memory(self.cls, self.problem, self.regime)
        return [None if shape is None else np.ones(shape, self.dtype) for _, shape in self.shapes]

    @functools.cached_property
    def network(self) -> Network:
        """The same data for what is beside a step of all rows."""
        from bnbench.networks import Network

        problem = self.problem
        return Network(
            self.X, self.y, problem.p2, W=None, units=None, statistics=None, dtype=self.dtype, variant=self.cls.name,
            regime="fresh", activation=problem.activation, normalization=problem.normalization, loss=problem.loss,
            ddof=problem.ddof, eps=problem.eps,
        )  # fmt: skip

    def pack(self, G1: ArrayLike, gamma: ArrayLike | None, beta: ArrayLike | None, G2: ArrayLike) -> np.ndarray:
        """The parameters, checked, as one flat vector in that order, without those that are None."""
        return self.network.pack(G1, gamma, beta, G2)

    def unpack(self, theta: ArrayLike) -> tuple:
        """(G1, gamma, beta, G2, None) of a flat vector, copied; gamma and beta are None where there are none."""
        return self.network.unpack(theta)

    def __call__(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """The loss and its gradient at a flat vector, in float64: what `scipy.optimize.minimize(…, jac=True)` takes."""
        *parameters, _ = self.network.unpack(theta)
        loss, *slopes = self.gradients(*parameters)
        return float(loss), np.concatenate([np.ravel(part) for part in slopes if part is not None]).astype(np.float64)

    def gradients(
        self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: None = None, *, rows: Any = None, inputs: bool = False
    ) -> Gradients:
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`.

        rows, a slice or row numbers, are those of a minibatch: its statistics and its mean are of these rows alone.
        """
        if not (rows is None and delta is None and inputs is False):
            return self.beside(G1, gamma, beta, G2, delta, rows, inputs)
        with self.lock:
            variant, load, total = self.variant, self.load, math.nan
            if load is not None:
                try:  # what is no array like the variant's own is read below
                    affine = gamma.flags.carray and beta.flags.carray if self.affine else gamma is beta is None
                    if affine and G1.flags.carray and G2.flags.carray:
                        total = load(G1, gamma, beta, G2)
                except (AttributeError, TypeError):
                    pass
            if not total < INFINITE:
                parameters, total = self.checked(G1, gamma, beta, G2)
                if variant is None:
                    variant = self.set_up(parameters)
                else:
                    variant.load(*parameters)
            if self.load is not None:
                variant.step()
            else:
                with np.errstate(all="ignore"):
                    variant.step()
            if not total < self.scale.enough and self.load is not None:
                self.scale.judge(variant.spreads()[0][0], variant.G1, total)
            found = variant.result()
            fine = self.size() < INFINITE  # NaN is not
        if not (found[0] < INFINITE and (fine or all(map(arguments.finite, found[1:])))):
            self.network.refuse(self.network.theta(G1, gamma, beta, G2, None), self.network.data)
        return found

    def beside(self, G1: Any, gamma: Any, beta: Any, G2: Any, delta: Any, rows: Any, inputs: Any) -> Gradients:
        """The gradients of a minibatch, or with ∂R/∂X."""
        arguments.check_inputs(inputs)
        if inputs or rows is None or delta is not None:
            return self.network.gradients(G1, gamma, beta, G2, delta, rows=rows, inputs=bool(inputs))
        problem = self.problem
        least = 1 + (problem.ddof if problem.normalization == "batch" else 0)
        chosen, count = arguments.chosen_rows(rows, problem.N, least)
        X, y = (arguments.part(array, chosen) for array in (self.X, self.y))
        with self.lock:
            held = self.minibatches.pop(count, None)
            if held is None:
                held = Prepared(
                    X, y, self.scale.largest, problem.p2, self.cls.name, "fresh", problem.activation,
                    problem.normalization, problem.ddof, problem.eps,
                )  # fmt: skip
            else:
                held.take(X, y, self.scale.largest)
            arguments.keep(self.minibatches, count, held, arguments.MOST_SIZES)
            return held.gradients(G1, gamma, beta, G2)

    def checked(self, *parameters: Any) -> tuple[list[Any], float]:
        """The parameters, each checked, and Σ of their |entries|; their scale too where no step's s will tell it."""
        given = zip(self.shapes, parameters, strict=True)
        checked = [self._parameter(name, value, shape) for (name, shape), value in given]
        if self.problem.normalization == "batch" and not hasattr(self.cls, "spreads"):
            self.scale.check(*checked[0])
        return [value for value, _ in checked], sum(size for _, size in checked)

    def _parameter(self, name: str, value: Any, shape: tuple[int, ...] | None) -> tuple[Any, float]:
        """A parameter checked, as a contiguous array of the problem's dtype, and Σ of its |entries|."""
        if shape is None:
            if value is not None:
                raise ValueError(f'{name} is given; with normalization="none" allowed is None')
            return None, 0.0
        if not (type(value) is np.ndarray and value.dtype is self.dtype and value.flags.c_contiguous):
            value = arguments.as_array(name, arrays.read(name, value), self.dtype)
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}; with this X and p2 allowed is {shape}")
        return value, arguments.size(name, value)

    def __reduce__(self) -> tuple:
        problem = self.problem
        conventions = problem.activation, problem.normalization, problem.ddof, problem.eps
        return _copy, (self.X, self.y, self.scale.largest, problem.p2, self.cls.name, self.regime, *conventions)


def _copy(*state: Any) -> Prepared:
    """What a copy or a pickle of a `Prepared` becomes."""
    return survive(Prepared(*state))


_thread = threading.local()

"""The gradient as a library call: `gradients` once, `prepare` for a training loop."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from bnbench import arguments, arrays
from bnbench.problem import REGIMES, Batch, Gradients, Problem
from bnbench.scale import Scale
from bnbench.threads import survive
from bnbench.variants import Variant

if TYPE_CHECKING:  # what type checkers alone look at
    from numpy.typing import ArrayLike, DTypeLike

    from bnbench.networks import Network

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
            data frame; whole numbers and bools count as the dtype of the others. None is modified.
        y: (N,) outcome.
        G1: (p1,p2) first-layer weights Γ1; of several hidden layers a list of matrices, and gamma and beta lists too.
        gamma: (p2,) scale γ, or None with `normalization="none"`.
        beta: (p2,) shift β, or None with `normalization="none"`.
        G2: (p2,) the head's weights Γ2.
        W: (N,q) linear terms, whose coefficients are delta (q,).
        units: (N,) labels, one a row, of units with an effect each, which is profiled out.
        statistics: for "frozen", (mean (p2,), variance (p2,)), or a list of them, one a layer.
        inputs: whether ∂R/∂X is wanted too.
        variant: a name of `bnbench.variants()`, or "auto". `matrix-kronecker`, R and the CUDA forms have one layer
            under the squared loss, with statistics of the batch or without.
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
        kept = recent()
        if len(kept) >= MOST_RECENT:
            kept.pop(next(iter(kept)))
        kept[key] = prepared
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
) -> Prepared | Network:
    """Check the data and set up once; the result's `.gradients(G1, gamma, beta, G2[, delta])` is what a loop calls.

    The arguments are those of `gradients`, with p2 the number of hidden nodes, or a list of them, one a layer. X, y and
    W are copied, whatever their layout and the regime: later changes to them are not seen. In the regime "fixed", what
    depends on X alone is computed here. Where X and y are whole numbers, dtype ("float64" or "float32") is that of the
    parameters to come; elsewhere it must be theirs or None.

    Raises:
        ValueError: as in `gradients`.
    """
    read: dict[str, Any] = {"X": arrays.read("X", X), "y": arrays.read("y", y)}
    held = arguments.common_dtype(read, dtype)
    if regime not in REGIMES:
        raise ValueError(f"regime is {regime!r}; allowed are {', '.join(REGIMES)}")
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
        self.of_matrix, self.of_nodes = (p1, problem.p2), (problem.p2,)
        self.shapes = (("G1", (p1, problem.p2)), ("gamma", affine), ("beta", affine), ("G2", (problem.p2,)))
        self.renew()

    def renew(self) -> None:
        """Forget what was set up and who holds the lock."""
        self.variant: Variant | None = None
        vars(self).pop("network", None)
        self.flat: np.ndarray | None = None  # the parameters where the variant keeps them, and no others
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
        variant = cls()
        variant.prepare(Batch(self.X, self.y, *parameters), problem, self.regime)
        self.variant, self.flat, self.sum = variant, getattr(variant, "flat", None), arguments.absolute_sum()
        return variant

    @property
    def reusable(self) -> bool:
        """Whether it is small, and can be bound to other data of the same shape."""
        variant: Any = self.variant
        return hasattr(variant, "bind") and not variant.shared_out and variant.room.nbytes <= RECENT_BYTES

    def rebound(self, X: np.ndarray, y: np.ndarray) -> bool:
        """Bind it to other data of its shape and dtype, if these are right at first sight."""
        variant: Any = self.variant
        if variant is None or not (X.flags.c_contiguous and y.flags.c_contiguous and y.dtype is X.dtype):
            return False
        sums = arguments.absolute_sum()
        total = sums(X.reshape(-1))
        if not (total < np.inf and sums(y) < np.inf):
            return False
        self.X, self.y, self.scale.X, self.scale.largest = X, y, X, total
        variant.bind(X, y)
        return True

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
        self, G1: ArrayLike, gamma: ArrayLike | None, beta: ArrayLike | None, G2: ArrayLike, delta: None = None,
        *, rows: Any = None, inputs: bool = False,
    ) -> Gradients:  # fmt: skip
        """The gradients at these parameters; shapes and errors as in `bnbench.gradients`.

        rows, a slice or row numbers, are those of a minibatch: its statistics and its mean are of these rows alone.
        """
        arguments.check_inputs(inputs)
        if not (rows is None and delta is None) or inputs:
            return self.network.gradients(G1, gamma, beta, G2, delta, rows=rows, inputs=inputs)
        with self.lock:
            variant = self.variant
            if variant is None or not self.loaded(variant, G1, gamma, beta, G2):
                parameters = self.checked(G1, gamma, beta, G2)
                if variant is None:
                    variant = self.set_up(parameters)
                else:
                    variant.load(*parameters)
            variant.step()
            found = variant.result()
        if not found.loss < np.inf:  # NaN too
            self.network.gradients(G1, gamma, beta, G2)  # which says why
        return found

    def loaded(self, variant: Variant, G1: Any, gamma: Any, beta: Any, G2: Any) -> bool:
        """Whether parameters are right at first sight, by dtype, shape and size, and are loaded."""
        dtype, of_matrix, of_nodes, flat = self.dtype, self.of_matrix, self.of_nodes, self.flat
        if not (
            flat is not None
            and type(G1) is type(G2) is np.ndarray
            and G1.dtype is G2.dtype is dtype
            and G1.shape == of_matrix
            and G2.shape == of_nodes
        ):
            return False
        if self.problem.normalization == "none":
            if not gamma is beta is None:
                return False
        elif not (
            type(gamma) is type(beta) is np.ndarray
            and gamma.dtype is beta.dtype is dtype
            and gamma.shape == beta.shape == of_nodes
        ):
            return False
        variant.load(G1, gamma, beta, G2)
        scale = self.scale
        return bool(scale.eps_counts and scale.largest * self.sum(flat) < scale.safe)

    def checked(self, *parameters: Any) -> list[Any]:
        """The parameters, each checked."""
        given = zip(self.shapes, parameters, strict=True)
        checked = [self._parameter(name, value, shape) for (name, shape), value in given]
        if self.problem.normalization == "batch":
            self.scale.check(*checked[0])
        return [value for value, _ in checked]

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

"""The one interface of every implementation of the step."""

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

import numpy as np

from bnbench.problem import LOSSES, MOST_COLUMNS, MOST_DEPTH, NORMALIZATIONS, Batch, Gradients, Problem, leaves, rebuilt
from bnbench.variants.registry import register

# What a variant may support a part of, and the field of a problem that it is.
SUPPORTS = {
    "activations": "activation",
    "normalizations": "normalization",
    "losses": "loss",
    "depth": "depth",
    "linear": "linear",
    "units": "units",
    "ddof": "ddof",
    "eps": "eps",
}
SIMPLEST: Mapping[str, Any] = MappingProxyType(  # what is supported by a variant that does not say
    {"normalizations": ("batch", "none"), "losses": ("squared",), "depth": (1,), "linear": (0,), "units": (0,)}
)
ANY_NETWORK: Mapping[str, Any] = MappingProxyType(
    {
        "normalizations": NORMALIZATIONS,
        "losses": LOSSES,
        "depth": range(1, MOST_DEPTH + 1),
        "linear": range(MOST_COLUMNS + 1),
        "units": range(MOST_COLUMNS + 1),
    }
)


class Variant(ABC):
    """One implementation of the step. A subclass with a `name` joins the registry.

    `prepare` is called once per problem, `step` any number of times (it alone is timed), then `result`.
    The first paragraph of a subclass's docstring is its description in `list`.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    device: ClassVar[str] = "cpu"
    formula: ClassVar[str] = ""  # how it arranges the computation, for the report: a line of mathematics each
    compile_allowance_s: ClassVar[float] = 0.0  # added to the time-out for a first step that compiles
    arrays_like_X: ClassVar[float] = 0  # the memory model: how many arrays of that size a step holds at its peak,
    arrays_like_Z: ClassVar[float] = 1
    arrays_like_G1: ClassVar[float] = 3  # the parameters' copy, their gradient and its copy
    keeps_X: ClassVar[bool] = False  # and whether it has an X of its own where that is fixed
    own_memory: ClassVar[bool] = True  # whether its steps take memory from this process, and not from one it drives
    algorithms: ClassVar[Mapping[str, str]] = MappingProxyType({})  # name to what it is, where it chooses among some
    supports: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # of `SUPPORTS`, those values alone; else `SIMPLEST`

    inputs = False  # whether ∂R/∂X is wanted too; set before `prepare`, by the library alone

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            register(cls)

    @classmethod
    def unavailable(cls) -> str:
        """Why it cannot run on this machine, as a sentence; "" where it can."""
        return ""

    @classmethod
    def unsupported(cls, problem: Problem, regime: str) -> str:
        """Why it cannot take this problem, as a sentence; "" where it can: by default, what `supports` says."""
        return cls.declines(problem)

    @classmethod
    def declines(cls, problem: Problem) -> str:
        """Why `supports` excludes a problem's conventions, as a sentence; "" where it does not."""
        for name, field in SUPPORTS.items():
            value, allowed = getattr(problem, field), cls.supports.get(name, SIMPLEST.get(name))
            if allowed is not None and value not in allowed:
                told = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
                return f"{field} is {value}; it supports {told}"
        return ""

    @classmethod
    def needs_bytes(cls, problem: Problem, regime: str) -> int:
        """Bytes that it needs beyond X and y; a worker with less memory than that skips the cell.

        By default, as many arrays of the size of X, Z and Γ1 as the class attributes say.
        """
        N, p1, p2, deep = problem.N, problem.p1, problem.p2, problem.depth
        like_X = cls.arrays_like_X + (cls.keeps_X and regime == "fixed" and problem.normalization == "batch")
        numbers = N * (like_X * p1 + cls.arrays_like_Z * p2 * deep + 1)
        numbers += cls.arrays_like_G1 * p2 * (p1 + (deep - 1) * p2)
        return int(numbers * (4 if problem.dtype == "float32" else 8))

    def prepare(self, batch: Batch, problem: Problem, regime: str = "fresh") -> None:
        """Set up for a problem; in the regime "fixed", what depends on X alone may be kept.

        The arrays of the batch are C-contiguous, of the problem's dtype, and stay the caller's: read only.
        A subclass calls this first; `self.batch` is then the caller's X and y with parameters of the variant's own.
        """
        theta = batch.theta
        self.batch = batch.with_theta(rebuilt(theta, map(np.array, leaves(theta))))
        self.problem, self.regime = problem, regime

    def load(self, G1: Any, gamma: Any, beta: Any, G2: np.ndarray, delta: np.ndarray | None = None) -> None:
        """Take new parameters of the same shapes for the steps that follow; delta where there are linear terms.

        The default calls `prepare` again, which is slow, but right wherever `prepare` put the parameters. A variant
        that reads them from `self.batch` in every step sets `load = Variant.load_in_place`; one that keeps them
        elsewhere overrides this.
        """
        new = {"G1": G1, "gamma": gamma, "beta": beta, "G2": G2, "delta": delta}
        self.prepare(self.batch._replace(**new), self.problem, self.regime)

    def load_in_place(self, G1: Any, gamma: Any, beta: Any, G2: np.ndarray, delta: np.ndarray | None = None) -> None:
        """Copy new parameters into those of `self.batch`."""
        for mine, new in zip((*self.batch[2:], self.batch.delta), (G1, gamma, beta, G2, delta), strict=True):
            if isinstance(mine, list):
                for one, other in zip(mine, new, strict=True):
                    one[...] = other
            elif mine is not None:
                mine[...] = new

    def bind(self, X: np.ndarray, y: np.ndarray, W: Any = None, units: Any = None) -> None:
        """Take other data of the same shapes for the steps that follow, in the regime "fresh".

        The arrays are as those of `prepare`. The default calls `prepare` again; a variant whose buffers do not depend
        on the data overrides this.
        """
        problem = self.problem if units is None else replace(self.problem, units=int(units.max()) + 1)
        self.prepare(self.batch._replace(X=X, y=y, W=W, units=units), problem, self.regime)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} can be neither copied nor pickled: it holds memory that compiled code knows by "
            "address; copy the object that bnbench.prepare returns instead"
        )

    def start_compiler(self) -> float:
        """Seconds that a compiler other than Numba's needs once per process; 0 where there is none.

        A worker that times compilation calls it before each `prepare` and keeps the first answer. From then on, code
        compiled for another problem must not be reused, unless it is compiled once per process for all problems.
        """
        return 0.0

    @abstractmethod
    def step(self) -> None:
        """Forward and backward pass into the variant's own buffers; synchronised when it returns."""

    def time(self, count: int) -> float:
        """Seconds that `count` steps take by this process's clock; override it where another clock times them."""
        steps, step = range(count), self.step
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in steps:
                step()
            return time.perf_counter() - start
        finally:
            gc.enable()

    def device_times(self) -> dict[str, float]:
        """What a step on a device costs beside its warm time: medians in seconds, any of these.

        `cold_s`: a step after the device's cache was emptied; `host_to_device_s`: copying X, y and the parameters
        there; `end_to_end_s`: those copies, a step, and the gradients copied back.
        """
        return {}

    def use_threads(self, threads: int) -> dict[str, int]:
        """Limit thread pools that threadpoolctl and Numba do not know; returns pool to threads in force."""
        return {}

    def details(self) -> dict[str, str]:
        """What else to record of the last step: the algorithm that was used, a library that it ran on."""
        return {}

    @abstractmethod
    def result(self) -> Gradients:
        """The last step's `Gradients`, in arrays that later steps leave alone."""


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view, which is a type of its own to Numba: it compiles anew for it."""
    view = array.view()
    view.flags.writeable = False
    return view

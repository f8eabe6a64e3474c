"""What the peers share: whether their package is installed, and how their threads are limited.

A peer is the step as users of its framework write it, on arrays that already lie where it computes, compiled and warm.
All do the same work: each differentiates `definition.risk`, over its framework's table of operations, by every
parameter. Its table has the calls that the framework's users would make, where there are any.
"""

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bnbench.problem import Data, Gradients, NetworkGradients, leaves, named_arrays, rebuilt
from bnbench.threads import forked_with
from bnbench.variants import formulas
from bnbench.variants.base import ANY_NETWORK, Variant


def missing(package: str, extra: str) -> str:
    """Why a peer cannot run here, with the command that would install it; "" if its package is installed."""
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"{package} is not installed; pip install 'bnbench[{extra}]' adds it"


class Peer(Variant):
    """A framework's step. A subclass imports its package in `__init__`, which is not timed."""

    family = "autodiff"
    formula = formulas.AUTODIFF
    arrays_like_X, arrays_like_Z = 1, 8
    supports = ANY_NETWORK
    package, extra = "", "peers"
    forks = False  # whether a forked child may use the package that its parent has loaded

    @classmethod
    def unavailable(cls) -> str:
        """The package's absence, with the command that installs it; or that its threads are in another process."""
        if not cls.forks and forked_with(cls.package):
            return (
                f"this process was forked from one that had loaded {cls.package}, whose threads are not here; "
                "start it by 'spawn' or 'forkserver'"
            )
        return missing(cls.package, cls.extra)

    def leaves(self) -> list[np.ndarray]:
        """The arrays that R is differentiated by."""
        return leaves(self.batch.theta)

    def gradients(self, loss: Any, slopes: Iterable, alpha: Any = None) -> Gradients:
        """Gradients from the loss, the arrays in the order of `leaves` and the units' effects."""
        theta = rebuilt(self.batch.theta, map(np.array, slopes))
        loss = np.dtype(self.problem.dtype).type(loss)
        alpha = None if alpha is None else np.array(alpha)
        return Gradients.of(NetworkGradients(loss, theta, alpha=alpha), self.problem.depth > 1)


def arrays_of(data: Data) -> list:
    """Its arrays, in the order in which `definition.placed` takes them."""
    return [array for _, array in named_arrays("data", [data.X, data.y, data.W, data.unit, data.statistics])]


def started(compile_one: Callable) -> float:
    """The compiler's start-up: how many seconds longer a first small function takes than a second."""
    took = []
    for _ in range(2):
        begun = time.perf_counter()
        compile_one()
        took.append(time.perf_counter() - begun)
    return max(0.0, took[0] - took[1])


def confine(threads: int) -> dict[str, int]:
    """Limit all threads of this process to that many processors: for pools of a fixed size."""
    if not hasattr(os, "sched_setaffinity"):
        return {}
    if not _processors:
        _processors.extend(sorted(os.sched_getaffinity(0)))
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(task), _processors[:threads])
    return {"processors of the process": threads}


_processors: list[int] = []

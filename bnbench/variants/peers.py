"""What the peers share: whether their package is here, and how they are held to a number of threads.

A peer is the step as users of its framework write it, on arrays that lie where it computes, compiled and warm. None is
told to do less than the others: each computes the loss and all four gradients.
"""

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnbench.problem import Gradients
from bnbench.threads import forked_with
from bnbench.variants import formulas
from bnbench.variants.base import Variant


def missing(package: str, extra: str) -> str:
    """Why a peer cannot run here, with the line that would add it; "" where its package is installed."""
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"{package} is not installed; pip install 'bnbench[{extra}]' adds it"


class Peer(Variant):
    """A framework's step. A subclass imports its package in `__init__`, which is not timed."""

    family = "autodiff"
    formula = formulas.AUTODIFF
    arrays_like_X, arrays_like_Z = 1, 8
    package, extra = "", "peers"
    forks = False  # whether a child may use the package that its parent has loaded

    @classmethod
    def unavailable(cls) -> str:
        """The package's absence, with the line that adds it; or that its threads are in another process."""
        if not cls.forks and forked_with(cls.package):
            return (
                f"this process was forked from one that had loaded {cls.package}, whose threads are not here; "
                "start it by 'spawn' or 'forkserver'"
            )
        return missing(cls.package, cls.extra)

    def parameters(self) -> dict[str, np.ndarray]:
        """Names and arrays of what is differentiated with respect to, in the order of `Gradients`."""
        names = ("G1", "G2") if self.problem.normalization == "none" else ("G1", "gamma", "beta", "G2")
        return {name: getattr(self.batch, name) for name in names}

    def gradients(self, loss: Any, found: Sequence) -> Gradients:
        """Gradients from the loss and the arrays in the order of `parameters`."""
        parts = dict(zip(self.parameters(), (np.array(array) for array in found), strict=True))
        order = ("G1", "gamma", "beta", "G2")
        return Gradients(np.dtype(self.problem.dtype).type(loss), *(parts.get(name) for name in order))


def started(compile_one: Callable) -> float:
    """Seconds by which the first small function takes a compiler longer than the second: it starts with that."""
    took = []
    for _ in range(2):
        begun = time.perf_counter()
        compile_one()
        took.append(time.perf_counter() - begun)
    return max(0.0, took[0] - took[1])


def confine(threads: int) -> dict[str, int]:
    """Let all threads of this process run on so many processors: for pools whose size is fixed at their start."""
    if not hasattr(os, "sched_setaffinity"):
        return {}
    if not _processors:
        _processors.extend(sorted(os.sched_getaffinity(0)))
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(task), _processors[:threads])
    return {"processors of the process": threads}


_processors: list[int] = []

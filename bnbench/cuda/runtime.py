"""The one place that imports Numba's CUDA target, numba-cuda's, and CuPy, which lends it cuBLAS."""

import contextlib
import functools
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

from numba import cuda

from bnbench.cuda.available import simulated


@functools.cache
def compiled(make: Callable, *arguments: Any) -> Any:
    """The kernel of a factory, for the device or the simulator."""
    return cuda.jit(make(*arguments))


@functools.cache
def cupy() -> ModuleType | None:
    """CuPy, for cuBLAS on Numba's arrays; None where it is absent or a simulator stands in for the device."""
    if simulated() or importlib.util.find_spec("cupy") is None:
        return None
    import cupy as module

    return module


def cupy_on(stream: Any) -> Any:
    """A context in which CuPy works on a stream that it did not make; without one, on its own."""
    library = cupy()
    if stream is None or library is None:
        return contextlib.nullcontext()
    streams = library.cuda
    if hasattr(streams.Stream, "from_external"):
        return streams.Stream.from_external(stream)
    return streams.ExternalStream(stream.__cuda_stream__()[1])  # CuPy before 14

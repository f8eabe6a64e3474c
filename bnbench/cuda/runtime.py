"""The one place that imports Numba's CUDA target, numba-cuda's, and CuPy, which lends it cuBLAS."""

import functools
import importlib.util

from numba import cuda

from bnbench.cuda.available import simulated


@functools.cache
def compiled(make, *arguments):
    """The kernel of a factory, for the device or the simulator."""
    return cuda.jit(make(*arguments))


@functools.cache
def cupy():
    """CuPy, for cuBLAS on Numba's arrays; None where it is absent or a simulator stands in for the device."""
    if simulated() or importlib.util.find_spec("cupy") is None:
        return None
    import cupy as module

    return module

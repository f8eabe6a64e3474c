"""Whether kernels can run here, determined without importing anything of CUDA."""

import ctypes
import functools
import importlib.util
import os

SIMULATOR = "NUMBA_ENABLE_CUDASIM"  # environment: "1" runs kernels in Python, for tests
TF32 = "BNBENCH_TF32"  # environment: "1" lets float32 products round their factors to TF32
INSTALL = "pip install 'bnbench[cuda]' adds it"


def simulated() -> bool:
    """Whether Numba's simulator stands in for a device."""
    return os.environ.get(SIMULATOR) == "1"


def tf32() -> bool:
    """Whether float32 products on a device may use TF32, as --tf32 of `sweep` and `verify` says."""
    return os.environ.get(TF32) == "1"


@functools.cache
def no_device() -> str:
    """Why there is no NVIDIA device to use, as a sentence; "" where there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1) on this machine"
    error, count = driver.cuInit(0), ctypes.c_int(0)
    if error or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return f"the NVIDIA driver finds no device (cuInit returns {error}, devices {count.value})"
    return ""


def unavailable() -> str:
    """Why no kernel of ours can run here, as a sentence; "" where one can. Imports nothing of CUDA."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed; {INSTALL}"
    return "" if simulated() else no_device()

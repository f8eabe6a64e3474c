"""The device's peak rates: of a large matrix product, and of copying within its memory."""

import importlib.util
import math
from collections.abc import Callable

import numpy as np

from bnbench.cuda.available import no_device, simulated, tf32

GEMM_ORDER = 6144
COPY_BYTES = 2**29
REPEATS = 5


class Cupy:
    """Arrays, products and events of CuPy; its products are cuBLAS's, with TF32 where CUPY_TF32 is 1."""

    def __init__(self) -> None:
        import cupy

        self.put, self.copy = cupy.asarray, cupy.copyto
        self.event, self.elapsed_ms = cupy.cuda.Event, cupy.cuda.get_elapsed_time
        self.multiply = cupy.matmul


class Torch:
    """The same of PyTorch."""

    def __init__(self, device: str = "cuda") -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = tf32()
        self.put = lambda array: torch.from_numpy(array).to(device)
        self.copy = lambda there, here: there.copy_(here)
        self.event = lambda: torch.cuda.Event(enable_timing=True)
        self.elapsed_ms = lambda start, end: start.elapsed_time(end)
        self.multiply = torch.matmul


def library() -> Cupy | Torch | None:
    """CuPy, or PyTorch with CUDA; None if neither is installed or there is no device."""
    if simulated() or no_device():
        return None
    if importlib.util.find_spec("cupy") is not None:
        return Cupy()
    if importlib.util.find_spec("torch") is not None:
        import torch

        return Torch() if torch.cuda.is_available() else None
    return None


def measure(dtype: str) -> dict[str, float] | None:
    """`gemm_flops_s` and `triad_bytes_s` (bytes read and written by a copy) of the device; None without a library."""
    on = library()
    if on is None:
        return None
    random = np.random.default_rng(0)
    A, B, C = (on.put(random.standard_normal((GEMM_ORDER, GEMM_ORDER), dtype=np.dtype(dtype).type)) for _ in range(3))
    here, there = (on.put(np.full(COPY_BYTES // A.dtype.itemsize, value, dtype)) for value in (1, 2))
    return {
        "gemm_flops_s": 2 * GEMM_ORDER**3 / fastest(on, lambda: on.multiply(A, B, out=C)),
        "triad_bytes_s": 2 * COPY_BYTES / fastest(on, lambda: on.copy(there, here)),
    }


def fastest(on: Cupy | Torch, work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few repeats by the device's events, after a warm-up."""
    work()
    best = math.inf
    for _ in range(REPEATS):
        start, end = on.event(), on.event()
        start.record()
        work()
        end.record()
        end.synchronize()
        best = min(best, on.elapsed_ms(start, end) / 1e3)
    return best

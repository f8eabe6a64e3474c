"""The limit of a step: what it has to multiply and to move, over what the machine multiplies and moves at best.

The counts are the least that any implementation can do with a dense X: two products with X, 2 N p1 p2 operations
each, three for every further layer, and X and y read once. Everything else (statistics, activations, parameters) is
left out, so that the limit is a lower bound on the time and no prediction of it; where X and y fit in a cache, moving
them may be faster still.

The rates are measured in a process of their own with the sweep's thread pools: the fastest of a few large matrix
products, and of a few passes a = b + c over arrays far larger than the caches (the traffic of STREAM's triad). Of a
device they are a large product's and a copy's within its memory (`bnbench.cuda.rates`).
"""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from bnbench.measure.child import serve
from bnbench.problem import Problem
from bnbench.record import Record

GEMM_ORDER = 1536
ARRAY_BYTES = 2**26
REPEATS = 2  # of a burst
BURSTS, PAUSE_S = 3, 0.2  # with pauses between them, so that a neighbour's burst does not pass for the machine


@dataclass(frozen=True)
class Roof:
    """What the machine does at best in one dtype with so many threads."""

    gemm_flops_s: float
    triad_bytes_s: float


def step_flops(problem: Problem) -> int:
    """Operations of the layers' products, an addition and a multiplication each counted."""
    return problem.flops


def limit_s(problem: Problem, roof: Roof) -> float:
    """The least seconds of a step under a roof: the larger of its products' and of reading X and y."""
    return max(step_flops(problem) / roof.gemm_flops_s, problem.batch_bytes / roof.triad_bytes_s)


def place(entry: dict) -> int | str | None:
    """Where a roof is of: the processor's threads, or another device's name."""
    return entry.get("device", entry.get("threads"))


def with_best(records: list[Record], rooflines: list[dict]) -> list[Record]:
    """Records under the best rates that a run measured, at its start or its end: the limit is what a machine can do."""
    best: dict[tuple, dict[str, float]] = {}
    for entry in rooflines:
        highest = best.setdefault((entry["dtype"], place(entry)), dict.fromkeys(Roof.__dataclass_fields__, 0.0))
        for rate in highest:
            highest[rate] = max(highest[rate], entry[rate])
    under = []
    for record in records:
        cell, on_cpu = record.cell, record.device in (None, "cpu")
        rates = best.get((cell.problem.dtype, cell.threads if on_cpu else record.device))
        if rates and record.limit_s is not None:
            record = record.having(**rates, limit_s=limit_s(cell.problem, Roof(**rates)))
        under.append(record)
    return under


def measure(dtype: str, threads: int) -> dict:
    """The rates of this process, as a dict of `Roof`'s fields."""
    import threadpoolctl

    random = np.random.default_rng(0)
    one, other = (random.standard_normal((GEMM_ORDER, GEMM_ORDER), dtype=np.dtype(dtype).type) for _ in range(2))
    out = np.empty_like(one)
    size = ARRAY_BYTES // out.itemsize
    a, b, c = (np.full(size, value, dtype) for value in (0, 1, 2))
    edges = np.linspace(0, size, threads + 1).astype(int)
    parts = [slice(low, high) for low, high in itertools.pairwise(edges)]

    def add(part: slice) -> None:
        np.add(b[part], c[part], out=a[part])

    gemm_s = add_s = float("inf")
    with ThreadPoolExecutor(threads) as pool, threadpoolctl.threadpool_limits(threads):
        for burst in range(BURSTS):
            time.sleep(PAUSE_S if burst else 0)
            gemm_s = min(gemm_s, fastest(lambda: np.matmul(one, other, out=out)))
            add_s = min(add_s, fastest(lambda: list(pool.map(add, parts))))
    return asdict(Roof(2 * GEMM_ORDER**3 / gemm_s, 3 * ARRAY_BYTES / add_s))


def measure_device(dtype: str) -> dict | None:
    """The rates of the GPU, likewise; None where nothing is here to measure them with."""
    from bnbench.cuda import rates

    return rates.measure(dtype)


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few repeats, after one that warms up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    serve({"measure": measure, "measure_device": measure_device})

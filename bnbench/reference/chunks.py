"""Work on the rows of a matrix in chunks, each in a thread of its own.

Where a chunk ends depends on the matrix alone, so that no result depends on the number of threads.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

NUMBERS = 2**16  # of a chunk, which its processor's cache holds with what is made of it


def chunks(rows: int, width: int) -> Sequence[slice]:
    """Slices of so many rows of that width."""
    step = max(1, NUMBERS // max(1, width))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def each(task: Callable, pieces: Sequence) -> Iterable[Any]:
    """task(piece) of every piece, in order; in threads where there are several."""
    return [task(piece) for piece in pieces] if len(pieces) == 1 else list(_threads().map(task, pieces))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    count = numba.get_num_threads()
    return ThreadPoolExecutor(count, "reference", initializer=lambda: np.seterr(all="ignore"))

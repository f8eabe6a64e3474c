"""Work on the rows of a matrix in chunks, each in a thread of its own, and memory that is used again.

Where a chunk ends depends on the matrix alone, so that no result depends on the number of threads. Large arrays that
are fresh from the system cost more time than what is computed into them: `empty` gives the memory of those that nobody
holds any longer.
"""

import contextlib
import functools
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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


_held = threading.local()  # buffers: arrays of one dimension
_one = [np.empty(1)]
UNHELD = sys.getrefcount(_one[0])  # of a buffer that no array is a view of


@contextlib.contextmanager
def reusing() -> Iterator[None]:
    """Within it, `empty` uses memory again; afterwards that is free."""
    before, _held.buffers = getattr(_held, "buffers", None), []
    try:
        yield
    finally:
        _held.buffers = before


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """An array of float64 whose values are whatever they are."""
    size, buffers = math.prod(shape), getattr(_held, "buffers", None)
    if buffers is None or size <= NUMBERS:
        return np.empty(shape)
    for place in range(len(buffers)):
        if buffers[place].size == size and sys.getrefcount(buffers[place]) == UNHELD:
            return buffers[place].reshape(shape)
    buffers.append(np.empty(size))
    return buffers[-1].reshape(shape)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    count = numba.get_num_threads()
    return ThreadPoolExecutor(count, "reference", initializer=lambda: np.seterr(all="ignore"))

"""What the library's checks compile; apart, so that Numba is imported when there are arrays to look at."""

from bnbench.jit import REASSOCIATE, njit


@njit(fastmath=REASSOCIATE)
def absolute_sum(values):
    """Σ |v|; no finite number where one of them is none."""
    total = values.dtype.type(0)
    for i in range(values.size):
        total += abs(values[i])
    return total

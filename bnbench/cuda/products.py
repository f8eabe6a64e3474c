"""Matrix products as Numba kernels: tiles in shared memory, 4 × 4 sums in each thread's registers. No library."""

from collections.abc import Callable
from dataclasses import dataclass

from bnbench.cuda.runtime import cuda

MICRO = 4  # rows and columns of the result in one thread's registers


@dataclass(frozen=True)
class Tile:
    """A block's share of the result, and how much of the sum it takes at a time; (size / 4)² threads."""

    size: int = 64
    depth: int = 16

    @property
    def side(self) -> int:
        """Threads along each axis of the block."""
        return self.size // MICRO


HARDWARE, SIMULATED = Tile(), Tile(8, 4)
SPLIT_ROWS, SPLITS = 2048, 64  # a sum over rows is shared out to so many blocks at most, of so many rows at least


def product(transposed: bool, real: type, tile: Tile) -> Callable:
    """`(A, B, C)`: C[s] = A B, or Aᵀ B with transposed, over the s-th part of the sum; C is (parts, rows, columns)."""
    SIZE, DEPTH, SIDE = tile.size, tile.depth, tile.side
    THREADS, SHARE = SIDE * SIDE, SIZE * DEPTH
    zero = real(0)

    def kernel(A, B, C):
        left = cuda.shared.array((DEPTH, SIZE), real)
        right = cuda.shared.array((DEPTH, SIZE), real)
        sums = cuda.local.array((MICRO, MICRO), real)
        x, r = cuda.threadIdx.x, cuda.threadIdx.y
        own = r * SIDE + x
        rows, columns = C.shape[1], C.shape[2]
        length = A.shape[0] if transposed else A.shape[1]
        m0, n0 = cuda.blockIdx.x * SIZE, cuda.blockIdx.y * SIZE
        chunk = (length + C.shape[0] - 1) // C.shape[0]
        first = cuda.blockIdx.z * chunk
        last = min(first + chunk, length)
        for m in range(MICRO):
            for n in range(MICRO):
                sums[m, n] = zero
        while first < last:
            for place in range(own, SHARE, THREADS):
                if transposed:
                    k, m = place // SIZE, place % SIZE
                    inside = first + k < last and m0 + m < rows
                    left[k, m] = A[first + k, m0 + m] if inside else zero
                else:
                    m, k = place // DEPTH, place % DEPTH
                    inside = first + k < last and m0 + m < rows
                    left[k, m] = A[m0 + m, first + k] if inside else zero
                k, n = place // SIZE, place % SIZE
                inside = first + k < last and n0 + n < columns
                right[k, n] = B[first + k, n0 + n] if inside else zero
            cuda.syncthreads()
            for k in range(DEPTH):
                for m in range(MICRO):
                    value = left[k, r + m * SIDE]
                    for n in range(MICRO):
                        sums[m, n] += value * right[k, x + n * SIDE]
            cuda.syncthreads()
            first += DEPTH
        for m in range(MICRO):
            for n in range(MICRO):
                i, j = m0 + r + m * SIDE, n0 + x + n * SIDE
                if i < rows and j < columns:
                    C[cuda.blockIdx.z, i, j] = sums[m, n]

    return kernel


def sum_parts(real: type) -> Callable:
    """`(parts, totals)`: totals[s] is the sum of the s-th share of the parts, in their order."""
    zero = real(0)

    def kernel(parts, totals):
        j, i = cuda.grid(2)
        s = cuda.blockIdx.z
        if i < totals.shape[1] and j < totals.shape[2]:
            share = (parts.shape[0] + totals.shape[0] - 1) // totals.shape[0]
            first, last = s * share, min(parts.shape[0], (s + 1) * share)
            value = zero
            for q in range(first, last):
                value += parts[q, i, j]
            totals[s, i, j] = value

    return kernel


def splits(length: int) -> int:
    """How many parts a sum over so many rows has."""
    return max(1, min(SPLITS, -(-length // SPLIT_ROWS)))

"""What is fixed before a fused step runs: the algorithm, the blocks and groups of rows, and where everything lies.

Rows are taken in *blocks* that fit a cache, and blocks in *groups*; a group is the work of one thread at a time and
has sums of its own, which are added in the order of the groups. Both depend on the problem alone, never on the number
of threads: that is what makes results bit-identical for every number of threads.
"""

import functools
from dataclasses import dataclass

import numpy as np

from bnbench.fused.gemm import FOUR, INPUTS, PANEL, ROWS, VECTOR_BYTES
from bnbench.problem import Problem

ONE_CALL, ONE_PASS, STORED = "one-call", "one-pass", "stored"
ALGORITHMS = {
    ONE_CALL: "the whole step in one block of rows and one compiled call, Z in a cache",
    ONE_PASS: "blocks of rows in one sweep, statistics from XᵀX, Z never stored",
    STORED: "Z stored once; statistics, sums and dZ in one sweep each, fused with the two products",
}

LINE_BYTES = 64
BLOCK_ROWS, TALL_ROWS = 96, 192  # rows of a block; the second where G is large against a cache
TALL_FROM_BYTES = 2**22  # of G
GROUPS = 48  # at most; divisible by 1, 2, 3, 4, 6, 8, 12, 16
GROUP_BLOCKS = 8  # a group has at least as many blocks, where there are so many
SUMS_BYTES = 2**26  # of all groups' G together, at most
FLUSH_BLOCKS = 32  # blocks after which a group's float32 G goes to float64

# The cost model, in nanoseconds of one core, float64; float32 takes half of everything. What both algorithms do is
# left out. The constants were measured; only the ratios between them matter.
FLOP_NS = 0.02  # an operation of a product
STORED_NS = 1.1  # an element of Z in the stored algorithm's three sweeps, beyond the one-pass sweep's
MEMORY_NS = 2.2  # the same, more, where Z does not stay in a cache
CACHE_BYTES = 2**23
GRAM_NS = 0.9  # an element of X in the sweep that makes XᵀX, beside its operations
SERIAL_NS = 60_000  # a step below this is done by one thread: waking others takes about 10 µs a sweep


def product_ns(problem: Problem) -> float:
    """The two products with X, and a nanosecond for each element of X and Z."""
    return 4 * FLOP_NS * problem.work + problem.N * (problem.p1 + problem.p2)


def one_pass_ns(problem: Problem, regime: str) -> float:
    """What the one-pass algorithm does beyond the two products: C Γ1, and XᵀX itself unless X is fixed."""
    N, p1, p2 = problem.N, problem.p1, problem.p2
    if problem.normalization == "none":
        return 0.0
    gram = N * p1 * (p1 + PANEL * FOUR) * FLOP_NS + GRAM_NS * N * p1 + 2 * p1 * p1
    return 2 * FLOP_NS * p1 * p1 * p2 + (gram if regime == "fresh" else 0.0)


def stored_ns(problem: Problem) -> float:
    """What the stored algorithm does beyond the two products: its further sweeps over Z."""
    elements = problem.N * problem.p2
    in_cache = elements * np.dtype(problem.dtype).itemsize <= CACHE_BYTES
    return elements * (STORED_NS if in_cache else STORED_NS + MEMORY_NS)


def choose(problem: Problem, regime: str) -> str:
    """The algorithm with the least cost; one compiled call where all rows are one block."""
    if problem.N <= BLOCK_ROWS:
        return ONE_CALL
    return ONE_PASS if one_pass_ns(problem, regime) < stored_ns(problem) else STORED


def up(number, multiple):
    """The next multiple at or above a number."""
    return -(-number // multiple) * multiple


@dataclass(frozen=True)
class Layout:
    """The sizes of one problem's step.

    Attributes:
        algorithm: a key of `ALGORITHMS`.
        parallel: whether the step is worth more than one thread.
        rows, blocks: of a block, a multiple of 12, and how many blocks there are.
        group_blocks, groups: of a group, and how many groups there are.
        vectors, ld: of a row of Z, T and G: p2 in whole vectors, and the numbers from one row to the next (p1's,
            if larger, where the scratch is for XᵀX too), an odd number of cache lines if many, so that rows do not
            compete for places in the cache.
        inputs, depth: p1 up to the heights of the tiles of G, and to the tiles of X.
        flush: whether a group has a float64 G beside its float32 one.
    """

    algorithm: str
    parallel: bool
    rows: int
    blocks: int
    group_blocks: int
    groups: int
    vectors: int
    ld: int
    inputs: int
    depth: int
    flush: bool


@functools.lru_cache(maxsize=256)
def layout(problem: Problem, regime: str, algorithm: str = "") -> Layout:
    """The layout of a problem's step; of a given algorithm where one is named."""
    N, p1, p2 = problem.N, problem.p1, problem.p2
    itemsize = np.dtype(problem.dtype).itemsize
    algorithm = algorithm or choose(problem, regime)
    inputs = up(p1, INPUTS)
    vectors, ld = leading(p2, itemsize)
    makes_gram = algorithm == ONE_PASS and problem.normalization == "batch" and regime == "fresh"
    if makes_gram:
        ld = max(ld, leading(p1, itemsize)[1])
    rows = min(up(N, ROWS), TALL_ROWS if inputs * ld * itemsize > TALL_FROM_BYTES else BLOCK_ROWS)
    blocks = -(-N // rows)
    fit = max(4, SUMS_BYTES // (inputs * ld * itemsize))
    group_blocks = -(-blocks // max(1, min(GROUPS, blocks // GROUP_BLOCKS, fit)))
    parallel = product_ns(problem) * itemsize / 8 > SERIAL_NS
    return Layout(
        algorithm, parallel, rows, blocks, group_blocks, -(-blocks // group_blocks), vectors, ld, inputs,
        up(p1, FOUR), itemsize == 4 and group_blocks > FLUSH_BLOCKS,
    )  # fmt: skip


def leading(columns: int, itemsize: int) -> tuple[int, int]:
    """Whole vectors of so many columns, and the numbers from one row to the next."""
    lanes, line = VECTOR_BYTES // itemsize, LINE_BYTES // itemsize
    vectors = -(-columns // lanes)
    ld = vectors * lanes
    if ld > 4 * line:
        ld = (up(ld, line) // line | 1) * line
    return vectors, ld

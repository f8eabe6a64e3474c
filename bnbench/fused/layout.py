"""What is fixed before a fused step runs: the algorithm, and the blocks and groups of rows.

Rows are taken in *blocks* that fit a cache, and blocks in *groups*; a group is the work of one thread at a time and
has sums of its own, which are added in the order of the groups. Both depend on the problem alone, never on the number
of threads: that is what makes results bit-identical for every number of threads.
"""

import functools
import json
import math
import os
from dataclasses import dataclass, replace

import numpy as np

from bnbench.problem import Problem
from bnbench.width import SettingError, vectors

ONE_CALL, ONE_PASS, STORED, NODES, THIN = "one-call", "one-pass", "stored", "by nodes", "thin"
ROW_LAYERS = "first layer", "layer"  # of several: the first takes nothing back to its input
NODE_LAYERS = "first layer by nodes", "layer by nodes"
LAYERS, BY_NODES = (*ROW_LAYERS, *NODE_LAYERS), (NODES, *NODE_LAYERS)
BELOW = ROW_LAYERS[1], NODE_LAYERS[1]
ALGORITHMS = {
    ONE_CALL: "the whole step in one block of rows and one compiled call, Z in a cache",
    ONE_PASS: "blocks of rows in one sweep, statistics from XᵀX, Z never stored",
    STORED: "Z stored once; statistics, sums and dZ in one sweep each, fused with the two products",
    NODES: "hidden nodes shared out, not rows: for few rows and a Γ1 that is larger than X",
    THIN: "rows as they lie, without tiles: for few hidden nodes; Z stored, and X read twice",
}

FELL_BACK, BROKEN = -1e308, -1.5e308  # what a step answers in place of the loss: a variance cancels; a call was left so

LINE_BYTES = 64
# By nodes: rows of Γ that are copied at once, columns of X of a group that makes its tiles; groups of nodes, or a
# multiple of that, and their panels at most; the share of padding and waiting that a narrower panel must save.
STRIP, TILES, NODE_GROUPS, MOST_PANELS, NARROWER = 256, 64, 16, 8, 0.03
# Without tiles: rows of a block and of a group are a multiple of EIGHT; bytes of X, and of Z and T, in a block, and of
# the rows of X that are multiplied at once by dZ.
EIGHT, THIN_BYTES, THIN_LINES, AT_ONCE_BYTES = 8, 2**18, 2**14, 2**14
FOUR = 4  # columns of a tile of X
ROWS = 12  # rows of a block are a multiple of it: of the height of every tile of Z
INPUTS = 8  # rows of G are a multiple of it: of the height of every tile of G
UNPACKED_ROWS = 24  # up to which Γ1 is not worth copying into panels
BLOCK_ROWS, TALL_ROWS = 96, 192  # rows of a block; the second where G is large against a cache
TALL_FROM_BYTES = 2**22  # of G
GROUPS = (48, 24, 12, 6, 4, 2, 1)  # so many; most can be shared out evenly
GROUP_ROWS, FEW_GROUPS, FEW_ROWS = 384, 4, 48  # a group has at least GROUP_ROWS rows, one of up to four FEW_ROWS
FEW_THIN_ROWS = 16  # the same without tiles
SUMS_BYTES = 2**26  # of all groups' G together, at most
GRAM_ARRAYS = 6  # of p1 by p1 numbers, that C takes while it is made
UNITS_BYTES = 2**18  # of X, A and a' in a block that ends where units of many rows do
FLUSH_BLOCKS = 32  # blocks after which a group's float32 G goes to float64
CANCELLED = 2.0**-7  # of Σ Γ²C: where s² is less, the one-pass form is left for the stored one; on a GPU too

# The cost model, in nanoseconds of one core, float64; float32 takes half of everything. What both algorithms do is
# left out of the choice between them. The constants were measured; their ratios matter, and by far not to the last
# digit: `tests/benchmarks/choice.py` shows what the choice costs, and fits them to the machine at hand.
FLOP_NS = 0.02  # an operation of a product
GRAM_ROW_NS, GRAM_NS = 5.0, 0.55  # a row of X, and an element, in the sweep that makes XᵀX, beside its products
SMALL_NS = 4.3  # an element of Γ1, and of XᵀX if it is made, in what the one-pass algorithm does with them
STORED_ROW_NS, STORED_X_NS, STORED_Z_NS = 15.0, 0.3, 1.0  # a row, an element of X and of Z in the two further sweeps
AGAIN_NS = 1.0  # an element of Z more, where a' is from an exponential that is computed again
MEMORY_X_NS, MEMORY_Z_NS = 0.5, 2.2  # the same two, more, where Z does not stay in a cache
CACHE_BYTES = 2**23
# By nodes: N p1 p2, N over √(p1 p2) and over p2, and what two threads do over Γ1's; nodes at least.
NODES_WORK, NODES_ROWS, NODES_EACH, NODES_PADDED, LEAST_NODES = 5e5, 1.5, 4.0, 1.5, 26
GROUP_NS = 40_000  # a group's share of a step is at least this: to wake another thread takes about 10 µs a sweep
# Without tiles: what a vector of X costs, a product of one with a node's, and an element of Z; a group's least share,
# whose threads are woken three times for 10 µs in all; the most nodes, and the fewest inputs for more than so many
# nodes, a node: where X is swept over twice by the other algorithms too, and where once; tiny steps are one call.
ROW_VECTOR_NS, ROW_PRODUCT_NS, ROW_Z_NS, THIN_GROUP_NS = 0.39, 0.28, 1.0, 25_000
THIN_NODES, TWICE, ONCE, TINY_WORK = 32, (12, 1), (8, 6), 300
MOST_NODES_ROWS, MOST_THIN_NODES = 2**14, 64  # beyond which the two are not thought of
PAYS_WITHIN = 100  # steps in which what `prepare` takes for XᵀX must have been worth it

COSTS = (  # what may be fitted: the choice depends on it, and nothing else
    *("FLOP_NS", "GRAM_ROW_NS", "GRAM_NS", "SMALL_NS", "STORED_ROW_NS", "STORED_X_NS", "STORED_Z_NS", "AGAIN_NS"),
    *("MEMORY_X_NS", "MEMORY_Z_NS", "NODES_WORK", "NODES_ROWS", "NODES_EACH", "NODES_PADDED", "THIN_NODES"),
)
COSTS_FILE = "BNBENCH_COSTS"  # environment: a JSON file of constants to be used in the place of those


def fitted_costs(path: str) -> dict[str, float]:
    """The constants of a file, by name.

    Raises:
        SettingError: it cannot be read, names another constant, or has a number that is not above 0.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = {str(name): float(value) for name, value in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SettingError(f"{COSTS_FILE} is {path!r}, which is no JSON object of numbers: {error}") from error
    for name, value in found.items():
        if name not in COSTS or not 0 < value < math.inf:
            raise SettingError(f"{COSTS_FILE}: {name} is {value}; allowed are numbers above 0 for {', '.join(COSTS)}")
    return found


if os.environ.get(COSTS_FILE):
    globals().update(fitted_costs(os.environ[COSTS_FILE]))


def product_ns(problem: Problem) -> float:
    """The two products with X, and a nanosecond for each element of X and Z."""
    return 4 * FLOP_NS * problem.work + problem.N * (problem.p1 + problem.p2)


def one_pass_ns(problem: Problem, regime: str) -> float:
    """What the one-pass algorithm does beyond the two products: C Γ1, and XᵀX itself, or a step's share of it.

    And with units XΓ1 again.
    """
    N, p1, p2 = problem.N, problem.p1, problem.p2
    if problem.normalization != "batch":
        return 0.0
    cost = 2 * FLOP_NS * p1 * p1 * p2 + SMALL_NS * p1 * p2
    cost += gram_ns(problem) / (1 if regime == "fresh" else PAYS_WITHIN)
    if problem.units:
        cost += N * (2 * FLOP_NS * p1 * p2 + p1)
    return cost


def gram_ns(problem: Problem) -> float:
    """What XᵀX takes."""
    N, p1 = problem.N, problem.p1
    return N * (p1 * (p1 + panel_width(8)) * FLOP_NS + GRAM_NS * p1 + GRAM_ROW_NS) + SMALL_NS * p1 * p1


def pays_after(problem: Problem) -> int:
    """The steps after which XᵀX of a fixed design has been worth it, by the cost model."""
    saved = stored_ns(problem) - one_pass_ns(problem, "fixed") + gram_ns(problem) / PAYS_WITHIN
    return math.ceil(gram_ns(problem) / saved)


def stored_ns(problem: Problem) -> float:
    """What the stored algorithm does beyond the two products: its further sweeps over Z, and one over X."""
    N, p1, p2 = problem.N, problem.p1, problem.p2
    cost = STORED_ROW_NS + STORED_X_NS * p1 + STORED_Z_NS * p2
    if problem.activation not in ("relu", "identity"):
        cost += AGAIN_NS * p2
    if N * p2 * np.dtype(problem.dtype).itemsize > CACHE_BYTES:
        cost += MEMORY_X_NS * p1 + MEMORY_Z_NS * p2
    return N * cost


def node_groups(panels: int) -> int:
    """How many groups share out so many panels of nodes: with one more or less each, threads have as much to do."""
    return min(panels, NODE_GROUPS * -(-panels // (NODE_GROUPS * MOST_PANELS)))


def computed(nodes: int, width: int) -> float:
    """The nodes that two and four threads take the time of, on average, in panels of so many; more than there are."""
    panels = -(-nodes // width)
    return sum(-(-panels // threads) * threads * width for threads in (2, 4)) / 2


def node_panel(problem: Problem) -> int:
    """The vectors of a panel of nodes: as wide as tiles are, or one register's where that leaves less to be padding."""
    each, widest = lanes(np.dtype(problem.dtype).itemsize), vectors()
    wide, narrow = (computed(problem.p2, count * each) for count in (widest.panel, widest.wide))
    return widest.wide if widest.wide > 1 and narrow < (1 - NARROWER) * wide else widest.panel


def for_nodes(problem: Problem, regime: str = "fresh") -> bool:
    """Whether nodes are better shared out than rows: rows are few beside the sides of Γ, and little is padding.

    Where X is put into tiles in every step, each thread reads all of them, half from another's cache: it must have
    nodes enough to make that worth while. Fitted to more than a thousand random shapes.
    """
    N, p1, p2 = problem.N, problem.p1, problem.p2
    if problem.work < NODES_WORK or N >= NODES_ROWS * math.sqrt(p1 * p2):
        return False
    if regime == "fresh" and (p2 < LEAST_NODES or N >= NODES_EACH * p2):
        return False
    width = node_panel(problem) * lanes(np.dtype(problem.dtype).itemsize)
    return up(-(-p2 // width), 2) * width < NODES_PADDED * p2


def thin_ns(problem: Problem) -> float:
    """What the thin algorithm takes, of one core, with X in a cache."""
    vectors = -(-problem.p1 * np.dtype(problem.dtype).itemsize // 32)
    return problem.N * (vectors * (ROW_VECTOR_NS + ROW_PRODUCT_NS * problem.p2) + ROW_Z_NS * problem.p2)


def for_thin(problem: Problem, regime: str) -> bool:
    """Whether hidden nodes are so few that tiles would cost more than they save.

    Fitted to several hundred random shapes with up to 40 nodes.
    """
    beyond, each = TWICE if problem.normalization == "batch" and regime == "fresh" else ONCE
    return problem.p2 <= THIN_NODES and problem.p1 >= each * (problem.p2 - beyond)


def group_count(problem: Problem, G_bytes: int, thin: bool = False) -> int:
    """How many groups: as many as have rows, work and room enough."""
    share = product_ns(problem) * np.dtype(problem.dtype).itemsize / 8 / GROUP_NS
    if thin:
        share = thin_ns(problem) / THIN_GROUP_NS
    rows = max(problem.N / GROUP_ROWS, min(FEW_GROUPS, problem.N / (FEW_THIN_ROWS if thin else FEW_ROWS)))
    most = min(rows, share, max(FEW_GROUPS, SUMS_BYTES / G_bytes))
    return next(groups for groups in GROUPS if groups <= max(1, most))


def choose(problem: Problem, regime: str) -> str:
    """The algorithm with the least cost; one compiled call where all rows are one block of one group."""
    allowed = possible(problem, regime)
    if NODES in allowed and for_nodes(problem, regime):
        return NODES
    if THIN in allowed and for_thin(problem, regime):
        return THIN
    if ONE_CALL in allowed:
        return ONE_CALL
    if ONE_PASS in allowed and STORED in allowed:
        return ONE_PASS if one_pass_ns(problem, regime) < stored_ns(problem) else STORED
    return ONE_PASS if ONE_PASS in allowed else STORED


def possible(problem: Problem, regime: str) -> list[str]:
    """The algorithms that may be best.

    Never one pass where C would take more memory than X and than may lie in a cache.
    """
    allowed = [NODES] if problem.N <= MOST_NODES_ROWS else []
    few_rows = problem.N <= BLOCK_ROWS and problem.normalization == "batch"
    each = lanes(np.dtype(problem.dtype).itemsize)
    as_it_is = problem.N <= UNPACKED_ROWS and problem.p1 % INPUTS == problem.p2 % each == 0
    if problem.p2 <= MOST_THIN_NODES and not (few_rows and (problem.work <= TINY_WORK or as_it_is)):
        allowed.append(THIN)
    if problem.normalization != "batch":
        return [*allowed, ONE_PASS]
    if few_rows and group_count(problem, 1) == 1:
        return [*allowed, ONE_CALL]
    if GRAM_ARRAYS * 8 * problem.p1**2 > max(SUMS_BYTES, problem.batch_bytes):
        return [*allowed, STORED]
    return [*allowed, ONE_PASS, STORED]


def up(number: int, multiple: int) -> int:
    """The next multiple at or above a number."""
    return -(-number // multiple) * multiple


def lanes(itemsize: int) -> int:
    """The numbers of a vector that columns are padded to."""
    return vectors().bytes // itemsize


def panel_width(itemsize: int) -> int:
    """The columns of a panel."""
    return vectors().panel * lanes(itemsize)


def inputs_each() -> int:
    """By nodes: inputs of a group that makes ∂R/∂(the input), whole panels in every dtype."""
    return 2 * panel_width(4)


@dataclass(frozen=True)
class Layout:
    """The sizes of one problem's step.

    Attributes:
        algorithm: a key of `ALGORITHMS`.
        rows, group_rows, groups: rows of a block and of a group, both multiples of 12 (8 in thin), and how many
            groups there are.
        vectors, ld: of a row of Z, T and G: p2 in whole vectors, and the numbers from one row to the next (p1's,
            if larger, where the scratch is for XᵀX too), an odd number of cache lines if many, so that rows do not
            compete for places in the cache.
        inputs, depth: p1 up to the heights of the tiles of G, and to the tiles of X, or in thin to whole vectors.
        flush: whether a group has a float64 G beside its float32 one.
        in_place: whether G is the answer itself: one block, and sizes that need no padding.
        panel, group_nodes: where hidden nodes are shared out, the vectors of a panel, and the nodes of the largest
            group, a multiple of a panel.
    """

    algorithm: str
    rows: int
    group_rows: int
    groups: int
    vectors: int
    ld: int
    inputs: int
    depth: int
    flush: bool
    in_place: bool
    panel: int = 0
    group_nodes: int = 0


@functools.lru_cache(maxsize=256)
def layout(problem: Problem, regime: str, algorithm: str = "") -> Layout:
    """The layout of a problem's step; of a given algorithm where one is named."""
    N, p1, p2 = problem.N, problem.p1, problem.p2
    itemsize = np.dtype(problem.dtype).itemsize
    algorithm = algorithm or choose(problem, regime)
    if problem.normalization != "batch" and algorithm not in (ONE_PASS, NODES, THIN, *LAYERS):
        raise ValueError(
            f"algorithm is {algorithm!r}; without statistics of the batch there is nothing to store: allowed are "
            f"{ONE_PASS}, {NODES} and {THIN}"
        )
    inputs = up(p1, INPUTS)
    if algorithm in BY_NODES:
        count = node_panel(problem)
        width = count * lanes(itemsize)
        panels = -(-p2 // width)
        groups = node_groups(panels)
        rows = up(-(-N // -(-N // BLOCK_ROWS)), vectors().node_rows if N > BLOCK_ROWS else FOUR)
        return Layout(
            algorithm, rows, N, groups, count * panels, panels * width, inputs, up(p1, FOUR), False, False, count,
            -(-panels // groups) * width,
        )  # fmt: skip
    whole, ld = leading(p2, itemsize)
    if algorithm == THIN:
        groups = group_count(problem, p2 * p1 * 8, thin=True)
        group_rows = up(-(-N // groups), EIGHT)
        depth = up(p1, lanes(itemsize))
        most_rows = max(EIGHT, min(THIN_BYTES // (depth * itemsize), THIN_LINES // (p2 * itemsize)))
        rows = up(-(-group_rows // -(-group_rows // most_rows)), EIGHT)
        return Layout(algorithm, rows, group_rows, -(-N // group_rows), whole, ld, inputs, depth, False, False)
    in_place = algorithm == ONE_CALL and inputs == p1 and p2 == whole * lanes(itemsize)
    if in_place:
        ld = p2
    makes_gram = algorithm == ONE_PASS and problem.normalization == "batch" and regime == "fresh"
    if makes_gram:
        ld = max(ld, leading(p1, itemsize)[1])
    G_bytes = inputs * ld * itemsize
    most_rows = TALL_ROWS if G_bytes > TALL_FROM_BYTES else BLOCK_ROWS
    groups = group_count(problem, G_bytes)
    group_rows = up(-(-N // groups), ROWS)
    blocks = -(-group_rows // most_rows)
    rows = up(-(-group_rows // blocks), ROWS)
    flush = itemsize == 4 and blocks > FLUSH_BLOCKS
    return Layout(
        algorithm, rows, group_rows, -(-N // group_rows), whole, ld, inputs, up(p1, FOUR), flush,
        in_place,
    )  # fmt: skip


def for_units(plan: Layout, problem: Problem, longest: int) -> Layout:
    """The layout of a one-pass step on rows in the order of units, the largest unit of so many rows.

    Its blocks hold that unit whole, unless they would be too large for a cache: then they are as they were.
    """
    rows = max(plan.rows, up(longest, ROWS))
    large = rows * (plan.inputs + 2 * plan.ld) * np.dtype(problem.dtype).itemsize > UNITS_BYTES
    return plan if large else replace(plan, rows=rows)


def leading(columns: int, itemsize: int) -> tuple[int, int]:
    """Whole vectors of so many columns, and the numbers from one row to the next."""
    each, line = lanes(itemsize), LINE_BYTES // itemsize
    whole = -(-columns // each)
    ld = whole * each
    if ld > 4 * line:
        ld = (up(ld, line) // line | 1) * line
    return whole, ld

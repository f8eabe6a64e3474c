"""The arrays of a fused step: one list of roles, from which their places, the table and the kernels' views come.

A step's memory begins with a table, words of eight bytes: for every function its address and how often it is called,
the numbers of `NUMBERS`, and for every array where it lies, the bytes from one group's part to the next, its rows and
its columns. X, y and U lie outside, at an address; all others in this memory, at an offset from the table. So a copy
of the memory is as right as the original. The arrays, by role:

"""

import collections
import functools
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bnbench.activations import CODES, NEEDS_B
from bnbench.fused.layout import (
    AT_ONCE_BYTES,
    BELOW,
    BY_NODES,
    EIGHT,
    FOUR,
    LAYERS,
    LINE_BYTES,
    NODE_LAYERS,
    ONE_PASS,
    ROWS,
    STRIP,
    THIN,
    TILES,
    UNPACKED_ROWS,
    Layout,
    inputs_each,
    lanes,
    leading,
    up,
)
from bnbench.problem import Problem
from bnbench.width import vectors


@dataclass(frozen=True)
class Role:
    """What an array is in a step.

    Attributes:
        name: by which kernels reach it.
        shape: names of `sizes`, with * between factors, "its" for the roles inside; of a group's part, if grouped.
        says: what it is.
        where: the steps that have it, a name of `kinds`; "" is all.
        wide: whether it is float64 whatever the arrays' dtype.
        whole: whether it is of whole numbers.
        grouped: whether each group of rows has its own.
        inside: the block that it is the next row of, or the array whose place it shares.
    """

    name: str
    shape: str
    says: str
    where: str = ""
    wide: bool = False
    whole: bool = False
    grouped: bool = False
    inside: str = ""

    @property
    def axes(self) -> int:
        """How many axes a view of it has."""
        return len(self.shape.split())


OUTSIDE = (
    Role("X", "N p1", "the input: X, or A of the layer below"),
    Role("y", "N", "the outcome"),
    Role("U", "N p2", "∂R/∂A of a layer under another"),
    Role("Gamma", "p1 p2", "Γ1, or Γ of a layer, where nodes are shared out"),
    Role("linear", "N q", "the linear terms, W elsewhere", "linear"),
    Role("unit", "N", "the unit of each row", "units", whole=True),
    Role("starts", "U+1", "where each unit begins among the rows in the order of units", "units", whole=True),
    Role("order", "N", "the rows in the order of units", "units", whole=True),
    Role("y_by_unit", "N", "the outcome in that order", "units"),
    Role("alpha", "U", "α, a number a unit", "units", wide=True),
)
INSIDE = (
    Role("G1", "p1 p2", "Γ1, or Γ of a layer; what follows belongs to the hidden nodes", "own Γ"),
    Role("per_node", "its p2", "γ, β and Γ2"),
    Role("gamma", "p2", "γ", inside="per_node"),
    Role("beta", "p2", "β", inside="per_node"),
    Role("G2", "p2", "Γ2, or Γ_out over the last layer", inside="per_node"),
    Role("dG1", "p1 p2", "∂R/∂Γ1"),
    Role("scaled", "p1 p2", "Γ1 diag(γ/s), until ∂R/∂Γ1 is known", "one-pass", inside="dG1"),
    Role("d_per_node", "its p2", "their gradients"),
    Role("dgamma", "p2", "∂R/∂γ", inside="d_per_node"),
    Role("dbeta", "p2", "∂R/∂β", inside="d_per_node"),
    Role("dG2", "p2", "∂R/∂Γ2", inside="d_per_node"),
    Role("delta", "q", "δ", "linear"),
    Role("sum_Wr", "q", "∂R/∂δ = Wᵀr over a group", "linear", wide=True, grouped=True),
    Role("eta_by_unit", "N", "η, then r, in the order of units", "units"),
    Role("unit_loss", "one", "Σ ℓ over a share of the units", "units", wide=True, grouped=True),
    Role("at", "two", "the first row of a block, and how many it has", "head", whole=True, grouped=True),
    # of a block of rows
    Role("P", "inputs*rows", "X less shift, in tiles (`gemm`)", "rows", grouped=True),
    Role("T", "rows ld", "A, then T = r ⊙ a'(B)", "rows", grouped=True),
    Role("dZ", "rows ld", "dZ", "rows", grouped=True, inside="T"),
    Role("D", "rows ld", "a'(B) of an activation that needs B", "needs B", grouped=True),
    Role("r_block", "rows", "r = ∂R/∂η", "one-pass", grouped=True),
    Role("panel", "rows*panel", "room for a panel of T", "rows", grouped=True),
    Role("block", "its ld", "sums over a block", "rows", grouped=True),
    Role("block_T", "ld", "1ᵀT", "rows", grouped=True, inside="block"),
    Role("block_Ar", "ld", "Aᵀr", "rows", grouped=True, inside="block"),
    Role("block_TZ", "ld", "1ᵀ(T ⊙ (Z - μ))", "rows", grouped=True, inside="block"),
    Role("moments", "its ld", "of Z in a block", "stored", grouped=True),
    Role("block_mean", "ld", "the mean of Z", "stored", grouped=True, inside="moments"),
    Role("block_squares", "ld", "Σ(Z - that mean)²", "stored", grouped=True, inside="moments"),
    Role("block_rest", "ld", "Σ(Z - that mean): 0 but for rounding", "stored", grouped=True, inside="moments"),
    # of a group of rows, added up or merged in the first group's at last
    Role("sums", "its ld", "sums over a group", "sums", wide=True, grouped=True),
    Role("sum_T", "ld", "1ᵀT", "sums", wide=True, grouped=True, inside="sums"),
    Role("sum_Ar", "ld", "Aᵀr", "sums", wide=True, grouped=True, inside="sums"),
    Role("sum_TZ", "ld", "1ᵀ(T ⊙ (Z - μ))", "sums", wide=True, grouped=True, inside="sums"),
    Role("mean", "ld", "the mean of Z", "sums", wide=True, grouped=True, inside="sums"),
    Role("squares", "ld", "Σ(Z - mean)²", "sums", wide=True, grouped=True, inside="sums"),
    Role("loss", "ld", "Σ ℓ, in its first place", "sums", wide=True, grouped=True, inside="sums"),
    Role("count", "ld", "the rows that mean is of, in its first place", "sums", wide=True, grouped=True, inside="sums"),
    Role("G", "inputs*ld", "(X - shift)ᵀ T, or of dZ", "padded", grouped=True),
    Role("flushed", "inputs ld", "G of float32 up to the last flush", "flushed", wide=True, grouped=True),
    # of all rows
    Role("W", "depth*nodes", "what X is multiplied by, in panels (`gemm`)", "rows"),
    Role("shift", "inputs", "what is taken off the columns of X"),
    Role("total", "inputs ld", "G over all groups", "rows", wide=True),
    Role("Z", "all_rows ld", "Z, less shift Γ", "stored"),
    Role("r", "all_rows", "r = ∂R/∂η", "r"),
    Role("eta", "all_rows", "η, until r is known", "r", inside="r"),
    Role("given_mean", "p2", "μ, where it is given", "frozen"),
    Role("given_variance", "p2", "s² - eps, where it is given", "frozen"),
    Role("s", "ld", "s", wide=True),
    Role("centre", "ld", "μ, less what shift and rest lack", wide=True),
    # what passes read of the hidden nodes: b = (z - mu) weight + bias, dz = slope t - mean_term - (z - mu) s_term
    Role("mu", "ld", "μ less shift Γ"),
    Role("weight", "ld", "γ/s"),
    Role("bias", "ld", "β, less what is left of μ γ/s in the one-pass form"),
    Role("out", "ld", "Γ2"),
    Role("slope", "ld", "γ/s ⊙ Γ2, of r ⊙ a'(B)"),
    Role("mean_term", "ld", "γ/s ∂β/N, through μ"),
    Role("s_term", "ld", "γ/s² ∂γ/(N - ddof), through s"),
    # of the one-pass form, x̄ = shift + rest
    Role("C", "depth*square", "(X - 1x̄ᵀ)ᵀ(X - 1x̄ᵀ), in tiles", "C", wide=True),
    Role("diagonal", "p1", "the diagonal of C", "C", wide=True),
    Role("rest", "p1", "x̄ - shift", "C", wide=True),
    Role("G1_wide", "p1 p2", "Γ1", "C", wide=True),
    Role("G1_panels", "depth*columns", "Γ1 in panels", "C", wide=True),
    Role("V", "square columns", "C Γ1", "C", wide=True),
    Role("variance", "ld", "Γ1ᵀCΓ1, a number a node", "C", wide=True),
    Role("terms", "ld", "Σ Γ1² diagonal, that of which variance cancels", "C", wide=True),
    Role("rest_part", "ld", "restᵀ Γ1 diag(γ/s)", "C", wide=True),
    Role("weight_wide", "ld", "γ/s", "one-pass", wide=True),
    Role("s_slope", "ld", "∂γ/(s (N - ddof))", "one-pass", wide=True),
    Role("near", "p1", "what is near the mean of X in a group", "gram", grouped=True),
    Role("left", "p1", "Σ(X - near), then the mean", "gram", wide=True, grouped=True),
    # of a layer of several
    Role("A", "N p2", "A, the input of the layer above", "layer"),
    Role("dA", "all_rows p1", "∂R/∂(its input)", "below"),
    Role("turned", "p2 p1", "Γᵀ", "rows below"),
    Role("W_below", "columns*nodes_below", "Γᵀ in panels", "rows below"),
    Role("tiles", "ld*rows", "dZ of a block in tiles", "rows below", grouped=True),
    Role("back", "rows ld_below", "dZ Γᵀ of a block", "rows below", grouped=True),
    Role("nothing", "ld", "zeros", "rows below"),
    # where nodes are shared out; a panel's rows lie four by four, one after the other
    Role("X_fours", "tiled_rows*depth", "X less shift, in tiles of four rows, or eight", "nodes"),
    Role("X_blocks", "block_rows*depth", "X less shift, in tiles of a block's rows", "nodes"),
    Role("Z_panels", "panels*fours four_panels", "Z, less shift Γ, a panel of nodes after the other", "nodes"),
    Role("A_panels", "panels*fours four_panels", "A", "nodes"),
    Role("T_panels", "panels*fours four_panels", "T, then dZ", "nodes"),
    Role("dZ_fours", "tiled_rows*columns", "dZ in such tiles", "nodes below"),
    Role("strips", "strip*group_nodes", "some rows of Γ, a panel after the other", "nodes", grouped=True),
    Role("edge", "tile", "a tile of a result, at its edge", "nodes", grouped=True),
    Role("turned_strips", "input_groups strip*inputs_each", "some rows of Γᵀ, for a group of inputs", "nodes below"),
    Role("edges_below", "input_groups tile", "a tile of dA, at its edge", "nodes below"),
    Role("eta_parts", "fours four_panels", "A Γ_out of a group's nodes, then r of each", "nodes", grouped=True),
    Role("eta_group", "all_rows", "η of a group's nodes", "nodes", grouped=True),
    Role("node_T", "ld", "1ᵀT", "nodes", wide=True),
    Role("node_Ar", "ld", "Aᵀr", "nodes", wide=True),
    Role("node_TZ", "ld", "1ᵀ(T ⊙ (Z - μ))", "nodes", wide=True),
    Role("eps", "one", "eps", "nodes", wide=True),
    # without tiles
    Role("G_rows", "p2 depth", "Γ1ᵀ", "thin"),
    Role("Z_rows", "p2 lines", "Z, less shift Γ1, node by node", "thin"),
    Role("T_rows", "p2 lines", "A, then T, then dZ, node by node", "thin"),
    Role("eta_block", "rows", "room for η that is not needed", "thin", grouped=True),
    Role("X_rows", "at_once depth", "some rows of X less shift", "thin", grouped=True),
    Role("dG_rows", "p2 depth", "dZᵀ (X - shift) of the rows since the last flush", "thin", grouped=True),
    Role("dG_sum", "p2 depth", "dZᵀ (X - shift) up to the last flush", "thin", wide=True, grouped=True),
    # a panel's numbers, once for each of four rows
    Role("of_panel", "its four_panels", "what passes read of a panel's nodes", "nodes", grouped=True),
    Role("four_mu", "four_panels", "mu", "nodes", grouped=True, inside="of_panel"),
    Role("four_weight", "four_panels", "weight", "nodes", grouped=True, inside="of_panel"),
    Role("four_bias", "four_panels", "bias", "nodes", grouped=True, inside="of_panel"),
    Role("four_out", "four_panels", "out", "nodes", grouped=True, inside="of_panel"),
    Role("four_slope", "four_panels", "slope", "nodes", grouped=True, inside="of_panel"),
    Role("four_mean_term", "four_panels", "mean_term", "nodes", grouped=True, inside="of_panel"),
    Role("four_s_term", "four_panels", "s_term", "nodes", grouped=True, inside="of_panel"),
    Role("four_sums", "its four_panels", "sums over every fourth row", "nodes", wide=True, grouped=True),
    Role("four_mean", "four_panels", "of Z, then its mean", "nodes", wide=True, grouped=True, inside="four_sums"),
    Role("four_rest", "four_panels", "Σ(Z - mean)", "nodes", wide=True, grouped=True, inside="four_sums"),
    Role("four_squares", "four_panels", "Σ(Z - mean)²", "nodes", wide=True, grouped=True, inside="four_sums"),
    Role("four_T", "four_panels", "1ᵀT", "nodes", wide=True, grouped=True, inside="four_sums"),
    Role("four_Ar", "four_panels", "Aᵀr", "nodes", wide=True, grouped=True, inside="four_sums"),
    Role("four_TZ", "four_panels", "1ᵀ(T ⊙ (Z - μ))", "nodes", wide=True, grouped=True, inside="four_sums"),
)  # fmt: skip
ROLES = {role.name: role for role in (*OUTSIDE, *INSIDE)}

FUNCTIONS = (
    *("statistics", "forward_backward", "products", "sweep", "gram_sweep", "total_row", "threads"),
    *("make_tiles", "nodes_forward", "nodes_product", "nodes_backward", "nodes_gradient", "nodes_below"),
    *("outputs", "outcome", "block_outcome"),
)
# row_W: from one row of W to the next where W is Γ1 itself, or 0; in_place: whether G is dG1; gathers: whether
# the units' effects are found of η of all rows, before the sweep that takes r
NUMBERS = (
    *("N", "p1", "p2", "rows", "groups", "group_rows", "ddof", "row_W", "in_place", "tiled"),
    *("units", "gathers"),
)

WORDS_OF_A_FUNCTION, WORDS_OF_AN_ARRAY = 2, 4  # address and calls; offset, bytes from group to group, rows, columns
OF_WORDS = (
    dict.fromkeys(FUNCTIONS, WORDS_OF_A_FUNCTION) | dict.fromkeys(NUMBERS, 1) | dict.fromkeys(ROLES, WORDS_OF_AN_ARRAY)
)
WORD = dict(zip(OF_WORDS, itertools.accumulate(OF_WORDS.values(), initial=0), strict=False))  # where each lies
WORDS = sum(OF_WORDS.values())


def sizes(problem: Problem, plan: Layout) -> dict[str, int]:
    """What the shapes of roles are made of, by name."""
    p1, p2, itemsize = problem.p1, problem.p2, np.dtype(problem.dtype).itemsize
    each = lanes(itemsize)
    width = (plan.panel or vectors().panel) * each
    vectors_below, ld_below = leading(p1, itemsize)
    all_rows = up(problem.N, FOUR if plan.algorithm in BY_NODES else ROWS)
    return {
        "N": problem.N,
        "p1": p1,
        "p2": p2,
        "q": problem.linear,
        "rows": plan.rows,  # of a block
        "all_rows": all_rows,
        "block_rows": up(problem.N, plan.rows),  # in whole blocks
        "fours": all_rows // FOUR,
        "tiled_rows": up(all_rows, vectors().node_rows),
        "panels": plan.ld // width,
        "four_panels": FOUR * width,
        "tile": vectors().node_rows * width,
        "group_nodes": plan.group_nodes,
        "strip": STRIP,
        "inputs_each": inputs_each(),
        "input_groups": input_groups(p1),
        "one": 1,
        "two": 2,
        "ld": plan.ld,  # from one row to the next
        "inputs": plan.inputs,  # p1 in tiles of G
        "depth": plan.depth,  # p1 in tiles of X
        "nodes": plan.vectors * each,  # p2 in vectors
        "panel": width,
        "square": up(p1, ROWS),
        "columns": up(p2, FOUR),  # p2 in tiles
        "nodes_below": vectors_below * each,
        "ld_below": ld_below,
        "lines": leading(up(problem.N, EIGHT), itemsize)[1],  # of a node's row of Z, where they lie node by node
        "at_once": max(EIGHT, min(plan.rows, AT_ONCE_BYTES // (plan.depth * itemsize) // EIGHT * EIGHT)),
    }


def kinds(problem: Problem, plan: Layout, regime: str) -> dict[str, bool]:
    """Whether a step is of a kind, by name."""
    one_pass, by_nodes, thin = plan.algorithm == ONE_PASS, plan.algorithm in BY_NODES, plan.algorithm == THIN
    below = plan.algorithm in BELOW
    with_C = one_pass and problem.normalization == "batch"
    return {
        "": True,
        "one-pass": one_pass,
        "needs B": one_pass and CODES[problem.activation] in NEEDS_B,
        "C": with_C,
        "gram": with_C and regime == "fresh",
        "stored": not (one_pass or by_nodes or thin),
        "r": not one_pass or bool(problem.units),
        "linear": bool(problem.linear),
        "units": bool(problem.units),
        "head": bool(problem.linear or problem.units),
        "rows": not (by_nodes or thin),
        "sums": not by_nodes,
        "thin": thin,
        "nodes": by_nodes,
        "own Γ": plan.algorithm not in NODE_LAYERS,
        "frozen": problem.normalization == "frozen",
        "layer": plan.algorithm in LAYERS,
        "below": below,
        "rows below": below and not by_nodes,
        "nodes below": below and by_nodes,
        "padded": not (plan.in_place or by_nodes or thin),
        "flushed": plan.flush,
    }


class Place(NamedTuple):
    """Where an array lies: bytes from the beginning, and bytes from one group's part to the next, 0 without groups."""

    offset: int
    step: int
    shape: tuple[int, ...]
    dtype: np.dtype


@functools.lru_cache(maxsize=256)
def scratch_places(problem: Problem, plan: Layout, regime: str) -> tuple[dict[str, Place], int]:
    """The place of every array that a step has, each on a cache line, and the bytes of all with the table."""
    size = sizes(problem, plan)
    of_kind = {kind for kind, it_is in kinds(problem, plan, regime).items() if it_is}
    places: dict[str, Place] = {}
    filled: collections.Counter[str] = collections.Counter()  # bytes of a block that have a role
    end = up(8 * WORDS, LINE_BYTES)
    for role in INSIDE:
        if role.where not in of_kind:
            continue
        own = size | {"its": sum(each.inside == role.name for each in INSIDE)}
        shape = tuple(math.prod(own[factor] for factor in axis.split("*")) for axis in role.shape.split())
        dtype = np.dtype(np.intp if role.whole else np.float64 if role.wide else problem.dtype)
        bytes_each = math.prod(shape) * dtype.itemsize
        if role.inside:
            around = places[role.inside]
            places[role.name] = Place(around.offset + filled[role.inside], around.step, shape, dtype)
            filled[role.inside] += bytes_each
        else:
            step = up(bytes_each, LINE_BYTES)
            places[role.name] = Place(end, step * role.grouped, shape, dtype)
            end += step * (plan.groups if role.grouped else 1)
    if plan.in_place:
        places["G"] = places["dG1"]._replace(shape=(problem.p1 * problem.p2,))
    if unpacked(problem, plan):
        places["W"] = places["G1"]._replace(shape=(problem.p1 * problem.p2,))
    return places, end


def input_groups(p1: int) -> int:
    """How many groups of inputs there are, where nodes are shared out."""
    return -(-p1 // inputs_each())


def unpacked(problem: Problem, plan: Layout) -> bool:
    """Whether Γ1 is read as it is: it needs no padding, and is not worth the copy."""
    return plan.in_place and problem.N <= UNPACKED_ROWS


@functools.lru_cache(maxsize=256)
def template(problem: Problem, plan: Layout, regime: str) -> np.ndarray:
    """The table of a step's memory, all but what is outside, and how often each function is to be called."""
    table = np.zeros(WORDS, np.int64)
    calls = {"total_row": problem.p1, "make_tiles": -(-problem.p1 // TILES), "nodes_below": input_groups(problem.p1)}
    for name in FUNCTIONS:
        table[WORD[name] + 1] = calls.get(name, plan.groups)
    values = (
        *(problem.N, problem.p1, problem.p2, plan.rows, plan.groups, plan.group_rows, problem.ddof),
        *(problem.p2 if unpacked(problem, plan) else 0, plan.in_place, 0, problem.units, 0),
    )
    table[WORD[NUMBERS[0]] : WORD[NUMBERS[-1]] + 1] = values
    for name, (offset, step, shape, _) in scratch_places(problem, plan, regime)[0].items():
        word = WORD[name]
        table[word : word + WORDS_OF_AN_ARRAY] = offset, step, *(1,) * (2 - len(shape)), *shape
    return table


def described() -> str:
    """Every role as text, a line each: its shape, whether it is float64 always, the steps that have it, what it is."""
    return "\n".join(
        f"    {role.name} ({'groups ' * role.grouped}{role.shape}){' float64' * role.wide}"
        f"{f' [{role.where}]' * bool(role.where)}: {role.says}"
        for role in ROLES.values()
    )


__doc__ = f"{__doc__}\n{described()}\n"

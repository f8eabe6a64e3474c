"""fused-numba beside the frameworks and others' matrix forms, with nothing else on:

    python tests/benchmarks/beside_peers.py depth|known|random

`depth` is depth 1 to 4 at three widths and three batches, `known` a list of shapes that were once lost, `random` shapes
drawn log-uniformly. A ratio is the fastest peer's median over ours, both sampled in turn; below 1 the peer is ahead.
"""

import argparse
import itertools
import math
import sys

import numpy as np
import pandas as pd

from bnbench.measure.cell import Scope
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Events, Sweep
from bnbench.problem import DTYPES, REGIMES

OURS = "fused-numba"
PEERS = "torch-eager", "torch-compile", "jax-jit", "matrix-eigen", "matrix-pythran"
WIDTHS, BATCHES, DEPTHS = (32, 256, 1024), (64, 1024, 65_536), (1, 2, 3, 4)
KNOWN = [
    "22x1182x330", "64x512x512", "512x2048x2048", "3000x100x1", "32x1000x100", "200x5000x10", "256x784x128",
    "1000000x5x3", "20000x20x500",
]  # fmt: skip
LEAST_N, LEAST_P1, LEAST_P2 = 16, 2, 1
MOST_N, MOST_P1, MOST_P2 = 262_144, 2_048, 2_048
LEAST_WORK, MOST_WORK = 2_000, 1.5e9  # N p1 p2
AHEAD = 0.97  # a ratio below this is a shape that is lost
BINS = (0, 0.5, 0.8, AHEAD, 1.03, 1.5, 2, 3, 5, 10, math.inf)


def drawn(count, seed):
    """So many shapes, log-uniform, as "NxP1xP2"."""
    random, found = np.random.default_rng(seed), []
    lows, highs = np.log([LEAST_N, LEAST_P1, LEAST_P2]), np.log([MOST_N, MOST_P1, MOST_P2])
    while len(found) < count:
        shape = np.rint(np.exp(random.uniform(lows, highs))).astype(int)
        if LEAST_WORK <= math.prod(map(int, shape)) <= MOST_WORK:
            found.append("x".join(map(str, shape)))
    return tuple(found)


def medians(asked):
    """A table of step medians in seconds: a row a cell, a column a variant; why one has none, on standard error."""
    sizes = {
        "depth": [f"{N}x{width}x{width}" for N, width in itertools.product(asked.batch, asked.width)],
        "known": KNOWN,
        "random": drawn(asked.count, asked.seed),
    }[asked.shapes]
    plan = Plan(
        sizes=tuple(sizes), depth=tuple(asked.depth) if asked.shapes == "depth" else (1,), dtype=tuple(asked.dtype),
        regime=tuple(asked.regime), sampling_s=asked.sampling, timeout=asked.timeout,
        time_budget=asked.time_budget, variants=(OURS, *asked.peers),
        seed=asked.seed,
    )  # fmt: skip
    scope = Scope(compilation=False, limit=False, verdicts=False, derivation=False)
    told = Events(cell=lambda place, left: print(f"\r{place + 1} of {len(plan.cells())}", end="", file=sys.stderr))
    with Sweep(plan, lambda record: record, scope=scope, events=told) as sweep:
        records = sweep.run()
    rows, said = {}, set()
    for record in records:
        problem = record.cell.problem
        key = problem.N, problem.p1, problem.p2, problem.depth, problem.dtype, record.cell.regime
        rows.setdefault(key, {})[record.variant] = record.median_s if record.status == "ok" else math.nan
        if record.status != "ok" and (reason := f"{record.variant}: {record.status}, {record.reason}") not in said:
            said.add(reason)
            print(f"\n{reason}, first at {key}", file=sys.stderr)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["N", "p1", "p2", "depth", "dtype", "regime"])
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", choices=("depth", "known", "random"))
    parser.add_argument("--count", type=int, default=200, help="shapes that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--width", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--depth", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--dtype", nargs="+", default=("float64",), choices=DTYPES)
    parser.add_argument("--regime", nargs="+", default=("fresh",), choices=REGIMES)
    parser.add_argument("--peers", nargs="+", default=PEERS)
    parser.add_argument("--sampling", type=float, default=0.5, help="seconds for a variant at a shape")
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--time-budget", type=float, help="seconds for all shapes, of which the rest are left out")
    parser.add_argument("--out", help="a .csv of the medians in seconds")
    asked = parser.parse_args()
    table = medians(asked)
    if asked.out:
        table.to_csv(asked.out)
    ours, peers = table[OURS], table.drop(columns=OURS)
    best = peers.min(axis=1)
    shown = pd.DataFrame({f"{OURS} ms": (1e3 * ours).map("{:.4g}".format), "ratio": (best / ours).round(2)})
    shown["fastest peer"] = peers.fillna(math.inf).idxmin(axis=1)
    shown = shown.join(peers.div(ours, axis=0).round(2).add_prefix("of "))
    print("\n" + shown.to_string())
    ratio = (best / ours).dropna()
    print(f"\n{len(ratio)} shapes, geometric mean {np.exp(np.log(ratio).mean()):.2f}, least {ratio.min():.2f}, "
          f"{(ratio < AHEAD).sum()} lost by more than 3 %")  # fmt: skip
    for (low, high), count in zip(itertools.pairwise(BINS), np.histogram(ratio, BINS)[0], strict=True):
        print(f"{low:5g} to {high:<5g}{count:5d} {'#' * count}")


if __name__ == "__main__":
    main()

"""What the choice between rows and nodes costs, at random shapes: `python tests/benchmarks/rows_or_nodes.py [SECONDS]`.

A line a shape, the median of a step by each in ms, and at last the time of the choice over that of the better one.
Nothing else on.
"""

import statistics
import sys
import time
from unittest import mock

import numpy as np

import bnbench
from bnbench.fused.layout import NODES, for_nodes, layout

LEAST, MOST = (16, 8, 8), (3000, 2048, 2048)  # N, p1, p2, log-uniform
LEAST_WORK, MOST_WORK = 3e5, 6e8  # N p1 p2
SAMPLE_S, ROUNDS = 0.03, 3


def median_ms(step):
    taken, end = [], time.perf_counter() + SAMPLE_S
    while time.perf_counter() < end or len(taken) < 3:
        begun = time.perf_counter()
        step()
        taken.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(taken)


def rows_of(problem):
    """The algorithm that is chosen where nodes are not shared out."""
    with mock.patch("bnbench.fused.layout.for_nodes", return_value=False):
        return layout.__wrapped__(problem, "fresh").algorithm


def main():
    random, end, regrets = np.random.default_rng(), time.monotonic() + float((sys.argv[1:] or ["120"])[0]), []
    while time.monotonic() < end:
        N, p1, p2 = (int(n) for n in np.rint(np.exp(random.uniform(np.log(LEAST), np.log(MOST)))))
        if not LEAST_WORK < N * p1 * p2 < MOST_WORK:
            continue
        problem = bnbench.Problem(N, p1, p2, dtype=str(random.choice(["float64", "float32"])))
        batch, forms = problem.sample(), []
        for algorithm in (rows_of(problem), NODES):
            variant = bnbench.variants()["fused-numba"](algorithm)
            variant.prepare(batch, problem)
            variant.step()
            forms.append(variant.step)
        taken = np.min([[median_ms(step) for step in forms] for _ in range(ROUNDS)], axis=0)
        chosen = for_nodes(problem)
        regrets.append(taken[int(chosen)] / taken.min())
        print(f"{N}x{p1}x{p2} {problem.dtype} rows {taken[0]:.4f} nodes {taken[1]:.4f} {'nodes' if chosen else 'rows'}")
    print(f"{len(regrets)} shapes, time over the better one's at 50, 90, 95 and 100 %:",
          np.percentile(regrets, [50, 90, 95, 100]).round(2))  # fmt: skip


if __name__ == "__main__":
    main()

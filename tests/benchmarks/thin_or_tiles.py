"""What the choice between loops over rows and tiles costs, at random shapes with few nodes:

    python tests/benchmarks/thin_or_tiles.py [SECONDS] [SEED]

A line a shape, the median of a step by each in µs, and at last the time of the choice over that of the better one, in
both regimes, and apart for up to 8 nodes. Nothing else on.
"""

import sys
import time
from unittest import mock

import numpy as np
from rows_or_nodes import ROUNDS, median_ms

import bnbench
from bnbench.fused.layout import THIN, choose
from bnbench.problem import REGIMES

LEAST, MOST = (16, 1, 1), (65_536, 2048, 40)  # N, p1, p2, log-uniform
LEAST_WORK, MOST_WORK = 500, 5e7  # N p1 p2
FEW = 8


def main():
    given = sys.argv[1:]
    random, regrets = np.random.default_rng(int(given[1]) if given[1:] else None), []
    end = time.monotonic() + float((given or ["120"])[0])
    while time.monotonic() < end:
        N, p1, p2 = (int(n) for n in np.rint(np.exp(random.uniform(np.log(LEAST), np.log(MOST)))))
        if not LEAST_WORK < N * p1 * p2 < MOST_WORK:
            continue
        problem, regime = bnbench.Problem(N, p1, p2, dtype=str(random.choice(["float64", "float32"]))), REGIMES[N % 2]
        with mock.patch("bnbench.fused.layout.for_thin", return_value=False):
            names = THIN, choose(problem, regime)
        batch, steps = problem.sample(), []
        for name in names:
            variant = bnbench.variants()["fused-numba"](name)
            variant.prepare(batch, problem, regime)
            variant.step()
            steps.append(variant.step)
        medians = np.min([[median_ms(step) for step in steps] for _ in range(ROUNDS)], axis=0)
        taken = dict(zip(names, medians, strict=True))
        chosen = choose(problem, regime)
        regrets.append((taken[chosen] / min(taken.values()), p2))
        each = " ".join(f"{name} {1e3 * ms:.1f}" for name, ms in taken.items())
        print(f"{N}x{p1}x{p2} {problem.dtype} {regime} {each}: {chosen}, {regrets[-1][0]:.2f} of the better")
    for most in (FEW, MOST[2]):
        found = [regret for regret, p2 in regrets if p2 <= most]
        print(f"{len(found)} shapes, p2 up to {most}: time over the better one's at 50, 90, 95 and 100 %:",
              np.percentile(found, [50, 90, 95, 100]).round(2))  # fmt: skip


if __name__ == "__main__":
    main()

"""What fused-numba's choice of an algorithm costs at random shapes, and the cost model fitted to this machine.

    python tests/benchmarks/choice.py [--seconds 120] [--seed 0] [--fit FILE.json]

At each shape every algorithm that could be chosen is timed in turn; a line has the median of a step by each in µs, and
a star at the choice. At last the regret: the time of the choice over that of the best. With a fixed design a step bears
its share of the set-up, as if there were `layout.PAYS_WITHIN` steps. With --fit its constants are fitted to half
of the shapes, the other half says whether that pays, and BNBENCH_COSTS=FILE.json takes them. Nothing else on.
"""

import argparse
import json
import math
import statistics
import time
from unittest import mock

import numpy as np

import bnbench
from bnbench.fused import layout
from bnbench.problem import DTYPES, REGIMES

LEAST, MOST = (16, 2, 1), (262_144, 2_048, 2_048)  # N, p1, p2, log-uniform
LEAST_WORK, MOST_WORK = 2_000, 3e8  # N p1 p2
SAMPLE_S, ROUNDS = 0.03, 3
HOPELESS = 4  # times the best's first step: an algorithm that is not timed again
FACTORS = 0.6, 0.8, 0.9, 1.1, 1.25, 1.6  # by which the fit tries to change a constant
PERCENT = 50, 90, 95, 100


def drawn(random):
    """A random problem and regime."""
    while True:
        N, p1, p2 = (int(n) for n in np.rint(np.exp(random.uniform(np.log(LEAST), np.log(MOST)))))
        if LEAST_WORK < N * p1 * p2 < MOST_WORK:
            activation, dtype, regime = (str(random.choice(names)) for names in (["relu", "tanh"], DTYPES, REGIMES))
            return bnbench.Problem(N, p1, p2, activation, dtype=dtype), regime


def median_s(step):
    taken, end = [], time.perf_counter() + SAMPLE_S
    while time.perf_counter() < end or len(taken) < 3:
        begun = time.perf_counter()
        step()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def timed(problem, regime):
    """By algorithm, the seconds of a step and its share of the set-up, of all that could be chosen."""
    batch, steps, shares, first = problem.sample(), {}, {}, {}
    for algorithm in layout.possible(problem, regime):
        variant = bnbench.variants()["fused-numba"](algorithm)
        variant.prepare(batch, problem, regime)
        if regime == "fixed":  # again: the first may have compiled
            begun = time.perf_counter()
            variant.prepare(batch, problem, regime)
            shares[algorithm] = (time.perf_counter() - begun) / layout.PAYS_WITHIN
        variant.step()
        begun = time.perf_counter()
        variant.step()
        first[algorithm], steps[algorithm] = time.perf_counter() - begun, variant.step
    steps = {name: step for name, step in steps.items() if first[name] < HOPELESS * min(first.values())}
    taken = np.min([[median_s(step) for step in steps.values()] for _ in range(ROUNDS)], axis=0)
    taken = first | dict(zip(steps, map(float, taken), strict=True))
    return {name: seconds + shares.get(name, 0.0) for name, seconds in taken.items()}


def regrets(measured, **constants):
    """The time of each choice over the best's, by constants in the place of those that are in force."""
    with mock.patch.multiple(layout, **{name: getattr(layout, name) for name in layout.COSTS} | constants):
        return np.array([times[layout.choose(*case)] / min(times.values()) for *case, times in measured])


def fitted(measured):
    """Constants of the least mean log regret: each is moved by a factor for as long as that helps."""
    values, moved = {name: getattr(layout, name) for name in layout.COSTS}, True
    least = np.log(regrets(measured, **values)).mean()
    while moved:
        moved = False
        for name in values:
            for factor in FACTORS:
                tried = values | {name: values[name] * factor}
                regret = np.log(regrets(measured, **tried)).mean()
                if regret < least - 1e-6:
                    values, least, moved = tried, regret, True
    return values


def told(title, found):
    share, mean = np.percentile(found, PERCENT).round(2), math.exp(np.log(found).mean())
    print(f"{title}: {len(found)} shapes, time over the best's at {PERCENT} %: {share}, geometric mean {mean:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", metavar="FILE.json")
    asked = parser.parse_args()
    random, end, measured = np.random.default_rng(asked.seed), time.monotonic() + asked.seconds, []
    while time.monotonic() < end:
        problem, regime = drawn(random)
        times = timed(problem, regime)
        measured.append((problem, regime, times))
        chosen = layout.choose(problem, regime)
        shown = ", ".join(f"{name} {1e6 * seconds:.4g}{'*' * (name == chosen)}" for name, seconds in times.items())
        sizes = f"{problem.N}x{problem.p1}x{problem.p2} {problem.dtype} {problem.activation} {regime}"
        print(f"{sizes}: {shown}; {times[chosen] / min(times.values()):.2f}", flush=True)
    told("as chosen", regrets(measured))
    if asked.fit:
        values = fitted(measured[::2])
        told("the other half, by the package's constants", regrets(measured[1::2]))
        told("the other half, by the fitted ones", regrets(measured[1::2], **values))
        with open(asked.fit, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=1)
        print(f"{asked.fit} has them")


if __name__ == "__main__":
    main()

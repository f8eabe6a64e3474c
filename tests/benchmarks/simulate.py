"""Bias and coverage of δ: panels drawn from a known network, with effects that go with its inputs and linear terms.

    python tests/benchmarks/simulate.py [DRAWS] [SHARE]     200 draws, 0.25: some minutes

Every panel has new inputs, linear terms, effects and errors; errors of a unit go together, by its first linear
term. It is fitted with the units' effects, and with an intercept in their place, whose δ is biased. SHARE times a
function of the inputs is in each linear term: with 0.5 it is a fifth of the second one's variance within units, and
standard errors given the hidden outputs become too small.
"""

import sys
import warnings

import numba
import numpy as np
import threadpoolctl
from sklearn.exceptions import ConvergenceWarning

import bnbench

UNITS, ROWS, INPUTS, NODES, DELTA = 600, (2, 8), 4, 4, np.array([1.0, -0.5])
CONFIDENCE = 0.95


def network(seed=1):
    """The known network: X (N,p1) to its output, normalised by the population's statistics."""
    random = np.random.default_rng(seed)
    G1, gamma, beta = random.normal(size=(INPUTS, NODES)), random.uniform(0.5, 1.5, NODES), random.normal(size=NODES)
    G2 = random.choice([-1, 1], NODES) * random.uniform(0.5, 1.5, NODES)
    spread = np.sqrt(1.5 * (G1**2).sum(axis=0))  # of Z, X having a variance of 1.5

    return lambda X: np.tanh(gamma * (X @ G1) / spread + beta) @ G2


def panel(random, function, share):
    """(X, y, W, unit): ROWS, both ends included, a unit, in any order."""
    unit = np.repeat(np.arange(UNITS), random.integers(ROWS[0], ROWS[1] + 1, UNITS))
    random.shuffle(unit)
    N = len(unit)
    level = random.normal(size=(UNITS, INPUTS)) * np.sqrt(0.5)
    X = level[unit] + random.normal(size=(N, INPUTS))
    alpha = level.sum(axis=1) + 0.5 * random.normal(size=UNITS)
    W = share * np.stack([np.sin(2 * X[:, 0]), X[:, 1]], axis=1) + 0.5 * alpha[unit][:, None]
    W += random.normal(size=(N, len(DELTA)))
    errors = random.normal(size=N) + 0.5 * random.normal(size=UNITS)[unit] * W[:, 0]
    return X, function(X) + W @ DELTA + alpha[unit] + errors, W, unit


def study(draws, share, seed=0):
    """Errors of δ and whether its interval covers, (draws,q) each, with effects and without; told by name."""
    random, function = np.random.default_rng(seed), network()
    found = {"with effects": [], "without": []}
    for draw in range(draws):
        X, y, W, unit = panel(random, function, share)
        for name, units in (("with effects", unit), ("without", None)):
            fitted = bnbench.BatchNormRegressor(
                (NODES,), activation="tanh", random_state=draw, max_iter=400, output_penalty=1e-4
            ).fit(X, y, W, units)
            table = fitted.linear_table(CONFIDENCE)
            covers = (table["low"] <= DELTA) & (DELTA <= table["high"])
            found[name].append([fitted.delta_ - DELTA, table["std_error"], covers])
    return {name: np.moveaxis(np.array(rows, float), 0, 1) for name, rows in found.items()}


def main():
    given = sys.argv[1:]
    draws, share = int(given[0]) if given else 200, float(given[1]) if given[1:] else 0.25
    warnings.simplefilter("ignore", ConvergenceWarning)
    numba.set_num_threads(1)  # small arrays: threads would wait for each other
    threadpoolctl.threadpool_limits(1)
    print(f"{draws} draws of {UNITS} units of {ROWS[0]} to {ROWS[1]} rows, {NODES} nodes, share {share:g}; δ = {DELTA}")
    for name, (errors, std_errors, covers) in study(draws, share).items():
        mean, spread = errors.mean(axis=0), errors.std(axis=0, ddof=1)
        for k in range(len(DELTA)):
            print(
                f"{name:12}  δ{k + 1}: mean error {mean[k]:+.4f}, {mean[k] / (spread[k] / draws**0.5):+.1f} Monte "
                f"Carlo standard errors from 0; standard deviation {spread[k]:.4f}, mean standard error "
                f"{std_errors[:, k].mean():.4f}; the {CONFIDENCE:.0%} interval covers in {covers[:, k].mean():.1%}"
            )


if __name__ == "__main__":
    main()

"""The time to fit, beside PyTorch (eager and compiled), scikit-learn's MLPRegressor and R's loop, in one run.

    python tests/benchmarks/fit.py [ROUNDS] [--threads 1] [--without-r]

The network has 20 inputs and 32 ReLU nodes with batch normalisation and an intercept, 20 000 rows, the squared loss and
Adam: 200 steps of all rows, then three epochs of minibatches of 256. All are warm and compiled, and their data are in
memory. The fits take turns for ROUNDS rounds (5), and their medians are shown. bnbench's is a whole `fit`; PyTorch's is
the loop alone. MLPRegressor has no batch normalisation, and so less to do. R's loop is that of r-loop: one step is
timed, and multiplied by their number.
"""

import argparse
import math
import statistics
import time
import warnings

import numpy as np

import bnbench

N, P1, P2, STEPS, BATCH, EPOCHS = 20_000, 20, 32, 200, 256, 3
BATCHES = math.ceil(N / BATCH)
FULL, MINI = f"{STEPS} steps of all rows", f"{EPOCHS} epochs of {BATCHES} minibatches"


def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(N, P1))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * random.normal(size=N) + 5


def ours(X, y, epochs, batch_size):
    """A whole fit: checks, set-up, start, steps, population statistics."""
    bnbench.BatchNormRegressor(
        (P2,), solver="adam", batch_size=batch_size, max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=0
    ).fit(X, y)


def mlp(X, y, epochs, batch_size):
    from sklearn.neural_network import MLPRegressor

    MLPRegressor(
        hidden_layer_sizes=(P2,),
        alpha=0.0,
        batch_size=batch_size or N,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs + 1,
        random_state=0,
    ).fit(X, y)


class Torch:
    """The loop that one writes in PyTorch: the steps alone, without set-up; Adam is its fused one."""

    def __init__(self, compiled):
        import torch

        self.torch, self.compiled = torch, compiled

    def __call__(self, X, y, epochs, batch_size):
        torch = self.torch
        F = torch.nn.functional
        X, y = torch.from_numpy(X), torch.from_numpy(y)
        theta = [torch.randn(P1, P2), torch.ones(P2), torch.zeros(P2), torch.randn(P2) / P2, torch.zeros(())]
        theta = [part.double().requires_grad_() for part in theta]

        if not hasattr(self, "loss"):

            def loss(X, y, G1, gamma, beta, G2, intercept):
                A = F.relu(F.batch_norm(X @ G1, None, None, gamma, beta, training=True, eps=1e-5))
                return F.mse_loss(A @ G2 + intercept, y)

            self.loss = torch.compile(loss, dynamic=False) if self.compiled else loss
        optimizer = torch.optim.Adam(theta, fused=True)
        for _ in range(epochs):
            batches = [None] if batch_size is None else torch.randperm(N)[: BATCHES * (N // BATCHES)].chunk(BATCHES)
            for rows in batches:
                part = (X, y) if rows is None else (X[rows], y[rows])
                optimizer.zero_grad()
                self.loss(*part, *theta).backward()
                optimizer.step()


def in_R(X, y, epochs, batch_size):
    """Seconds of R's loop for one gradient."""
    rows = slice(batch_size)
    problem = bnbench.Problem(len(y[rows]), P1, P2)
    random = np.random.default_rng(0)
    theta = random.normal(size=(P1, P2)), np.ones(P2), np.zeros(P2), random.normal(size=P2)
    step = bnbench.variants()["r-loop"]()
    step.prepare(bnbench.Batch(X[rows], y[rows], *theta), problem)
    begun = time.perf_counter()
    step.step()
    return (time.perf_counter() - begun) * epochs * (1 if batch_size is None else BATCHES)


def timed(fit, *arguments):
    begun = time.perf_counter()
    fit(*arguments)
    return time.perf_counter() - begun


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("rounds", nargs="?", type=int, default=5)
    options.add_argument("--threads", type=int, help="of everyone; default: as many as each takes by itself")
    options.add_argument("--without-r", action="store_true")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    fits = {
        "bnbench": ours, "torch eager": Torch(False), "torch.compile": Torch(True), "MLPRegressor": mlp,
    }  # fmt: skip
    if chosen.threads:
        import numba
        import threadpoolctl
        import torch

        numba.set_num_threads(chosen.threads)
        torch.set_num_threads(chosen.threads)
        threadpoolctl.threadpool_limits(chosen.threads)
    X, y = data()
    for title, epochs, size in ((FULL, STEPS, None), (MINI, EPOCHS, BATCH)):
        for fit in fits.values():
            fit(X, y, 2, size)  # compiles
        times = {name: [] for name in fits}
        for _ in range(chosen.rounds):
            for name, fit in fits.items():
                times[name].append(timed(fit, X, y, epochs, size))
        medians = {name: statistics.median(samples) for name, samples in times.items()}
        if not chosen.without_r and not bnbench.variants()["r-loop"].unavailable():
            medians["R's loop (of one step)"] = in_R(X, y, epochs, size)
        print(f"{title}, N={N}, p1={P1}, p2={P2}, {chosen.rounds} rounds, threads: {chosen.threads or 'default'}")
        for name, median in medians.items():
            spread = f" ({min(times[name]):.3f} to {max(times[name]):.3f})" if name in times else ""
            print(f"  {name:24}{median:9.3f} s{spread:22}{median / medians['bnbench']:8.1f} times bnbench's")


if __name__ == "__main__":
    main()

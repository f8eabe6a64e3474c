"""The step over rows shared by processes: PyTorch's DistributedDataParallel with gloo beside row-chunked `prepare`.

    python tests/benchmarks/ddp.py [--N 1000000 --p1 32 --p2 64] [--processes 1 2] [--only peer|ours]

The peer is PyTorch's eager network under DistributedDataParallel, one thread a process, each with its share of the
rows. torch.nn.SyncBatchNorm takes tensors on a GPU alone (what it says is printed), so that the statistics of all rows
are exchanged by hand, as SyncBatchNorm does it: counts, means and centred squares are gathered in the forward pass, and
the backward pass adds up two sums. The memory that its steps free is kept, with which they take a third of the time.
Ours is `bnbench.prepare` on a dask.array of chunks that a LocalCluster's workers hold, one thread each. Every gradient
is checked against `bnbench.gradients` of all rows in memory.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import bnbench
from bnbench.measure import memory
from bnbench.record import KEPT, MEMORIES

NAMES = ("dG1", "dgamma", "dbeta", "dG2")
EPS = 1e-5
WARM = 2  # steps before those that are timed


def exchanged_normalization():
    """Batch normalisation over the rows of all processes, as a torch.autograd.Function."""
    import torch
    from torch import distributed

    class Normalize(torch.autograd.Function):
        """B (n,p2) of Z (n,p2), γ and β (p2,); N are the rows of all processes."""

        @staticmethod
        def forward(context, Z, gamma, beta, N):
            mean = Z.mean(0)
            own = torch.cat([torch.full((1,), float(len(Z)), dtype=Z.dtype), mean, (Z - mean).square_().sum(0)])
            each = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
            distributed.all_gather(each, own)
            count, means, squares = torch.stack(each).split([1, len(mean), len(mean)], dim=1)
            mean = (count * means).sum(0) / N
            variance = (squares + count * (means - mean) ** 2).sum(0) / N  # Chan's rule
            scale = torch.rsqrt(variance + EPS)
            X_hat = (Z - mean).mul_(scale)
            context.save_for_backward(X_hat, gamma, scale)
            context.N = N
            return torch.addcmul(beta, X_hat, gamma)

        @staticmethod
        def backward(context, S):
            X_hat, gamma, scale = context.saved_tensors
            own = torch.stack([S.sum(0), (S * X_hat).sum(0)])
            total = own.clone()
            distributed.all_reduce(total)
            dbeta, dgamma = total / context.N
            dZ = torch.addcmul(S - dbeta, X_hat, dgamma, value=-1).mul_(gamma * scale)
            return dZ, own[1], own[0], None  # DistributedDataParallel adds up the parameters' gradients itself

    return Normalize.apply


def process(rank, processes, folder, steps, kept, answers):
    """One of the peer's processes: its steps' seconds, and the gradient of the last."""
    import torch
    from torch import distributed

    if kept:
        memory.keep()
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting-{processes}", rank=rank, world_size=processes
    )
    whole = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("X", "y")]
    N = len(whole[0])
    edges = np.linspace(0, N, processes + 1).astype(int)
    X, y = (torch.tensor(np.array(array[edges[rank] : edges[rank + 1]])) for array in whole)
    normalized = exchanged_normalization()

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("G1", "gamma", "beta", "G2"):
                setattr(self, name, torch.nn.Parameter(torch.tensor(np.load(folder / f"{name}.npy"))))

        def forward(self, X):
            return torch.relu(normalized(X @ self.G1, self.gamma, self.beta, N)) @ self.G2

    network = Network()
    shared = torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
    seconds = []
    for _ in range(WARM + steps):
        distributed.barrier()
        start = time.perf_counter()
        network.zero_grad()
        loss = (shared(X) - y).square().sum() * (processes / N)  # gradients are averaged over processes
        loss.backward()
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        gradient = [parameter.grad.numpy().copy() for parameter in network.parameters()]
        answers.put((seconds[WARM:], gradient, refusal_of_sync_batch_norm()))
    distributed.barrier()
    distributed.destroy_process_group()


def refusal_of_sync_batch_norm():
    """What torch.nn.SyncBatchNorm says of a tensor on the CPU; empty where it takes one."""
    import torch

    try:
        torch.nn.SyncBatchNorm(2)(torch.ones(3, 2))
    except (ValueError, RuntimeError) as error:
        return str(error)
    return ""


def peer(processes, folder, steps, kept):
    """The seconds of the peer's steps, its gradient, and what SyncBatchNorm says."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    begun = [
        context.Process(target=process, args=(rank, processes, folder, steps, kept, answers))
        for rank in range(processes)
    ]
    for each in begun:
        each.start()
    try:
        while answers.empty():
            if any(each.exitcode for each in begun):
                raise SystemExit("a process of the peer has failed")
            time.sleep(0.05)
        return answers.get()
    finally:
        for each in begun:
            each.join(10)
            each.kill()


def rows_of(path, beside=None, block_info=None):
    """A chunk's rows of an array's file, read where the chunk beside it lies."""
    first, end = block_info[None]["array-location"][0]
    return np.array(np.load(path, mmap_mode="r")[first:end])


def ours(processes, folder, steps, chunks, regime):
    """The seconds of our steps over so many workers, and the gradient."""
    import dask.array
    from distributed import Client, LocalCluster, wait

    G1, *others = (np.load(folder / f"{name}.npy") for name in ("G1", "gamma", "beta", "G2"))
    with LocalCluster(processes, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        N = len(np.load(folder / "y.npy", mmap_mode="r"))
        rows = tuple(len(part) for part in np.array_split(np.arange(N), chunks))
        # Each worker reads its rows of the file itself, and holds them; those of y where X's are.
        chunks_of_X, mapped = (rows, (len(G1),)), dask.array.map_blocks
        X = mapped(rows_of, folder / "X.npy", chunks=chunks_of_X, dtype=float, meta=np.zeros((0, 0))).persist()
        wait(X)
        y = mapped(rows_of, folder / "y.npy", X, chunks=(rows,), drop_axis=1, dtype=float, meta=np.zeros(0)).persist()
        wait(y)
        prepared = bnbench.prepare(X, y, G1.shape[1], eps=EPS, regime=regime)
        seconds = []
        for _ in range(WARM + steps):
            start = time.perf_counter()
            found = prepared.gradients(G1, *others)
            seconds.append(time.perf_counter() - start)
    return seconds[WARM:], [getattr(found, name) for name in NAMES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--N", type=int, default=1_000_000)
    parser.add_argument("--p1", type=int, default=32)
    parser.add_argument("--p2", type=int, default=64)
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--regime", nargs="+", default=("fixed", "fresh"), help="of ours; the peer is always fresh")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--memory", choices=MEMORIES, default=KEPT, help="that the peer frees; ours frees little")
    parser.add_argument("--only", choices=("peer", "ours"))
    asked = parser.parse_args()
    batch = bnbench.Problem(asked.N, asked.p1, asked.p2, eps=EPS).sample()
    parameters = batch.G1, batch.gamma, batch.beta, batch.G2
    truth = bnbench.gradients(batch.X, batch.y, *parameters, eps=EPS)
    rows, said = [], ""

    def add(form, processes, seconds, gradient):
        errors = [
            np.linalg.norm(found - getattr(truth, name)) / np.linalg.norm(getattr(truth, name))
            for name, found in zip(NAMES, gradient, strict=True)
        ]
        rows.append((form, processes, 1e3 * statistics.median(seconds), 1e3 * min(seconds), max(errors)))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name in ("X", "y", "G1", "gamma", "beta", "G2"):
            np.save(folder / f"{name}.npy", getattr(batch, name))
        del batch
        for processes in asked.processes:
            if asked.only != "ours":
                seconds, gradient, said = peer(processes, folder, asked.steps, asked.memory == KEPT)
                add("DistributedDataParallel", processes, seconds, gradient)
            for regime in asked.regime if asked.only != "peer" else ():
                add(
                    f"bnbench.prepare, {regime}", processes, *ours(processes, folder, asked.steps, asked.chunks, regime)
                )
    table = pd.DataFrame(rows, columns=["form", "processes", "median ms", "least ms", "largest relative error"])
    print(f"({asked.N}, {asked.p1}, {asked.p2}), float64, one thread a process, {asked.steps} steps")
    print(table.to_string(index=False, float_format="{:.4g}".format))
    if said:
        print(f"torch.nn.SyncBatchNorm on a CPU: {said}")


if __name__ == "__main__":
    main()

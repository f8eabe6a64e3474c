"""Rows in chunks, measured: `python tests/benchmarks/chunked.py bits|big|disk|overhead|bytes`.

bits: the gradients of random networks against those in memory, and their bits by 1 to 4 workers.
big: one step over a virtual array whose chunks are drawn when they are asked for, under a limit of memory.
disk: the same over a file of float64 (`numpy.memmap`).
overhead: Dask's share of a step against the time of a chunk; two workers against one.
bytes: what is sent in a step, and where 10⁹ rows on 64 workers would stand by these figures.
"""

import argparse
import contextlib
import logging
import pickle
import resource
import statistics
import sys
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np

import bnbench
from bnbench import chunked

P1, P2, ROWS = 32, 64, 2**16
GIB = 2**30


def parameters(p1=P1, p2=P2):
    """Γ1, γ, β and Γ2."""
    return bnbench.Problem(1, p1, p2).sample()[2:]


def best(call, times=5):
    """The least seconds of some calls."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return min(found)


def peak_gib():
    """The most memory that this process had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def draw(block_id=None, rows=ROWS, p1=P1):
    """A chunk of X, by its number."""
    return np.random.Generator(np.random.SFC64(block_id[0])).random((rows, p1)) - 0.5


def mapped(path, block_info=None):
    """A chunk of a file."""
    (first, end), _ = block_info[None]["array-location"]
    return np.memmap(path, np.float64, "r").reshape(-1, P1)[first:end]


def in_memory(rows):
    """Seconds a row of the step in memory and of the same in chunks that memory holds, two threads each."""
    X = np.random.default_rng(0).random((rows, P1)) - 0.5
    y = X[:, 0].copy()
    whole = bnbench.prepare(X, y, P2)
    parts = bnbench.prepare(da.from_array(X, chunks=(ROWS, -1)), da.from_array(y, chunks=ROWS), P2)
    pair = []
    for prepared in (whole, parts):
        prepared.gradients(*parameters())
        pair.append(best(lambda prepared=prepared: prepared.gradients(*parameters())) / rows)
    return pair


def big(options):
    """One step over more rows than memory holds; --piece measures a row of it instead."""
    if options.piece:
        one, other = in_memory(options.piece)
        print(f"in memory {one * 1e9:.0f} ns a row, in chunks that memory holds {other * 1e9:.0f}: {other / one:.2f}")
        return
    limit = int(options.limit * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    count = max(1, round(options.gb * 1e9 / (ROWS * P1 * 8)))
    X = da.map_blocks(draw, chunks=((ROWS,) * count, (P1,)), dtype=np.float64, meta=np.zeros((0, 0)))
    y = X[:, 0]
    with dask.config.set(num_workers=2):
        begun = time.perf_counter()
        prepared = bnbench.prepare(X, y, P2)
        looked = time.perf_counter()
        found = prepared.gradients(*parameters())
        ended = time.perf_counter()
    print(f"{X.nbytes / 1e9:.1f} GB in {count} chunks of {X.chunksize}, limit {options.limit} GiB: prepare "
          f"{looked - begun:.0f} s, step {ended - looked:.0f} s with the drawing, loss {found.loss:.12f}, peak "
          f"{peak_gib():.2f} GiB")  # fmt: skip


def disk(options):
    """One step over a file, which is made where it is not there yet; beside the step in memory of a piece of it."""
    rows = round(options.gb * 1e9 / (P1 * 8)) // ROWS * ROWS
    path = Path(options.file)
    if not path.exists() or path.stat().st_size != rows * P1 * 8:
        held = np.memmap(path, np.float64, "w+", shape=(rows, P1))
        for start in range(0, rows, ROWS):
            held[start : start + ROWS] = draw((start // ROWS,))
        held.flush()
        del held
    limit = int(options.limit * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    chunks = (ROWS,) * (rows // ROWS), (P1,)  # da.from_array would copy the file into memory
    X = da.map_blocks(mapped, str(path), chunks=chunks, dtype=np.float64, meta=np.zeros((0, 0)))
    y = X[:, 0].map_blocks(np.copy).compute(num_workers=2)
    with dask.config.set(num_workers=2):
        prepared = bnbench.prepare(X, y, P2)
        seconds = best(lambda: prepared.gradients(*parameters()), 2)
    peak = peak_gib()
    memory, _ = in_memory(min(rows, 2**20))
    print(f"{X.nbytes / 1e9:.1f} GB on disk: step {seconds:.1f} s, {seconds / rows * 1e9:.0f} ns a row, in memory "
          f"{memory * 1e9:.0f}: {seconds / rows / memory:.2f}; peak {peak:.2f} GiB, the file's pages that are "
          "mapped among them")  # fmt: skip


@contextlib.contextmanager
def cluster(workers):
    """A cluster of processes of one thread on this machine, connected."""
    from distributed import Client, LocalCluster

    local = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.ERROR
    )
    with local, Client(local):
        yield


def chunks_of(rows, count):
    """X and y in so many chunks of so many rows, held where they were made."""
    X = da.map_blocks(draw, rows=rows, chunks=((rows,) * count, (P1,)), dtype=np.float64, meta=np.zeros((0, 0)))
    return dask.persist(X, X[:, 0])


def overhead(options):
    """Dask's share of a step at chunks of 1, 10 and 100 ms, by threads and by a cluster; two workers against one."""
    arrays = draw((0,)), draw((0,))[:, 0].copy()
    alone = chunked.prepare([arrays], P2)
    alone.gradients(*parameters())
    a_row = best(lambda: alone.gradients(*parameters())) / ROWS
    print(f"a row takes {a_row * 1e9:.0f} ns by one thread")

    def shares(title):
        for milliseconds, count in ((1, 64), (3, 48), (10, 32), (30, 16), (100, 8)):
            rows = max(1, round(milliseconds / 1e3 / a_row))
            X, y = chunks_of(rows, count)
            prepared = bnbench.prepare(X, y, P2)
            prepared.gradients(*parameters())
            step = best(lambda prepared=prepared: prepared.gradients(*parameters()), 4)
            own = chunked.prepare([(draw((0,), rows), draw((0,), rows)[:, 0].copy())], P2)
            own.gradients(*parameters())
            kernel = best(lambda own=own: own.gradients(*parameters()), 6) * count
            print(f"{title}: {count} chunks of {kernel / count * 1e3:.1f} ms ({rows} rows): step {step * 1e3:.0f} ms, "
                  f"Dask's share {1 - kernel / step:.1%}, {(step - kernel) / count * 1e3:.2f} ms a chunk")  # fmt: skip

    if not options.scaling:
        with dask.config.set(num_workers=1):
            shares("threads")
        with cluster(1):
            shares("cluster")
    taken = {}
    for workers in (1, 2):
        with cluster(workers):
            X, y = chunks_of(ROWS * 8, 8)
            prepared = bnbench.prepare(X, y, P2)
            prepared.gradients(*parameters())
            taken[workers] = best(lambda prepared=prepared: prepared.gradients(*parameters()), 4)
    print(f"8 chunks of {ROWS * 8} rows: 1 worker {taken[1] * 1e3:.0f} ms, 2 workers {taken[2] * 1e3:.0f} ms: "
          f"{taken[1] / taken[2]:.2f}")  # fmt: skip


def sent(p1, p2):
    """Bytes of a phase on its way out, and of a chunk's answer, pickled; of one layer with a fixed design."""
    out, back = [], []
    rows = np.random.default_rng(0).standard_normal((4 * p1, p1))

    class Counted(chunked.InTurn):
        def __call__(self, phase):
            answer = phase(self.chunks[0])
            out.append(len(pickle.dumps(phase, 5)))
            back.append(len(pickle.dumps(answer, 5)))
            return answer

    engine = Counted([(rows, rows[:, 0].copy())])
    chunked.Chunked(engine, p1, p2).gradients(*parameters(p1, p2))
    return out[-1], back[-1]


def bytes_sent(options):
    """Bytes of a step by size, beside the formula; and 10⁹ rows on 64 workers."""
    for p1, p2 in ((8, 8), (32, 64), (128, 128), (256, 512)):
        out, back = sent(p1, p2)
        known = 8 * (p1 * p2 + p1 + 5 * p2), 8 * (p1 * p2 + 3 * p2 + 1)
        print(f"({p1}, {p2}): a phase {out:,} bytes (8 (p1 p2 + p1 + 5 p2) = {known[0]:,}), an answer {back:,} "
              f"(8 (p1 p2 + 3 p2 + 1) = {known[1]:,})")  # fmt: skip
    N, workers = 1e9, 64
    out, back = sent(P1, P2)
    for rows in (1e5, 1e6, 1e7):
        chunks = N / rows
        work = chunks / workers * rows * options.row_ns * 1e-9
        tasks = chunks * options.task_ms * 1e-3
        moved = workers * out + chunks * back
        print(f"10⁹ rows in {chunks:,.0f} chunks of {rows:,.0f} on 64 workers: kernels {work:.2f} s, one scheduler "
              f"{tasks:.2f} s beside them, {moved / 1e6:.1f} MB sent: the limit is "
              f"{'computing' if work > tasks else 'the scheduler'}")  # fmt: skip


def bits(options):
    """Random networks in uneven chunks against those in memory, and the same bits by 1 to 4 workers."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from networks import arguments, network

    errors, differ = [], 0
    for seed in range(options.count):
        theta, data, spec = network(seed, layers=1 + seed % 3, rows=60)
        (X, y, *rest), keywords = arguments(theta, data, spec)
        try:
            known = bnbench.gradients(X, y, *rest, **keywords)
        except ValueError:
            continue
        cuts = (1, len(y) // 3, len(y) - 1 - len(y) // 3)
        W, units, delta = (keywords.pop(name) for name in ("W", "units", "delta"))
        lazy = {"W": None if W is None else da.from_array(W, chunks=(cuts, -1)),
                "units": None if units is None else da.from_array(np.array(units), chunks=(cuts,))}  # fmt: skip
        pair = da.from_array(X, chunks=(cuts, -1)), da.from_array(y, chunks=(cuts,))
        answers = []
        for workers in (1, 2, 3, 4):
            with dask.config.set(scheduler="threads", num_workers=workers):
                answers.append(bnbench.gradients(*pair, *rest, delta=delta, **lazy, **keywords).parts())
        for one in answers[1:]:
            differ += any(not np.array_equal(a, b) for a, b in zip(answers[0].values(), one.values(), strict=True))
        for part, its in zip(answers[0].values(), known.parts().values(), strict=True):
            if its is not None:
                errors.append(np.linalg.norm(part - np.asarray(its)) / max(np.linalg.norm(its), 1e-3))
    print(f"{options.count} networks: largest error {max(errors):.1e}, median {statistics.median(errors):.1e}; "
          f"{differ} answers with other bits")  # fmt: skip


def main():
    """The sub-command that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("bits", bits), ("big", big), ("disk", disk), ("overhead", overhead), ("bytes", bytes_sent)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        if name in ("big", "disk"):
            command.add_argument("--gb", type=float, default=40.0 if name == "big" else 4.0)
            command.add_argument("--limit", type=float, default=2.0, help="GiB")
            command.add_argument("--piece", type=int, default=0, help="measure a row, of so many")
            command.add_argument("--file", default="/var/tmp/bnbench-rows", help="of disk")
        command.add_argument("--count", type=int, default=60)
        command.add_argument("--scaling", action="store_true", help="two workers against one alone")
        command.add_argument("--row-ns", type=float, default=200.0, help="of one thread, from overhead")
        command.add_argument("--task-ms", type=float, default=1.2, help="of the scheduler a chunk, from overhead")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()

"""Records and runs that are made up, for tests of what reads them; nothing in them was measured."""

import contextlib
import json
import math
import resource
from html.parser import HTMLParser

import numpy as np

from bnbench import store
from bnbench.record import Record
from bnbench.report import tables

PEAK, MEMORY = 8e10, 3e10  # the synthetic machine, in FLOP/s and byte/s


UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}


# name: (family, seconds of overhead a step, GFLOP/s, bytes/s, compile_s). Invented figures: nothing measured.
COSTS = {
    "loops-python": ("loops", 2e-5, 0.004, 2e8, 0.0),
    "loops-numba": ("loops", 6e-7, 1.6, 9e9, 1.9),
    "loops-numba-parallel": ("loops", 1.2e-5, 3.1, 1.4e10, 4.2),
    "matrix-numpy": ("matrix", 3.5e-5, 42.0, 2.4e9, 0.003),
    "matrix-numba": ("matrix", 6e-6, 40.0, 3.1e9, 6.8),
    "matrix-kronecker": ("matrix", 9e-5, 0.05, 1e9, 0.0),
    "fused-numba": ("fused", 1.5e-6, 44.0, 9e9, 8.3),
    "torch-eager": ("autodiff", 1.8e-4, 45.0, 3e9, 0.09),
}


DEFAULT = ["loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba"]


def synthetic(
    variants=DEFAULT,
    N=(10, 100, 1000, 10_000, 100_000),
    p1=(4, 16, 64, 256),
    p2=(4, 16, 64, 256),
    dtypes=("float64",),
    threads=(2,),
    limit_s=0.5,
    seed=0,
):
    """Journal records of an invented cost model with seeded noise: for trying the report, not results."""
    rng = np.random.default_rng(seed)
    records = []
    for name in variants:
        family, overhead, gflops, speed, compile_s = COSTS[name]
        first = True
        for dtype in dtypes:
            for thread in threads:
                for n in sorted(N):
                    for a in p1:
                        for b in p2:
                            small = 1 / (1 + 30 / min(a, b)) if family in ("matrix", "fused") else 1
                            step = (
                                overhead
                                + 4 * n * a * b / (gflops * 1e9 * small)
                                + n * (a + 4 * b) * 8 / speed * (0.5 if dtype == "float32" else 1)
                            )
                            if name == "loops-numba-parallel":
                                step /= thread**0.5
                            cell = {"N": n, "p1": a, "p2": b, "dtype": dtype, "threads": thread}
                            base = {
                                "variant": name,
                                "family": family,
                                "device": "cpu",
                                "machine": "synthetic",
                            }
                            records.append(record(base | cell, step, rng, compile_s if first else 0, limit_s))
                            first = False
    return records


def record(given, step_s, rng, compile_s=0.0, limit_s=math.inf, **overrides):
    """One record as the journal keeps it, around a true step time."""
    common = {
        **{"schema": 1, "machine": "synthetic", "device": "cpu", "activation": "relu"},
        **{"normalization": "batch", "ddof": 0, "eps": 1e-5, "seed": 0, "data": None, "regime": "fresh"},
        **{"dtype": "float64", "threads": 2, "reason": ""},
    }
    n, a, b = given["N"], given["p1"], given["p2"]
    if step_s > limit_s:
        status, reason = (
            ("timeout", "the first step ran past 0.5 s")
            if step_s < 4 * limit_s
            else (
                "pruned",
                f"predicted {step_s:.3g} s a step from N={n // 10}, over the limit of {limit_s:g} s",
            )
        )
        return common | given | {"status": status, "reason": reason} | overrides
    samples = step_s * rng.lognormal(0, 0.02, rng.integers(7, 30)) * (1 + 0.3 * (rng.random() < 0.02))
    unit = UNIT[given.get("dtype", "float64")]
    errors = {}
    for key in ("loss", "dG1", "dgamma", "dbeta", "dG2"):
        error = unit * math.sqrt(n) ** 0.5 * rng.lognormal(0, 0.7)
        tolerance = unit * (20 + math.sqrt(n * a) / 4)
        errors[key] = {"error": error, "tolerance": tolerance, "ratio": error / tolerance}
    baseline = 180_000_000
    size = 4 if given.get("dtype") == "float32" else 8
    temporaries = {"loops": 1, "fused": 0.2}.get(given["family"], 4)
    timing = {
        "prepare_s": 1e-6 * n**0.5,
        "first_step_s": compile_s + step_s,
        "compile_s": compile_s + 1e-4 * rng.random(),
        "inner_loops": max(1, round(5e-3 / step_s)),
        "samples_s": samples.tolist(),
        "peak_bytes": int(baseline + 4096 * rng.integers(0, 40) + size * n * (a + b * temporaries)),
        "baseline_bytes": baseline,
        "max_error_ratio": max(entry["ratio"] for entry in errors.values()),
        "errors": errors,
        "limit_s": max(4 * n * a * b / PEAK, size * n * (a + 1) / MEMORY),
        "gemm_flops_s": PEAK,
        "triad_bytes_s": MEMORY,
    }
    return common | given | {"status": "ok"} | timing | overrides


def timed(variant, family, N, samples_s, p1=4, p2=8, **overrides):
    """A record that is ok, with exactly these samples."""
    given = {"variant": variant, "family": family, "N": N, "p1": p1, "p2": p2}
    made = record(given, 1e-3, np.random.default_rng(0))
    return made | {"samples_s": list(samples_s), "compile_s": 0.0} | overrides


FOUR = [
    timed("loops-numba", "loops", 100, [1e-3], compile_s=2.0),
    timed("loops-numba", "loops", 10_000, [8e-3]),
    timed("matrix-numpy", "matrix", 100, [2e-3]),
    timed("matrix-numpy", "matrix", 10_000, [2e-3]),
]


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> $\\frac{$ %s {{ 7*7 }} | `x`'


FAILED = [row | {"status": "failed", "reason": HOSTILE} for row in FOUR]


BARE = [
    {name: FOUR[0][name] for name in ("N", "p1", "p2", "activation", "normalization", "ddof", "eps", "dtype", "seed")}
    | {"variant": "jax-jit", "status": "unavailable", "reason": "jax is not installed", "threads": 2, "regime": "fresh"}
]


def typed(rows):
    """Objects of a journal as records."""
    return [Record.of(row) for row in rows]


def frame(rows):
    """The table of them."""
    return tables.frame(typed(rows))


def rows(folder):
    """The records of a run as objects of its journal."""
    return [record.row() for record in store.read_journal(folder)[0]]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_data(self, data):
        self.text.append(data)


SETTINGS = ["--sizes", "10x4x8", "--variants", "matrix-numpy", "--threads", "1"]


RECORD = timed("matrix-numpy", "matrix", 10, [1e-3 + 1e-5 * i for i in range(9)], threads=1, seed=0)


FINISHED = [RECORD, RECORD | {"N": 20}]


def write(folder, described, records=FINISHED):
    folder.mkdir()
    (folder / store.ENVIRONMENT).write_text(json.dumps(described))
    kept = [record | {"machine": described["machine_id"]} for record in records]
    (folder / store.JOURNAL).write_text("".join(json.dumps(record) + "\n" for record in kept))
    return folder


def content(path):
    """Every file below, with its bytes."""
    return {str(found.relative_to(path)): found.is_file() and found.read_bytes() for found in path.rglob("*")}


@contextlib.contextmanager
def little_room(size):
    """Has files end at so many bytes, as a disk does that is full; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

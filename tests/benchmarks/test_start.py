"""What it takes to begin: the import, the help and the list of variants, and the first gradient, each in a new process.

    pytest tests/benchmarks/test_start.py --benchmark-only -s

Beside them what nobody can avoid: Python alone, and with NumPy and Numba. The first gradient is one with a warm compile
cache, the import of Numba and of the package in it: a run before those that count fills the cache.
"""

import os
import subprocess
import sys

import pytest

ROUNDS = 9
FIRST = """
import numpy as np
N, p1, p2, dtype = {}, {}, {}, "{}"
draw = np.random.default_rng(0).normal
batch = [draw(size=shape).astype(dtype) for shape in ((N, p1), N, (p1, p2), p2, p2, p2)]
import bnbench
bnbench.gradients(*batch)
"""
COMMANDS = {
    "python": ["-c", ""],
    "import numpy": ["-c", "import numpy"],
    "import numba": ["-c", "import numba"],
    "import bnbench": ["-c", "import bnbench"],
    "--help": ["-m", "bnbench", "--help"],
    "sweep --help": ["-m", "bnbench", "sweep", "--help"],
    "list": ["-m", "bnbench", "list"],
}
COMMANDS |= {
    f"first gradients {N}x{p1}x{p2} {dtype}": ["-c", FIRST.format(N, p1, p2, dtype)]
    for N, p1, p2 in ((10, 7, 4), (10000, 32, 64))
    for dtype in ("float64", "float32")
}


@pytest.mark.parametrize("what", COMMANDS)
def test_start(benchmark, what, tmp_path_factory):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.getbasetemp() / "start")}

    def run():
        subprocess.run([sys.executable, *COMMANDS[what]], check=True, capture_output=True, env=environment)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)

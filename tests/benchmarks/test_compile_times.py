"""The compile times of a sweep's second cell against processes that do nothing else than run that cell.

What Numba compiles is counted in processor time in both, so that other work does not matter; the others' by the clock.

Twenty minutes, with nothing else running: pytest tests/benchmarks/test_compile_times.py --benchmark-only -s
"""

import json
import os
import statistics
import subprocess
import sys

import pytest
from records import rows

from bnbench.variants import variants

REPEATS = 5
WITHIN = 0.1
N, P1, P2 = 1000, 16, 16
COMPILED = ["loops-numba", "loops-numba-parallel", "matrix-numba", "fused-numba"]
COMPILED += ["torch-compile", "jax-jit", "tensorflow-xla", "rcpp-loop", "loops-cpp", "matrix-eigen", "loops-pythran"]
COMPILED += ["matrix-pythran"]
ALONE = """
import json, sys, time
import bnbench
from bnbench.variants import variants
name, regime, *sizes = sys.argv[1:]
problem = bnbench.Problem(*map(int, sizes))
batch = problem.sample()
variant = variants()[name]()
variant.use_threads(1)

def took(*calls):
    wall, processor = time.perf_counter(), time.process_time()
    for call in calls:
        call()
    return time.perf_counter() - wall, time.process_time() - processor

prepare = lambda: variant.prepare(batch, problem, regime)
first = took(prepare, variant.step)
again = [variant.step] if name in ("torch-compile", "jax-jit", "tensorflow-xla") else [prepare, variant.step]
steady = [took(*again) for _ in range(5)]  # those three compile anew after each `prepare`
print(json.dumps([a - min(b) for a, b in zip(first, zip(*steady))]))
"""


def in_a_sweep(folder, names, regime):
    """compile_s by variant, of the second cell."""
    command = [sys.executable, "-m", "bnbench", "sweep", "--N", f"{N // 2},{N}", "--p1", P1, "--p2", P2]
    command += ["--threads", 1, "--regime", regime, "--variants", ",".join(names), "--sampling", 0.05]
    subprocess.run([*map(str, command), "--out", folder], check=True, capture_output=True)
    return {record["variant"]: record["compile_s"] for record in rows(folder) if record["N"] == N}


def alone(folder, name, regime):
    """Seconds by the wall's clock, and of processor time, that a process takes beyond a steady `prepare` and step."""
    folder.mkdir()
    more = {"BNBENCH_JIT_CACHE": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    more["TORCHINDUCTOR_CACHE_DIR"] = str(folder)  # its headers stay in TMPDIR: PyTorch compiles them once a machine
    more |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-c", ALONE, name, regime, *map(str, (N, P1, P2))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | more)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("regime", ["fresh", "fixed"])
def test_compile_times_are_those_of_a_process_that_does_nothing_else(benchmark, tmp_path, regime):
    # catches: compile_s near 0 in a later cell, compiling that hides in prepare_s, code from a cache of an earlier run
    names = [name for name in COMPILED if not variants()[name].unavailable()]
    said, wall, processor = ({name: [] for name in names} for _ in range(3))

    def measure():
        for repeat in range(REPEATS):
            for name, seconds in in_a_sweep(tmp_path / f"sweep-{repeat}", names, regime).items():
                said[name].append(seconds)
            for name in names:
                one, other = alone(tmp_path / f"{name}-{repeat}", name, regime)
                wall[name].append(one)
                processor[name].append(other)

    benchmark.pedantic(measure, rounds=1)
    ratios = {}
    print(f"\n{regime}: seconds, medians of {REPEATS}; in brackets the least and the most")
    for name in names:
        columns = [
            f"{words} {statistics.median(values):6.3f} ({min(values):.3f}-{max(values):.3f})"
            for words, values in (("compile_s", said[name]), ("alone", wall[name]), ("processor", processor[name]))
        ]
        true = processor if name.endswith(("-numba", "-numba-parallel")) else wall
        ratios[name] = statistics.median(said[name]) / statistics.median(true[name])
        print(f"{name:22} {ratios[name]:6.3f}  {'  '.join(columns)}")
    assert {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > WITHIN} == {}

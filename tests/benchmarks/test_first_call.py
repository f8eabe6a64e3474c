"""The first call of a process, cold and cached: `pytest tests/benchmarks/test_first_call.py --benchmark-only -s`.

Each runs in a process of its own with a cache folder of its own; the seconds are of the one call, without `import`.
"""

import json
import os
import subprocess
import sys

import pytest

CALL = """
import json, sys, time
import bnbench
variant, N, p1, p2, dtype, activation, normalization = json.loads(sys.argv[1])
problem = bnbench.Problem(N, p1, p2, activation, normalization, dtype=dtype)
batch = problem.sample()
if variant == "reference":
    from bnbench.reference import reference
start = time.perf_counter(), time.process_time()
if variant == "reference":
    reference(batch, problem)
else:
    bnbench.gradients(*batch, variant=variant, activation=activation, normalization=normalization)
print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]))
"""
SMALL = 10, 7, 4
CASES = [("fused-numba", *sizes, "float64", "relu", "batch") for sizes in (SMALL, (1000, 16, 16), (10_000, 32, 64))]
CASES += [("fused-numba", 64, 512, 512, "float64", "relu", "batch"), ("fused-numba", *SMALL, "float64", "relu", "none")]
CASES += [("fused-numba", *SMALL, "float32", activation, "batch") for activation in ("relu", "tanh", "gaussian")]
for name in ("loops-numba", "loops-numba-parallel", "matrix-numba"):
    CASES += [(name, *SMALL, dtype, "relu", "batch") for dtype in ("float64", "float32")]
CASES += [("reference", *SMALL, "float64", activation, "batch") for activation in ("relu", "tanh")]


def first_call(case, cache):
    """Wall-clock and processor seconds of a case's first call in a new process."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "BNBENCH_JIT_CACHE": ""}
    command = [sys.executable, "-c", CALL, json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_first_call(benchmark, case, tmp_path):
    cold = first_call(case, tmp_path)
    cached = []
    benchmark.pedantic(lambda: cached.append(first_call(case, tmp_path)), rounds=3)
    wall, processor = min(cached)
    benchmark.extra_info.update(cold_s=cold[0], cold_processor_s=cold[1], cached_s=wall, cached_processor_s=processor)
    print(f"\n{' '.join(map(str, case))}: cold {cold[0]:.2f} s ({cold[1]:.2f} of the processor), cached {wall:.2f} s")

"""What a step says it needs beside X and y is what it takes, at shapes drawn at random, wide ones among them."""

import json
import subprocess
import sys

import pytest
from cases import covering

MEASURE = """
import json, sys
import numpy as np
import bnbench
from bnbench.measure.given import protected
from bnbench.measure.memory import peak_bytes, reset_peak, resident_bytes

cls, count = bnbench.variants()[sys.argv[1]], int(sys.argv[2])
heaviest, largest, found = float(sys.argv[3]), float(sys.argv[4]), []
random = np.random.default_rng(3)
while len(found) < count:
    N, p1, p2 = (int(10 ** random.uniform(*powers)) for powers in ((2, 5), (0, 3.7), (0, 3.3)))
    regime, dtype = ("fresh", "fixed")[len(found) % 2], ("float64", "float32")[len(found) // 2 % 2]
    problem = bnbench.Problem(N, p1, p2, dtype=dtype)
    needs = cls.needs_bytes(problem, regime)
    if not 2e7 < needs < largest or N * p1 > 3e7 or N * p1 * p2 > heaviest:
        continue
    batch = protected(problem.sample())
    for _ in range(2):  # the first compiles, which takes memory of its own
        variant = None
        reset_peak()
        before = resident_bytes()
        variant = cls()
        variant.prepare(batch, problem, regime)
        variant.step()
        answer = variant.result()
        took = peak_bytes() - before
        del answer
    found.append([N, p1, p2, regime, dtype, needs, took])
print(json.dumps(found))
"""


COMPILED = ("fused-numba", "matrix-numpy", "matrix-numba", "loops-numba")
FEW = [*((name, 4, 1e8, 1e8) for name in COMPILED), ("loops-python", 1, 3e6, 1e8)]  # four: all dtypes and regimes
MANY = [*((name, 8 if name == "fused-numba" else 6, 2e9, 4e8) for name in COMPILED), ("loops-python", 3, 3e6, 4e8)]


@pytest.mark.parametrize(("name", "count", "heaviest", "largest"), covering(FEW + MANY, FEW))
def test_the_memory_model_is_within_a_fifth_of_the_truth(name, count, heaviest, largest):
    # catches: an array that the model does not know, such as what XᵀX takes while it is made
    command = [sys.executable, "-c", MEASURE, name, str(count), str(heaviest), str(largest)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    for *shape, needs, took in json.loads(run.stdout):
        assert 0.8 < took / needs < 1.2, (shape, needs, took)

"""fused-numba with vectors of every width that the processor has: right, and of the same bits for all threads."""

import json
import os
import subprocess
import sys

import pytest
from cases import covering

from bnbench import width
from bnbench.fused.layout import NODES, ONE_CALL, ONE_PASS, STORED
from bnbench.problem import DTYPES

LAYERS = "layer by layer"
CASES = [(w, a, d) for w in width.WIDTHS for a in (ONE_CALL, ONE_PASS, STORED, NODES, LAYERS) for d in DTYPES]
FEW = [(16, ONE_PASS, "float64"), (32, NODES, "float32")]
CHILD = """
import hashlib, json, sys
import numba
import numpy as np
import bnbench
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import variants

algorithm, dtype = sys.argv[1:]
ratios, bits = [], []
for N, p1, p2 in ((13, 9, 5), (40, 91, 90)) if algorithm == "one-call" else ((97, 21, 61), (20, 90, 67), (700, 22, 35)):
    deep = algorithm == "layer by layer"
    problem = bnbench.Problem(N, p1, p2, dtype=dtype, depth=1 + deep)
    batch, of_threads = problem.sample(), set()
    for threads in (1, 2, 3, 4):
        numba.set_num_threads(threads)
        variant = variants()["fused-numba"]("" if deep else algorithm)
        variant.prepare(batch, problem)
        variant.step()
        parts = parts_of(variant.result())
        of_threads.add(hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in parts.values())).hexdigest())
    ratios.append(judge(parts, reference(batch, problem), problem).max_error_ratio)
    bits.append(len(of_threads))
print(json.dumps([ratios, bits, variant.details()]))
"""


def child(asked, *words):
    environment = os.environ | {width.SWITCH: str(asked), "NUMBA_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    return subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(("asked", "algorithm", "dtype"), covering(CASES, FEW))
def test_every_width(asked, algorithm, dtype):
    # catches: a rest of a panel read with another's stride, code of one width that another loads from the cache, groups
    # of nodes that meet or leave nodes out, rows of a tile that are left over
    if asked > width.widest_bytes():
        pytest.skip(f"this processor has no vectors of {asked} bytes")
    run = child(asked, algorithm, dtype)
    assert not run.stderr
    ratios, bits, details = json.loads(run.stdout)
    assert max(ratios) < 0.1
    assert set(bits) == {1}
    assert details == {"algorithm": algorithm, "vector_bytes": str(asked)}


@pytest.mark.parametrize("asked", ["128", "8", "wide", 64])
def test_a_width_that_there_is_not(asked, monkeypatch):
    # catches: a width taken that the processor lacks, which LLVM splits into slow halves
    monkeypatch.setenv(width.SWITCH, str(asked))
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx,+avx2,+fma")
    with pytest.raises(width.SettingError, match=rf"^BNBENCH_VECTOR_BYTES is '{asked}'; allowed are .*: 16, 32$"):
        width.vectors.__wrapped__()
    monkeypatch.setenv(width.SWITCH, "")
    assert width.vectors.__wrapped__().register_bytes == 32

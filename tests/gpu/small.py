"""Every kernel once or more on small problems, in one process, for compute-sanitizer to watch."""

import itertools

import bnbench
from bnbench.problem import REGIMES
from bnbench.variants import variants
from bnbench.variants.base import SIMPLEST

NAMES = ("loops-cuda", "matrix-cuda", "fused-cuda")
SIZES = [(5, 3, 2), (300, 17, 33), (1000, 64, 64)]

if __name__ == "__main__":
    for name, size, dtype in itertools.product(NAMES, SIZES, ("float32", "float64")):
        for normalization, regime in itertools.product(SIMPLEST["normalizations"], REGIMES):
            problem = bnbench.Problem(*size, "tanh", normalization, dtype=dtype)
            variant = variants()[name]()
            variant.prepare(problem.sample(), problem, regime)
            for _ in range(2):
                variant.step()
            variant.result()
    print("every variant has run")

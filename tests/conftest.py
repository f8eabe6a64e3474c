"""Fixtures: the command line as a user calls it, and plug-ins loaded once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugins"
BUILT_IN = ("loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "matrix-kronecker")
BUILT_IN += ("fused-numba",)
PEERS = ("autograd", "torch-eager", "torch-compile", "jax-jit", "tensorflow-xla", "r-matrix", "r-loop", "rcpp-loop")
ON_CUDA = {"loops-cuda", "matrix-cuda", "fused-cuda", "torch-cuda", "torch-cuda-compile", "jax-cuda"}


def bnbench(*arguments, timeout=300, cwd=None):
    """Run `python -m bnbench` and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "bnbench", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        check=False,
    )


@pytest.fixture(scope="session")
def wrong():
    """The module of wrong derivations."""
    from bnbench.variants import load_plugin, variants

    first, *_ = load_plugin(PLUGINS / "wrong.py")
    return sys.modules[variants()[first].__module__]


def pytest_collection_modifyitems(config, items):
    """Benchmarks run only when asked for: `--benchmark-only`."""
    if config.getoption("benchmark_only"):
        return
    unwanted = [item for item in items if "benchmarks" in item.path.parts]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in unwanted]

"""Fixtures: the command line as a user calls it, and plug-ins loaded once."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What one test compiled the next one loads, in the workers of a sweep too: a test that is about that says so itself.
os.environ.setdefault("BNBENCH_JIT_CACHE", "always")

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Where tests run side by side (`-n 2`), let one that is marked `timed` run while no other does."""
    if not hasattr(item.config, "workerinput"):  # no worker of xdist's, as a pytest that a test runs is none
        return (yield)
    shared = Path(item.config.option.basetemp).parent
    kind = fcntl.LOCK_EX if item.get_closest_marker("timed") else fcntl.LOCK_SH
    with open(shared / "turn", "w") as turn, open(shared / "running", "w") as running:
        fcntl.flock(turn, fcntl.LOCK_EX)  # who waits to be alone is next
        fcntl.flock(running, kind)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(running, fcntl.LOCK_UN)  # a forked child may still hold the file open

"""What a folder means for its tests, and fixtures: the command line as a user calls it, plug-ins loaded once."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

# What one test compiled the next one loads, in the workers of a sweep too: a test that is about that says so itself.
os.environ.setdefault("BNBENCH_JIT_CACHE", "always")

TESTS = Path(__file__).parent
PLUGINS = TESTS / "plugins"
BUILT_IN = ("loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba", "matrix-kronecker")
BUILT_IN += ("fused-numba",)
NATIVE = ("loops-cpp", "matrix-eigen", "loops-pythran", "matrix-pythran")
PEERS = (*NATIVE, "autograd", "torch-eager", "torch-compile", "jax-jit", "tensorflow-xla")
PEERS += ("r-matrix", "r-loop", "rcpp-loop")
ON_CUDA = {"loops-cuda", "matrix-cuda", "fused-cuda", "torch-cuda", "torch-cuda-compile", "jax-cuda"}


# The command line without what a sweep takes seconds for and most tests do not look at: the machine's limit, and plots.
BARE = """
import sys
from bnbench.cli import main
from bnbench.measure.crew import Crew
from bnbench.report import plots
Crew.roofs = lambda self, settings, stage: {}
plots.draw = lambda *arguments: ([], [])
sys.exit(main())
"""


def bnbench(*arguments, timeout=300, cwd=None, bare=False):
    """Run `python -m bnbench`, or with `bare` the same without limit and plots, and return the finished process."""
    return subprocess.run(
        [sys.executable, *(("-c", BARE) if bare else ("-m", "bnbench")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        check=False,
    )


@pytest.fixture
def command(capsys):
    """The command line in this process: what `bnbench` gives, without the second that a process takes to start."""

    def run(*arguments):
        from bnbench.cli import main

        capsys.readouterr()
        code = main([*map(str, arguments)])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture
def bare(monkeypatch):
    """Leaves out of sweeps in this process what `BARE` does."""
    from bnbench.measure.crew import Crew
    from bnbench.report import plots

    monkeypatch.setattr(Crew, "roofs", lambda self, settings, stage: {})
    monkeypatch.setattr(plots, "draw", lambda *arguments: ([], []))


@pytest.fixture(scope="session")
def wrong():
    """The module of wrong derivations."""
    from bnbench.variants import load_plugin, variants

    first, *_ = load_plugin(PLUGINS / "wrong.py")
    return sys.modules[variants()[first].__module__]


@pytest.fixture(scope="session")
def described():
    """An environment.json that fits this machine and `records.SETTINGS`, so that nothing but damage is refused."""
    from records import SETTINGS

    from bnbench.cli import parser
    from bnbench.commands.common import saved_plan
    from bnbench.commands.plans import make_plan
    from bnbench.measure import environment
    from bnbench.store import new_environment

    plan, table = make_plan(parser().parse_args(["sweep", *SETTINGS]), {})
    return new_environment(environment.describe(), saved_plan(plan, table), "python -m bnbench sweep")


def folder(item):
    """The name of the folder in tests/ that a test is in."""
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Benchmarks run only where `--benchmark-only` asks for them, exhaustive tests where `-m` or a path does.

    Of these, `BNBENCH_PART=0/5` to 4/5 run every fifth one each, and so on with other numbers.
    """
    for item in items:
        if folder(item) == "exhaustive":
            item.add_marker("exhaustive")
    asked = " ".join([config.option.markexpr, *config.args])
    unwanted = [
        item
        for item in items
        if (folder(item) == "benchmarks" and not config.getoption("benchmark_only"))
        or (item.get_closest_marker("exhaustive") and "exhaustive" not in asked)
    ]
    if (part := os.environ.get("BNBENCH_PART")) and "exhaustive" in asked:
        wanted = [item for item in items if item.get_closest_marker("exhaustive")]
        which, parts = map(int, part.split("/"))
        unwanted += [item for place, item in enumerate(wanted) if place % parts != which]
    config.hook.pytest_deselected(items=unwanted)
    # Those that run alone come first: each waits for what the other process has begun.
    kept = [item for item in items if item not in set(unwanted)]
    items[:] = sorted(kept, key=lambda item: item.get_closest_marker("timed") is None)


@contextlib.contextmanager
def quick():
    """Within this context a function of Numba's that is compiled or loaded, or a sweep that begins, fails the test."""
    from numba.core.dispatcher import Dispatcher

    from bnbench.measure.child import Child

    def compile(dispatcher, signature):
        pytest.fail(f"{dispatcher.py_func.__qualname__} is compiled: a test that needs it is none of tests/unit")

    def start(child, module, *arguments, **more):
        pytest.fail(f"{module} is started: a test of a sweep that runs is none of tests/unit")

    with mock.patch.object(Dispatcher, "compile", compile), mock.patch.object(Child, "__init__", start):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Hold tests of tests/unit to what is quick, and let one that is marked `timed` run while no other does."""
    with quick() if folder(item) == "unit" else contextlib.nullcontext(), turn(item):
        return (yield)


@contextlib.contextmanager
def turn(item):
    """Where tests run side by side (`-n 2`), wait for who is alone, or for being so."""
    if not hasattr(item.config, "workerinput"):  # no worker of xdist's, as a pytest that a test runs is none
        yield
        return
    shared = Path(item.config.option.basetemp).parent
    kind = fcntl.LOCK_EX if item.get_closest_marker("timed") else fcntl.LOCK_SH
    with open(shared / "turn", "w") as turn, open(shared / "running", "w") as running:
        fcntl.flock(turn, fcntl.LOCK_EX)  # who waits to be alone is next
        fcntl.flock(running, kind)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(running, fcntl.LOCK_UN)  # a forked child may still hold the file open

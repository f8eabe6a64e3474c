"""What compiling took is known wherever it happened, and is the same for every cell that needs it."""

import os
import subprocess
import sys

import pytest
from conftest import BARE, PLUGINS
from records import rows

from bnbench.compiling import START

# The judge's code, which is none of a variant's, comes from the tests' common cache.
SWEEP = f"""
from bnbench.measure.crew import Crew
begin = Crew.__init__
def begun(self, *arguments, **more):
    begin(self, *arguments, **more)
    self.environment["XDG_CACHE_HOME"] = {os.environ.get("XDG_CACHE_HOME", "")!r}
Crew.__init__ = begun
{BARE}"""
OWN_NAMES = {"kernel-one": "one", "kernel-two": "two"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The records of two sweeps in a row that keep one compile cache."""
    folder = tmp_path_factory.mktemp("compiling")
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "BNBENCH_JIT_CACHE": "always"}
    both = ["fresh", "10,20", "kernel-one,kernel-two,fused-numba,matrix-numpy"]
    found = []
    for name, (regimes, sizes, names) in {"first": both, "second": ["fresh", "10", "fused-numba"]}.items():
        command = [sys.executable, "-c", SWEEP, "sweep", "--plugin", PLUGINS / "kernels.py", "--variants", names]
        command += ["--regime", regimes, "--N", sizes, "--p1", "3", "--p2", "2", "--sampling", "0.01"]
        command += ["--out", folder / name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append({(record["variant"], record["regime"], record["N"]): record for record in rows(folder / name)})
    return found


def test_every_cell_pays_for_all_that_it_runs(runs):
    # catches: compile_s near 0 in every cell after a variant's first; compiling in `prepare`, or at a plug-in's import,
    # that is no compile time; set-up that holds it
    records, _ = runs
    for name in ("kernel-one", "kernel-two", "fused-numba"):
        own = [records[name, "fresh", N] for N in (10, 20)]
        for record in own:
            assert record["compile_s"] == pytest.approx(own[0]["compile_s"], rel=1e-9)
            assert record["compile_s"] == pytest.approx(sum(record["kernels"].values()), rel=1e-5)  # of six digits
            assert record["prepare_s"] + record["first_step_s"] < record["compile_s"] / 4
            assert record["kernels"].get(OWN_NAMES.get(name, START), 0) > 0
    assert records["matrix-numpy", "fresh", 20]["compile_s"] == 0.0


def test_what_an_earlier_process_compiled_is_known(runs):
    # catches: the time of loading code in place of that of compiling it
    first, second = (records["fused-numba", "fresh", 10] for records in runs)
    assert second["kernels"] == pytest.approx(first["kernels"], rel=1e-9)
    assert "when the cache was filled" in second["details"]["compile_s"]
    assert "compile_s" not in first["details"]


SHARED = """
import numpy
from bnbench import compiling
from bnbench.variants import load_plugin, variants
account = compiling.listen()
load_plugin("tests/plugins/kernels.py")
kernels = [variants()[name].kernel for name in ("kernel-one", "kernel-two")]
values = numpy.zeros(3)
values.flags.writeable = False
kernels[0](values)
for kernel in kernels:
    needs = account.needs([next(iter(kernel.overloads.values())).library])
    inner = [seconds for name, seconds in needs.items() if ".shared:" in name]
    assert len(inner) == 1 and inner[0] > 0, needs
    assert sum(needs.values()) > inner[0] + needs[compiling.START] > inner[0]
"""


def test_a_function_that_two_share_is_counted_in_each():
    # catches: an inner function that only who compiled it pays for
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, check=False, cwd=PLUGINS.parent.parent
    )
    assert done.returncode == 0, done.stderr

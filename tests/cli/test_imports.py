"""What a command and a call import, and what they leave alone: by the names of modules, never by a clock."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STORED = Path(__file__).parents[2] / "results" / "epyc-2-cores"
HEAVY = ("numba", "llvmlite", "dask", "pandas", "matplotlib", "scipy", "pyarrow", "torch", "jax", "flint", "rich")
PROGRAM = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    {}
print(json.dumps([name for name in sys.modules if name.split(".")[0] in {} or name.startswith("bnbench.variants.")]))
"""


def imported(statement):
    """The heavy packages and the variants' modules that a new process has after a statement."""
    words = [sys.executable, "-c", PROGRAM.format(statement, HEAVY)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def command(*words):
    return f"import bnbench.cli; assert bnbench.cli.main({list(words)}) == 0"


HELP = "import bnbench.cli\n    with contextlib.suppress(SystemExit): bnbench.cli.main({})"


@pytest.mark.parametrize(
    "statement",
    ["import bnbench", HELP.format(["--help"]), HELP.format(["sweep", "--help"]), command("list"), command("docs")],
)
def test_what_computes_nothing_imports_nothing_heavy(statement):
    # catches: an import at the top of a module that every command, or the library, comes by
    found = {name.split(".")[0] for name in imported(statement)} & set(HEAVY)
    assert found == ({"rich"} if "'list'" in statement else set())


@pytest.mark.parametrize("words", ["report NEW", "compare OLD NEW", "history OLD NEW --out out"])
def test_what_looks_at_stored_runs_imports_no_numba(words, tmp_path):
    # catches: tables and plots that wait for a compiler
    for run in (tmp_path / "OLD", tmp_path / "NEW"):
        run.mkdir()
        shutil.copy(STORED / "environment.json", run)
        with open(STORED / "journal.jsonl", encoding="utf-8") as journal:
            (run / "journal.jsonl").write_text("".join(itertools.islice(journal, 8)), encoding="utf-8")
    found = imported(f"import os, bnbench; os.chdir({str(tmp_path)!r}); {command(*words.split())}")
    assert not [name for name in found if name.split(".")[0] in ("numba", "llvmlite")]


SMALL = "import bnbench; found = bnbench.gradients([[1.0], [2.0], [4.0]], [1.0, 0, 2], [[1.0]], [1.0], [0.0], [1.0]{})"


def test_a_gradient_imports_the_variant_that_it_takes():
    # catches: peers, their packages' search and all forms' kernels on the way to one
    allowed = {"base", "formulas", "function", "layerwise", "registry"}
    for words, modules in (("", {"fused_numba", "fused_layer"}), (", variant='matrix-numpy'", {"matrix_numpy"})):
        found = {name.split(".")[2] for name in imported(SMALL.format(words)) if name.startswith("bnbench.variants.")}
        assert found - allowed == modules


THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import bnbench
from bnbench.variants.registry import HOMES
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
def call(place):
    start.wait()
    if place % 2:
        return len(bnbench.variants())
    X, y = [[1.0], [2.0], [4.0]], [1.0, 0, 2]
    return bnbench.gradients(X, y, [[1.0]], [1.0], [0.0], [1.0], variant=("auto", "matrix-numpy")[place % 4 // 2]).loss
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(call, range(8)))
assert len({round(loss, 12) for loss in found[::2]}) == 1, found
assert set(found[1::2]) == {len(bnbench.variants())}, found
assert list(bnbench.variants()) == list(HOMES) and None not in bnbench.variants().values()
"""


def test_threads_may_make_the_first_calls_together():
    # catches: a class whose module is half imported, a mapping that lacks variants or holds None, a deadlock
    subprocess.run([sys.executable, "-c", THREADS], check=True, timeout=120)

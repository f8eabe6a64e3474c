"""The compilation cache: what a factory made is found by the next process, and never taken for something else."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bnbench

MODULE = """
import functools, json, math, sys
from bnbench.jit import njit

@functools.cache
def inner(code):
    @njit(inner=True)
    def compute(x):
        x = code - x
        LINES
        return x
    return compute

@functools.cache
def outer(code, parallel):
    held = inner(code)
    @njit(fastmath={"reassoc", "contract", "arcp", "nsz", "afn"}, parallel=parallel)
    def compute(x):
        return held(x) + held(2 * x)
    return compute

compiled = [outer(int(code), parallel == "True") for code, parallel in (word.split(",") for word in sys.argv[1:])]
answers = [function(1.0) for function in compiled]
print(json.dumps([answers, sum(sum(f.stats.cache_misses.values()) for f in compiled)]))
"""


LINES = ["x = x + 0.01 * math.cos(x)"] * 60  # too long to be copied to where it is called
MODULE = MODULE.replace("LINES", "; ".join(LINES))


def expected(code):
    total = 0
    for x in (code - 1.0, code - 2.0):
        for _ in range(60):
            x += 0.01 * math.cos(x)
        total += x
    return pytest.approx(total, rel=1e-12)


def test_closures_over_compiled_functions_are_cached_and_never_confused(tmp_path):
    # catches: Numba's own key, which no second process finds; a key that forgets what is held or an option; closures
    # that two processes gave the same name in the machine code, of which the second loaded runs the first
    program = tmp_path / "program.py"
    program.write_text(MODULE)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*words):
        done = subprocess.run(
            [sys.executable, program, *words], capture_output=True, text=True, check=True, env=environment
        )
        return json.loads(done.stdout)

    assert len({str(expected(code)) for code in (0, 1, 2)}) == 3
    for code in (1, 2):  # each in a process of its own, which gives its functions the same numbers
        assert run(f"{code},False") == [[expected(code)], 1]
    answers = [expected(1), expected(2)]
    assert run("1,False", "2,False") == [answers, 0]
    assert run("2,False", "1,False") == [answers[::-1], 0]
    assert run("0,False", "1,False") == [[expected(0), expected(1)], 1]
    assert run("1,True") == [answers[:1], 1]
    assert run("1,True", "1,False") == [answers[:1] * 2, 0]


def test_an_edit_to_any_module_is_another_cache(tmp_path):
    # catches: a cache that serves code compiled before an edit to a module that the function only calls
    package = tmp_path / "bnbench"
    shutil.copytree(Path(bnbench.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = "import numpy as np, bnbench; p = bnbench.Problem(8, 2, 2); b = p.sample(); "
    program += "print(bnbench.__file__, bnbench.gradients(*b, variant='loops-numba').dG2.sum())"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def run():
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        place, number = done.stdout.split()
        assert place == str(package / "__init__.py")
        return float(number)

    before = run()
    assert run() == before
    path = package / "activations.py"
    text = path.read_text()
    edited = text.replace("return b if not b <= 0 else type(b)(0)", "return b + b if not b <= 0 else type(b)(0)")
    assert edited != text
    path.write_text(edited)
    assert run() != before


def test_a_cache_that_is_removed_meanwhile_costs_time_and_nothing_else(tmp_path):
    # catches: an error of Numba's where another version's process has tidied the caches up, or the disk is full
    program = "import shutil, sys, bnbench.jit; shutil.rmtree(bnbench.jit.cache_dir()); p = bnbench.Problem(8, 2, 2); "
    program += "print(bnbench.gradients(*p.sample(), variant='loops-numba').loss)"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0

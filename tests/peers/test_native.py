"""What is built on this machine: once, by whichever process is first, and what is said where it cannot be."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import NATIVE

import bnbench
from bnbench.reference import reference
from bnbench.validation import judge, parts_of
from bnbench.variants import building, peer_cpp, peer_pythran, variants

SOURCE = 'extern "C" int answer() { return 42; }'
LOADED = """
import sys
from pathlib import Path
from bnbench.variants.building import library
source = Path(sys.argv[1])
made = library((source,), ("g++", "-shared", "-fPIC", str(source)))
print(made.functions.answer(), made.build_s)
"""


def here(name):
    """The class of a peer; skips where it is not available."""
    cls = variants()[name]
    if reason := cls.unavailable():
        pytest.skip(reason)
    return cls


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source, and a cache of its own."""
    if reason := building.without_compiler():
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "small.cpp"
    path.write_text(SOURCE)
    return path


def test_processes_that_want_a_library_at_once_build_it_once(source):
    # catches: a library that is loaded half written, one build in every process, a key without the sources
    def loaded(count=1, **more):
        words = [sys.executable, "-c", LOADED, str(source)]
        started = [
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | more) for _ in range(count)
        ]
        said = [process.communicate()[0].split() for process in started]
        assert all(process.returncode == 0 for process in started)
        return said

    at_once = loaded(3)
    assert [answer for answer, _ in at_once] == ["42"] * 3
    assert len(set(map(tuple, at_once))) == 1, "the seconds of one build are all processes' seconds"
    (library,) = building.folder_of_libraries().glob("*.so")
    library.write_bytes(library.read_bytes()[:1000])  # as a full disk leaves it
    ((answer, again_s),) = loaded()
    assert answer == "42"
    assert again_s != at_once[0][1]
    assert loaded(BNBENCH_JIT_CACHE="fresh")[0][1] != again_s
    source.write_text(SOURCE.replace("42", "43"))
    assert loaded()[0][0] == "43"
    assert not list(building.folder_of_libraries().glob("*.unfinished"))


def test_a_compiler_that_fails_is_a_reason_of_one_line(source):
    # catches: a traceback of subprocess's, a page of template errors, a reason that does not name the line
    source.write_text("\n".join([SOURCE, "int wrong = nothing_of_that_name;"]))
    with pytest.raises(RuntimeError, match=r"^small could not be built by g\+\+ [\d.]+: .*small\.cpp:2:13: error: .*$"):
        building.library((source,), ("g++", "-shared", "-fPIC", str(source)))


def test_what_is_missing_is_said_with_the_line_that_adds_it(monkeypatch):
    # catches: an import error or a compiler's at `list`, a reason that does not help
    monkeypatch.setattr(building.shutil, "which", lambda name: None)
    assert all("apt-get install g++" in variants()[name].unavailable() for name in NATIVE)
    monkeypatch.setattr(building, "without_compiler", lambda: "")
    monkeypatch.setattr(peer_cpp, "eigen", lambda: None)
    assert "apt-get install libeigen3-dev" in variants()["matrix-eigen"].unavailable()
    monkeypatch.setattr(peer_pythran.importlib.util, "find_spec", lambda name: None)
    for name in ("loops-pythran", "matrix-pythran"):
        assert "pip install 'bnbench[native]'" in variants()[name].unavailable()


def answer(name, problem):
    """The parts of a step's answer."""
    variant = variants()[name]()
    variant.prepare(problem.sample(), problem)
    variant.step()
    return parts_of(variant.result())


@pytest.mark.parametrize("name", NATIVE)
def test_threads_share_out_the_work_and_a_forked_child_takes_one(name):
    # catches: a thread's array that another writes to, in products large enough to be shared out; OpenMP that waits
    # for threads which a fork has lost
    here(name)
    for dtype in ("float64", "float32"):
        problem = bnbench.Problem(3001, 9, 7, "sigmoid", dtype=dtype)
        known, found = reference(problem.sample(), problem), [answer(name, problem)]
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found.append(pool.apply_async(answer, (name, problem)).get(timeout=60))
        for one in found:
            verdict = judge(one, known, problem)
            assert verdict.valid, verdict.reason


@pytest.mark.parametrize("name", NATIVE)
def test_denormal_numbers_and_what_is_not_finite_stay_as_they_are(name):
    # catches: -ffast-math, by which a library that is loaded flushes a process's denormal numbers to 0; NaN that a
    # comparison turns into a 0
    here(name)
    for activation in ("relu", "leaky-relu", "tanh"):
        problem = bnbench.Problem(40, 3, 2, activation, "none")
        batch = problem.sample()
        X = batch.X.copy()
        X[7] = np.nan
        variant = variants()[name]()
        variant.prepare(batch._replace(X=X), problem)
        variant.step()
        found = variant.result()
        assert np.isnan(found.loss), activation
        assert np.isnan(found.dG1).all(), activation
    assert np.array([5e-324]) * 1.0 != 0

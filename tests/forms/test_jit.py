"""The compilation cache: what a factory made is found by the next process, and never taken for something else."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import platformdirs
import pytest
from cases import covering

import bnbench
from bnbench import cli, codecache, jit

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


CALLS = """
import bnbench
from bnbench.elementary import compiled
from bnbench.jit import njit
from bnbench.problem import ACTIVATIONS

relu, _ = compiled(ACTIVATIONS.index("relu"))

@njit()
def call(b):
    return relu(b)

print(bnbench.__file__, call(3.0), sum(call.stats.cache_misses.values()))
"""


def test_an_edit_to_any_module_is_another_cache(tmp_path):
    # catches: a cache that serves code compiled before an edit to a module that the function only calls
    package = tmp_path / "bnbench"
    shutil.copytree(Path(bnbench.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = tmp_path / "program.py"
    program.write_text(CALLS)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def run():
        done = subprocess.run(
            [sys.executable, program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        place, number, compiled = done.stdout.split()
        assert place == str(package / "__init__.py")
        return float(number), int(compiled)

    assert [run(), run()] == [(3, 1), (3, 0)]
    path = package / "elementary.py"
    text = path.read_text()
    edited = text.replace("return b if not b <= 0 else type(b)(0)", "return b + b if not b <= 0 else type(b)(0)")
    assert edited != text
    path.write_text(edited)
    assert run() == (6, 1)


def test_a_cache_that_is_lost_meanwhile_costs_time_and_nothing_else(tmp_path):
    # catches: an error of Numba's where another version's process has tidied the caches up, or the disk is full
    program = "import shutil, numpy, bnbench.jit, bnbench.sums; folder = bnbench.jit.cache_dir(); "
    program += "shutil.rmtree(folder); folder.touch(); print(bnbench.sums.absolute_sum(numpy.ones(3)))"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 3


def triple(x):
    return 3 * x


def compiled_anew(x=2.0):
    """Whether `triple`, as a new process would find it, has to be compiled."""
    function = jit.njit()(triple)
    assert function(x) == 3 * x
    return sum(function.stats.cache_misses.values()) == 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A compilation cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(jit, "cache_dir", lambda: folder)
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def directory(path):
    path.unlink()
    (path / "full").mkdir(parents=True)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut within the checksum": lambda path: os.truncate(path, 7),
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a bit flipped": flip,
    "something else": lambda path: path.write_bytes(b"not compiled code" * 1000),
    "a directory": directory,
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "writable by others": lambda path: path.chmod(0o666),
    "without permission": lambda path: path.chmod(0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_compiled_anew_and_replaced(damage, folder):
    # catches: EOFError or UnpicklingError in every process from then on, LLVM's abort, code that others could have put
    assert compiled_anew()
    (path,) = folder.iterdir()
    DAMAGES[damage](path)
    readable_anyway = damage == "without permission" and os.geteuid() == 0
    assert compiled_anew() != readable_anyway
    assert not compiled_anew()
    assert list(folder.iterdir()) == [path]


def test_a_full_disk_costs_time_and_leaves_nothing(folder, monkeypatch):
    # catches: an error where code cannot be written, a part of a file that stays
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert compiled_anew()
        assert compiled_anew()
    assert not list(folder.iterdir())


def test_writers_at_once_leave_a_whole_file(tmp_path):
    # catches: a file that is read half-written, or is made of two writers' halves
    path = tmp_path / "file"
    contents = [bytes([number]) * (1 << 16) for number in range(4)]

    def write(content):
        found = []
        for _ in range(50):
            codecache.write(path, content)
            found.append(codecache.read(path))
        return found

    with ThreadPoolExecutor(len(contents)) as pool:
        read = {content for found in pool.map(write, contents) for content in found}
    assert read <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "setting", ["DEBUGINFO=1", "BOUNDSCHECK=1", "OPT=0", "LOOP_VECTORIZE=0", "DISABLE_INTEL_SVML=1", "DEBUG_NRT=1"]
)
def test_code_is_another_for_every_setting_that_changes_it(setting, folder, monkeypatch):
    # catches: code with bounds checks or debug information in a process that asked for none, and the reverse
    name, value = setting.split("=")
    assert compiled_anew()
    with monkeypatch.context() as patch:
        patch.setenv(f"NUMBA_{name}", value)
        assert compiled_anew()
        assert not compiled_anew()
    assert not compiled_anew()


def test_every_setting_of_numba_is_in_the_key_unless_it_is_known_to_leave_code_alone(monkeypatch):
    # catches: a setting that a later Numba adds
    plain = codecache.settings()
    monkeypatch.setattr(numba.config, "NEW_SETTING", 1, raising=False)
    assert codecache.settings() != plain
    monkeypatch.setattr(numba.config, "NEW_SETTING", 2)
    assert ("NEW_SETTING", "2") in codecache.settings()
    known = {name for name, _ in plain}
    assert {"OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "ENABLE_PROFILING", "USING_SVML", "CPU_NAME"} <= known
    assert not known & {"NUMBA_NUM_THREADS", "CACHE_DIR"}
    assert not [value for _, value in plain if " at 0x" in value]


def test_a_folder_that_others_can_write_is_no_cache(tmp_path, monkeypatch):
    # catches: unpickling, which runs anything, from where others may write; a cache that makes import fail; a folder
    # "~" in the current one for a user without a home
    def found(home, switch=""):
        monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path(home) / name)
        monkeypatch.setenv(codecache.SWITCH, switch)
        return codecache.cache_dir.__wrapped__()

    before = os.umask(0)
    try:
        folder = found(tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    assert found(tmp_path) == folder
    assert found(tmp_path, "off") is None
    with pytest.warns(RuntimeWarning, match="BNBENCH_JIT_CACHE is 'of' and has no effect; allowed is \"off\""):
        assert found(tmp_path, "of") == folder
    for open_to_all in (folder, folder.parent):
        open_to_all.chmod(0o777)
        assert found(tmp_path) is None
        open_to_all.chmod(0o500)  # may be read, as from a disk that is read-only
        assert found(tmp_path) == folder
        open_to_all.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert found(tmp_path) is None
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert found("/dev/null") is None
    assert found("~/.cache") is None
    assert not Path("~").exists()


def test_doctor_says_where_compiled_code_is_kept_or_why_it_is_not(tmp_path, monkeypatch, capsys):
    # catches: every process compiling anew, for seconds, with no word about it anywhere
    def doctor():
        assert cli.main(["doctor", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["compile_cache"], [words for words in found["warnings"] if "compiled code" in words]

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    cache, warnings = doctor()
    (Path(cache["folder"]) / "code").write_bytes(b"12345")
    cache, warnings = doctor()
    assert (Path(cache["folder"]).parents[1], cache["files"], cache["bytes"]) == (tmp_path / "bnbench", 1, 5)
    assert warnings == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert doctor()[1][0].endswith(f"every process compiles again: {cache['folder']} is not writable")
    Path(cache["folder"]).chmod(0o777)
    assert "is writable by others" in doctor()[1][0]
    monkeypatch.setenv(codecache.SWITCH, "off")
    cache, warnings = doctor()
    assert (cache["folder"], warnings) == ("", [f"{ANEW}: BNBENCH_JIT_CACHE is off"])


ANEW = "compiled code is not kept, so every process compiles again"


def test_folders_of_other_versions_go_but_the_latest(tmp_path):
    # catches: folders that pile up, and one that is removed under a process that has just begun
    for age_days, name in enumerate(("now", "yesterday", "old", "older", "oldest")):
        (tmp_path / name).mkdir()
        then = (tmp_path / "now").stat().st_mtime - age_days * 86400
        os.utime(tmp_path / name, (then, then))
    codecache.tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"now", "yesterday", "old"}


INTERPRETED = """
import numpy as np, bnbench
from bnbench.variants.loops_kernel import forward
assert type(forward(0, "batch", False)).__name__ == "function"
VARIANTS = "auto", "loops-numba", "loops-numba-parallel", "matrix-numba"
for activation in bnbench.problem.ACTIVATIONS:
    for dtype in ("float64", "float32"):
        problem = bnbench.Problem(8, 3, 2, activation, dtype=dtype)
        batch = problem.sample()
        batch.X[:] *= 50  # far out, where an exp overflows
        true = bnbench.gradients(*batch, activation=activation, variant="matrix-numpy")
        for variant in VARIANTS:
            found = bnbench.gradients(*batch, activation=activation, variant=variant)
            for one, other in zip(found[1:], true[1:]):
                assert one.dtype == other.dtype
                np.testing.assert_allclose(one, other, rtol=1e-3 if dtype == "float32" else 1e-9)
for loss in bnbench.problem.LOSSES:
    batch = bnbench.Problem(8, 3, 2, "tanh", loss=loss, depth=2).sample()
    asked = {"activation": "tanh", "loss": loss, "inputs": True}
    true = bnbench.gradients(*batch, **asked, variant="matrix-numpy").parts()
    for variant in VARIANTS:
        found = bnbench.gradients(*batch, **asked, variant=variant).parts()
        assert len(found) == 9 and found.keys() == true.keys()
        for name, part in found.items():
            np.testing.assert_allclose(part, true[name], rtol=1e-9)
"""


SMALL = ["--N", "10", "--p1", "3", "--p2", "2", "--variants", "loops-numba,matrix-numba"]


@pytest.mark.parametrize("activation", covering(["identity", "tanh"], ["identity"]))  # the reference is slow there
def test_kernels_can_be_stepped_through(activation):
    # catches: an AttributeError on import with NUMBA_DISABLE_JIT, and an activation that only compiled code can call
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    verify = ["-m", "bnbench", "verify", *SMALL, "--activation", activation]
    for words in (["-W", "error::RuntimeWarning", "-c", INTERPRETED], verify):
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr

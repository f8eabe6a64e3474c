"""Systems that are not like this one, as a process meets them: Windows and macOS, made up, and few open files."""

import os
import subprocess
import sys
from pathlib import Path

from records import write

import bnbench

PACKAGE = Path(bnbench.__file__).parents[1]


def test_few_open_files_are_a_sentence():
    line = f"ulimit -n 8; {sys.executable} -m bnbench verify --sizes 10x2x2 --variants matrix-numpy"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (1, 2)  # by what the files run out for: a worker, or the sweep itself
    assert "Traceback" not in done.stderr
    assert "Too many open files" in done.stderr + done.stdout


WINDOWS = """
import os, signal, sys
import platformdirs; platformdirs.user_cache_dir("x")  # other packages go by sys.platform, not by what is there
import matplotlib.figure, numba, numpy, pandas, psutil, scipy.linalg.cython_blas, subprocess, tempfile, threadpoolctl
for name in ("fork", "getloadavg", "getpgid", "getuid", "killpg", "pread", "register_at_fork", "sched_getaffinity",
             "sched_setaffinity", "sched_yield", "setsid", "statvfs", "sysconf", "uname"):
    delattr(os, name)
for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "alarm", "setitimer"):
    delattr(signal, name)
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
from bnbench.cli import main
"""


def test_on_windows_the_library_and_what_only_reads_run_and_the_rest_is_a_sentence(tmp_path, described):
    # catches: `doctor` or `sweep` that die on os.getloadavg, fcntl imported for who only reads a run
    write(tmp_path / "run", described)
    calls = [["list"], ["doctor"], ["audit", "--out", "pages"], ["report", "run"], ["compare", "run", "run"]]
    refused = [["sweep"], ["verify"], ["compare", "--interleaved", "--old-ref", "HEAD"], ["doctor", "--selftest"]]
    code = (
        f"{WINDOWS}\nimport bnbench\nproblem = bnbench.Problem(20, 3, 2)\nbnbench.gradients(*problem.sample())\n"
        f"sys.exit([main(call) for call in {calls + refused}] != {[0] * len(calls) + [2] * len(refused)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
    )  # fmt: skip
    assert done.returncode == 0, done
    said = [line for line in done.stderr.splitlines() if line.startswith("bnbench: ")]
    assert len(said) == len(refused)
    assert all("need a POSIX system (there is no os.killpg); what works here: the library, list" in x for x in said)


MACOS = """
import io, os, sys
import platformdirs; platformdirs.user_cache_dir("x")  # other packages go by sys.platform, at import or first call
import ctypes, matplotlib.figure, numba, numpy, pandas, psutil, scipy.linalg.cython_blas, subprocess, threadpoolctl
for name in ("sched_getaffinity", "sched_setaffinity"):
    delattr(os, name)


def without(function):
    def called(path=".", *arguments, **options):
        frame = sys._getframe(1)
        while frame and frame.f_code.co_filename.endswith("pathlib.py"):
            frame = frame.f_back
        ours = "/bnbench/" in frame.f_code.co_filename  # others ask their own system
        if ours and isinstance(path, (str, os.PathLike)) and str(path).startswith(("/proc", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return function(path, *arguments, **options)
    return called


import builtins
builtins.open = io.open = without(io.open)
os.listdir = without(os.listdir)
sys.platform = "darwin"
"""


def test_on_macos_the_library_and_a_sweep_run(tmp_path):
    # catches: a call of Linux's, or a file of its /proc, that the library or a worker cannot do without
    (tmp_path / "sitecustomize.py").write_text(MACOS, "utf-8")
    code = (
        "import sys, bnbench\nfrom bnbench.cli import main\n"
        "bnbench.gradients(*bnbench.Problem(20, 3, 2).sample())\n"
        "sys.exit(main('sweep --sizes 10x2x2 --variants matrix-numpy,fused-numba --threads 1,2 "
        "--sampling 0.02 --out run'.split()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE}"},
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "all 4 gradients that were judged" in " ".join(done.stdout.split())

"""Libraries that another compiler than Numba builds on this machine: once, then loaded from disk.

A library lies in the user's cache under a key that says all it depends on: sources, command, compiler and processor.
Beside it lies how long its build took and its digest. A lock is held meanwhile, so that of several processes one
builds and the others load what it built.
"""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import platformdirs

from bnbench.temporary import TemporaryFolder, fcntl
from bnbench.threads import survive

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno")
# Sums in any order, so that they vectorise; NaN and infinities as they are, unlike by -ffast-math, which in a library
# would also have the whole process flush denormal numbers to 0.
ANY_ORDER = ("-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math")
KEPT_FILES = 60
TIMEOUT_S = 600.0


def without_compiler() -> str:
    """Why nothing can be built here; "" where g++ is found."""
    return "" if shutil.which("g++") else "g++ is not found; Debian: apt-get install g++"


@functools.cache
def compiler() -> str:
    """The compiler and its version, as "g++ 12.2.0"."""
    said = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, encoding="utf-8", check=False)
    return f"g++ {said.stdout.strip()}"


class Library:
    """A library that was built, loaded into this process.

    Attributes:
        path: its file.
        build_s: seconds that its build took, in this process or in the one that built it.
        functions: its C functions by name, which run without Python's lock.
    """

    def __init__(self, path: Path, build_s: float) -> None:
        self.path, self.build_s = path, build_s
        self.functions = ctypes.CDLL(str(path))
        survive(self)

    def renew(self) -> None:
        """In a forked child, whose OpenMP has lost its threads, take one."""
        with contextlib.suppress(AttributeError):  # without OpenMP
            self.functions.omp_set_num_threads(1)


@functools.cache
def library(sources: tuple[Path, ...], command: tuple[str, ...], versions: tuple[str, ...] = ()) -> Library:
    """The library that `command -o FILE` builds of the first source, which the others belong to.

    Args:
        sources: what is compiled, and files whose content the key has.
        command: words, the first source among them.
        versions: what else the key has, such as versions of tools.

    Raises:
        RuntimeError: it could not be built; the message is one line.
    """
    from llvmlite import binding

    name = sources[0].stem
    processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    what = repr((command, versions, compiler(), processor)).encode()
    key = hashlib.sha256(what + b"".join(map(Path.read_bytes, sources))).hexdigest()[:24]
    from bnbench.codecache import FRESH, OFF, SWITCH, ours  # which imports Numba, as `bnbench list` must not

    switch, folder = os.environ.get(SWITCH, ""), folder_of_libraries()
    if switch == OFF or not (ours(folder) and os.access(folder, os.W_OK)):
        folder = own_folder().path
    path = folder / f"{name}-{key}.so"
    with locked(path):
        build_s = None if switch == FRESH else kept(path)
        if build_s is None:
            tidy(folder)
            build_s = build(command, path)
        return Library(path, build_s)


def folder_of_libraries() -> Path:
    """Where libraries are kept."""
    return platformdirs.user_cache_path("bnbench") / "built"


@functools.cache
def own_folder() -> TemporaryFolder:
    """This process's folder, where nothing is to be, or can be, kept."""
    folder = TemporaryFolder()
    atexit.register(folder.remove)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While no other process is here with the same path."""
    with open(path.with_suffix(".lock"), "wb") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(path: Path) -> float | None:
    """How many seconds a library's build took; None where there is none that is intact."""
    try:
        about = json.loads(path.with_suffix(".json").read_bytes())
        if about["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
            return None
        os.utime(path)
        return float(about["build_s"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def build(command: Sequence[str], path: Path) -> float:
    """Build a library in place of whatever is there, and say how many seconds that took.

    Raises:
        RuntimeError: as `library`.
    """
    name = path.stem.rpartition("-")[0]
    bench = path.with_suffix(".unfinished")
    shutil.rmtree(bench, ignore_errors=True)  # of a process that was killed
    bench.mkdir()
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, "-o", f"{name}.so"], capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S,
            check=False, env=os.environ | {"CXX": "g++", "LC_ALL": "C"}, cwd=bench,  # where no pyproject.toml lies
        )  # fmt: skip
        build_s = time.perf_counter() - begun
        if done.returncode:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            telling = [line for line in lines if "error" in line.lower()] or lines or ["it does not say why"]
            raise RuntimeError(f"{name} could not be built by {compiler()}: {telling[0].strip()}")
        digest = hashlib.sha256((bench / f"{name}.so").read_bytes()).hexdigest()
        os.replace(bench / f"{name}.so", path)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"{name} could not be built by {compiler()}: {error}") from error
    finally:
        shutil.rmtree(bench, ignore_errors=True)
    about = {"build_s": build_s, "sha256": digest}
    path.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
    return build_s


def tidy(folder: Path) -> None:
    """Remove the libraries that were not used for longest, where there are many."""
    with contextlib.suppress(OSError):
        by_age = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
        for path in by_age[:-KEPT_FILES]:
            for suffix in (".so", ".json", ".lock"):
                path.with_suffix(suffix).unlink(missing_ok=True)

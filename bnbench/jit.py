"""Numba's `njit` with a compilation cache that cannot go stale, and that finds what a factory made.

Numba's own cache looks only at the file that holds the function: a change in a helper of another module
goes unseen. Here the cache folder is named after a hash of all the package's sources. And Numba's key of a function
that holds another compiled one differs from process to process, so that it is compiled anew in each.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import time
from pathlib import Path

import numba
import platformdirs
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

CACHE_SWITCH = "BNBENCH_JIT_CACHE"  # environment: "off" compiles afresh in every process
KEPT_CACHES = 3
IN_USE_S = 24 * 3600.0  # since a process began with a cache, in which it may still be using it

# What vectorises a sum without making NaN disappear: `nnan` and `ninf` are left out on purpose.
REASSOCIATE = {"reassoc", "contract", "nsz", "arcp", "afn"}


@functools.cache
def cache_dir() -> Path | None:
    """The folder that holds this version's compiled code; None where caching is off or not possible."""
    if os.environ.get(CACHE_SWITCH) == "off":
        return None
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    base = platformdirs.user_cache_path("bnbench")
    folder = base / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError:
        return None
    by_age = sorted((path.stat().st_mtime, path) for path in base.iterdir())
    for used, old in by_age[:-KEPT_CACHES]:
        if used < time.time() - IN_USE_S:
            shutil.rmtree(old, ignore_errors=True)
    return folder if os.access(folder, os.W_OK) else None


class ClosureCache(FunctionCache):
    """Numba's cache of one compiled function, by a key that is the same in every process."""

    def __init__(self, function, options):
        super().__init__(function)
        self._options = options

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple(), key(self._py_func, self._options)

    def save_overload(self, sig, data):
        """Save compiled code; where that fails (a full disk, a folder that was removed), it is compiled again."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def key(function, options) -> str:
    """A hash of which function it is, how it is compiled and what it holds, compiled functions by their own key."""
    code = function.__code__
    options = options | {"fastmath": sorted(options["fastmath"] or ())}  # a set: in another order in every process
    which = function.__module__, function.__qualname__, code.co_firstlineno, sorted(options.items())
    digest = hashlib.sha256(repr(which).encode() + code.co_code)
    for cell in function.__closure__ or ():
        held = cell.cell_contents
        compiled = isinstance(held, CPUDispatcher)
        digest.update(key(held.py_func, held.targetoptions).encode() if compiled else dumps(held))
    return digest.hexdigest()


def cached(compiled, function, options):
    """Give a compiled function our cache, where there is one."""
    folder = cache_dir()
    if folder is None:
        return
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        compiled._cache = ClosureCache(function, options)
    finally:
        numba.config.CACHE_DIR = before


def named(function, options):
    """Make a closure's name its own in every process.

    Numba counts functions to name them in the machine code: what one process compiled and another loads may be called
    as something else is there, and the linker takes the first of a name.
    """
    if function.__closure__:
        function.__qualname__ += f".{key(function, options)[:12]}"


def njit(*, fastmath=False, parallel=False, forceinline=False, inner=False):
    """`numba.njit(nogil, error_model="numpy")`, cached in `cache_dir()`.

    An inner function has no entry for Python, which takes long to compile: only compiled code may call it.
    """
    options = {"fastmath": fastmath, "parallel": parallel, "error_model": "numpy", "forceinline": forceinline}
    options |= {"nogil": True, "no_cpython_wrapper": inner, "no_cfunc_wrapper": inner}

    def decorate(function):
        named(function, options)
        dispatcher = numba.njit(**options)(function)
        cached(dispatcher, function, dispatcher.targetoptions)
        return dispatcher

    return decorate


def cfunc(signature, *, fastmath=False, parallel=False):
    """`numba.cfunc(error_model="numpy")`, compiled or taken from `cache_dir()` at once. Its `address` is for C."""
    options = {"nopython": True, "fastmath": fastmath, "parallel": parallel, "error_model": "numpy"}

    def decorate(function):
        named(function, options)
        compiled = CFunc(function, normalize_signature(signature), locals={}, options=options)
        cached(compiled, function, options)
        compiled.compile()
        return compiled

    return decorate

"""Numba's `njit` with a compilation cache that cannot go stale.

Numba's own cache looks only at the file that holds the function: a change in a helper of another module
goes unseen. Here the cache folder is named after a hash of all the package's sources.
"""

import functools
import hashlib
import os
import shutil
from pathlib import Path

import numba
import platformdirs

CACHE_SWITCH = "BNBENCH_JIT_CACHE"  # environment: "off" compiles afresh in every process
KEPT_CACHES = 3

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
    for old in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_CACHES]:
        shutil.rmtree(old, ignore_errors=True)
    return folder if os.access(folder, os.W_OK) else None


def njit(*, fastmath=False, parallel=False, forceinline=False):
    """`numba.njit(nogil, error_model="numpy")`, cached in `cache_dir()`."""

    def decorate(function):
        folder = cache_dir()
        options = {"fastmath": fastmath, "parallel": parallel, "error_model": "numpy", "forceinline": forceinline}
        if folder is None:
            return numba.njit(**options, nogil=True)(function)
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            return numba.njit(**options, nogil=True, cache=True)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate

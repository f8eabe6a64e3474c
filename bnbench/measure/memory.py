"""This process's memory: how much it holds, the highest that it held, and whether the C library keeps what is freed."""

import contextlib
import ctypes
import gc
import sys

import psutil

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of glibc's mallopt
NEVER = -1  # as a threshold


def can_keep() -> bool:
    """Whether the C library can be told to keep freed memory: glibc can."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


def keep() -> None:
    """Have the C library keep what is freed, from here on and for good.

    glibc gives back what is freed at the end of its heap, and maps large arrays one by one, so that a step that makes
    new arrays may find each of their pages missing; whether it does depends on what else lies in the heap.

    Raises:
        OSError: it cannot be told to.
    """
    if not can_keep() or not all(
        ctypes.CDLL(None).mallopt(what, value) for what, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
    ):
        raise OSError("this system's C library cannot be told to keep freed memory")


def give_back() -> None:
    """Return freed memory to the system, where the allocator can."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process now."""
    try:
        return _status_bytes("VmRSS")
    except OSError:
        with contextlib.suppress(psutil.Error):
            return psutil.Process().memory_info().rss
        return peak_bytes()  # /proc is not mounted


def peak_bytes() -> int:
    """Highest resident memory since `reset_peak`; where the system cannot reset it, since the start."""
    try:
        return _status_bytes("VmHWM")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak() -> None:
    """Begin `peak_bytes` anew, where the system can, from what is in use and not from what was freed."""
    gc.collect()
    give_back()
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as control:
            control.write("5")
    except OSError:
        return


def _status_bytes(field: str) -> int:
    with open("/proc/self/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")

"""The machine and the software a run was made on: described, fingerprinted, and looked at for trouble."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bnbench.measure import cgroup
from bnbench.width import vectors

PACKAGES = ("bnbench", "numpy", "numba", "llvmlite", "scipy", "pandas", "matplotlib", "threadpoolctl")
CUDA_PACKAGES = ("numba-cuda", "nvidia-nvvm", "nvidia-cuda-nvrtc", "nvidia-nvjitlink", "cuda-core")
CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
BUSY_LOAD = 0.3  # load average from which the machine counts as busy


def processors() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """The threads that a variant gets where nobody says how many: a processor each, within a control group's quota."""
    return max(1, min(processors(), int(cgroup.quota() or processors())))


def load_average() -> list[float]:
    """The load averages of 1, 5 and 15 minutes; none where the system has no such account."""
    try:
        return list(os.getloadavg())
    except (AttributeError, OSError):
        return []


def total_bytes() -> int:
    """The machine's memory; 0 where the system does not say."""
    return _memory("total")


def available_bytes() -> int:
    """Memory that can be used without swapping: the system's, or less where a control group sets a limit."""
    free = _memory("available")
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        allowed = _read(limit)
        if allowed.isdigit():
            free = min(free, max(0, int(allowed) - int(_read(usage) or 0)))
    return free


def _memory(name: str) -> int:
    try:
        return getattr(psutil.virtual_memory(), name)
    except (OSError, NotImplementedError):  # /proc is not mounted
        pages = "SC_PHYS_PAGES" if name == "total" else "SC_AVPHYS_PAGES"
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict:
    """What identifies the machine; two runs can be joined only where all of it but the host's name agrees."""
    quota = cgroup.quota()
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "processors": processors(),
        "memory_gib": round(total_bytes() / 2**30),
    } | ({"processor_quota": quota} if quota else {})


def machine_id(description: dict) -> str:
    """A short hash of `machine()` without the host's name, of which every container and every runner has a new one."""
    text = "|".join(f"{key}={description[key]}" for key in sorted(description) if key != "host")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def software() -> dict:
    """Versions of Python and of the packages that a timing depends on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def version(package: str) -> str:
    """A package's version, or that it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def cuda() -> dict:
    """Whether kernels can run here, the versions of what compiles them, and of CuPy, which lends its products."""
    from bnbench.cuda.available import unavailable

    versions = {"kernels": unavailable() or "can run here"} | {package: version(package) for package in CUDA_PACKAGES}
    lent = [f"{package} {version(package)}" for package in CUPY if version(package) != "not installed"]
    return versions | {"cupy": lent[0] if lent else "not installed"}


def libraries() -> list[dict]:
    """The BLAS and OpenMP libraries of this process with their thread counts; no paths."""
    import numpy  # noqa: F401  - its BLAS is to be seen
    import scipy.linalg.cython_blas  # noqa: F401  - Numba's np.dot uses this one
    import threadpoolctl

    kept = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
    pools = [
        {key: pool[key] for key in kept if key in pool} | {"file": os.path.basename(pool["filepath"])}
        for pool in threadpoolctl.threadpool_info()
    ]
    return sorted(pools, key=lambda pool: pool["file"])


def describe() -> dict:
    """Machine, software and settings of this run, for environment.json."""
    clock = time.get_clock_info("perf_counter")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "caches": caches(),
        "vector_bytes": vectors().register_bytes,
        "software": software(),
        "libraries": libraries(),
        "gpus": gpus(),
        "cuda": cuda(),
        "clock_resolution_s": clock.resolution,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not readable",
        "load_average": load_average(),
        "warnings": warnings(),
    }


def gpus() -> list[str]:
    """Names and drivers of the NVIDIA GPUs, as their driver's tool lists them; none without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, encoding="utf-8", timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # a driver's tool without a working driver
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def caches() -> dict:
    """Sizes of the first processor's caches, as the system gives them."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = _read(index / "type")
        if kind != "Instruction":
            sizes[f"L{_read(index / 'level')}"] = _read(index / "size")
    return sizes


def warnings() -> list[str]:
    """What would make timings on this machine unreliable, a sentence each."""
    trouble = []
    load = load_average()[:1]
    if load and load[0] > BUSY_LOAD:
        trouble.append(f"the load average is {load[0]:.2f}: something else is running")
    quota = cgroup.quota()
    if quota and quota < processors():
        trouble.append(
            f"a control group's quota gives this process {quota:g} of {processors()} processors: it is stopped "
            "whenever its share of a period is spent"
        )
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor and governor != "performance":
        trouble.append(f"the frequency governor is {governor}: the clock changes while timing")
    flags = next((x for x in _read("/proc/cpuinfo").splitlines() if x.startswith("flags")), "")
    if " hypervisor" in flags:
        trouble.append("this is a virtual machine: its processors may be shared with others")
    physical = _asked("cpu_count", logical=False)
    if physical and processors() > physical:
        trouble.append(f"{processors()} logical processors on {physical} cores: threads share a core")
    if processors() < (os.cpu_count() or 1):
        trouble.append(f"this process may use {processors()} of {os.cpu_count()} processors")
    battery = _asked("sensors_battery")
    if battery is not None and not battery.power_plugged:
        trouble.append("running on battery: the clock is likely to be held down")
    swap = _asked("swap_memory")
    if swap is not None and swap.used > 2**28:
        trouble.append("swap is in use: memory is short")
    trouble += [
        f"{name}={os.environ[name]} is set; a sweep sets its own in every worker"
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
        if name in os.environ
    ]
    if sys.flags.dev_mode or sys.gettrace() is not None:
        trouble.append("Python runs in development mode or under a debugger")
    return trouble


def _asked(name: str, **how: Any) -> Any:
    """What psutil says; None where it cannot: no such sensor, /proc or /sys not mounted."""
    try:
        return getattr(psutil, name)(**how)
    except (AttributeError, OSError, RuntimeError):
        return None


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

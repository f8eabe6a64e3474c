"""What is known of why a child was killed. Nobody signs a signal: there are accounts, and what was seen before."""

import math
import signal
from pathlib import Path

import psutil

OOM_ACCOUNTS = ("memory.events", "memory.oom_control")  # of a control group, version 2 and 1
CPU_MARGIN_S = 2.0  # how much less than its limit a process may be seen to have used last


class Seen:
    """What was last seen of a process: the least memory that the machine had left, the processor time it had used."""

    # of the system's accounts of processes killed for memory, those that were explained
    expected_kills: int | None = None

    def __init__(self, pid: int) -> None:
        self.pid, self.available, self.cpu_s = pid, math.inf, 0.0
        self.cpu_limit_s = cpu_limit()
        if Seen.expected_kills is None:
            Seen.expected_kills = oom_kills()

    def look(self, available: int) -> None:
        """Take note; available is the memory that is left now."""
        self.available = min(self.available, available)
        if self.cpu_limit_s < math.inf:
            try:
                self.cpu_s = sum(psutil.Process(self.pid).cpu_times()[:2])
            except psutil.Error:
                return

    def killed_for_memory(self) -> bool:
        """Whether the system's accounts have one more process that it killed for memory."""
        if Seen.expected_kills is None or oom_kills() <= Seen.expected_kills:
            return False
        Seen.expected_kills += 1
        return True


def explain(number: int, seen: Seen, short: int) -> tuple[str, str]:
    """The status and the reason of a death by a signal; memory counts as short where so many bytes were left."""
    name = signal_name(number)
    at_limit = seen.cpu_limit_s < math.inf and seen.cpu_s >= seen.cpu_limit_s - CPU_MARGIN_S
    if name == "SIGXCPU" or (name == "SIGKILL" and at_limit):
        return "crashed", f"ended by {name} at its limit of processor time (ulimit -t: {seen.cpu_limit_s:g} s)"
    if name != "SIGKILL":
        return "crashed", f"the process died by {name}"
    if seen.killed_for_memory():
        return "out-of-memory", "killed by the system, which had run out of memory"
    if seen.available < short:
        return "out-of-memory", f"killed by SIGKILL when {seen.available / 2**30:.2g} GiB of memory were left"
    left = f"; at least {seen.available / 2**30:.2g} GiB of memory were left" if seen.available < math.inf else ""
    return "crashed", f"killed by SIGKILL, by whom is not known{left}"


def signal_name(number: int) -> str:
    """A signal's name; those for real time have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cpu_limit() -> float:
    """Seconds of processor time that a process may use (`ulimit -t`); infinite without a limit."""
    try:
        import resource
    except ImportError:
        return math.inf
    limits = resource.getrlimit(resource.RLIMIT_CPU)
    return float(min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=math.inf))


def oom_kills() -> int:
    """How many processes were killed for memory, by the accounts of this control group and the system that are here."""
    counts = [_account(Path("/proc/vmstat"))]
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = Path("/sys/fs/cgroup") / controllers
            folders = (top / path.lstrip("/"), top)  # the second as a container sees its own
            counts.append(max(_account(folder / name) for folder in folders for name in OOM_ACCOUNTS))
    return max(counts)


def _account(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

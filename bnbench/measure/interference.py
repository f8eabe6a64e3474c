"""What came between a sample and the machine: stolen time, other processes, forced switches, page faults, the clock.

Read from Linux's accounts, whose ticks are about 10 ms: they say little of one sample and enough of a cell's.
Elsewhere everything is 0, that is, unknown.
"""

import contextlib
import functools
import glob
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import psutil

from bnbench.measure import cgroup

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
WORKING, STOLEN = (0, 1, 2, 5, 6), 7  # places in a processor's line of /proc/stat


@dataclass(frozen=True)
class Interference:
    """What came in between, over one sample or several.

    Attributes:
        elapsed_s: time passed, counted for every processor that this process may use.
        stolen_s: of it, what a hypervisor gave to another machine, or a control group's quota withheld.
        others_s: of it, what other processes used.
        switches: how often a thread of this process was made to give up its processor.
        faults: page faults a step, of the timed steps alone: memory that the system had yet to give.
    """

    elapsed_s: float = 0.0
    stolen_s: float = 0.0
    others_s: float = 0.0
    switches: int = 0
    faults: float = 0.0

    def __add__(self, other: "Interference") -> "Interference":
        return Interference(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Sample(NamedTuple):
    """One sample: seconds a step, and what came in between."""

    step_s: float
    accounts: Interference


@dataclass(frozen=True)
class Usage:
    """The accounts at one moment; `until` gives what lies between two."""

    time_s: float
    busy_s: float
    stolen_s: float
    own_s: float
    switches: int

    @classmethod
    def now(cls, children: tuple[psutil.Process, ...] = ()) -> "Usage":
        """The accounts now; children are processes whose work counts as this one's."""
        busy = stolen = 0
        for line in _processor_lines():
            busy += sum(line[place] for place in WORKING)
            stolen += line[STOLEN]
        own = time.process_time()
        for child in children:
            with contextlib.suppress(psutil.Error, OSError):
                own += sum(child.cpu_times()[:2])
        return cls(time.monotonic(), busy / TICKS, stolen / TICKS + cgroup.held_s(), own, _forced_switches())

    def until(self, later: "Usage") -> Interference:
        """What came in between this moment and a later one."""
        passed = (later.time_s - self.time_s) * len(_processors())
        others = later.busy_s - self.busy_s - (later.own_s - self.own_s) if later.busy_s else 0.0
        return Interference(passed, later.stolen_s - self.stolen_s, others, later.switches - self.switches)


def children() -> tuple[psutil.Process, ...]:
    """The processes that this one has started; none where the system does not say."""
    try:
        return tuple(psutil.Process().children())
    except (psutil.Error, OSError):
        return ()


def clock_mhz() -> list[float]:
    """The clock of each processor this process may use, in MHz, where the system says it."""
    clocks = []
    for path in _clock_files(_processors()):
        try:
            with open(path, encoding="ascii") as file:
                clocks.append(int(file.read()) / 1000)
        except (OSError, ValueError):
            continue
    return clocks


@functools.cache
def _clock_files(processors: frozenset[int]) -> list[str]:
    wanted = {f"cpu{number}" for number in processors}
    return [path for path in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")
            if path.split("/")[-3] in wanted]  # fmt: skip


def _processors() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _processor_lines() -> Iterator[list[int]]:
    """The numbers of the lines of /proc/stat of the processors this process may use."""
    names = {f"cpu{number}" for number in _processors()}
    try:
        with open("/proc/stat", encoding="ascii") as stat:
            for line in stat:
                name, *numbers = line.split()
                if not name.startswith("cpu"):
                    return
                if name in names:
                    yield [int(number) for number in numbers]
    except OSError:
        return


def page_faults() -> int:
    """How many page faults this process had so far that took no disk; 0 where that is unknown."""
    return _rusage("ru_minflt")


def _forced_switches() -> int:
    return _rusage("ru_nivcsw")


def _rusage(name: str) -> int:
    try:
        import resource
    except ImportError:
        return 0
    return getattr(resource.getrusage(resource.RUSAGE_SELF), name)

"""What control groups (containers, systemd, batch systems) grant this process of the processors' time. Linux alone.

A group with a quota runs until it is spent, and then waits for the next period, 0.1 s as a rule: with half a processor,
a step of a millisecond may take fifty.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def quota() -> float | None:
    """The processors' worth of time that this process's groups may use, the least of them; None without a limit."""
    return min((share for _, share in _limited()), default=None)


def held_s() -> float:
    """For how long groups with a quota were kept from running so far, summed over processors; 0 where that is unknown.

    Version 2 counts in microseconds, version 1 in nanoseconds.
    """
    held = 0.0
    for folder, _ in _limited():
        accounts = dict(line.split()[:2] for line in _read(folder / "cpu.stat").splitlines())
        held += int(accounts.get("throttled_usec", 0)) / 1e6 + int(accounts.get("throttled_time", 0)) / 1e9
    return held


@functools.cache
def _limited() -> list[tuple[Path, float]]:
    """The groups with a quota that this process is in, itself or through a parent, and their quotas."""
    limited = []
    for folder in dict.fromkeys(_folders()):
        allowed, *period = _read(folder / "cpu.max").split() or [_read(folder / "cpu.cfs_quota_us")]
        length = period[0] if period else _read(folder / "cpu.cfs_period_us")
        if allowed.isdecimal() and length.isdecimal() and int(length):
            limited.append((folder, int(allowed) / int(length)))
    return limited


def _folders() -> Iterator[Path]:
    """Where the groups' files may lie: a container may see its own group as the root."""
    for line in _read(MEMBERSHIP).splitlines() or ["0::/"]:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "cpu" in controllers.split(","):
            for mounted in ("", "unified") if number == "0" else (controllers, "cpu"):
                own = ROOT / mounted / path.lstrip("/")
                yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(ROOT / mounted))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

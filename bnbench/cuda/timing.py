"""What a step on a device costs beside its warm time: from a cold cache, and with the copies there and back."""

import statistics
import time
from collections.abc import Callable

MOST = 10  # times of each kind
BUDGET_S = 1.0  # for each kind, beyond its first


def device_times(
    copy: Callable[[], object],
    step: Callable[[], object],
    result: Callable[[], object],
    cold: Callable[[], float] | None = None,
) -> dict[str, float]:
    """Medians in seconds: `host_to_device_s`, `end_to_end_s` and, where cold is given, `cold_s`.

    Args:
        copy: copies X, y and the parameters from the host to the device, and waits for it.
        step: makes a step, and waits for it.
        result: returns the gradients on the host.
        cold: empties the device's cache, and returns the seconds of the step that follows.
    """
    found = {
        "host_to_device_s": median_s(lambda: clocked(copy)),
        "end_to_end_s": median_s(lambda: clocked(copy, step, result)),
    }
    return found if cold is None else {"cold_s": median_s(cold)} | found


def median_s(sample: Callable[[], float]) -> float:
    """The median of a few of these samples, after one that is dropped."""
    sample()
    times, deadline = [], time.monotonic() + BUDGET_S
    while not times or (len(times) < MOST and time.monotonic() < deadline):
        times.append(sample())
    return statistics.median(times)


def clocked(*works: Callable[[], object]) -> float:
    """Seconds of these, one after the other, by this process's clock."""
    begun = time.perf_counter()
    for work in works:
        work()
    return time.perf_counter() - begun

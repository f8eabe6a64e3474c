"""What a step on a device costs beside its warm time: with a cold cache, and with the copies there and back."""

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
    times_s = {
        "host_to_device_s": median_s(lambda: clocked(copy)),
        "end_to_end_s": median_s(lambda: clocked(copy, step, result)),
    }
    return times_s if cold is None else {"cold_s": median_s(cold)} | times_s


def median_s(sample: Callable[[], float]) -> float:
    """The median of a few samples, after one that is discarded."""
    sample()
    times: list[float] = []
    deadline = time.monotonic() + BUDGET_S
    while not times or (len(times) < MOST and time.monotonic() < deadline):
        times.append(sample())
    return statistics.median(times)


def clocked(*works: Callable[[], object]) -> float:
    """Seconds that these calls take, one after the other, by this process's clock."""
    begun = time.perf_counter()
    for work in works:
        work()
    return time.perf_counter() - begun

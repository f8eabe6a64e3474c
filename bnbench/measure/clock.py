"""Time as this process lives it: what passed while it was stopped (Ctrl-Z, SIGSTOP) counts for nothing.

A process is not told that it is stopped, but it sees a wait of milliseconds that took seconds.
"""

import time

LATE_S = 1.0  # by which a short wait must have been late: a busy machine is late too, by less

_stopped_s = 0.0


def now() -> float:
    """Seconds on a clock that stands still while this process does."""
    return time.monotonic() - _stopped_s


class Ticks:
    """Watches a loop of short waits for the time that this process was stopped in it."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tick(self, expected_s: float) -> None:
        """Say that the loop has come round, after a wait of so many seconds at most."""
        global _stopped_s
        moment = time.monotonic()
        late = moment - self.last - expected_s
        self.last = moment
        if late > LATE_S:
            _stopped_s += late

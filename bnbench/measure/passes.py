"""Several passes over the same cells, each with processes of its own: one record of what they measured.

Where a process's memory lies, and what the machine did while it lived, can make it faster or slower as a whole, so that
its samples say nothing of the next one's. A record of several passes has the samples of all, and how many each gave.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bnbench.record import Record


def joined(judged: Record, timed: Sequence[Record]) -> Record:
    """One record of a variant's and cell's passes: that of the first pass that is not ok, else all their samples.

    A field for which `JOINED` has no rule is that of the first.

    Args:
        judged: has the verdict; its own samples, if it has any, count only where it is among the timed.
        timed: the passes with samples.
    """
    for record in (judged, *timed):
        if record.status != "ok":
            return record
    known = {name: [getattr(record, name) for record in timed if getattr(record, name) is not None] for name in JOINED}
    return judged.having(
        **{name: JOINED[name](values) for name, values in known.items() if values},
        passes=tuple(count for record in timed for count in record.passes or (record.samples,)),
    )


def chained(values: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    """The samples of the passes one after the other."""
    return tuple(itertools.chain(*values))


def spanned(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The lowest and the highest of ranges."""
    ends = chained(values)
    return min(ends), max(ends)


def each_said(values: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Of dicts, what the passes say under each name: one text, or the different ones."""
    texts: dict[str, dict[str, None]] = {}
    for name, text in itertools.chain(*(value.items() for value in values)):
        texts.setdefault(name, {})[text] = None
    return {name: ", ".join(different) for name, different in texts.items()}


def highest(values: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Of dicts, the highest number under each name."""
    return {name: max(value.get(name, 0) for value in values) for name in dict.fromkeys(chained(values))}


def worst(values: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of what passes say of a device's clocks, that in which something held them down, or the last."""
    return max(reversed(values), key=lambda clocks: bool(clocks.get("after", {}).get("held_down")))


JOINED: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(("samples_s", "switches", "faults"), chained),
    **dict.fromkeys(("elapsed_s", "stolen_s", "others_s"), sum),
    **dict.fromkeys(("prepare_s", "first_step_s", "baseline_bytes", "inner_loops", "interleaved"), min),
    **dict.fromkeys(("cold_s", "host_to_device_s", "end_to_end_s"), statistics.median),
    "peak_bytes": max,
    "clock_mhz": spanned,
    "details": each_said,
    "threads_in_force": highest,
    "clocks": worst,
}

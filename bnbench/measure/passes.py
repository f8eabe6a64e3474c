"""Several passes over the same cells, each with processes of its own: one record of what they measured.

Where a process's memory lies, and what the machine did while it lived, can make it faster or slower as a whole, so that
its samples say nothing of the next one's. A record of several passes has the samples of all, and how many each gave.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bnbench.measure.cell import Scope
from bnbench.measure.data import Table
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Events, Sweep
from bnbench.measure.statistics import MIN_SAMPLES
from bnbench.record import FAULTS, Record

SAMPLED = Scope(compilation=False, limit=False, derivation=False)  # of a pass whose answers were judged before
LEAST_SAMPLES = 2 * MIN_SAMPLES  # that must fit into the time for samples, or a cell gets no second pass


def another(
    number: int,
    plan: Plan,
    records: Sequence[Record],
    write: Callable[[Record], Record],
    *,
    table: Table | None,
    events: Events,
) -> list[Record]:
    """The records of a sweep with the samples of another pass where steps are short, each written when it is made.

    A pass that is lost for lack of time or memory leaves a record as it was.

    Args:
        number: of the pass, from 2 on; records that have as many passes already are left alone.
        plan, records: what was measured.
        write: stores a record, and gives it as stored.
        table: whose leading rows are X and y; None for drawn data.
        events: what is told on the way.
    """
    wanted = {
        record.key: record
        for record in records
        if record.timed and len(record.by_pass) < number and LEAST_SAMPLES * record.median_s <= plan.sampling_s
    }

    def extended(record: Record) -> Record:
        before = wanted[record.key]
        if record.timed:
            return write(joined(before, [before, record]))
        return write(record) if record.status in FAULTS else before

    rest = [record for record in records if record.key not in wanted]
    scope = replace(SAMPLED, verdicts=False)
    with Sweep(plan, extended, rest, table=table, scope=scope, events=events) as sweep:
        sweep.planner.random.seed(f"{plan.seed} {number}")
        return sweep.run()


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
    "held": all,
    "clock_mhz": spanned,
    "details": each_said,
    "threads_in_force": highest,
    "clocks": worst,
}

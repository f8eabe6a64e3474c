"""Many runs in the order of their dates: the median of every cell in each, and where it made a step.

A step is what `compare` finds between a run and the latest earlier one that has timed the same variant and cell on the
same machine: faster or slower, by both of its gates. What moved for good is found over all runs (`changes.py`). Files
of pytest-benchmark stand beside the runs without a verdict: their samples come from one process without pauses or
partners, and say less of the next process.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bnbench import store
from bnbench.compare import causes, changes, runs, verdicts
from bnbench.compare.changes import Change
from bnbench.compare.runs import Run
from bnbench.measure.child import plain_line
from bnbench.measure.environment import machine_id
from bnbench.problem import Problem
from bnbench.record import AXES, SIZES, Cell, Record

SWEEP, PYTEST = SOURCES = ("bnbench", "pytest-benchmark")
STEPS = (verdicts.FASTER, verdicts.SLOWER)
COLUMNS = [
    *["date", "run", "source", "machine", "variant", *AXES, "median_s", "ci_low_s", "ci_high_s"],
    *["verdict", "ratio", "ratio_low", "ratio_high", "against", "cause", "own", "own_low", "own_high", "changed"],
]
FIGURES = ("ratio", "ratio_low", "ratio_high", "own", "own_low", "own_high")
NAMED = re.compile(r"test_step\[(?P<variant>.+)-(?P<N>\d+)x(?P<p1>\d+)x(?P<p2>\d+)\]")  # tests/benchmarks/test_step.py
DATED = re.compile(r"\d{4}-\d\d-\d\d-(?=.)")  # that a run's folder is named by


@dataclass(frozen=True)
class Entry:
    """A place on the axis of time: a run, or a file of pytest-benchmark.

    Attributes:
        name: short, and no other entry's.
        machine: medians are comparable where it is the same: of a run its hash without the host's name, and that name
            where it is one of several hosts.
        records: those that are timed; of a file that keeps no samples each has one, its median.
        run: None for a file.
        differs: what of the machine or the settings is other than in the entry before, in words.
    """

    name: str
    date: datetime
    source: str
    machine: str
    records: list[Record]
    run: Run | None = None
    differs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Date and short name."""
        return f"{self.date:%Y-%m-%d} {self.name}"


def read(folders: Sequence[str | Path], files: Sequence[str | Path] = ()) -> list[Entry]:
    """The runs of folders and the files of pytest-benchmark, by date.

    Raises:
        StoreError: a folder is no run or has no date, a file is none of pytest-benchmark's, or one is given twice.
    """
    paths = [Path(path).resolve() for path in (*folders, *files)]
    for path, given in zip(paths, (*folders, *files), strict=True):
        if paths.count(path) > 1:
            raise store.StoreError(f"{given} is given twice; give each run once")
    read = [runs.read(folder) for folder in folders]
    entries = [_of_run(part, host) for run in read for host, part in runs.by_host(run).items()]
    entries += [_of_file(Path(file)) for file in files]
    entries.sort(key=lambda entry: (entry.date, entry.run is not None and entry.run.environment.get("side") == "new"))
    names = _names([(entry.run.folder if entry.run else Path(entry.name)).resolve() for entry in entries])
    before: dict[str, Entry] = {}
    for place, entry in enumerate(entries):
        earlier = before.get(entry.source)
        differs = tuple(_differs(earlier, entry)) if earlier else ()
        before[entry.source] = entry
        entries[place] = replace(entry, name=names[place], differs=differs)
    return entries


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path without a date, with the part before it where that is not unique, else a number."""
    paths = [Path(plain_line(str(path))) for path in paths]
    names = [DATED.sub("", path.name) for path in paths]
    names = [
        f"{path.parent.name}/{name}" if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
    ]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _of_run(run: Run, host: str) -> Entry:
    date = run.environment.get("date")
    if not date:
        raise store.StoreError(f"{run.folder} has no date in {store.ENVIRONMENT}; a history is in the order of dates")
    order = {name: place for place, name in enumerate(run.environment["plan"].get("variants", ()))}
    kept = [record for record in run.records if record.timed]
    kept.sort(key=lambda record: order.get(record.variant, len(order)))
    machine = f"{machine_id(run.environment['machine'])} {host}".rstrip()
    return Entry(run.folder.name, _utc(date), SWEEP, machine, kept, run)


def _utc(text: str) -> datetime:
    date = datetime.fromisoformat(text)
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)


def _of_file(path: Path) -> Entry:
    """An Entry of what `pytest tests/benchmarks --benchmark-save` or `--benchmark-json` wrote."""
    try:
        content = json.loads(path.read_bytes())
        info = content["machine_info"]
        machine = f"{info['node']}, {info['cpu'].get('brand_raw', info['machine'])}"
        records = [_benchmark(entry, info) for entry in content["benchmarks"] if NAMED.fullmatch(entry["name"])]
        date = _utc(content["datetime"])
    except OSError as error:
        raise store.StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else error
        raise store.StoreError(f"{path} is not a file of pytest-benchmark: {what}") from error
    if not records:
        raise store.StoreError(f"{path} has no benchmark of tests/benchmarks/test_step.py, and others cannot be read")
    return Entry(str(path), date, PYTEST, machine, records)


def _benchmark(entry: dict[str, Any], info: dict[str, Any]) -> Record:
    """A benchmark as a record: the convention's defaults and, where it does not say, a thread for each processor."""
    if not (named := NAMED.fullmatch(entry["name"])):
        raise ValueError(f"{entry['name']} is not a benchmark of a step")
    N, p1, p2 = (int(named[name]) for name in SIZES)
    threads = entry.get("extra_info", {}).get("threads") or info["cpu"]["count"]
    cell = Cell(Problem(N, p1, p2), int(threads))
    stats = entry["stats"]
    row = {"variant": named["variant"], **cell.columns, "status": "ok"}
    return Record.of(row | {"samples_s": stats.get("data") or [stats["median"]]})


def _differs(earlier: Entry, entry: Entry) -> list[str]:
    if earlier.run and entry.run:
        return runs.differences(earlier.run, entry.run)
    return [f"machine: {earlier.machine}, {entry.machine}"] if earlier.machine != entry.machine else []


def narrowed(entries: Sequence[Entry], variants: Sequence[str] = (), sizes: Sequence[tuple] = ()) -> list[Entry]:
    """The entries with the records of these variants and (N, p1, p2) only; none given is all.

    Raises:
        StoreError: no entry has one of the variants, or one of the sizes.
    """
    records = [record for entry in entries for record in entry.records]
    there = dict.fromkeys(record.variant for record in records)
    for name in variants:
        if name not in there:
            raise store.StoreError(f"variant is {name!r}; timed in these runs are {', '.join(there) or 'none'}")
    shapes = {record.cell.sizes for record in records}
    for size in sizes:
        if size not in shapes:
            raise store.StoreError(f"sizes has {'x'.join(map(str, size))}, which none of these runs has timed")

    def wanted(record: Record) -> bool:
        return (not variants or record.variant in variants) and (not sizes or record.cell.sizes in sizes)

    return [replace(entry, records=list(filter(wanted, entry.records))) for entry in entries]


def table(entries: Sequence[Entry], threshold: float | None = None, lasting: Sequence[Change] = ()) -> pd.DataFrame:
    """One row an entry, variant and cell, columns `COLUMNS`, in the order of dates.

    `verdict`, `ratio` (with its interval) and `against` are what `compare` finds against the latest earlier run of the
    same machine that has timed the same; empty where there is none. `cause`, and `own` with its interval, are why what
    is faster or slower moved. `changed` is "faster" or "slower" at the first run after a change for good.

    Args:
        threshold: the ratio from which a difference matters; by default `compare`'s, for each pair of runs.
        lasting: the changes for good.
    """
    rows = []
    moved = {
        (change.run, change.what, *cell): verdicts.SLOWER if change.ratio > 1 else verdicts.FASTER
        for change in lasting
        for cell in change.cells
    }
    for place, entry in enumerate(entries):
        verdicts_on = _verdicts(entries[:place], entry, threshold)
        for record in entry.records:
            median, low, high = record.interval
            if not entry.run and record.samples == 1:
                low = high = math.nan  # of a file without samples
            row = {"variant": record.variant} | record.cell.axes
            row |= {"median_s": median, "ci_low_s": low, "ci_high_s": high}
            row |= {"date": entry.date.isoformat(), "run": entry.name, "source": entry.source}
            row |= {"machine": entry.machine, "verdict": "", "against": "", "cause": ""}
            row |= verdicts_on.get(verdicts.key(record), {})
            changed = moved.get((entry.name, *verdicts.key(record)), "")
            rows.append(row | {"changed": changed})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(FIGURES, "float64"))


def lasting(entries: Sequence[Entry], threshold: float | None = None) -> list[Change]:
    """The changes for good over the runs of each machine, in their order; see `changes.py`."""
    found = []
    for machine in dict.fromkeys(entry.machine for entry in entries if entry.run):
        own = [entry for entry in entries if entry.run and entry.machine == machine]
        named = [(entry.name, entry.run) for entry in own if entry.run]
        found += changes.changes(named, [entry.records for entry in own], threshold)
    return found


def steps(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table at which something became faster or slower, the farthest from 1 first, ours before others."""
    there = frame[frame["verdict"].isin(STEPS)]
    there = there.sort_values("ratio", key=lambda ratio: -ratio.where(ratio > 1, 1 / ratio), kind="stable")
    return there.sort_values("cause", key=lambda cause: cause.isin(causes.NOT_OURS), kind="stable")


def _verdicts(earlier: Sequence[Entry], entry: Entry, threshold: float | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By key, the verdict on each record of a run against the latest earlier run that has it; none on a file."""
    if not entry.run:
        return {}
    given, waiting = {}, {verdicts.key(record): record for record in entry.records}
    for before in reversed(earlier):
        old = [record for record in before.records if verdicts.key(record) in waiting]
        if not old or not before.run or before.machine != entry.machine:
            continue
        new = [waiting.pop(verdicts.key(record)) for record in old]
        whole = before.run, entry.run
        limit = threshold or verdicts.threshold(paired=runs.paired(*whole))
        sides = (replace(run, records=records) for run, records in zip(whole, (old, new), strict=True))
        for each in causes.compare(*sides, threshold=limit, whole=whole, by_variant=False).cells:
            words = {"verdict": each.verdict, "ratio": each.ratio, "against": before.name, "cause": each.cause}
            words |= {"ratio_low": each.low, "ratio_high": each.high}
            given[each.key] = words | {"own": each.own, "own_low": each.own_low, "own_high": each.own_high}
    return given

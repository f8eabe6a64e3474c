"""Change points: at which of many runs a time moved for good, by how much, and whether it was the machine.

What has not changed over the runs are the controls (`causes.py`). Two kinds of series are searched: of the machine the
controls' times, and of each variant its times over those of the controls; where there is none, its times. All are
logarithms of medians, one a cell and run, and a run is worth as much as any other.

A series is split where the means before and after differ most, by Student's t with the variance within, of medians that
do not lie too far out; of a variant the largest t over its cells counts. Whether that is an accident is told by drawing
the runs in random order: every series in the same order, so that what the cells of a run have in common stays together.
A variant's t is held against the largest of all variants in each order (Westfall and Young, Resampling-Based Multiple
Testing, Wiley 1993): in 99 of 100 histories in which nothing changes nothing is found, however many variants and cells
they have. Each side of a split is then searched in the same way. This takes runs that are exchangeable while nothing
changes; a machine that drifts moves the controls as well, and leaves the variants' own series alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from bnbench.compare import causes, runs
from bnbench.compare.causes import MAD
from bnbench.compare.runs import Run
from bnbench.compare.verdicts import ALPHA, key
from bnbench.measure.statistics import Shift, shift
from bnbench.record import Record

THE_MACHINE = "the machine"
LEAST_RUNS, LEAST_SIDE = 10, 2  # from which on an order by chance is told from a change; on each side of it
ORDERS = 199  # random ones: the least p is 1/200
THRESHOLD = 1.02  # ratio from which a change is large enough: many runs tell more than two
FENCE = 3.0  # standard deviations from the median, by the median absolute deviation, beyond which a median counts less
FLOOR = 0.002  # standard deviation of a median's logarithm, at least: no series is that still by more than chance

Cell = tuple


@dataclass(frozen=True)
class Change:
    """A time that moved for good between two runs that follow each other.

    Attributes:
        what: the variant, or `THE_MACHINE`.
        run, before: the names of the first run after it and of the last before it.
        ratio, low, high: the times after it over those before, up to the next changes, with a 95 % interval; of a
            variant with controls over what these did.
        cells: those that moved; of: how many were looked at.
        cause: one of `causes.CAUSES`.
    """

    what: str
    run: str
    before: str
    ratio: float
    low: float
    high: float
    cells: tuple[Cell, ...]
    of: int
    cause: str

    def plain(self) -> dict:
        """As a dict, for JSON; the cells as their number."""
        return asdict(self) | {"cells": len(self.cells)}


def changes(
    named: Sequence[tuple[str, Run]], chosen: Sequence[Sequence[Record]], threshold: float | None = None
) -> list[Change]:
    """The changes over runs of one machine, in their order; none of fewer than `LEAST_RUNS`.

    Args:
        named: the runs in the order of their dates, with their names; the controls are looked for in all their records.
        chosen: of each run the records whose variants and cells are searched.
        threshold: the ratio from which a change is large enough; by default `THRESHOLD`.
    """
    if len(named) < LEAST_RUNS:
        return []
    names, given = [name for name, _ in named], [run for _, run in named]
    unchanged = [set(causes.controls(given[0], run)) for run in given[1:]]
    steady = [name for name in causes.controls(given[0], given[0]) if all(name in each for each in unchanged)]
    known = _medians([run.records for run in given])
    controls = {name: known.loc[[name]].droplevel(0) for name in steady}
    series: dict[str, pd.DataFrame] = {}
    for variant, times in _medians(chosen).groupby(level=0, sort=False):
        if steady == [variant]:
            continue  # it is what the machine is told by
        own = times.droplevel(0)
        beside = _common({name: each for name, each in controls.items() if name != variant})
        shared = own.index.intersection(beside.index) if beside is not None else []
        series[str(variant)] = own.loc[shared] - beside.loc[shared] if len(shared) else own  # type: ignore[union-attr]
    common = _common(controls)
    if common is not None:
        series[THE_MACHINE] = common
    limit = math.log(threshold or THRESHOLD)
    values = {name: each.to_numpy() for name, each in series.items()}
    found = []
    for name, places in search(values).items():
        ends = [0, *places, len(names)]
        for first, place, last in zip(ends, ends[1:], ends[2:], strict=False):
            moved, by = _size(values[name][:, first:last], place - first)
            if abs(by.estimate) < limit:
                continue
            cells = tuple(series[name].index[moved])
            ratio, low, high = (math.exp(value) for value in (by.estimate, by.low, by.high))
            cause = causes.CHANGE if controls and name not in steady else causes.UNCLEAR
            if name == THE_MACHINE:
                otherwise = runs.measured_otherwise(given[place - 1], given[place])
                cause = causes.METHOD if otherwise else causes.MACHINE
            found.append(
                Change(name, names[place], names[place - 1], ratio, low, high, cells, len(series[name]), cause)
            )
    return sorted(found, key=lambda change: names.index(change.run))


def _medians(records: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """The logarithms of the medians: a row a variant and cell, a column a run; NaN where a run has none."""
    by_run = [
        {(key(record)[0], key(record)[1:]): math.log(np.median(record.samples_s)) for record in run if record.timed}
        for run in records
    ]
    rows = dict.fromkeys(row for run in by_run for row in run)
    index = pd.MultiIndex.from_arrays(
        [[row[0] for row in rows], pd.Index([row[1] for row in rows], tupleize_cols=False)], names=["variant", "cell"]
    )
    return pd.DataFrame([[run.get(row, math.nan) for run in by_run] for row in rows], index=index)


def _common(controls: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    """What the controls have in common: a row a cell, the median of their rows, each less its own median; or None."""
    if not controls:
        return None
    centred = [each.sub(each.median(axis=1), axis=0) for each in controls.values()]
    return pd.concat(centred).groupby(level=0, sort=False).median()


def search(series: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """By name, the places at which its series (cells, runs) change: the first run after each change, in order.

    Every array has the same runs. In all of them together a false one is found with probability `ALPHA`.
    """
    found: dict[str, list[int]] = {name: [] for name in series}
    for name, place in _split(series).items():
        waiting = [(0, place, next(iter(series.values())).shape[1])]
        while waiting:
            start, place, end = waiting.pop()
            found[name].append(place)
            for first, last in ((start, place), (place, end)):
                if last - first >= LEAST_RUNS:
                    inner = _split({name: series[name][:, first:last]})
                    waiting += [(first, first + at, last) for at in inner.values()]
    return {name: sorted(places) for name, places in found.items()}


def _split(series: Mapping[str, np.ndarray]) -> dict[str, int]:
    """By name, where its series changes most; only what is no accident."""
    size = next(iter(series.values())).shape[1]
    largest = np.zeros(ORDERS)
    clipped = {name: _clipped(values) for name, values in series.items()}
    for values in clipped.values():
        orders = np.random.default_rng(0)  # the same orders for every variant
        for draw in range(ORDERS):
            largest[draw] = max(largest[draw], _t(values[:, orders.permutation(size)]).max(initial=0.0))
    places = {}
    for name, values in clipped.items():
        t = _t(values)
        if t.size and (1 + np.sum(largest >= t.max())) / (ORDERS + 1) <= ALPHA:
            places[name] = LEAST_SIDE + int(np.argmax(t.max(axis=0)))
    return places


def _clipped(values: np.ndarray) -> np.ndarray:
    """The series (cells, runs) without what lies far out: one bad run must not hide a change of all that follow."""
    middle = np.nanmedian(values, axis=1, keepdims=True)
    spread = MAD * np.nanmedian(np.abs(values - middle), axis=1, keepdims=True)
    return np.clip(values, middle - FENCE * (spread + FLOOR), middle + FENCE * (spread + FLOOR))


def _t(values: np.ndarray) -> np.ndarray:
    """Student's t squared of each split of series (cells, runs) with gaps: (cells, splits), 0 where a side is short."""
    there = ~np.isnan(values)
    count = there.sum(axis=1, keepdims=True)
    filled = np.where(there, values, 0.0)
    centred = np.where(there, values - filled.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    splits = slice(LEAST_SIDE - 1, values.shape[1] - LEAST_SIDE)
    before, left = (np.cumsum(part, axis=1)[:, splits] for part in (centred, there))
    right = count - left
    between = before**2 * count / np.maximum(left * right, 1)
    freedom = np.maximum(count - 2, 1)
    within = ((centred**2).sum(axis=1, keepdims=True) - between) / freedom + FLOOR**2
    return np.where((left >= LEAST_SIDE) & (right >= LEAST_SIDE), between / within, 0.0)


def _size(values: np.ndarray, place: int) -> tuple[np.ndarray, Shift]:
    """Which of the series (cells, runs) move at a place, the one that moves most always, and by how much together."""
    from scipy import stats

    t = _t(_clipped(values))[:, place - LEAST_SIDE]
    freedom = (~np.isnan(values)).sum(axis=1) - 2
    moved = (2 * stats.t.sf(np.sqrt(t), np.maximum(freedom, 1)) < ALPHA) | (t == t.max())
    centred = values[moved] - np.nanmedian(values[moved], axis=1, keepdims=True)
    before, after = (part[~np.isnan(part)] for part in np.split(np.nanmedian(centred, axis=0), [place]))
    return moved, shift(before, after)

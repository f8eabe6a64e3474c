"""A history on disk: history.csv, plots/history*.png and .svg, and history.html, which needs nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bnbench.compare import history, runs
from bnbench.compare.causes import CHANGE, METHOD, UNCLEAR
from bnbench.compare.changes import LEAST_RUNS, THE_MACHINE, Change
from bnbench.folder import Folder
from bnbench.record import AXES, SIZES
from bnbench.report import comparison, tables, templates, units
from bnbench.report.table import Table, Text, number


def write(
    frame: pd.DataFrame,
    entries: Sequence[history.Entry],
    lasting: Sequence[Change],
    notes: Sequence[str],
    folder: Path,
    command: str,
) -> None:
    """Write the files into `folder`, which is made if absent; each is replaced whole.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    from bnbench.report.plots.history import draw  # matplotlib: only once something is drawn

    written = Folder(folder)
    written.put("history.csv", tables.csv(frame))
    plots = draw(frame, entries, written, lasting)
    page = (
        templates.environment()
        .get_template("history.html.j2")
        .render(
            answer=answer(frame, entries, lasting),
            sentences=[sentence(change) for change in lasting],
            changes=changes(lasting, entries),
            too_few=too_few(entries),
            steps=steps(frame),
            plots=[(plot, templates.svg_uri(plot.svg)) for plot in plots],
            entries=described(frame, entries),
            notes=notes,
            command=command,
        )
    )
    written.put("history.html", page)


def too_few(entries: Sequence[history.Entry]) -> str:
    """That no machine has the runs it takes to look for lasting changes; empty where one has."""
    most = max(Counter(entry.machine for entry in entries if entry.run).values(), default=0)
    if most >= LEAST_RUNS:
        return ""
    return f"changes for good are looked for in {LEAST_RUNS} runs of one machine or more; here are {most} at most"


def sentence(change: Change) -> str:
    """A change in words."""
    if change.what == THE_MACHINE:
        subject = "The way of measuring changed" if change.cause == METHOD else "The machine changed"
        what = f"{subject}: what itself did not change"
    else:
        itself = {CHANGE: ", beside controls that did not,", UNCLEAR: ""}
        what = change.what + itself.get(change.cause, "")
    word = "slower" if change.ratio > 1 else "faster"
    cells = "" if change.of == 1 else f" at {len(change.cells)} of {units.plural(change.of, 'cell')}"
    ratio = comparison.interval(change.ratio, change.low, change.high)
    tail = "; whether it was the machine cannot be said" if change.cause == UNCLEAR else ""
    return f"{what} became {word} from {change.run} on{cells}, by {ratio}{tail}."


def changes(lasting: Sequence[Change], entries: Sequence[history.Entry]) -> Table:
    """One row a change for good: what moved, from which run on, by how much, at how many cells, why."""
    dates = {entry.name: f"{entry.date:%Y-%m-%d}" for entry in entries}
    rows = [
        {"what": change.what, "from": change.run, "on": dates[change.run]}
        | {"ratio": number(comparison.interval(change.ratio, change.low, change.high))}
        | {"cells": number(f"{len(change.cells)} of {change.of}")}
        | {"cause": change.cause}
        | {"verdict": Text("slower", "slower") if change.ratio > 1 else Text("faster", "faster")}
        for change in lasting
    ]
    note = (
        "What moved for good, over all runs of a machine: the times after over those before, up to the next change, "
        "with a 95 % interval. A variant's are over those of the controls, which did not change; what moved these is "
        "the machine. Where nothing changes, something is found in one of 100 histories."
    )
    return Table.of("Lasting changes", rows, note=note)


def answer(frame: pd.DataFrame, entries: Sequence[history.Entry], lasting: Sequence[Change] = ()) -> str:
    """One sentence: how many steps there are in how many runs, and what could not be compared."""
    compared = frame[frame["against"] != ""]
    over = f"over {units.plural(len(entries), 'run')}"
    if compared.empty:
        if (frame["source"] == history.PYTEST).all():
            return (
                f"Nothing is compared {over}: files of pytest-benchmark are drawn and not judged, since each has the "
                "samples of one process alone. `pytest-benchmark compare` puts their figures side by side."
            )
        return f"Nothing can be compared {over}: none has an earlier one of the same machine that has timed the same."
    counts = compared["verdict"].value_counts()
    said = [
        f"{units.count(counts[word])} {words}{comparison.causes(compared.loc[compared['verdict'] == word, 'cause'])}"
        for word, words in comparison.SAID.items()
        if word in counts
    ]
    cells = len(compared[["variant", *AXES]].drop_duplicates())
    count = int(compared["verdict"].isin(history.STEPS).sum())
    finding = units.plural(count, "step") if count else "No step found"
    unclear = f": nothing can be said about {comparison.these(counts[UNCLEAR])}" if UNCLEAR in counts else ""
    moved = f" {units.plural(len(lasting), 'lasting change')}." if lasting else ""
    return f"{finding} in {units.plural(cells, 'cell')} {over}: {', '.join(said)}{unclear}.{moved}"


def steps(frame: pd.DataFrame) -> Table:
    """One row a step: variant, cell (sizes and what differs), between which runs, the ratio."""
    differing = [name for name in AXES if name not in SIZES and frame[name].nunique() > 1]
    apart = frame["own"].notna().any()
    rows = [
        {"variant": row["variant"], tables.SIZES_HEAD: number(tables.sizes(row))}
        | {name: str(row[name]) for name in differing}
        | {"from": row["against"], "to": row["run"], "on": row["date"][:10]}
        | {"ratio": number(comparison.interval(row["ratio"], row["ratio_low"], row["ratio_high"]))}
        | {"median": number(units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"]))}
        | ({comparison.OWN: number(own(row)), "cause": row["cause"]} if apart else {})
        | {"verdict": Text(row["verdict"], row["verdict"])}
        for row in history.steps(frame).to_dict("records")
    ]
    note = (
        "Where a time passed both gates of compare: significant, and large enough. The largest first, what the machine "
        "or the measuring moved last; a ratio above 1 "
    )
    return Table.of("Steps", rows, note=f"{note}is slower.")


def own(row: Mapping[str, Any]) -> str:
    """What of a step's ratio is the variant's own; empty where there is no control."""
    return "" if math.isnan(row["own"]) else comparison.interval(row["own"], row["own_low"], row["own_high"])


def described(frame: pd.DataFrame, entries: Sequence[history.Entry]) -> Table:
    """One row an entry: when, what, how much it timed, and what differs from the one before."""
    rows, before = [], None
    for entry in entries:
        other = list(entry.differs)
        if entry.run:
            other += runs.software(before, entry.run) if before else []
            before = entry.run
        timed = int((frame["run"] == entry.name).sum())
        rows.append(
            {"run": entry.name, "date": f"{entry.date:%Y-%m-%d %H:%M} UTC", "from": entry.source}
            | {"timed": units.plural(timed, "median"), "other than before": "; ".join(other)}
        )
    return Table.of("Runs", rows)

"""A history on disk: history.csv, plots/history*.png and .svg, and history.html, which needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bnbench.compare import history, runs
from bnbench.compare.verdicts import UNCLEAR
from bnbench.folder import Folder
from bnbench.record import AXES, SIZES
from bnbench.report import comparison, tables, templates, units
from bnbench.report.table import Table, Text, number


def write(
    frame: pd.DataFrame, entries: Sequence[history.Entry], notes: Sequence[str], folder: Path, command: str
) -> None:
    """Write the files into `folder`, which is made if absent; each is replaced whole.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    from bnbench.report.plots.history import draw  # matplotlib: only once something is drawn

    written = Folder(folder)
    written.put("history.csv", tables.csv(frame))
    plots = draw(frame, entries, written)
    page = (
        templates.environment()
        .get_template("history.html.j2")
        .render(
            answer=answer(frame, entries),
            steps=steps(frame),
            plots=[(plot, templates.svg_uri(plot.svg)) for plot in plots],
            entries=described(frame, entries),
            notes=notes,
            command=command,
        )
    )
    written.put("history.html", page)


def answer(frame: pd.DataFrame, entries: Sequence[history.Entry]) -> str:
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
    said = [f"{units.count(counts[word])} {words}" for word, words in comparison.SAID.items() if word in counts]
    cells = len(compared[["variant", *AXES]].drop_duplicates())
    count = int(compared["verdict"].isin(history.STEPS).sum())
    finding = units.plural(count, "step") if count else "No step found"
    unclear = f": nothing can be said about {comparison.these(counts[UNCLEAR])}" if UNCLEAR in counts else ""
    return f"{finding} in {units.plural(cells, 'cell')} {over}: {', '.join(said)}{unclear}."


def steps(frame: pd.DataFrame) -> Table:
    """One row a step: variant, cell (sizes and what differs), between which runs, the ratio."""
    differing = [name for name in AXES if name not in SIZES and frame[name].nunique() > 1]
    rows = [
        {"variant": row["variant"], tables.SIZES_HEAD: number(tables.sizes(row))}
        | {name: str(row[name]) for name in differing}
        | {"from": row["against"], "to": row["run"], "on": row["date"][:10]}
        | {"ratio": number(comparison.interval(row["ratio"], row["ratio_low"], row["ratio_high"]))}
        | {"median": number(units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"]))}
        | {"verdict": Text(row["verdict"], row["verdict"])}
        for row in history.steps(frame).to_dict("records")
    ]
    note = (
        "Where a time passed both gates of compare: significant, and large enough. The largest first; a ratio above 1 "
    )
    return Table.of("Steps", rows, note=f"{note}is slower.")


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

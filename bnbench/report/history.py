"""A history on disk: history.csv, plots/history*.png and .svg, and history.html, which needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd

from bnbench.compare import history, runs
from bnbench.folder import Folder
from bnbench.record import AXES
from bnbench.report import tables, units

SIZES = ("N", "p1", "p2")


def write(frame: pd.DataFrame, entries: Sequence[history.Entry], notes: Sequence[str], folder: Path, command: str):
    """Write the files into `folder`, which is made if absent; each is replaced whole.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    from bnbench.report.plots.history import draw  # matplotlib: only once something is drawn

    folder = Folder(folder)
    folder.put("history.csv", tables.csv(frame))
    plots = draw(frame, entries, folder)
    loader = jinja2.PackageLoader("bnbench.report", ".")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = template.get_template("history.html.j2").render(
        answer=answer(frame, entries),
        steps=steps(frame),
        plots=[
            (plot, "data:image/svg+xml;base64," + base64.b64encode(plot.svg.read_bytes()).decode()) for plot in plots
        ],
        entries=described(frame, entries),
        notes=notes,
        command=command,
    )
    folder.put("history.html", page)


def answer(frame: pd.DataFrame, entries: Sequence[history.Entry]) -> str:
    """One sentence: how many steps there are in how many runs."""
    found = history.steps(frame)["verdict"].value_counts()
    pairs = frame.loc[frame["against"] != "", ["variant", *AXES]].drop_duplicates()
    over = f"over {units.plural(len(entries), 'run')}"
    if pairs.empty:
        return f"Nothing can be compared {over}: none has an earlier one of the same machine that has timed the same."
    where = f"in {units.plural(len(pairs), 'cell')} {over}"
    if found.empty:
        return f"No step {where}."
    parts = " and ".join(f"{units.count(found[word])} {word}" for word in ("slower", "faster") if word in found)
    return f"{units.plural(int(found.sum()), 'step')} {where}: {parts}."


def steps(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a step, as text: variant, cell (sizes and what differs), between which runs, the ratio."""
    axes = [name for name in AXES if name in SIZES or frame[name].nunique() > 1]
    rows = []
    for row in history.steps(frame).to_dict("records"):
        cell = {name: units.count(row[name]) if name in SIZES else str(row[name]) for name in axes}
        rows.append(
            {"variant": row["variant"]}
            | cell
            | {"from": row["against"], "to": row["run"], "on": row["date"][:10]}
            | {"ratio": f"{row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})"}
            | {"median": units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"]), "verdict": row["verdict"]}
        )
    return pd.DataFrame(rows, columns=["variant", *axes, "from", "to", "on", "ratio", "median", "verdict"])


def described(frame: pd.DataFrame, entries: Sequence[history.Entry]) -> pd.DataFrame:
    """One row an entry, as text: when, what, how much it timed, and what differs from the one before."""
    rows, before = [], None
    for entry in entries:
        other = list(entry.differs)
        if entry.run:
            other += runs.software(before, entry.run) if before else []
            before = entry.run
        timed = (frame["run"] == entry.name).sum()
        rows.append(
            {"date": f"{entry.date:%Y-%m-%d %H:%M} UTC", "run": entry.name, "from": entry.source}
            | {"timed": units.plural(int(timed), "median"), "other than before": "; ".join(other)}
        )
    return pd.DataFrame(rows)

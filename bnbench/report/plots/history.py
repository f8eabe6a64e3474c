"""Medians over the runs, a panel a cell, with the steps that `compare` finds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnbench.compare import history
from bnbench.compare.causes import NOT_OURS
from bnbench.compare.changes import THE_MACHINE, Change
from bnbench.folder import Folder
from bnbench.record import AXES, SETTING
from bnbench.report import units
from bnbench.report.plots import Plot, layout, style
from bnbench.report.plots.layout import Drawing, End

PLOTS = re.compile(r"plots/history.*")
PANELS, COLUMNS, FIGURES = 12, 3, 2  # panels a figure, columns of it, figures at most
PANEL_IN = (3.9, 2.5)
MOST_DATES, LONGEST_RUN = 12, 24  # runs that have their date and name below a panel, and characters of these
LINEAR_BELOW = 3.0  # ratio of a panel's largest to its least, up to which its axis is linear
STEP_COLORS = {"slower": style.VERMILLION, "faster": style.BLUE}
Cell = tuple  # of `AXES`


def draw(
    frame: pd.DataFrame, entries: Sequence[history.Entry], folder: Folder, lasting: Sequence[Change] = ()
) -> list[Plot]:
    """Draw a history's table, steps first, as plots/history*.png and .svg, in place of those drawn there before."""
    moved = [change.run for change in lasting if change.what == THE_MACHINE]
    places = [place for place, entry in enumerate(entries) if entry.name in moved]
    cells = ordered(frame)
    shown = cells[: PANELS * FIGURES]
    looks = looks_of(frame)
    plots = []
    with matplotlib.rc_context(style.RC):
        for number, first in enumerate(range(0, len(shown), PANELS), 1):
            name = "history" if number == 1 else f"history-{number}"
            left_out = len(cells) - len(shown) if first + PANELS >= len(shown) else 0
            drawing = sheet(frame, entries, shown[first : first + PANELS], looks, left_out, places)
            png, svg = style.save(drawing.figure, folder, name)
            plots.append(Plot(name, drawing.title, drawing.caption, png, svg, drawing.alt))
    folder.retire(PLOTS, (name for plot in plots for name in plot.files))
    return plots


def ordered(frame: pd.DataFrame) -> list[Cell]:
    """The cells: those with the largest steps first, the others from small to large."""
    stepped = history.steps(frame)[list(AXES)]
    rest = frame[list(AXES)].drop_duplicates().sort_values([*SETTING, "N", "p1", "p2"])
    return list(dict.fromkeys(pd.concat([stepped, rest]).astype(object).itertuples(index=False, name=None)))


def looks_of(frame: pd.DataFrame) -> dict[str, style.Look]:
    """The looks of the variants: in colour are those with most steps, then the first ones; all others are faded."""
    steps = history.steps(frame)["variant"].value_counts()
    names = list(frame["variant"].unique())
    return style.assigned(names, dict.fromkeys([*steps.index, *names]))


def sheet(
    frame: pd.DataFrame, entries: Sequence[history.Entry], cells: Sequence[Cell], looks: dict[str, style.Look],
    left_out: int, moved: Sequence[int],
) -> Drawing:  # fmt: skip
    """One figure of panels; `left_out` is how many cells are on none, `moved` the runs at which the machine changed."""
    keys = list(frame[list(AXES)].astype(object).itertuples(index=False, name=None))
    differing = [name for name in SETTING if frame[name].nunique() > 1]
    figure, panels = layout.panels(len(cells), min(COLUMNS, len(cells)), PANEL_IN, sharey=False)
    ends = {}
    for axes, cell in zip(panels, cells, strict=True):
        named = dict(zip(AXES, cell, strict=True))
        sizes = ", ".join(f"{name} = {units.count(named[name])}" for name in ("N", "p1", "p2"))
        setting = ", ".join(_say(name, named[name]) for name in differing)
        axes.set_title(f"{sizes}\n{setting}" if setting else sizes, fontsize=8.5)
        ends[axes] = _panel(axes, frame[[key == cell for key in keys]], entries, looks)
        for place in moved:
            axes.axvline(place - 0.5, color=style.GREY, linestyle=":", linewidth=1.6, zorder=1)
    shown = layout.thin(range(len(entries)), MOST_DATES)
    axes.set_xlim(-0.5, len(entries) - 0.5)
    axes.set_xticks(shown, [style.short(entries[number].label, LONGEST_RUN) for number in shown])
    for axes in panels:
        axes.tick_params(axis="x", rotation=90, labelsize=7)
    figure.supylabel("time over that of the first run")
    few = layout.name_ends(figure, ends)
    title = "Time of a step over the runs, relative to each variant's first on the machine"
    caption = _caption(entries, frame, left_out, machine=bool(moved)) + few
    return Drawing(figure, title, caption, _alt(frame, entries, cells, looks))


def _say(name: str, value: object) -> str:
    if name == "threads":
        return units.plural(int(str(value)), "thread")
    return f"{name} {value:g}" if isinstance(value, float) or name == "ddof" else str(value)


def _panel(axes: Axes, part: pd.DataFrame, entries: Sequence[history.Entry], looks: dict[str, style.Look]) -> list[End]:
    """Draw the lines of a cell with their steps; returns their ends."""
    number = {entry.name: place for place, entry in enumerate(entries)}
    ends: dict[tuple[str, str], End] = {}
    for (source, _, name), line in part.groupby(["source", "machine", "variant"], sort=False):
        x = line["run"].map(number).to_numpy()
        median, low, high = (line[column].to_numpy(dtype=float) for column in ("median_s", "ci_low_s", "ci_high_s"))
        y, interval = median / median[0], np.stack([median - low, high - median]) / median[0]
        options = looks[name].line | {"elinewidth": 0.9}
        if source != history.SWEEP:
            options |= {"linestyle": ":", "markerfacecolor": "white", "markeredgecolor": looks[name].color}
        for first, last in _unbroken(x, entries):
            axes.errorbar(x[first:last], y[first:last], yerr=interval[:, first:last], **options)
        stepped = line["verdict"].isin(history.STEPS).to_numpy()
        for column, height, row in zip(x[stepped], y[stepped], line[stepped].itertuples(), strict=True):
            color = style.GREY if row.cause in NOT_OURS else STEP_COLORS[row.verdict]
            axes.plot(
                column, height, "o", markersize=10, markerfacecolor="none", markeredgecolor=color, markeredgewidth=1.4,
                zorder=5,
            )  # fmt: skip
        for column, height, word in zip(x, y, line["changed"], strict=True):
            if word:
                axes.plot(
                    column, height, "D", markersize=7, markerfacecolor=STEP_COLORS[word], markeredgecolor="white",
                    markeredgewidth=0.8, zorder=6,
                )  # fmt: skip
        steps = "".join(f"  ×{ratio:.2f}" for ratio in line["ratio"][stepped])
        if (source, name) not in ends or x[-1] > ends[source, name].x:
            text = f"{style.short(name)}  {units.seconds(median[-1])}{steps}"
            ends[source, name] = End(x[-1], y[-1], text, looks[name])
    axes.axhline(1, color=style.MUTED, linewidth=0.6, zorder=1)
    low, high = axes.get_ylim()
    if low <= 0 or high / low > LINEAR_BELOW:
        style.log_axis(axes, "y", lambda value: f"{value:g}", most=6)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for place, entry in enumerate(entries):
        if place and entry.differs:
            axes.axvline(place - 0.5, color=style.INK, linestyle="--", linewidth=0.9)
    return list(ends.values())


def _unbroken(x: np.ndarray, entries: Sequence[history.Entry]) -> list[tuple[int, int]]:
    """Ranges of the points between which no entry is of another machine: lines are drawn within them."""
    breaks = [number for number, entry in enumerate(entries) if number and entry.differs]
    side = np.searchsorted(breaks, x, side="right")
    return list(itertools.pairwise([0, *(np.flatnonzero(np.diff(side)) + 1), len(x)]))


def _caption(entries: Sequence[history.Entry], frame: pd.DataFrame, left_out: int, *, machine: bool) -> str:
    parts = [
        "Lower is faster. Marks are medians with their 95 % interval, relative to the variant's first run on the same "
        f"machine; at the right the latest median. At most {style.COLORED} variants are in colour, those with most "
        "steps first. A ring is a step that passes both gates of compare (significant and large enough) against the "
        "run before, vermillion slower, blue faster; the ratios of the times are at the end of the line."
    ]
    if frame["cause"].isin(NOT_OURS).any():
        parts.append("A grey ring is a step by the machine or the way of measuring.")
    if (frame["changed"] != "").any():
        parts.append("A diamond is the first run after a lasting change of the variant itself.")
    if machine:
        parts.append("A dotted vertical line is a lasting change of the machine.")
    if any(entry.differs for entry in entries):
        parts.append("A dashed vertical line is a change of machine or settings.")
    if (frame["source"] == history.PYTEST).any():
        parts.append("Hollow marks on dotted lines are pytest-benchmark's, relative to its own first file.")
    if left_out:
        parts.append(f"{units.plural(left_out, 'cell')} more, without a larger step, are in history.csv and not drawn.")
    return " ".join(parts)


def _alt(
    frame: pd.DataFrame, entries: Sequence[history.Entry], cells: Sequence[Cell], looks: dict[str, style.Look]
) -> str:
    return (
        f"One panel for each of {units.plural(len(cells), 'cell')}: relative median time of a step over "
        f"{units.plural(len(entries), 'run')} for {layout.listed(list(looks))}; "
        f"{units.plural(len(history.steps(frame)), 'step')} in all."
    )

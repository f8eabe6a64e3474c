"""Medians over the runs, a panel a cell, with the steps that `compare` finds."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from bnbench.compare import history
from bnbench.folder import Folder
from bnbench.record import AXES, SETTING
from bnbench.report import units
from bnbench.report.plots import Plot, layout, style
from bnbench.report.plots.layout import Drawing

PLOTS = re.compile(r"plots/history.*")
PANELS, COLUMNS, FIGURES = 12, 3, 2  # panels a figure, columns of it, figures at most
PANEL_IN, LEFT_IN, RIGHT_IN, TITLE_IN = (2.7, 2.0), 0.5, 1.0, 0.3
LABEL_PT = 6.5
STEP_TEXT = 0.085  # of a panel's height that a step's ratio stands above its ring, or below
MOST_LABELS = 7  # at the ends of the lines, beyond which only those with a step have one; or of steps at one run
DATE_IN = 0.13  # inches a label of the axis of time takes
LINEAR_BELOW = 3.0  # ratio of a panel's largest to its least, up to which its axis is linear
STEP_COLORS = {"slower": style.VERMILLION, "faster": style.BLUE}


def draw(frame: pd.DataFrame, entries: Sequence[history.Entry], folder: Folder) -> list[Plot]:
    """Draw a history's table, steps first, as plots/history*.png and .svg, in place of those drawn there before."""
    cells = ordered(frame)
    shown = cells[: PANELS * FIGURES]
    assigned = style.looks(frame["variant"].unique())
    plots = []
    with matplotlib.rc_context(style.RC):
        for number, first in enumerate(range(0, len(shown), PANELS), 1):
            name = "history" if number == 1 else f"history-{number}"
            left_out = len(cells) - len(shown) if first + PANELS >= len(shown) else 0
            drawing = sheet(frame, entries, shown[first : first + PANELS], assigned, left_out)
            png, svg = style.save(drawing.figure, folder, name)
            plots.append(Plot(name, drawing.title, drawing.caption, png, svg, drawing.alt))
    folder.retire(PLOTS, (name for plot in plots for name in plot.files))
    return plots


def ordered(frame: pd.DataFrame) -> list[tuple]:
    """The cells, as tuples of `AXES`: those with the largest steps first, the others from small to large."""
    found = [tuple(row) for row in history.steps(frame)[list(AXES)].to_numpy(dtype=object)]
    rest = frame[list(AXES)].drop_duplicates().sort_values([*SETTING, "N", "p1", "p2"])
    return list(dict.fromkeys([*found, *(tuple(row) for row in rest.to_numpy(dtype=object))]))


def sheet(frame, entries, cells, assigned, left_out) -> Drawing:
    """One figure of panels."""
    keys = [tuple(row) for row in frame[list(AXES)].to_numpy(dtype=object)]
    parts = [frame[[key == cell for key in keys]] for cell in cells]
    there = set(pd.concat(parts)["variant"])
    present = {name: look for name, look in assigned.items() if name in there}
    differing = [name for name in SETTING if frame[name].nunique() > 1]
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    total = max(LEFT_IN + columns * (PANEL_IN[0] + RIGHT_IN), 6.5)
    width = (total - LEFT_IN) / columns - RIGHT_IN
    head = layout.HEAD_IN + layout.LEGEND_IN * -(-len(present) // layout.legend_columns(total))
    title_in = TITLE_IN + 0.16 * bool(differing)
    foot = 0.25 + 0.062 * max(len(entry.label) for entry in entries)
    tall = head + rows * (title_in + PANEL_IN[1]) + foot
    figure = Figure(figsize=(total, tall))
    for place, (cell, part) in enumerate(zip(cells, parts, strict=True)):
        row, column = divmod(place, columns)
        left = LEFT_IN + column * (width + RIGHT_IN)
        bottom = tall - head - (title_in + PANEL_IN[1]) * (row + 1)
        axes = figure.add_axes((left / total, bottom / tall, width / total, PANEL_IN[1] / tall))
        named = dict(zip(AXES, cell, strict=True))
        setting = "\n" + ", ".join(_say(name, named[name]) for name in differing) if differing else ""
        sizes = ", ".join(f"{name} = {units.count(named[name])}" for name in ("N", "p1", "p2"))
        axes.set_title(sizes + setting, loc="left", fontsize=8.5, pad=4)
        _panel(axes, part, entries, present)
        _dates(axes, entries, int(width / DATE_IN), labelled=place + columns >= len(cells))
    title = "Time of a step over the runs"
    style.heading(figure, title, "relative to each variant's first run on the machine; lower is faster")
    layout.top_legend(figure, present)
    return Drawing(figure, title, _caption(entries, frame, left_out), _alt(frame, entries, cells, present))


def _say(name, value):
    if name == "threads":
        return units.plural(value, "thread")
    return f"{name} {value:g}" if name in ("ddof", "eps") else value


def _panel(axes, part, entries, present):
    place = {entry.name: number for number, entry in enumerate(entries)}
    latest, marked, everything = {}, [], [1.0]
    for (source, _, name), line in part.groupby(["source", "machine", "variant"], sort=False):
        look, own = present[name], source == history.SWEEP
        x = line["run"].map(place).to_numpy()
        median, low, high = (line[column].to_numpy() for column in ("median_s", "ci_low_s", "ci_high_s"))
        y, spread = median / median[0], np.stack([median - low, high - median]) / median[0]
        everything += [*y, *(low / median[0]), *(high / median[0])]
        drawn = {"color": look.color, "marker": look.marker, "elinewidth": 0.9, "capsize": 1.5} | style.marks(look, 4)
        if not own:
            drawn |= {"markerfacecolor": "white", "markeredgecolor": look.color, "linewidth": 0.8}
        for first, last in _unbroken(x, entries):
            dash = look.dash if own else style.DOTTED
            axes.errorbar(x[first:last], y[first:last], yerr=spread[:, first:last], linestyle=dash, **drawn)
        marked += [
            (column, height, row.ratio, row.verdict)
            for column, height, row in zip(x, y, line.itertuples(), strict=True)
            if row.verdict in history.STEPS
        ]
        stepped = line["verdict"].isin(history.STEPS).any()
        latest[source, name] = max(latest.get((source, name), (-1,)), (x[-1], stepped, y[-1], median[-1], name))
    finite = [value for value in everything if value > 0 and math.isfinite(value)]
    _scale(axes, min(finite), max(finite))
    axes.axhline(1, color=style.MUTED, linewidth=0.6, zorder=1)
    _mark_steps(axes, marked)
    ends = list(latest.values())
    if len(ends) > MOST_LABELS:
        ends = [end for end in ends if end[1]][:MOST_LABELS]
    beside = axes.transAxes + ScaledTranslation(7 / 72, 0, axes.figure.dpi_scale_trans)
    heights = _spread([_height(axes, y) for _, _, y, *_ in ends])
    for (*_, median, name), height in zip(ends, heights, strict=True):
        look, mark = present[name], style.marks(present[name], 4.5)
        axes.plot([1], [height], transform=beside, color=look.color, marker=look.marker, clip_on=False, **mark)
        axes.annotate(
            units.seconds(median), (1, height), xycoords="axes fraction", xytext=(12, 0), textcoords="offset points",
            va="center", fontsize=LABEL_PT,
        )  # fmt: skip


def _unbroken(x, entries):
    """Ranges of the points between which no entry is of another machine: lines are drawn within them."""
    breaks = [number for number, entry in enumerate(entries) if number and entry.differs]
    side = np.searchsorted(breaks, x, side="right")
    edges = [0, *(np.flatnonzero(np.diff(side)) + 1), len(x)]
    return list(itertools.pairwise(edges))


def _scale(axes, low, high):
    """Limits and ticks of the ratios: linear over a small range, logarithmic over a large one."""
    pad = max(0.2 * math.log(high / low), math.log(1.03))
    low, high = low * math.exp(-pad), high * math.exp(pad)
    axes.set_ylim(low, high)
    if high / low > LINEAR_BELOW:
        style.log_axis(axes, "y", lambda value: f"{value:g}", most=6)
        return
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, axis="y", color=style.FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _mark_steps(axes, marked):
    """A ring around each step, and above or below it the ratio, those of a run apart from each other."""
    for column in sorted({column for column, *_ in marked}):
        here = [mark for mark in marked if mark[0] == column]
        for _, y, _, verdict in here:
            axes.plot(
                [column], [y], "o", markersize=10, markerfacecolor="none", markeredgecolor=STEP_COLORS[verdict],
                markeredgewidth=1.4, zorder=5,
            )  # fmt: skip
        named = sorted(here, key=lambda mark: -abs(math.log(mark[2])))[:MOST_LABELS]
        wanted = [_height(axes, y) + (STEP_TEXT if verdict == "slower" else -STEP_TEXT) for _, y, _, verdict in named]
        for (_, _, ratio, verdict), height in zip(named, _spread(wanted), strict=True):
            axes.annotate(
                f"×{ratio:.2f}", (column, height), xycoords=("data", "axes fraction"), ha="center", va="center",
                fontsize=LABEL_PT + 0.5, fontweight="bold", color=STEP_COLORS[verdict], zorder=6,
            )  # fmt: skip


def _height(axes: Axes, y: float) -> float:
    return float(axes.transAxes.inverted().transform(axes.transData.transform((0, y)))[1])


def _spread(wanted):
    gap = LABEL_PT * 1.3 / 72 / PANEL_IN[1]
    return layout.spread(wanted, gap, gap / 2, 1 - gap / 2) if wanted else []


def _dates(axes, entries, most, labelled):
    """The axis of time: a place for each entry, and a line where the machine or the settings change."""
    axes.set_xlim(-0.5, len(entries) - 0.5)
    shown = range(0, len(entries), -(-len(entries) // most))
    axes.set_xticks(shown, [style.plain(entries[number].label) for number in shown], rotation=90, fontsize=7)
    axes.tick_params(labelbottom=labelled)
    for number, entry in enumerate(entries):
        if number and entry.differs:
            axes.axvline(number - 0.5, color=style.INK, linestyle=style.DASHED, linewidth=0.9)


def _caption(entries, frame, left_out):
    few = " (with many variants, only of those with a step)" if frame["variant"].nunique() > MOST_LABELS else ""
    parts = [
        "Markers are medians with their 95 % interval, relative to the variant's first run on the same machine; at the "
        f"right the latest median{few}. A ring is a step that passes both gates of compare (significant and large "
        "enough) against the run before, with the ratio of the times: vermillion slower, blue faster."
    ]
    if any(entry.differs for entry in entries):
        parts.append("A dashed vertical line is a change of machine or settings.")
    if (frame["source"] == history.PYTEST).any():
        parts.append("Hollow marks on dotted lines are pytest-benchmark's, relative to its own first file.")
    if left_out:
        parts.append(f"{units.plural(left_out, 'cell')} more, without a larger step, are in history.csv and not drawn.")
    return " ".join(parts)


def _alt(frame, entries, cells, present):
    found = len(history.steps(frame))
    return (
        f"Small multiples, one for each of {units.plural(len(cells), 'cell')}: relative median time of a step over "
        f"{units.plural(len(entries), 'run')} for {', '.join(present)}; {units.plural(found, 'step')} in all."
    )

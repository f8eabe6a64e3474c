"""Where things go: panels over (p1, p2), lines named where they end, a row of marks a variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from bnbench.report import units
from bnbench.report.plots import style

MOST_SHAPES = 4  # values of p1, and of p2, in one figure
PANEL_IN = {1: (7.5, 4.6), 2: (5.2, 3.3), 3: (4.1, 2.6)}  # inches, by the panels beside each other; below for more
SMALL_IN = (3.1, 2.4)
LABEL_IN = 0.5  # that a figure is larger than its panels, for the labels of its axes
NAME_PT = 6.5
LINE_IN = NAME_PT * 1.25 / 72  # from a name to the next
SIZES = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, 256)))  # its yellow cannot be seen on white
MOST_NAMED = 15  # variants that an alternative text names
COLORS_NOTE = (
    f"At most {style.COLORED} variants are in colour: {' and '.join(style.CLASSIC)}, the two classic forms, and those "
    f"most often among a cell's {style.AMONG} fastest."
)
STRIPS_NOTE = "In each row the larger problems are higher, and lighter in colour."


class Skipped(Exception):
    """A plot cannot be drawn from these data; the message is the reason, for the reader."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure with the words that go beside it."""

    figure: Figure
    title: str
    caption: str
    alt: str
    key: str = ""  # how to read a cell, where that is needed in the picture itself


@dataclass(frozen=True)
class End:
    """The last point of a line, and what is written beside it."""

    x: float
    y: float
    text: str
    look: style.Look


def head(drawing: Drawing, setting: str) -> None:
    """Write above the figure how to read it, where it says so, and under which setting it holds."""
    lines = "\n".join(filter(None, (drawing.key, setting)))
    drawing.figure.text(0.01, 1, lines, color=style.MUTED, va="bottom", linespacing=1.6)


def thin(values: Iterable, most: int) -> list:
    """At most `most` of the values, evenly spread, the first and last kept."""
    values = list(values)
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))]


def panels(count: int, columns: int, panel_in: tuple[float, float], sharey: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, row by row, that share x, and y if said so."""
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * panel_in[0] + LABEL_IN, rows * panel_in[1] + LABEL_IN))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=sharey).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)  # those above a place that is empty, too
    return figure, list(grid[:count])


def by_shape(
    shapes: Iterable[tuple[int, int]], y_label: str, lines: int = 0
) -> tuple[Figure, dict[tuple[int, int], Axes], str]:
    """One panel over N a shape, p1 down and p2 across where every pair occurs, else row by row.

    `lines` are those to be named in a panel. Returns the figure, the axes, and what was left out, in words.
    """
    shapes = sorted(set(shapes))
    p1s, p2s = (thin(sorted({shape[i] for shape in shapes}), MOST_SHAPES) for i in (0, 1))
    kept, columns = [shape for shape in shapes if shape[0] in p1s and shape[1] in p2s], len(p2s)
    if len(kept) < len(p1s) * len(p2s):
        kept = thin(shapes, MOST_SHAPES**2)
        columns = int(np.ceil(np.sqrt(len(kept))))
    width, height = PANEL_IN.get(columns, SMALL_IN)
    if columns < 3:
        height = max(height, lines * LINE_IN + 0.6)
    figure, grid = panels(len(kept), columns, (width, height))
    for axes, (p1, p2) in zip(grid, kept, strict=True):
        axes.set_title(f"p1 = {p1}, p2 = {p2}")
    figure.supxlabel("N (rows)")
    figure.supylabel(y_label)
    note = "" if len(kept) == len(shapes) else f"{len(kept)} of {len(shapes)} shapes are shown. "
    return figure, dict(zip(kept, grid, strict=True)), note


def curves(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look], column: str) -> dict[str, End]:
    """Draw a column of `rows` against N, one line a variant; medians of those in colour with their intervals."""
    ends = {}
    for name, look in looks.items():
        line = rows[rows["variant"] == name].sort_values("N")
        if line.empty:
            continue
        x, y = line["N"].to_numpy(), line[column].to_numpy(dtype=float)
        interval = None
        if column == "median_s" and not look.faded:
            interval = np.abs(line[["ci_low_s", "ci_high_s"]].to_numpy().T - y)
        axes.errorbar(x, y, yerr=interval, elinewidth=0.9, **look.line)
        ends[name] = End(x[-1], y[-1], style.short(name), look)
    return ends


def name_ends(figure: Figure, ends: dict[Axes, list[End]]) -> str:
    """Write each line's text right of its axes near where the line ends, none over another.

    Where a panel has no room for all, faded lines have none. Returns a sentence about those, empty where there is none.
    """
    style.lay_out(figure)  # names take room at the right alone: the heights stay
    unnamed = 0
    for axes, here in ends.items():
        gap = LINE_IN * figure.dpi / axes.get_window_extent().height
        if len(here) * gap > 1:
            unnamed = max(unnamed, sum(end.look.faded for end in here))
            here = [end for end in here if not end.look.faded]
        to_axes = axes.transData + axes.transAxes.inverted()
        points = [to_axes.transform((end.x, end.y)) for end in here]
        heights = spread([y for _, y in points], gap, gap / 2, 1 - gap / 2)
        for end, (x, y), height in zip(here, points, heights, strict=True):
            leader: dict[str, Any] = {"color": end.look.color, "linestyle": ":", "linewidth": 0.8, "clip_on": False}
            axes.plot([x, 1.03], [y, height], transform=axes.transAxes, **leader)
            text: dict[str, Any] = {"color": style.MUTED} if end.look.faded else {"fontweight": "bold"}
            axes.text(1.04, height, end.text, transform=axes.transAxes, va="center", fontsize=NAME_PT, **text)
    return f" Grey lines without a name are up to {unnamed} other variants a panel." if unnamed else ""


def spread(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move `values` least (in squares) so that neighbours are `gap` apart, and all lie in [low, high].

    Isotonic regression of the sorted values less their place times `gap`.
    """
    from scipy.optimize import isotonic_regression

    order, place = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    if not len(order):
        return place
    moved = isotonic_regression(np.asarray(values, float)[order] - place).x
    back = np.empty_like(moved)
    back[order] = np.clip(moved, low, max(low, high - gap * (len(moved) - 1))) + place
    return back


def listed(names: Sequence[str]) -> str:
    """The names, or how many there are where that is too much to read out."""
    return ", ".join(names) if len(names) <= MOST_NAMED else units.plural(len(names), "variant")


def strips_in(variants: int) -> float:
    """Height of a figure of `strips`, inches."""
    return 1.3 + variants * (0.32 if variants <= 20 else 0.2)


def strips(axes: Axes, rows: pd.DataFrame, values: np.ndarray | pd.Series, variants: Sequence[str]) -> PathCollection:
    """A row a variant, from the top: a mark a cell at its value, the larger the problem the lighter and the higher."""
    sizes = work(rows).groupby(rows["variant"])
    within = (sizes.rank(method="first") - 0.5) / sizes.transform("size") - 0.5
    row = rows["variant"].map({name: place for place, name in enumerate(variants)})
    axes.set_yticks(range(len(variants)), [style.short(name) for name in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_yticks(np.arange(len(variants) + 1) - 0.5, minor=True)
    axes.grid(False, axis="y")
    axes.grid(True, axis="y", which="minor")
    axes.tick_params(axis="y", which="both", length=0)
    return by_size(axes, values, row - 0.75 * within, rows)


def by_size(axes: Axes, x: np.ndarray | pd.Series, y: pd.Series, rows: pd.DataFrame) -> PathCollection:
    """A mark a cell, coloured by the size of the problem."""
    return axes.scatter(x, y, c=work(rows), norm=LogNorm(), cmap=SIZES, s=12, linewidths=0, clip_on=False, zorder=3)


def work(rows: pd.DataFrame) -> pd.Series:
    """The size of each row's problem, N p1 p2."""
    return (rows["N"] * rows["p1"] * rows["p2"]).astype(float)


def size_bar(figure: Figure, marks: PathCollection, axes: Sequence[Axes]) -> None:
    """Say below what the colours of `strips` are, where there are several."""
    if marks.norm.vmin == marks.norm.vmax:
        return
    bar = figure.colorbar(marks, ax=axes, location="bottom", aspect=50, shrink=0.5, pad=0.02)
    bar.set_label("size of the problem, N · p1 · p2", fontsize=8)
    bar.ax.minorticks_off()
    style.log_axis(bar.ax, "x", units.count, most=6)
    bar.outline.set_visible(False)

"""The plot that studies share: measurements with their intervals, and theory as a line, in panels side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from bnbench.report.plots import style

COLORS = (style.BLUE, style.ORANGE, style.BLACK, style.GREEN, style.VERMILLION, style.PURPLE, style.SKY)
MARKERS = "o^sDvPX"


def lines(
    rows: pd.DataFrame, panel: str, x: str, line: str, *, xlabel: str, ylabel: str, caption: str, log: str = "x",
    base: int = 10, theory: bool = False, level: float | None = None, shared: bool = True,
) -> Figure:  # fmt: skip
    """Draw rows with `measured`, `low` and `high`, in the order in which they come.

    Args:
        rows: a row a point; panel, x and line name the columns that say where each is.
        xlabel, ylabel, caption: of the figure.
        log: the axes that are logarithmic, of "x", "y" and "xy"; an x of words has a place for each.
        base: of the logarithmic x.
        theory: whether to draw `predicted` as the line, and what was measured as points.
        level: where to draw a line across, if anywhere.
        shared: whether panels share their y.
    """
    panels, names = rows[panel].unique(), list(rows[line].unique())
    figure = Figure(figsize=(2.2 + 2.6 * len(panels), 3.1))
    for axes, title in zip(figure.subplots(1, len(panels), sharey=shared, squeeze=False)[0], panels, strict=True):
        here, words = rows[rows[panel] == title], list(rows[x].unique())
        if level is not None:
            axes.axhline(level, color=style.MUTED, linewidth=0.9)
        for k, (name, points) in enumerate((name, here[here[line] == name]) for name in names):
            dodge = (k - (len(names) - 1) / 2) * 0.5 / len(names)
            numeric = is_numeric_dtype(rows[x])
            places = points[x] if numeric else [words.index(word) + dodge for word in points[x]]
            error = np.abs([points["measured"] - points["low"], points["high"] - points["measured"]])
            joined = "-" if numeric and not theory else ""
            look = {"color": COLORS[k], "markersize": 4, "label": name if title == panels[0] else None}
            look["zorder"] = 3 - 0.01 * k  # the first lies on top
            axes.errorbar(places, points["measured"], yerr=error, fmt=MARKERS[k] + joined, **look)
            if theory:
                axes.plot(places, points["predicted"], color=COLORS[k], linewidth=1)
        axes.set_title(title)
        if not is_numeric_dtype(rows[x]):
            axes.set_xticks(range(len(words)), words, rotation=30, ha="right")
        for which in log:
            style.log_axis(axes, which, lambda value: f"{value:g}", most=6, base=base if which == "x" else 10)
    figure.supxlabel(xlabel)
    figure.supylabel(ylabel)
    figure.legend(loc="outside right upper")
    figure.set_label(caption)
    return figure

"""Time against N, and when compiling has paid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bnbench.report import analysis, tables, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

FITTED, DECADES = 3, 2  # medians that an exponent is fitted to at least, and over how many powers of ten of N
STRAIGHT = 1.2  # ratio of these medians' distances from the line at most


def time_vs_n(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """Median time of a step against N, one panel a shape."""
    rows = analysis.measured(part.table)
    if rows.empty:
        raise Skipped("nothing was timed successfully")
    figure, panels, note = layout.by_shape(
        zip(rows["p1"], rows["p2"], strict=True), "median time of a step", rows["variant"].nunique()
    )
    ends = {}
    for (p1, p2), axes in panels.items():
        here = rows[(rows["p1"] == p1) & (rows["p2"] == p2)]
        ends[axes] = [
            replace(end, text=end.text + _exponent(here[here["variant"] == name])) if not end.look.faded else end
            for name, end in layout.curves(axes, here, looks, "median_s").items()
        ]
    style.log_axis(axes, "x", units.count, most=5)
    style.log_axis(axes, "y", style.tick_seconds)
    caption = (
        f"{note}Lower is faster; both axes are logarithmic, and panels share them. {layout.COLORS_NOTE} Those have "
        f"their 95 % intervals (often smaller than the mark) and, where the medians of the last {DECADES} powers of "
        "ten lie on a straight line, its exponent: near 1 where time grows in proportion to N. A line ends where the "
        f"variant was pruned, ran out of time or memory, or failed.{layout.name_ends(figure, ends)}"
    )
    alt = (
        f"One panel for each of {units.plural(len(panels), 'shape')} (p1, p2): median time of a step against N for "
        f"{layout.listed(rows['variant'].unique())}, logarithmic axes ({part.label})."
    )
    return Drawing(figure, "Time of a step against N", caption, alt)


def _exponent(line: pd.DataFrame) -> str:
    """The exponent of N where the line ends, in words; nothing where no power of N describes it there."""
    line = line[line["N"] >= line["N"].max() / 10**DECADES]
    N, time_s = np.log(line[["N", "median_s"]].to_numpy(dtype=float).T)
    if len(N) < FITTED:
        return ""
    exponent = np.polyfit(N, time_s, 1)[0]
    return f"  N^{exponent:.2f}" if np.ptp(time_s - exponent * N) < np.log(STRAIGHT) else ""


def break_even(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """Calls until a compiled variant's compile time is paid back, a row a variant."""
    cells, reference = analysis.break_even(part.table)
    if cells.empty:
        raise Skipped(
            "no variant took more than "
            f"{analysis.COMPILED_S:g} s to compile and has a cell to compare with one that did not"
        )
    variants = [name for name in looks if (cells["variant"] == name).any()]
    never = np.isinf(cells["calls"]) | (cells["verdict"] == analysis.TIED)
    figure = Figure(figsize=(8.6, layout.strips_in(len(variants))))
    paid, unpaid = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    marks = layout.strips(paid, cells, cells["calls"].where(~never), variants)
    style.log_axis(paid, "x", units.count)
    paid.set_title("calls until compiling has paid")
    order = cells.groupby("variant")["N"].cumcount()
    layout.strips(unpaid, cells, order.where(never), variants)
    unpaid.set(title="never, or tied", xticks=[], xlim=(-1, order.max() + 1))
    for place, name in enumerate(variants):
        own = cells["variant"] == name
        unpaid.annotate(
            f"{(own & never).sum()} of {own.sum()}", (1.05, place), xycoords=("axes fraction", "data"), va="center",
            fontsize=8, color=style.MUTED,
        )  # fmt: skip
    layout.size_bar(figure, marks, [paid, unpaid])
    compile_s = dict(list(cells.groupby("variant")["compile_s"]))
    costs = ", ".join(f"{name} {analysis.compile_time(compile_s[name])}" for name in variants)
    caption = (
        f"Each mark is a cell: its compile time divided by the time that a step saves against {reference}. Farther "
        f"left pays sooner. {layout.STRIPS_NOTE} At the right are the cells where the compiled variant is not faster, "
        f"so that it never pays, or tied (the intervals overlap), and how many of the variant's cells those are. "
        f"Compile times: {costs}. "
        f"{tables.compile_note(part.table)}"
    )
    alt = (
        f"A row of marks for each of {layout.listed(variants)}: calls until compiling has paid, logarithmic axis; "
        f"{units.count(never.sum())} of {units.plural(len(cells), 'cell')} never pay or are tied ({part.label})."
    )
    return Drawing(figure, f"Calls until compiling has paid, against {reference}", caption, alt)

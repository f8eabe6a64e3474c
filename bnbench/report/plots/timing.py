"""Time against N, and when compiling has paid."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from bnbench.report import analysis, tables, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

SLOPE_PT = 6.5  # font size of the exponents


def time_vs_n(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Median time of a step against N, one panel a shape, with intervals and fitted exponents."""
    rows = analysis.measured(part.table)
    if rows.empty:
        raise Skipped("nothing was timed successfully")
    present = {name: look for name, look in assigned.items() if (rows["variant"] == name).any()}
    shapes = set(zip(rows["p1"], rows["p2"], strict=True))
    single = len(shapes) == 1
    room = (
        min(style.LONGEST_NAME, max(len(name) for name in present)) * 0.075 + 0.75 if single else 0.62
    )  # inches for the labels
    sheet = layout.sheet(shapes, 0 if single else len(present), "median time of a step", gap_in=room)
    y_limits = style.limits([*rows["ci_low_s"], *rows["ci_high_s"]])
    for shape, axes in sheet.axes.items():
        axes.set(xlim=style.limits(rows["N"]), ylim=y_limits)
        style.log_axis(axes, "x", units.count, most=max(3, int(sheet.panel_in[0] / 0.75)))
        style.log_axis(axes, "y", style.tick_seconds)
        here = rows[(rows["p1"] == shape[0]) & (rows["p2"] == shape[1])]
        _curves(axes, here, present, sheet.panel_in[1], named=single)
    title = "Time of a step against N"
    style.heading(sheet.figure, title, part.label)
    if not single:
        layout.top_legend(sheet.figure, present)
    caption = (
        f"{sheet.note}Lower is faster; both axes are logarithmic, and panels share them. Markers are medians "
        "with their 95 % interval (often smaller than the marker). At the right, the exponent of N that a "
        "straight line through the upper half of the variant's range of N has: near 1 where time grows in "
        "proportion to the rows, near 0 where overhead rules. A line ends where the variant was pruned, ran "
        "out of time or memory, or failed."
    )
    alt = (
        f"Small multiples, one for each of {units.plural(len(sheet.axes), 'shape')} (p1, p2): median time of "
        f"a step against N for {', '.join(present)}, logarithmic axes ({part.label})."
    )
    return Drawing(sheet.figure, title, caption, alt)


def _curves(axes: Axes, rows: pd.DataFrame, present: dict[str, style.Look], height_in: float, named: bool) -> None:
    ends = []
    for name, look in present.items():
        line = rows[rows["variant"] == name].sort_values("N")
        if line.empty:
            continue
        x, y = line["N"].to_numpy(), line["median_s"].to_numpy()
        spread = np.abs(np.stack([line["ci_low_s"], line["ci_high_s"]]) - y)
        axes.errorbar(
            x,
            y,
            yerr=spread,
            color=look.color,
            marker=look.marker,
            linestyle=look.dash,
            elinewidth=0.9,
            capsize=1.5,
            **style.marks(look, 5 if named else 4),
        )
        exponent = analysis.slope(x, y)
        text = "" if np.isnan(exponent) else f"N^{exponent:.2f}"  # as a superscript it would be too small
        if named:
            text = f"{style.short(name)}  {text}"
        if text:
            ends.append((y[-1], text, look))
    _label_ends(axes, ends, height_in, SLOPE_PT + 1.5 if named else SLOPE_PT)


def _label_ends(axes: Axes, ends: list[tuple[float, str, style.Look]], height_in: float, size: float) -> None:
    """Write (y, text, look) right of the axes near their y, each behind its marker, none over another."""
    low, high = np.log(axes.get_ylim())
    gap = size * 1.25 / 72 / height_in
    wanted = [(np.log(y) - low) / (high - low) for y, _, _ in ends]
    heights = layout.spread(wanted, gap, gap / 2, 1 - gap / 2) if ends else []
    beside = axes.transAxes + ScaledTranslation(7 / 72, 0, axes.figure.dpi_scale_trans)
    for (_, text, look), y in zip(ends, heights, strict=True):
        mark = style.marks(look, size * 0.65)
        axes.plot([1], [y], transform=beside, color=look.color, marker=look.marker, clip_on=False, **mark)
        axes.annotate(
            text,
            (1, y),
            xycoords="axes fraction",
            xytext=(12, 0),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=style.INK,
        )


def break_even(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Calls until a compiled variant's compile time is paid back, against the size of the problem."""
    found, reference = analysis.break_even(part.table)
    if found.empty:
        raise Skipped(
            "no variant took more than "
            f"{analysis.COMPILED_S:g} s to compile and has a cell to compare with one that did not"
        )
    present = {name: look for name, look in assigned.items() if (found["variant"] == name).any()}
    work = (found["N"] * found["p1"] * found["p2"]).astype(float)
    never = np.isinf(found["calls"])
    strip_in = 0.24 * len(present) + 0.1
    head = layout.HEAD_IN + layout.LEGEND_IN * -(-len(present) // layout.legend_columns(8.6)) + 0.05
    figure = Figure(figsize=(8.6, head + strip_in + 4.0 + 0.7))
    tall = figure.get_size_inches()[1]
    main = figure.add_axes((0.11, 0.6 / tall, 0.8, 4.0 / tall))
    top = figure.add_axes((0.11, 4.7 / tall, 0.8, strip_in / tall), sharex=main)
    main.set(xlim=style.limits(work), ylim=style.limits(found["calls"]))
    style.log_axis(main, "x", units.count)
    style.log_axis(main, "y", units.count)
    for place, (name, look) in enumerate(present.items()):
        own = found["variant"] == name
        draw = {"color": look.color, "marker": look.marker, "linestyle": "none", **style.marks(look, 6)}
        main.plot(work[own & ~never], found["calls"][own & ~never], **draw)
        top.plot(work[own & never], np.full((own & never).sum(), len(present) - 1 - place), **draw)
        share = f"{(own & never).sum()} of {own.sum()}"
        top.annotate(
            share, (1.01, len(present) - 1 - place), xycoords=("axes fraction", "data"), ha="left",
            va="center", fontsize=8, color=style.MUTED,
        )  # fmt: skip
    if never.all():
        main.text(0.5, 0.5, "no compiled variant is faster in any cell", transform=main.transAxes, ha="center")
    top.set(ylim=(-0.7, len(present) - 0.3), yticks=[(len(present) - 1) / 2], yticklabels=["never"])
    top.tick_params(bottom=False, labelbottom=False, left=False)
    top.spines[["left", "bottom"]].set_visible(False)
    top.set_facecolor("#f2f2f2")
    main.set(xlabel="size of the problem, N · p1 · p2", ylabel="calls until compiling has paid")
    title = f"Calls until compiling has paid, against {reference}"
    style.heading(figure, title, part.label)
    layout.top_legend(figure, present, lines=False)
    compile_s = dict(list(found.groupby("variant")["compile_s"]))
    costs = ", ".join(f"{name} {analysis.compile_time(compile_s[name])}" for name in present)
    caption = (
        f"Each mark is a cell: its compile time divided by the time that a step saves against {reference}. "
        "Lower pays sooner. In the grey band above are the cells where the compiled variant is not faster, "
        "so that it never pays; at its right, how many of the variant's cells those are. Compile times: "
        f"{costs}. {tables.compile_note(part.table)}"
    )
    alt = (
        f"Scatter, logarithmic axes: calls until compiling has paid against N times p1 times p2, for "
        f"{', '.join(present)}; {units.count(never.sum())} of {units.plural(len(found), 'cell')} never pay "
        f"({part.label})."
    )
    return Drawing(figure, title, caption, alt)

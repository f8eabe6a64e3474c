"""From which N on a GPU is worth it, with the copies to it and without."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

LINES = {  # column of analysis.devices: what the line is, and how it looks
    "cpu_s": ("fastest on the CPU", style.Look(style.BLUE, "o")),
    "device_s": ("fastest on the GPU", style.Look(style.VERMILLION, "s")),
    "end_to_end_s": ("GPU, copies counted", style.Look(style.PURPLE, "^")),
}


def crossing(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """The fastest variant of the CPU and of the GPU against N, one panel a shape, and where they cross."""
    cells = analysis.devices(part.table)
    if cells.empty:
        raise Skipped("no cell was timed on a CPU and on another device")
    figure, panels, note = layout.by_shape(zip(cells["p1"], cells["p2"], strict=True), "median time")
    ends: dict[Axes, list[layout.End]] = {}
    for (p1, p2), axes in panels.items():
        here = cells[(cells["p1"] == p1) & (cells["p2"] == p2)].sort_values("N")
        ends[axes] = []
        for column, (name, look) in LINES.items():
            line = here.dropna(subset=column)
            if line.empty:
                continue
            axes.plot(line["N"], line[column], **look.line)
            ends[axes].append(layout.End(line["N"].iloc[-1], line[column].iloc[-1], name, look))
            if column != "cpu_s":
                _mark(axes, analysis.wins_from(here["N"], here[column] / here["cpu_s"]), look, column == "device_s")
    style.log_axis(axes, "x", units.count, most=5)
    style.log_axis(axes, "y", style.tick_seconds)
    fastest = ", ".join(sorted(set(cells["cpu"]) | set(cells["device"])))
    caption = (
        f"{note}Lower is faster; both axes are logarithmic, and panels share them. Of each cell the fastest variant of "
        "either device: a step on data that lie on it, and with X, y and the parameters copied to the GPU and the "
        "gradients copied back in every step. The N beside an upright line is where the GPU becomes the faster one "
        "and stays it; none is drawn where it is so throughout, or nowhere. Fastest somewhere: "
        f"{fastest}.{layout.name_ends(figure, ends)}"
    )
    alt = (
        f"One panel for each of {units.plural(len(panels), 'shape')} (p1, p2): time against N of the fastest variant "
        f"on the CPU and on the GPU, with and without copies, logarithmic axes ({part.label})."
    )
    return Drawing(figure, "From which N on a GPU is worth it", caption, alt)


def _mark(axes: Axes, N: float, look: style.Look, left: bool) -> None:
    """An upright line at N with its number at its foot, on one side."""
    if np.isnan(N):
        return
    axes.axvline(N, color=look.color, linestyle="--", linewidth=0.9, zorder=1)
    axes.annotate(
        units.count(units.significant(N, 2)), (N, 0), (-3 if left else 3, 4 if left else 15),
        xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if left else "left", fontsize=8,
        color=look.color, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
    )  # fmt: skip

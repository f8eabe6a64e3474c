"""From which N on a GPU is worth it, with the copies to it and without."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

LINES = {  # column of analysis.devices: what the legend says, and how it looks
    "cpu_s": ("fastest on the CPU", style.Look(style.BLUE, "o", "-")),
    "device_s": ("fastest on the GPU", style.Look(style.VERMILLION, "s", "-")),
    "end_to_end_s": ("GPU, copies counted", style.Look(style.VERMILLION, "^", style.DASHED)),
}


def crossing(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """The fastest variant of the CPU and of the GPU against N, one panel a shape, and where they cross."""
    cells = analysis.devices(part.table)
    if cells.empty:
        raise Skipped("no cell was timed on a CPU and on another device")
    drawn = {column: line for column, line in LINES.items() if cells[column].notna().any()}
    sheet = layout.sheet(set(zip(cells["p1"], cells["p2"], strict=True)), len(drawn), "median time")
    ends = style.limits(cells[list(drawn)].to_numpy().ravel(), margin=0.1)
    for (p1, p2), axes in sheet.axes.items():
        here = cells[(cells["p1"] == p1) & (cells["p2"] == p2)].sort_values("N")
        axes.set(xlim=style.limits(cells["N"]), ylim=ends)
        style.log_axis(axes, "x", units.count, most=max(3, int(sheet.panel_in[0] / 0.75)))
        style.log_axis(axes, "y", style.tick_seconds)
        for column, (_, look) in drawn.items():
            axes.plot(
                here["N"], here[column], color=look.color, marker=look.marker, linestyle=look.dash, **style.marks(look)
            )
            if column != "cpu_s":
                _mark(axes, analysis.wins_from(here["N"], here[column] / here["cpu_s"]), look, column == "device_s")
    title = "From which N on a GPU is worth it"
    style.heading(sheet.figure, title, part.label)
    layout.top_legend(sheet.figure, dict(drawn.values()))
    fastest = ", ".join(sorted(set(cells["cpu"]) | set(cells["device"])))
    caption = (
        f"{sheet.note}Lower is faster; both axes are logarithmic, and panels share them. Of each cell the fastest "
        "variant of either device: a step on data that lie on it, and with X, y and the parameters copied to the GPU "
        "and the gradients copied back in every step. The N beside an upright line is where the GPU becomes the faster "
        "one and stays it; none is drawn where it is so throughout, or nowhere. Fastest somewhere: "
        f"{fastest}."
    )
    alt = (
        f"Small multiples, one for each of {units.plural(len(sheet.axes), 'shape')} (p1, p2): time against N of the "
        f"fastest variant on the CPU and on the GPU, with and without copies, logarithmic axes ({part.label})."
    )
    return Drawing(sheet.figure, title, caption, alt)


def _mark(axes: Axes, N: float, look: style.Look, left: bool) -> None:
    """An upright line at N with its number at its foot, on one side."""
    if np.isnan(N):
        return
    axes.axvline(N, color=look.color, linestyle=look.dash, linewidth=0.9, alpha=0.7, zorder=1)
    axes.annotate(
        units.count(units.significant(N, 2)), (N, 0), xycoords=("data", "axes fraction"), xytext=(-3 if left else 3, 4),
        textcoords="offset points", ha="right" if left else "left", fontsize=8, color=look.color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
    )  # fmt: skip

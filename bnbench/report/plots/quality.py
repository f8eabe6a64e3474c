"""How accurate the gradients are, and how much memory they take."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

MOST = 1e30  # an error or its inverse; beyond, an axis has no room for the others
PAGE = 4096  # bytes: memory is counted in pages, so nothing smaller can be told from zero
PANELS = {"max_error": "largest relative error of any gradient", "max_error_ratio": "largest error over its tolerance"}


def accuracy(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """Largest relative error of any gradient, and the largest error over its tolerance, a row a variant."""
    rows = part.table[part.table["max_error"].notna() | part.table["max_error_ratio"].notna()]
    if rows.empty:
        raise Skipped("no gradient was judged")
    variants = [name for name in looks if (rows["variant"] == name).any()]
    figure = Figure(figsize=(10.4, layout.strips_in(len(variants))))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        values = rows[column].to_numpy(dtype=float)
        finite = values[(values > 1 / MOST) & (values < MOST)]
        edges = (finite.min() / 3, finite.max() * 3) if finite.size else (0.1, 10.0)
        marks = layout.strips(axes, rows, np.clip(values, *edges), variants)
        style.log_axis(axes, "x", lambda value: f"{value:g}", most=6)
        axes.set_title(label)
    panels[1].axvline(1, color=style.INK, linewidth=1.2)
    layout.size_bar(figure, marks, panels)
    caption = (
        f"Each mark is a cell; farther left is better. {layout.STRIPS_NOTE} Left: the largest relative error over the "
        "four gradients, against the reference. Right: the same, each over its tolerance (rounding, length of the "
        "sums, conditioning, kinks); a gradient is invalid beyond the line at 1. Errors of exactly 0 are drawn at a "
        "third of the least, infinite ones at three times the largest."
    )
    alt = (
        f"Two panels with a row of marks for each of {layout.listed(variants)}: relative error, and error over "
        f"tolerance, whose largest is {rows['max_error_ratio'].max():.2g} ({part.label})."
    )
    return Drawing(figure, "Accuracy", caption, alt)


def memory(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """Working memory (peak less baseline) against N at the corner shapes, beside the batch's own size."""
    rows = analysis.measured(part.table)
    rows = rows[rows["peak_bytes"].notna() & rows["baseline_bytes"].notna()]
    if rows.empty:
        raise Skipped("no peak memory was recorded")
    shapes = set(zip(rows["p1"], rows["p2"], strict=True))
    corners = {end(shapes, key=key) for end in (min, max) for key in (None, lambda shape: (shape[0], -shape[1]))}
    rows = rows.assign(used=(rows["peak_bytes"] - rows["baseline_bytes"]).clip(lower=PAGE))
    figure, panels, _ = layout.by_shape(corners, "peak memory less the worker's baseline", rows["variant"].nunique())
    itemsize = 4 if "32" in str(rows["dtype"].iloc[0]) else 8
    N = np.unique(rows["N"].to_numpy(dtype=float))
    ends = {}
    for (p1, p2), axes in panels.items():
        here = rows[(rows["p1"] == p1) & (rows["p2"] == p2)]
        batch = itemsize * N * (p1 + 1)
        axes.plot(N, batch, color=style.MUTED, linestyle=":")
        own = layout.End(N[-1], batch[-1], "X and y alone", style.Look(style.MUTED))
        ends[axes] = [*layout.curves(axes, here, looks, "used").values(), own]
    style.log_axis(axes, "x", units.count, most=5)
    style.log_axis(axes, "y", units.bytes_, base=32)
    where = "the corners of the range of shapes" if len(shapes) > len(corners) else "every shape"
    caption = (
        f"Lower is leaner; {where} (p1, p2). Peak memory of the worker in this cell less what it held before, so the "
        "batch, temporaries and results. The dotted line is the size of X and y alone. What is below a page (4 KiB) "
        f"or hidden under an earlier peak, is drawn at 4 KiB. {layout.COLORS_NOTE}{layout.name_ends(figure, ends)}"
    )
    alt = (
        f"One panel for each of {units.plural(len(corners), 'shape')} (p1, p2): working memory against N for "
        f"{layout.listed(rows['variant'].unique())}, and the batch's own size ({part.label})."
    )
    return Drawing(figure, "Working memory against N", caption, alt)

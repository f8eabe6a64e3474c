"""How accurate the gradients are, and how much memory they take."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

MOST = 1e30  # an error or its inverse; beyond, an axis has no room for the others
PAGE = 4096  # bytes: memory is counted in pages, so nothing smaller can be told from zero


def accuracy(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Largest relative error of any gradient, and the largest error over its tolerance, against size."""
    rows = part.table[part.table["max_error"].notna() | part.table["max_error_ratio"].notna()]
    if rows.empty:
        raise Skipped("no gradient was judged")
    present = {name: look for name, look in assigned.items() if (rows["variant"] == name).any()}
    work = (rows["N"] * rows["p1"] * rows["p2"]).to_numpy(dtype=float)
    head = layout.HEAD_IN + layout.LEGEND_IN * -(-len(present) // layout.legend_columns(10.4)) + 0.3
    figure = Figure(figsize=(10.4, head + 3.7 + 0.6))
    tall = figure.get_size_inches()[1]
    panels = {
        "max_error": "largest relative error of any gradient",
        "max_error_ratio": "largest error over its tolerance",
    }
    for place, (column, label) in enumerate(panels.items()):
        axes = figure.add_axes(((0.8 + 5.15 * place) / 10.4, 0.6 / tall, 4.2 / 10.4, 3.7 / tall))
        values = rows[column].to_numpy(dtype=float)
        values = np.where(values > MOST, np.inf, np.where(values < 1 / MOST, 0.0, values))
        shown = values[(values > 0) & np.isfinite(values)]
        reference = [1.0] if column == "max_error_ratio" else []
        low, high = style.limits([*shown, *reference])
        infinite = np.isinf(values).any()
        if (values == 0).any():
            low /= 3
        high *= 3 if infinite else 1
        axes.set(xlim=style.limits(work), ylim=(low, high))
        style.log_axis(axes, "x", units.count, most=5)
        style.log_axis(axes, "y", _power if column == "max_error" else lambda value: f"{value:g}")
        clipped = np.clip(values, low, high)
        for name, look in present.items():
            own = (rows["variant"] == name).to_numpy()
            axes.plot(
                work[own], clipped[own], color=look.color, marker=look.marker, linestyle="none",
                clip_on=False, **style.marks(look, 5),
            )  # fmt: skip
        if reference:
            axes.axhline(1, color=style.INK, linewidth=1.2)
            axes.annotate(
                "the limit: above it, invalid", (1, 1), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", ha="right", va="bottom", fontsize=8,
            )  # fmt: skip
        axes.set_title(label, loc="left", pad=6)
        axes.set_xlabel("size of the problem, N · p1 · p2")
    title = "Accuracy"
    style.heading(figure, title, part.label)
    layout.top_legend(figure, present, lines=False)
    caption = (
        "Lower is better. Each mark is a cell. Left: the largest relative error over the four gradients, "
        "against the reference. Right: the same, each over its tolerance (rounding, length of the sums, "
        "conditioning, kinks); a verdict is valid up to 1. Marks on the lower edge are errors of exactly 0, "
        "marks on the upper edge infinite ones."
    )
    worst = rows["max_error_ratio"].max()
    alt = (
        "Two scatters against N times p1 times p2: relative error, and error over tolerance, whose largest "
        f"is {worst:.2g} ({part.label})."
    )
    return Drawing(figure, title, caption, alt)


def memory(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Working memory (peak less baseline) against N at the corner shapes, beside the batch's own size."""
    rows = analysis.measured(part.table)
    rows = rows[rows["peak_bytes"].notna() & rows["baseline_bytes"].notna()]
    if rows.empty:
        raise Skipped("no peak memory was recorded")
    shapes = set(zip(rows["p1"], rows["p2"], strict=True))
    corners = {
        min(shapes),
        max(shapes),
        min(shapes, key=lambda s: (s[0], -s[1])),
        max(shapes, key=lambda s: (s[0], -s[1])),
    }
    rows = rows[[shape in corners for shape in zip(rows["p1"], rows["p2"], strict=True)]]
    present = {name: look for name, look in assigned.items() if (rows["variant"] == name).any()}
    used = (rows["peak_bytes"] - rows["baseline_bytes"]).to_numpy(dtype=float)
    itemsize = 4 if "32" in str(rows["dtype"].iloc[0]) else 8
    N = np.unique(rows["N"].to_numpy(dtype=float))
    batch = {shape: itemsize * (N * shape[0] + N) for shape in corners}
    legend = present | {"the batch itself": style.Look(style.MUTED, "", style.DOTTED)}
    sheet = layout.sheet(corners, len(legend), "peak memory less the worker's baseline")
    low, high = style.limits([*np.maximum(used, PAGE), *(b for sizes in batch.values() for b in sizes)])
    low = min(low, PAGE / 1.5) if (used < PAGE).any() else max(low, PAGE / 1.5)
    for shape, axes in sheet.axes.items():
        axes.set(xlim=style.limits(N), ylim=(low, high))
        style.log_axis(axes, "x", units.count, most=6)
        style.log_axis(axes, "y", units.bytes_, most=7, binary=True)
        axes.plot(N, batch[shape], color=style.MUTED, linestyle=style.DOTTED, linewidth=1.4)
        here = ((rows["p1"] == shape[0]) & (rows["p2"] == shape[1])).to_numpy()
        for name, look in present.items():
            own = here & (rows["variant"] == name).to_numpy()
            order = np.argsort(rows["N"].to_numpy()[own])
            axes.plot(
                rows["N"].to_numpy()[own][order], np.maximum(used[own][order], PAGE),
                color=look.color, marker=look.marker, linestyle=look.dash, **style.marks(look),
            )  # fmt: skip
    title = "Working memory against N"
    style.heading(sheet.figure, title, part.label)
    layout.top_legend(sheet.figure, legend)
    where = "the corners of the range of shapes" if len(shapes) > len(corners) else "every shape"
    caption = (
        f"Lower is leaner; {where} (p1, p2). Peak memory of the worker in this cell less what it held "
        "before, so the batch, temporaries and results. The dotted line is the size of X and y alone. What "
        "is below a page (4 KiB), or was hidden under an earlier peak, is drawn at 4 KiB."
    )
    alt = (
        f"Small multiples at {units.plural(len(corners), 'shape')}: working memory against N for "
        f"{', '.join(present)}, and the batch's own size ({part.label})."
    )
    return Drawing(sheet.figure, title, caption, alt)


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    leading = round(value / 10.0**exponent)
    return f"${'' if leading == 1 else f'{leading} · '}10^{{{exponent}}}$"

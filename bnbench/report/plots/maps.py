"""Maps over the cells: loops against matrix form, and who wins."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

MOST_COLUMNS, MOST_ROWS = 12, 48
LONGEST_TIED = 20  # characters of a name that fit into a cell after a time
WASH = 0.45  # how much of a variant's colour its cells carry, the rest white


def crossover(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Ratio of the fastest loops to the fastest matrix form over N and p1·p2, with the frontier at 1."""
    cells = analysis.crossover(part.table)
    if cells.empty:
        raise Skipped("neither loops nor the matrix form was timed successfully")
    if cells["ratio"].isna().all():
        missing = "loops" if cells["loops_s"].isna().all() else "matrix form"
        raise Skipped(f"no cell was timed in both families (the {missing} is missing)")
    cells["width"] = cells["p1"] * cells["p2"]
    columns = layout.thin(sorted(cells["N"].unique()), MOST_COLUMNS)
    rows = layout.thin(sorted(cells["width"].unique()), MOST_ROWS)
    labels = [units.count(width) for width in rows]
    figure, axes = _grid(columns, labels, "p1 · p2", (1.12, 0.5), legend_in=0.15, foot=0.75)
    reach = max(1.0, float(np.nanmax(np.abs(np.log2(cells["ratio"])))))
    norm, colors = Normalize(-reach, reach), matplotlib.colormaps["PuOr"]
    log_ratio = np.full((len(rows), len(columns)), np.nan)
    shared = False
    for (N, width), group in cells.groupby(["N", "width"]):
        if N in columns and width in rows:
            x, y = columns.index(N), rows.index(width)
            log_ratio[y, x] = np.log(group["ratio"]).mean()
            shared |= len(group) > 1
            _crossover_cell(axes, x, y, group, lambda value: colors(norm(value)))
    finished = set(zip(cells["N"], cells["width"], strict=True))
    for N, width in set(zip(part.table["N"], part.table["p1"] * part.table["p2"], strict=True)) - finished:
        if N in columns and width in rows:
            _hatched(axes, columns.index(N), rows.index(width), "none finished")
    _frontier(axes, log_ratio)
    _color_bar(axes, reach, colors)
    title = "Loops against matrix form: time ratio"
    device = f", {cells['device'].iloc[0]}" if part.table["device"].nunique() > 1 else ""
    style.heading(figure, title, part.label + device)
    crossed = np.nanmin(log_ratio) < 0 < np.nanmax(log_ratio)
    if not crossed:
        faster = "loops are" if np.nanmax(log_ratio) < 0 else "the matrix form is"
        at = (0.012, 1 - 0.56 / figure.get_figheight())
        figure.text(*at, f"No frontier in range: {faster} faster throughout.", va="top", style="italic")
    mean = (
        " Where several (p1, p2) share a product, the figure is the geometric mean of their ratios, and the "
        "smallest and largest stand below it."
    )
    caption = (
        "Fastest median of the family loops over fastest median of the family matrix: below 1 (orange) "
        f"loops are faster, above 1 (purple) the matrix form is.{mean if shared else ''} "
        f"{_say_crossings(log_ratio, columns, rows) if crossed else 'No frontier in range.'} Hatched cells "
        "lack one family or both; blank ones were not tried."
    )
    both = cells["ratio"].dropna()
    alt = (
        f"Map over N and p1 times p2 of the time of loops over that of the matrix form: from "
        f"{units.factor(both.min())} to {units.factor(both.max())}; loops are faster in "
        f"{units.count((both < 1).sum())} of {units.plural(len(both), 'cell')} ({part.label})."
    )
    return Drawing(figure, title, caption, alt)


def _crossover_cell(axes: Axes, x: int, y: int, group: pd.DataFrame, color: Callable[[float], tuple]) -> None:
    ratios = group["ratio"].dropna()
    if ratios.empty:
        loops, matrix = group["loops_s"].notna().any(), group["matrix_s"].notna().any()
        _hatched(axes, x, y, "never both" if loops and matrix else "loops only" if loops else "matrix only")
        return
    mean = float(np.exp(np.log(ratios).mean()))
    fill = color(np.log2(mean))
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=fill, edgecolor="white", linewidth=1))
    behind = {"facecolor": fill, "edgecolor": "none", "pad": 0.6}  # keeps the figures clear of the frontier
    text = {"ha": "center", "va": "center", "color": _ink_on(fill), "zorder": 6, "bbox": behind}
    several = len(ratios) > 1
    axes.text(x, y + (0.13 if several else 0), units.factor(mean), fontsize=9.5, **text)
    if several:
        low, high = units.factor(ratios.min()), units.factor(ratios.max())
        axes.text(x, y - 0.24, low if low == high else f"{low} – {high}", fontsize=6.5, **text)


def _frontier(axes: Axes, log_ratio: np.ndarray) -> None:
    """Draw where the log ratio, linear between cell centres (and level beyond the outermost), is 0."""
    rows, columns = log_ratio.shape
    padded = np.ma.masked_invalid(np.pad(log_ratio, 1, mode="edge"))
    x = [-0.5, *range(columns), columns - 0.5]
    y = [-0.5, *range(rows), rows - 0.5]
    if padded.min() < 0 < padded.max():
        axes.contour(x, y, padded, levels=[0], colors="white", linewidths=5, zorder=4)
        axes.contour(x, y, padded, levels=[0], colors="black", linewidths=2.4, zorder=5)


def _say_crossings(log_ratio: np.ndarray, columns: list, rows: list) -> str:
    """The frontier in words: the N at which each row crosses it."""
    found = []
    for width, row in zip(rows, log_ratio, strict=True):
        places = [units.count(units.significant(N, 2)) for N in analysis.frontier(columns, np.exp(row))]
        if places:
            found.append(f"N ≈ {' and '.join(places)} for p1·p2 = {units.count(width)}")
    where = "; ".join(found) or "at no N within the measured range, only between values of p1·p2"
    return (
        "The black line is the frontier where both are equally fast, the log ratio interpolated linearly in "
        f"log N along each row, and between rows. Rows cross it at: {where}."
    )


def _color_bar(axes: Axes, reach: float, colors: Colormap) -> None:
    """Draw the scale of ratios, 2^-reach to 2^reach, under the map."""
    figure = axes.figure
    wide, tall = figure.get_size_inches()
    bar = figure.add_axes((1.4 / wide, 0.33 / tall, 2.7 / wide, 0.11 / tall))
    shades = np.linspace(-reach, reach, 256)[None]
    bar.imshow(shades, aspect="auto", cmap=colors, extent=(-reach, reach, 0, 1))
    step = max(1, round(reach / 3))
    ticks = [k * step for k in range(-int(reach // step), int(reach // step) + 1)]
    bar.set(yticks=[], xticks=ticks, xticklabels=[f"1/{2**-k}" if k < 0 else f"{2**k}" for k in ticks])
    bar.tick_params(labelsize=7.5, length=2)
    bar.spines[:].set_visible(False)
    text = {"transform": bar.transAxes, "va": "center", "fontsize": 8}
    bar.text(-0.02, 0.5, "loops faster", ha="right", **text)
    bar.text(1.02, 0.5, "matrix form faster", ha="left", **text)


def _hatched(axes: Axes, x: int, y: int, word: str) -> None:
    look = {"facecolor": "white", "edgecolor": "#c4c4c4", "hatch": "////", "linewidth": 0}
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **look))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
    axes.text(x, y, word, ha="center", va="center", fontsize=7.5, color=style.INK, bbox=box)


def winner(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Who is fastest in each cell, by how much time, and with whom it is tied."""
    found = analysis.winners(part.table)
    if not found:
        raise Skipped("nothing was timed successfully")
    asked = set(part.table[analysis.CELL].itertuples(index=False, name=None))
    all_shapes = sorted({(p1, p2) for _, p1, p2 in asked})
    all_n = sorted({N for N, _, _ in asked})
    columns, rows = layout.thin(all_n, MOST_COLUMNS), layout.thin(all_shapes, MOST_ROWS)
    leading = {name: look for name, look in assigned.items() if any(row["winner"] == name for row in found)}
    width = 1.55
    legend_rows = -(-len(leading) // layout.legend_columns(1.2 + width * len(columns)))
    labels = [f"{p1} × {p2}" for p1, p2 in rows]
    legend_in = layout.LEGEND_IN * legend_rows + 0.05
    figure, axes = _grid(columns, labels, "p1 × p2", (width, 0.4), legend_in, foot=0.1)
    for N, p1, p2 in asked - {(row["N"], row["p1"], row["p2"]) for row in found}:
        if N in columns and (p1, p2) in rows:
            _hatched(axes, columns.index(N), rows.index((p1, p2)), "none finished")
    for row in found:
        if row["N"] not in columns or (row["p1"], row["p2"]) not in rows:
            continue
        x, y = columns.index(row["N"]), rows.index((row["p1"], row["p2"]))
        color = _washed(leading[row["winner"]].color)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=1.2))
        axes.text(x, y + 0.17, style.short(row["winner"]), ha="center", va="center", fontsize=7.5)
        text = units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
        if row["tied"][1:]:
            text += "  = " + (_tied_with(row["tied"][1:]))
        axes.text(x, y - 0.2, text, ha="center", va="center", fontsize=6.5 if row["tied"][1:] else 7)
    title = "The fastest variant in each cell"
    style.heading(figure, title, part.label)
    width_in, tall = figure.get_size_inches()
    handles = [
        Patch(
            facecolor=_washed(look.color),
            label=f"{style.short(name)}: {sum(row['winner'] == name for row in found)}",
        )
        for name, look in leading.items()
    ]
    figure.legend(
        handles=handles, frameon=False, loc="upper left", fontsize=8, ncols=layout.legend_columns(width_in),
        bbox_to_anchor=(0.002, 1 - (layout.HEAD_IN - 0.06) / tall), borderaxespad=0.2, columnspacing=1.4,
    )  # fmt: skip
    left_out = len(all_n) * len(all_shapes) > len(columns) * len(rows)
    caption = (
        ("Only evenly spread values of N and (p1, p2) are shown. " if left_out else "")
        + "Rows are inputs × hidden nodes. In each cell: the variant with the smallest median, and that "
        "median. An equals sign names one tied with it, or counts them: their 95 % intervals overlap the "
        "winner's. The legend counts the cells won. In hatched cells no variant finished; blank ones were "
        "not asked for."
    )
    alt = (
        "Map over N and (p1, p2) of the fastest variant: "
        + ", ".join(f"{name} in {sum(row['winner'] == name for row in found)}" for name in leading)
        + f" of {units.plural(len(found), 'cell')} ({part.label})."
    )
    return Drawing(figure, title, caption, alt)


def _grid(
    columns: list,
    row_labels: list[str],
    corner: str,
    cell_in: tuple[float, float],
    legend_in: float,
    foot: float,
) -> tuple[Figure, Axes]:
    """Figure with one axes of unit cells: N across the top, `corner` naming the rows, the first row lowest.

    `cell_in` is a cell's width and height; all sizes are in inches.
    """
    left, top = 1.0, layout.HEAD_IN + legend_in + 0.5
    inner, deep = cell_in[0] * len(columns), cell_in[1] * len(row_labels)
    total, tall = max(left + inner + 0.2, 6.2), top + deep + foot
    figure = Figure(figsize=(total, tall))
    axes = figure.add_axes((left / total, foot / tall, inner / total, deep / tall))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(row_labels) - 0.5))
    axes.set_xticks(range(len(columns)), [units.count(N) for N in columns])
    axes.set_yticks(range(len(row_labels)), row_labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.text((left + inner / 2) / total, 1 - (top - 0.28) / tall, "N (rows)", ha="center", va="bottom")
    figure.text((left - 0.06) / total, 1 - (top - 0.28) / tall, corner, ha="right", va="bottom")
    return figure, axes


def _tied_with(names: list[str]) -> str:
    if len(names) == 1 and len(names[0]) <= LONGEST_TIED:
        return style.plain(names[0])
    return units.plural(len(names), "other")


def _washed(color: str) -> tuple[float, float, float]:
    share = WASH if to_rgb(color) != (0.0, 0.0, 0.0) else 0.25
    return tuple(1 - share + share * channel for channel in to_rgb(color))


def _ink_on(color: tuple) -> str:
    red, green, blue = color[:3]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else style.INK

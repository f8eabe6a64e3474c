"""Maps over the cells: loops against matrix form, and who wins."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.patches import Rectangle

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

MOST_COLUMNS, MOST_ROWS = 12, 48
SQUARE_IN, WIDTH_IN = (0.6, 0.42), 10.6  # of a cell of the crossover, and of a row of its panels
LETTER_IN, ROW_IN = 0.068, 0.42  # of a cell of the winners: width for each letter of its text, and height
MOST_DIGITS = 1e5  # times, from which on they are said in words
MOST_BANDS = 4  # of tied variants, beyond which a cell is grey
RATIOS = LinearSegmentedColormap.from_list("ratios", [style.ORANGE, "#ffffff", style.BLUE])
TIED, BARE = "#e8e8e8", "#ffffff"
WASH = 0.45  # how much of a variant's colour its cells carry, the rest white


def crossover(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """The faster of loops and matrix form by how much, in a square of p1 and p2 for each N."""
    cells = analysis.crossover(part.table)
    if cells.empty:
        raise Skipped("neither loops nor the matrix form was timed successfully")
    both = cells["ratio"].dropna()
    if both.empty:
        missing = "loops" if cells["loops_s"].isna().all() else "matrix form"
        raise Skipped(f"no cell was timed in both families (the {missing} is missing)")
    cells["tied"] = cells["verdict"] == analysis.TIED
    asked = part.table[analysis.CELL].drop_duplicates()
    all_values = [sorted(asked[name].unique()) for name in analysis.CELL]
    N, p1, p2 = (layout.thin(values, MOST_COLUMNS) for values in all_values)
    width, height = len(p2) * SQUARE_IN[0] + 0.3, len(p1) * SQUARE_IN[1] + 0.45
    rows = -(-len(N) // max(1, int(WIDTH_IN // width)))
    figure, panels = layout.panels(len(N), -(-len(N) // rows), (width, height))
    reach = max(1.0, float(np.abs(np.log2(both)).max()))
    norm = Normalize(-reach, reach)
    for n, axes in zip(N, panels, strict=True):
        axes.set_title(f"N = {units.count(n)}")
        _unit_cells(axes, [units.count(value) for value in p2], [units.count(value) for value in p1])
    where = {(n, a, b): (panels[k], x, y)
             for k, n in enumerate(N) for y, a in enumerate(p1) for x, b in enumerate(p2)}  # fmt: skip
    for cell in asked.merge(cells, how="left", on=analysis.CELL).itertuples():
        if (cell.N, cell.p1, cell.p2) not in where:
            continue
        axes, x, y = where[cell.N, cell.p1, cell.p2]
        if np.isnan(cell.ratio):
            alone = [name for name in ("loops", "matrix") if getattr(cell, f"{name}_s") > 0]
            _cell(axes, x, y, [BARE], "only" if alone else "neither", "".join(alone))
        elif cell.tied:
            _cell(axes, x, y, [TIED], "tie", "")
        else:
            times = max(cell.ratio, 1 / cell.ratio)
            times = f"{units.factor(times) if times < MOST_DIGITS else units.count(times)}×"
            _cell(axes, x, y, [RATIOS(norm(np.log2(cell.ratio)))], times, "loops" if cell.ratio < 1 else "matrix")
    figure.supxlabel("p2 (hidden nodes)")
    figure.supylabel("p1 (inputs)")
    tied = cells.loc[both.index, "tied"]
    won = {"loops": int((both[~tied] < 1).sum()), "the matrix form": int((both[~tied] > 1).sum())}
    device = f", {cells['device'].iloc[0]}" if part.table["device"].nunique() > 1 else ""
    said = (
        f"{', '.join(f'{name} faster in {units.count(n)}' for name, n in won.items())}, tied in "
        f"{units.count(tied.sum())} of {units.plural(len(both), 'cell')} with both"
    )
    caption = (
        f"{_left_out(all_values, (N, p1, p2))}Fastest variant of the family loops against fastest of the family "
        f"matrix{device}, those compiled elsewhere left out: {said}. A number is how many times as long the slower one "
        "takes. In a tie the interval of the faster one's median overlaps that of the other. A cell with one family, "
        "or none, says so; blank ones were not asked for."
    )
    alt = (
        f"A square of p1 and p2 for each N: {said}; loops take {_range(both)} of the matrix form's time ({part.label})."
    )
    key = "Which is faster, loops or the matrix form, and by how many times; a tie: their 95 % intervals overlap"
    return Drawing(figure, "Loops against matrix form, for each N", caption, alt, key)


def winner(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """Who is fastest in each cell, in what time, and with whom it is tied."""
    cells = analysis.winners(part.table)
    if not cells:
        raise Skipped("nothing was timed successfully")
    asked = set(part.table[analysis.CELL].itertuples(index=False, name=None))
    all_values = sorted({N for N, _, _ in asked}), sorted({(p1, p2) for _, p1, p2 in asked})
    columns, rows = layout.thin(all_values[0], MOST_COLUMNS), layout.thin(all_values[1], MOST_ROWS)
    alone = Counter(row["winner"] for row in cells if len(row["tied"]) == 1)
    shared = Counter(name for row in cells if len(row["tied"]) > 1 for name in row["tied"])
    texts = {}
    for row in cells:
        tied = row["tied"]
        time = units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
        others = f" = {style.short(tied[1]) if len(tied) == 2 else units.plural(len(tied) - 1, 'other')}"
        bands = [_washed(looks[name].color) for name in tied] if len(tied) <= MOST_BANDS else [TIED]
        texts[tuple(row[name] for name in analysis.CELL)] = (
            bands, style.short(row["winner"]), time + (others if tied[1:] else "")
        )  # fmt: skip
    longest = max(max(len(upper), 0.9 * len(lower)) for _, upper, lower in texts.values())
    size = len(columns) * (longest * LETTER_IN + 0.15) + 0.5, len(rows) * ROW_IN + 0.2
    figure, [axes] = layout.panels(1, 1, size)
    _unit_cells(axes, [units.count(N) for N in columns], [f"{p1} × {p2}" for p1, p2 in rows])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="N (rows)", ylabel="p1 × p2")
    for (x, N), (y, shape) in itertools.product(enumerate(columns), enumerate(rows)):
        cell = (N, *shape)
        if cell in asked:
            _cell(axes, x, y, *texts.get(cell, ([BARE], "none finished", "")))
    leading = [name for name in looks if alone[name] or shared[name]]
    counts = ", ".join(f"{name} {alone[name]} ({shared[name]})" for name in leading[: layout.MOST_NAMED])
    said = f"{counts}{', …' if leading[layout.MOST_NAMED :] else ''}, of {units.plural(len(cells), 'cell')}"
    caption = (
        f"{_left_out(all_values, (columns, rows))}Rows are inputs × hidden nodes. In each cell: the variant of the "
        "smallest median, and that. An equals sign names one tied with it, or counts them: their 95 % intervals "
        f"overlap the winner's, and the cell has the colours of all (grey beyond {MOST_BANDS}). Cells won, and in "
        f"brackets tied for the first place: {said}. In white cells no variant finished; blank ones were not asked for."
    )
    alt = f"Map over N and (p1, p2) of the fastest variant; cells won (and tied): {said} ({part.label})."
    return Drawing(figure, "The fastest variant in each cell", caption, alt)


def _unit_cells(axes: Axes, columns: list[str], rows: list[str]) -> None:
    """Make the axes a table of unit cells, the first row lowest."""
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _cell(axes: Axes, x: int, y: int, bands: list, text: str, below: str) -> None:
    """A cell in one or more colours beside each other, with one or two lines of text."""
    for place, color in enumerate(bands):
        left = x - 0.5 + place / len(bands)
        axes.add_patch(Rectangle((left, y - 0.5), 1 / len(bands), 1, facecolor=color, edgecolor="none"))
    edge = style.FAINT if bands == [BARE] else "white"
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor=edge, linewidth=1.2))
    options: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "color": style.MUTED if bands == [BARE] else _ink_on(bands[0]),
    }
    axes.text(x, y + (0.18 if below else 0), text, fontsize=7.5, **options)
    axes.text(x, y - 0.22, below, fontsize=6.5, **options)


def _left_out(values: Sequence, shown: Sequence) -> str:
    return "" if list(map(len, values)) == list(map(len, shown)) else "Only evenly spread values are shown. "


def _range(ratios: pd.Series) -> str:
    return f"{units.factor(ratios.min())} to {units.factor(ratios.max())}"


def _washed(color: str) -> tuple[float, ...]:
    share = WASH if to_rgb(color) != (0.0, 0.0, 0.0) else 0.25
    return tuple(1 - share + share * channel for channel in to_rgb(color))


def _ink_on(color: tuple | str) -> str:
    red, green, blue = to_rgb(color)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else style.INK

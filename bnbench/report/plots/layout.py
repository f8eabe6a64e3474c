"""Where things go: small multiples over (p1, p2), and labels that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnbench.report.plots import style

MOST_SHAPES = 6  # values of p1, and of p2, drawn in one sheet of small multiples
HEAD_IN = 0.62  # inches kept for the heading
LEGEND_IN = 0.22  # inches a legend row takes


class Skipped(Exception):
    """A plot cannot be drawn from these data; the message is the reason, for the reader."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure with the words that go beside it."""

    figure: Figure
    title: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Sheet:
    """Small multiples: one axes a shape (p1, p2)."""

    figure: Figure
    axes: dict[tuple[int, int], Axes]
    panel_in: tuple[float, float]  # width and height of one panel, inches
    note: str  # what was left out, empty where nothing was


def thin(values: Sequence, most: int) -> list:
    """At most `most` of the values, evenly spread, the first and last kept."""
    values = list(values)
    if len(values) <= most:
        return values
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def sheet(shapes: Iterable[tuple[int, int]], variants: int, y_label: str, gap_in: float = 0.2) -> Sheet:
    """Lay out one panel a shape: p1 down and p2 across where every pair occurs, else row by row."""
    shapes = sorted(set(shapes))
    p1s, p2s = (thin(sorted({shape[i] for shape in shapes}), MOST_SHAPES) for i in (0, 1))
    kept = [shape for shape in shapes if shape[0] in p1s and shape[1] in p2s]
    note = "" if len(kept) == len(shapes) else f"{len(kept)} of {len(shapes)} shapes are shown. "
    if len(kept) == len(p1s) * len(p2s):
        rows, columns = len(p1s), len(p2s)
    else:
        columns = int(np.ceil(np.sqrt(len(kept))))
        rows = -(-len(kept) // columns)
    width, height = {1: (6.2, 4.4), 2: (4.2, 3.1), 3: (3.2, 2.5)}.get(max(rows, columns), (2.45, 2.0))
    left, right, title = 0.85, gap_in + 0.1, 0.3
    total = max(left + columns * width + (columns - 1) * gap_in + right, 6.5)
    legend_rows = 0 if len(kept) == 1 and variants == 0 else -(-max(variants, 1) // legend_columns(total))
    top = HEAD_IN + LEGEND_IN * legend_rows + title
    tall = top + rows * height + (rows - 1) * title + 0.62
    figure = Figure(figsize=(total, tall))
    width = (total - left - right - (columns - 1) * gap_in) / columns
    axes = {}
    for place, shape in enumerate(kept):
        row, column = divmod(place, columns)
        box = (
            left + column * (width + gap_in),
            tall - top - row * (height + title) - height,
            width,
            height,
        )
        panel = figure.add_axes((box[0] / total, box[1] / tall, box[2] / total, box[3] / tall))
        panel.set_title(f"p1 = {shape[0]}, p2 = {shape[1]}", loc="left", fontsize=8.5, pad=4)
        panel.tick_params(labelleft=column == 0, labelbottom=place + columns >= len(kept))
        axes[shape] = panel
    figure.text(0.12 / total, (0.62 + tall - top) / 2 / tall, y_label, rotation=90, va="center", ha="left")
    figure.text((left + total - right) / 2 / total, 0.1 / tall, "N (rows)", va="bottom", ha="center")
    return Sheet(figure, axes, (width, height), note)


def legend_columns(width_in: float) -> int:
    """How many legend entries fit beside each other."""
    return max(1, int((width_in - 0.3) // 1.95))


def top_legend(figure: Figure, assigned: dict[str, style.Look], lines: bool = True) -> None:
    """Put the shared legend under the heading, in rows from the left."""
    width, height = figure.get_size_inches()
    style.legend(
        figure,
        assigned,
        lines,
        loc="upper left",
        bbox_to_anchor=(0.002, 1 - (HEAD_IN - 0.06) / height),
        ncols=min(legend_columns(width), len(assigned)),
        fontsize=8,
        columnspacing=1.4,
        borderaxespad=0.2,
        labelspacing=0.35,
    )


def spread(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move `values` least (in squares) so that neighbours are `gap` apart, and all lie in [low, high].

    Isotonic regression of the sorted values less their place times `gap`.
    """
    from scipy.optimize import isotonic_regression

    order, place = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    moved = isotonic_regression(np.asarray(values, float)[order] - place).x
    back = np.empty_like(moved)
    back[order] = np.clip(moved, low, max(low, high - gap * (len(moved) - 1))) + place
    return back

"""How every plot looks, and how it is written: the same figure gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bnbench.folder import Folder
from bnbench.report import analysis, units
from bnbench.report.plots.compact import compact

INK, MUTED, FAINT, GREY = "#222222", "#666666", "#e4e4e4", "#9a9a9a"
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"  # Okabe & Ito 2008
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "errorbar.capsize": 1.5,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "figure.labelsize": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "savefig.bbox": "tight",
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "bnbench",
    "text.color": INK,
    "text.parse_math": False,  # a name draws as it is written
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
LONGEST_NAME = 32  # characters that a plot has room for
CLASSIC = ("loops-numba", "matrix-numpy")  # the two forms that are compared, in colour in every plot
COLORED, AMONG = 5, 3  # variants in colour; the places of a cell that count for being chosen
OWN = {"loops-numba": ORANGE, "matrix-numpy": BLUE, "fused-numba": GREEN, "loops-numba-parallel": VERMILLION}
OWN |= {"matrix-numba": SKY}
COLORS = (PURPLE, BLACK, *OWN.values())
MARKERS = "o^sDv"
STEPS = {10: (1, 2, 5), 32: (1, 2, 4, 8, 16)}  # by the base of a logarithmic axis, the ticks where it is short


@dataclass(frozen=True)
class Look:
    """Colour and marker of a variant, the same in every plot; drawn thin and without a marker if faded."""

    color: str = GREY
    marker: str = ""

    @property
    def faded(self) -> bool:
        """Whether it is not among those in colour."""
        return not self.marker

    @property
    def line(self) -> dict[str, Any]:
        """Options of a line with marks."""
        size = {"color": self.color, "marker": self.marker, "markersize": 4.5, "markeredgecolor": "white"}
        return size | ({"linewidth": 0.7, "zorder": 1.5} if self.faded else {"markeredgewidth": 0.5})


def looks(table: pd.DataFrame) -> dict[str, Look]:
    """Every variant's look, in the table's order.

    In colour are the classic forms, and of the others those most often among a cell's `AMONG` fastest.
    """
    rows = analysis.measured(table)
    place = rows.groupby([*analysis.SETTING, *analysis.CELL], dropna=False)["median_s"].rank()
    places = place.groupby(rows["variant"]).agg([lambda here: (here <= AMONG).sum(), "mean"])
    ranked = places.sort_values(list(places), ascending=[False, True], kind="stable").index
    classic = [name for name in CLASSIC if name in ranked]
    return assigned(list(table["variant"].unique()), dict.fromkeys([*classic, *ranked]))


def assigned(names: list[str], ranked: Iterable[str]) -> dict[str, Look]:
    """The looks of variants: the first `COLORED` of `ranked` in colour, all others faded."""
    colored = sorted(list(ranked)[:COLORED], key=names.index)
    free = [color for color in COLORS if color not in {OWN.get(name) for name in colored}]
    given = {name: Look(OWN.get(name) or free.pop(0), marker) for name, marker in zip(colored, MARKERS, strict=False)}
    return {name: given.get(name, Look()) for name in names}


def short(name: str, most: int = LONGEST_NAME) -> str:
    """A name in at most so many characters: its beginning and its end."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - (most + 1) // 2 :]}"


def log_axis(axes: Axes, which: str, say: Callable[[float], str], most: int = 8, base: int = 10) -> None:
    """Make the axis "x" or "y", and those that share it, logarithmic, with at most about `most` ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    low, high = axis.get_view_interval()
    between = STEPS[base] if high < low * base**2 else (1,)
    axis.set_major_locator(LogLocator(base, between, numticks=most))
    axis.set_major_formatter(lambda value, _: say(value))
    axis.set_minor_locator(NullLocator())


def tick_seconds(value: float) -> str:
    """Say a tick of a time axis, as in 10 µs."""
    scale, unit = next((pair for pair in units.TIMES if value >= pair[0] * 0.999), units.TIMES[-1])
    return f"{value / scale:g}{units.GAP}{unit}"


def lay_out(figure: Figure) -> None:
    """Give the figure's parts their places."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)


def few_colours(png: io.BytesIO) -> bytes:
    """A PNG in the 256 colours that are nearest to its own: a third of the bytes, and no eye tells."""
    written, about = io.BytesIO(), PngInfo()
    about.add_text("Software", f"matplotlib {matplotlib.__version__}")
    drawn = Image.open(png)
    few = drawn.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(written, "PNG", optimize=True, dpi=drawn.info["dpi"], pnginfo=about)
    return written.getvalue()


def save(figure: Figure, folder: Folder, name: str) -> tuple[Path, Path]:
    """Write `name`.png and `name`.svg into the folder's plots."""
    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    lay_out(figure)
    figure.set_layout_engine("none")  # not again for each format
    figure.savefig(png, format="png")
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return (
        folder.put(f"plots/{name}.png", few_colours(png)),
        folder.put(f"plots/{name}.svg", compact(svg.getvalue().decode())),
    )

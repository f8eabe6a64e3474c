"""How every plot looks: one colour, marker and dash a variant, plain log ticks, reproducible files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from bnbench.folder import Folder
from bnbench.report import units
from bnbench.report.plots.compact import compact

DPI = 150
LONGEST_NAME = 24  # characters of a variant's name that legends and cells have room for
INK, MUTED, FAINT = "#222222", "#666666", "#dddddd"
RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.5,
    "mathtext.default": "regular",
    "svg.fonttype": "path",
    "svg.hashsalt": "bnbench",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash pattern of a variant, the same in every plot."""

    color: str
    marker: str
    dash: str | tuple


BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"  # Okabe & Ito 2008
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7f7f7f"
DOTTED, DASHED, DASHDOT, DASHDOTDOT = (
    (0, (1, 1.5)),
    (0, (5, 2)),
    (0, (6, 2, 1, 2)),
    (0, (5, 1.5, 1, 1.5, 1, 1.5)),
)

LOOKS = {
    "loops-python": Look(BLACK, "x", DOTTED),
    "loops-numba": Look(ORANGE, "o", "-"),
    "loops-numba-parallel": Look(VERMILLION, "s", DASHED),
    "matrix-numpy": Look(BLUE, "^", "-"),
    "matrix-numba": Look(SKY, "D", DASHED),
    "matrix-kronecker": Look(PURPLE, "P", DOTTED),
    "fused-numba": Look(GREEN, "*", "-"),
    "autograd": Look(PURPLE, "v", DASHDOT),
    "torch-eager": Look(VERMILLION, "<", DASHDOT),
    "torch-compile": Look(VERMILLION, ">", DASHDOTDOT),
    "jax-jit": Look(PURPLE, "d", "-"),
    "tensorflow-xla": Look(ORANGE, "p", DASHDOT),
    "r-matrix": Look(GREY, "^", "-"),
    "r-loop": Look(GREY, "x", DOTTED),
    "rcpp-loop": Look(GREY, "o", DASHED),
}
OTHERS = [  # cycled through by the rest, so that nine more differ in colour or mark, and 27 in their sum
    (color, marker)
    for marker in ("v", "h", "<", "d", ">", "p")
    for color in (GREY, PURPLE, GREEN, VERMILLION, BLUE, ORANGE, BLACK)
    if (color, marker) not in {(look.color, look.marker) for look in LOOKS.values()}
]
DASHES = [DASHDOT, DASHDOTDOT, "-"]


def looks(variants: Iterable[str]) -> dict[str, Look]:
    """Assign each variant its look: fixed for the known names, by order of appearance for the rest."""
    variants = list(variants)
    others = [name for name in variants if name not in LOOKS]
    cycled = {
        name: Look(*OTHERS[place % len(OTHERS)], DASHES[place % len(DASHES)]) for place, name in enumerate(others)
    }
    return {name: LOOKS.get(name) or cycled[name] for name in variants}


def legend(figure: Figure, assigned: dict[str, Look], lines: bool = True, **options: object) -> None:
    """Draw one shared legend of the variants; `lines` shows the dash pattern beside the marker."""
    handles = [
        Line2D(
            [], [], color=look.color, marker=look.marker, linestyle=look.dash if lines else "none",
            label=short(name), **marks(look),
        )
        for name, look in assigned.items()
    ]  # fmt: skip
    figure.legend(handles=handles, frameon=False, handlelength=3.2 if lines else 1.2, **options)


def marks(look: Look, size: float = 5) -> dict:
    """Marker options: a star needs to be larger to look the same, a white rim sets marks apart."""
    filled = look.marker != "x"
    return {
        "markersize": size * {"*": 1.6, "P": 1.15, "D": 0.85, "d": 1.1}.get(look.marker, 1),
        "markeredgecolor": "white" if filled else look.color,
        "markeredgewidth": size / 10 if filled else 1.2,
        "linewidth": 1.4,
    }


def plain(text: str) -> str:
    """Escape what mathtext would read, so that any text draws as it is written."""
    return text.replace("$", r"\$")


def short(name: str) -> str:
    """Say a variant's name where room is scarce: at most `LONGEST_NAME` characters."""
    return plain(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def log_axis(
    axes: Axes,
    which: str,
    say: Callable[[float], str],
    most: int = 8,
    binary: bool = False,
    within: tuple[float, float] | None = None,
) -> None:
    """Make an axis logarithmic with ticks at powers of ten (of two for bytes), thinned to `most`.

    Ticks lie `within` a range, the axis's own limits unless given.
    """
    getattr(axes, f"set_{which}scale")("log", base=2 if binary else 10)
    axis = getattr(axes, f"{which}axis")
    low, high = within or sorted(getattr(axes, f"get_{which}lim")())
    base = 2 if binary else 10
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    if binary and step > 1:
        step = next((s for s in (2, 5, 10, 20) if s >= step), step)
    ticks = [float(base) ** k for k in range(first, last + 1) if (k - (0 if binary else first)) % step == 0]
    if len(ticks) < 2:
        ticks = _between(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axes.grid(True, axis=which, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _between(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten, for an axis that spans less than a decade."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**k for k in powers for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    return ticks or [units.significant(math.sqrt(low * high), 2)]


def limits(values: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """Range of positive values widened by a share of its logarithmic length, at least a factor of 1.6."""
    values = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = math.log(min(values)), math.log(max(values))
    pad = max((high - low) * margin, math.log(1.6) if high - low < 1e-9 else 0.1)
    return math.exp(low - pad), math.exp(high + pad)


def tick_seconds(value: float) -> str:
    """Say a tick of a time axis, as in 10 µs."""
    scale, unit = next((pair for pair in units.TIMES if value >= pair[0] * 0.999), units.TIMES[-1])
    return f"{value / scale:g}{units.GAP}{unit}"


def heading(figure: Figure, title: str, setting: str) -> None:
    """Set the title, and under it the setting, at the figure's upper left."""
    height = figure.get_size_inches()[1]
    figure.text(0.012, 1 - 0.12 / height, plain(title), fontsize=12, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.36 / height, plain(setting), fontsize=9, color=MUTED, va="top")


def save(figure: Figure, folder: Folder, name: str) -> tuple[Path, Path]:
    """Write `name`.png (150 dpi) and `name`.svg into the folder's plots; the same figure gives the same bytes."""
    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": f"matplotlib {matplotlib.__version__}"})
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return (
        folder.put(f"plots/{name}.png", png.getvalue()),
        folder.put(f"plots/{name}.svg", compact(svg.getvalue().decode())),
    )

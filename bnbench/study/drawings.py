"""The plots of the study `saturation`; a figure's label is its caption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnbench.report.plots import layout, style
from bnbench.study import signal
from bnbench.study.remedies import EVERY, LEARNED

COLORS = {
    "relu": style.BLACK, "sigmoid": style.ORANGE, "tanh": style.BLUE, "gaussian": style.VERMILLION,
    "identity": style.GREY, "softplus": style.GREEN, "leaky-relu": style.PURPLE,
}  # fmt: skip
WIDE = 256  # width from which a mark is full
WAYS = (
    ("batch normalisation", style.BLUE, "o"), ("without, σ_w² = 1", style.VERMILLION, "s"),
    ("without, on the critical line", style.GREEN, "^"),
)  # fmt: skip
LOOKS = (
    ("-", style.GREY, 1.6), ("-", style.BLUE, 1.6), ("-", style.SKY, 1.6), ("-", style.PURPLE, 1.6),
    ("--", style.BLUE, 1.2), ("-", style.ORANGE, 1.6), ("-", style.VERMILLION, 1.6), ("--", style.VERMILLION, 1.2),
    (":", style.BLACK, 1.4), (":", style.GREEN, 1.4),
)  # fmt: skip
SHADES = "PuOr_r"  # orange for chaos, violet for order
LEVELS = np.arange(0.4, 1.61, 0.1)  # of χ₁ in the shading


def factors(rows: pd.DataFrame) -> Figure:
    """Measured against predicted factors a layer of `rows`, and their ratio to theory below."""
    figure = Figure(figsize=(8.5, 6.6))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    wide = (rows["width"] >= WIDE) & (rows["batch"] >= 64)
    for (activation, normalization, full), part in rows.groupby(["activation", "normalization", wide], sort=False):
        look: dict[str, Any] = {
            "linestyle": "none",
            "marker": "o" if normalization == "batch" else "s",
            "markersize": 5,
        }
        look |= {
            "color": COLORS[activation],
            "markerfacecolor": COLORS[activation] if full else "white",
            "elinewidth": 0.9,
        }
        x, y, ends = part["predicted"], part["measured"], part[["low", "high"]].to_numpy().T
        for axes, scale in ((top, 1), (below, x)):
            axes.errorbar(x, y / scale, yerr=np.abs(ends - y.to_numpy()) / np.asarray(scale), **look)
    low, high = rows["predicted"].min() / 1.15, rows["predicted"].max() * 1.15
    top.plot([low, high], [low, high], color=style.MUTED, linewidth=0.8, zorder=1)
    below.axhspan(0.98, 1.02, color=style.FAINT, zorder=0)
    below.axhline(1, color=style.MUTED, linewidth=0.8, zorder=1)
    style.log_axis(top, "y", "{:g}".format)
    style.log_axis(below, "x", "{:g}".format)
    top.set_ylabel("measured factor a layer")
    below.set(xlabel="theory's factor a layer", ylabel="measured / theory", ylim=(0.8, 1.2))
    marks = [Line2D([], [], linestyle="none", marker="o", color=color, label=name) for name, color in COLORS.items()]
    marks += [
        Line2D([], [], linestyle="none", marker=marker, color=style.INK, markerfacecolor=face, label=label)
        for marker, face, label in (
            ("o", style.INK, "batch normalisation: λ"), ("s", style.INK, "without: χ₁"),
            ("D", "white", "hollow: narrow, or a small batch"),
        )
    ]  # fmt: skip
    top.legend(handles=marks, loc="upper left", ncols=2)
    figure.set_label(
        "Factor of ‖∂R/∂A‖² from a layer to the one before it, measured against theory, with 95 % intervals; "
        "below, their ratio (grey: within 2 %). Theory is of infinite width and batch: narrow layers and small batches "
        "(hollow) leave the line."
    )
    return figure


def ways(rows: pd.DataFrame) -> Figure:
    """How the gradient's norm goes through depth: a panel an activation."""
    names = list(rows["activation"].unique())
    figure, panels = layout.panels(len(names), 4, (2.7, 2.5), sharey=False)
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name)
        axes.axhline(1, color=style.MUTED, linewidth=0.8, zorder=1)
        here = rows[rows["activation"] == name]
        for (label, color, marker), (_, part) in zip(
            WAYS, here.groupby(["normalization", "sigma_w2"], sort=False), strict=False
        ):
            x, y = part["depth"], part["measured"]
            axes.errorbar(
                x, y, yerr=np.abs(part[["low", "high"]].to_numpy().T - y.to_numpy()), color=color, marker=marker,
                linestyle="none", markersize=4, elinewidth=0.9, label=label,
            )  # fmt: skip
            axes.plot(np.r_[0, x], np.r_[1, part["predicted"]], color=color, linewidth=1)
        axes.set_ylim(min(here["low"].min() / 3, 0.1), max(here["high"].max() * 3, 10))
        style.log_axis(axes, "y", lambda value: f"{value:g}".replace("e+", "e").replace("e-0", "e-"), most=6)
        axes.set_xticks([0, *np.unique(x)[-3:]])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower right")
    figure.supxlabel("layers below the last")
    figure.supylabel("‖∂R/∂A‖² over that at the last layer")
    figure.set_label(
        "Squared norm of the gradient, layer by layer from the last one to the input, at random weights, width and "
        "batch 128: measured (marks, with 95 % intervals) and theory (lines, λ or χ₁ to the power of the layers). "
        "Upwards is exploding, downwards vanishing. Each panel has its own scale."
    )
    return figure


def critical_map(rows: pd.DataFrame) -> Figure:
    """Order and chaos in the plane of σ_w² and σ_b², with the points measured in the same colours as theory."""
    names = list(rows["activation"].unique())
    figure, shade = Figure(figsize=(9, 6.4)), TwoSlopeNorm(1, LEVELS[0], LEVELS[-1])
    panels = figure.subplots(2, 2).ravel()
    for axes, name in zip(panels, names, strict=True):
        here = rows[rows["activation"] == name]
        right, top = 1.2 * here["sigma_w2"].max(), 1.25 * here["sigma_b2"].max()
        weight, bias = np.meshgrid(np.linspace(0.02, 1, 40) * right, np.linspace(0, 1, 24) * top)
        chi = signal.chi(name, weight, bias, steps=100)
        image = axes.contourf(weight, bias, chi, LEVELS, norm=shade, cmap=SHADES, extend="both")
        axes.set_facecolor(image.cmap(0.0))  # beside σ_w² = 0
        if name == "relu":  # whose χ₁ is σ_w²/2, whatever σ_b²
            axes.axvline(signal.critical(name), color=style.INK)
        axes.plot(*signal.critical_line(name, np.geomspace(1e-6, 1e4, 2000)), color=style.INK)
        axes.scatter(
            here["sigma_w2"], here["sigma_b2"], c=here["measured"], norm=shade, cmap=SHADES, edgecolors=style.INK, s=70,
            zorder=3, clip_on=False,
        )  # fmt: skip
        for row in here.itertuples():
            axes.annotate(
                f"{row.measured:.2f}",
                (row.sigma_w2, row.sigma_b2),
                (6, 5),
                textcoords="offset points",
                fontsize=7,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
            )
        axes.set(
            xlim=(0, right),
            ylim=(0, top),
            title=f"{name}: critical at σ_w² = {signal.critical(name):.4g} without biases",
        )
        axes.grid(False)
    figure.supxlabel("σ_w²")
    figure.supylabel("σ_b²")
    bar = figure.colorbar(image, ax=panels, shrink=0.7)
    bar.set_label("χ₁: below 1 gradients vanish (order), above they explode (chaos)")
    figure.set_label(
        "Theory's factor a layer without normalisation, χ₁, over σ_w² and σ_b², its critical line χ₁ = 1 in black, and "
        "the factors that were measured, as numbers and in the same colours."
    )
    return figure


def learning(curves: dict[tuple[str, str, int], list[float]]) -> Figure:
    """Risk by step, a panel a depth (across) and an activation (down), a line a remedy."""
    names = list(dict.fromkeys(name for name, *_ in curves))
    *activations, _ = dict.fromkeys(activation for _, activation, _ in curves)  # the last is ReLU, to compare with
    depths = list(dict.fromkeys(depth for *_, depth in curves))
    figure = Figure(figsize=(1.2 + 1.75 * len(depths), 2.1 * len(activations) + 0.9))
    grid = figure.subplots(len(activations), len(depths), sharex=True, sharey=True, squeeze=False)
    for row, activation in zip(grid, activations, strict=True):
        row[0].set_ylabel(activation)
        for axes, depth in zip(row, depths, strict=True):
            for name, look in zip(names, LOOKS, strict=False):
                curve = curves.get((name, activation, depth)) or curves[name, "relu", depth]
                line, color, width = look
                axes.plot(EVERY * np.arange(len(curve)), curve, line, color=color, linewidth=width, label=name)
                if curve[-1] <= 1 - LEARNED:
                    axes.plot(EVERY * (len(curve) - 1), curve[-1], "o", color=color, markersize=3.5)
            axes.set(ylim=(0, 1.3))
    for axes, depth in zip(grid[0], depths, strict=True):
        axes.set_title(f"{depth} layers")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    figure.supxlabel("steps")
    figure.set_label(
        "Risk on rows that were not learned from, over the variance of y, by step of training: an activation a row, "
        "a depth a column, each remedy at the best of its rates. A dot is where a network has learned; a line at 1 is "
        "one that predicts the mean."
    )
    return figure

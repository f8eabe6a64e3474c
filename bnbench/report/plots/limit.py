"""How far from the machine's limit the variants are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped


def roofline(part: analysis.Part, looks: dict[str, style.Look]) -> Drawing:
    """The best rates over operations a byte under the measured roof, and the share of the limit, a row a variant."""
    rows = analysis.measured(part.table)
    rows = rows[rows["limit_s"].notna()]
    if rows.empty:
        raise Skipped("the machine's limit was not measured")
    variants = [name for name in looks if (rows["variant"] == name).any()]
    figure = Figure(figsize=(11, max(4.0, layout.strips_in(len(variants)))))
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))

    best = rows.loc[rows.groupby([*analysis.CELL, "device"])["gflops"].idxmax()]
    itemsize = 4 if part.table["dtype"].iloc[0] == "float32" else 8
    intensity = 4 * best["p1"] * best["p2"] / (itemsize * (best["p1"] + 1))
    layout.by_size(left, intensity, best["gflops"], best)
    roofs = rows.groupby("device")[["gemm_flops_s", "triad_bytes_s"]].median()
    balance = roofs["gemm_flops_s"] / roofs["triad_bytes_s"]
    roof = np.geomspace(min(intensity.min(), balance.min()) / 2, max(intensity.max(), balance.max()) * 2, 200)
    for device, (peak, moved) in roofs.iterrows():
        left.plot(roof, np.minimum(peak, roof * moved) / 1e9, color=style.INK)
        whose = f"{device}: " if len(roofs) > 1 else ""
        left.annotate(
            f"{whose}{_rate(peak)} GFLOP/s, {_rate(moved)} GB/s", (roof[-1], peak / 1e9), (0, 3),
            textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
    style.log_axis(left, "x", lambda value: f"{value:g}", most=6)
    style.log_axis(left, "y", lambda value: f"{value:g}", most=7)
    left.set(title="GFLOP/s of each cell's fastest, under the roof", xlabel="operations for each byte of X and y")

    marks = layout.strips(right, rows, 100 * rows["limit_fraction"], variants)
    right.axvline(100, color=style.INK)
    style.log_axis(right, "x", lambda value: f"{value:g}{units.GAP}%", most=7)
    right.set_title("share of the limit reached")
    layout.size_bar(figure, marks, [left, right])
    caption = (
        "Each mark is a cell. The limit is the larger of two least times: that of the step's two products, 4 N p1 p2 "
        "operations, at the rate of a large matrix product, and that of reading X and y at the rate of memory; both "
        "rates were measured in this run. Left: the rate that the fastest of each cell reaches, over operations a "
        "byte, with that roof; higher is better. Right: the limit's time over the measured one; farther right is "
        f"better. {layout.STRIPS_NOTE} Small cells may pass a roof made of memory's rate, for they lie in a cache."
    )
    most = rows.loc[rows["limit_fraction"].idxmax()]
    alt = (
        "Two scatters: the best rates reached under the measured roof, and the share of the limit, at most "
        f"{units.percent(most['limit_fraction'])}, by {most['variant']} ({part.label})."
    )
    return Drawing(figure, "How far from the machine's limit", caption, alt)


def _rate(value: float) -> str:
    """A rate in thousands of millions, to three digits."""
    return f"{units.significant(value / 1e9, 3):,.10g}".replace(",", units.GAP)

"""How far from the machine's limit the variants are."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bnbench.report import analysis, units
from bnbench.report.plots import layout, style
from bnbench.report.plots.layout import Drawing, Skipped

WIDTH_IN, PANEL_IN, FOOT_IN = 10.4, (4.2, 3.7), 0.6


def roofline(part: analysis.Part, assigned: dict[str, style.Look]) -> Drawing:
    """Rate over operations a byte under the measured roof, and the share of the limit against size."""
    rows = analysis.measured(part.table)
    rows = rows[rows["limit_s"].notna()]
    if rows.empty:
        raise Skipped("the machine's limit was not measured")
    present = {name: look for name, look in assigned.items() if (rows["variant"] == name).any()}
    work = (rows["N"] * rows["p1"] * rows["p2"]).to_numpy(dtype=float)
    itemsize = 4 if part.table["dtype"].iloc[0] == "float32" else 8
    intensity = 4 * work / (itemsize * rows["N"] * (rows["p1"] + 1)).to_numpy(dtype=float)
    rate = rows["gflops"].to_numpy(dtype=float)
    share = rows["limit_fraction"].to_numpy(dtype=float)
    roofs = rows.groupby("device")[["gemm_flops_s", "triad_bytes_s"]].median()
    flops = float(roofs["gemm_flops_s"].max())

    head = layout.HEAD_IN + layout.LEGEND_IN * -(-len(present) // layout.legend_columns(WIDTH_IN)) + 0.3
    tall = head + PANEL_IN[1] + FOOT_IN
    figure = Figure(figsize=(WIDTH_IN, tall))
    left, right = (
        figure.add_axes(((0.8 + 5.15 * place) / WIDTH_IN, FOOT_IN / tall, PANEL_IN[0] / WIDTH_IN, PANEL_IN[1] / tall))
        for place in (0, 1)
    )
    ends = np.array(style.limits([*intensity, *(roofs["gemm_flops_s"] / roofs["triad_bytes_s"])]))
    left.set(xlim=ends, ylim=style.limits([*rate, flops / 1e9 * 1.3]))
    style.log_axis(left, "x", lambda value: f"{value:g}", most=6)
    style.log_axis(left, "y", lambda value: f"{value:g}", most=7)
    roof = np.geomspace(*ends, 200)
    for device, (peak, moved) in roofs.iterrows():
        left.plot(roof, np.minimum(peak, roof * moved) / 1e9, color=style.INK, linewidth=1.4, zorder=1)
        whose = f"{device}: " if len(roofs) > 1 else ""
        left.annotate(
            f"{whose}{_rate(peak)} GFLOP/s, {_rate(moved)} GB/s", (0.98, peak / 1e9),
            xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8,
        )  # fmt: skip
    left.set_title("GFLOP/s reached, under the roof", loc="left", pad=6)
    left.set_xlabel("operations for each byte of X and y")

    right.set(xlim=style.limits(work), ylim=style.limits([*share, 1.0]))
    style.log_axis(right, "x", units.count, most=5)
    style.log_axis(right, "y", lambda value: f"{value:.0%}" if value >= 0.01 else f"{100 * value:g}%", most=7)
    right.axhline(1, color=style.INK, linewidth=1.4)
    right.set_title("share of the limit reached", loc="left", pad=6)
    right.set_xlabel("size of the problem, N · p1 · p2")
    for name, look in present.items():
        own = (rows["variant"] == name).to_numpy()
        for axes, x, y in ((left, intensity, rate), (right, work, share)):
            axes.plot(
                x[own], y[own], color=look.color, marker=look.marker, linestyle="none", clip_on=False,
                **style.marks(look, 5),
            )  # fmt: skip
    title = "How far from the machine's limit"
    style.heading(figure, title, part.label)
    layout.top_legend(figure, present, lines=False)
    best = rows.loc[rows["limit_fraction"].idxmax()]
    caption = (
        "Higher is better. Each mark is a cell. The limit is the larger of two least times: that of the step's two "
        "products, 4 N p1 p2 operations, at the rate of a large matrix product, and that of reading X and y at the "
        "rate of memory; both rates were measured in this run. Left: the rate reached over operations a byte, with "
        "that roof. Right: the limit's time over the measured one. Small cells may pass a roof made of memory's rate, "
        "for they lie in a cache."
    )
    alt = (
        "Two scatters: the rate reached under the measured roof, and the share of the limit against size, "
        f"at most {best['limit_fraction']:.2g}, by {best['variant']} ({part.label})."
    )
    return Drawing(figure, title, caption, alt)


def _rate(value: float) -> str:
    """A rate in thousands of millions, to three digits."""
    return f"{units.significant(value / 1e9, 3):,.10g}".replace(",", units.GAP)

"""The audit's pages: audit.md, audit.html, audit.json and one figure, in a folder."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bnbench.audit.rulings import HOLDS, VACUOUS, WRONG, Evidence, Ruling
from bnbench.folder import Folder
from bnbench.report import templates
from bnbench.report.plots import style

FIGURE = "audit-claimed-against-true"
PANELS = (  # gradient, and the claims of numbers about it: id, place of the evidence, label, colour, marker
    ("∂R/∂β", (
        ("beta-formula", 0, "formula: holds", style.GREEN, "o"),
        ("beta-figures", 0, "printed figures: wrong", style.VERMILLION, "s"),
        ("beta-loop", 1, "loop, with the right a': wrong", style.BLACK, "x"),
    )),
    ("∂R/∂γ", (
        ("answer-gamma", 0, "answer's formula: holds", style.GREEN, "o"),
        ("gamma-formula", 0, "question's formula: wrong", style.ORANGE, "^"),
        ("gamma-figures", 0, "printed figures: wrong", style.VERMILLION, "s"),
    )),
    ("∂R/∂Γ1", (
        ("answer-gamma1", 0, "Xᵀ dZ, said not to exist: right", style.GREEN, "o"),
        ("gamma1-formula", 0, "question's formula: wrong", style.ORANGE, "^"),
        ("gamma1-figures", 0, "printed figures: wrong", style.VERMILLION, "s"),
    )),
)  # fmt: skip


def write(rulings: list[Ruling], reproduction: list[dict], folder: Path, command: str) -> None:
    """Write the pages into `folder`, which is made if absent.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    folder = Folder(folder)
    with matplotlib.rc_context(style.RC):
        _, svg = style.save(figure(rulings), folder, FIGURE)
    results = [ruling.plain() for ruling in rulings]
    folder.put("audit.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    content = {
        "summary": summary(rulings),
        "reproduction": reproduction,
        "rulings": results,
        "entries": {ruling.id: [entries(evidence) for evidence in ruling.evidence] for ruling in rulings},
        "command": command,
        "figure": FIGURE,
        "svg": templates.svg_uri(svg),
    }
    for name, escaped in (("audit.md", False), ("audit.html", True)):
        environment = templates.environment("bnbench.audit", escaped=escaped)
        environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
        folder.put(name, environment.get_template(f"{name}.j2").render(content))


def summary(rulings: Sequence[Ruling]) -> str:
    """How many claims hold, are wrong, are vacuous."""
    counts = Counter(ruling.ruling for ruling in rulings)
    return (
        f"Of {len(rulings)} claims {counts[HOLDS]} hold, {counts[WRONG]} are wrong, and {counts[VACUOUS]} is a check "
        "that could not have failed."
    )


def entries(evidence: Evidence) -> dict[str, Any]:
    """An evidence with a row for each entry: index, claimed, true, distance, whether proven different."""
    rows = []
    for index in np.ndindex(evidence.true.shape):
        place = ", ".join(str(i + 1) for i in index)
        claimed, true = (ball[index].str(12, radius=False) for ball in (evidence.claimed, evidence.true))
        rows.append((place, claimed, true, f"{evidence.distances[index]:.3g}", bool(evidence.apart[index])))
    return evidence.plain() | {"rows": rows}


def figure(rulings: Sequence[Ruling]) -> Figure:
    """Claimed against true entries, a panel a gradient; what is right lies on the line."""
    by_id = {ruling.id: ruling for ruling in rulings}
    drawn = Figure(figsize=(11, 4.6))
    style.heading(
        drawn,
        "Claimed against true entries",
        "The question's data, loss Σε². Right values lie on the line. Axes: linear within ±1, logarithmic beyond.",
    )
    for place, (gradient, claims) in enumerate(PANELS):
        axes = drawn.add_axes((0.065 + 0.318 * place, 0.27, 0.255, 0.535))
        values = []
        for name, number, label, color, marker in claims:
            evidence = by_id[name].evidence[number]
            true, claimed = (
                np.array([float(ball.mid()) for ball in balls.flat]) for balls in (evidence.true, evidence.claimed)
            )
            look = style.Look(color, marker, "-")
            axes.plot(true, claimed, linestyle="none", color=color, marker=marker, label=label, zorder=3,
                      **(style.marks(look, 6) | {"linewidth": 0}))  # fmt: skip
            values += [*np.abs(true), *np.abs(claimed)]
        widest = max(values) * 1.6
        axes.plot([-widest, widest], [-widest, widest], color=style.MUTED, linewidth=0.8, zorder=1)
        for which in "xy":
            getattr(axes, f"set_{which}scale")("symlog", linthresh=1, linscale=0.7)
            getattr(axes, f"set_{which}lim")(-widest, widest)
            ticks = [t for t in (-100, -10, -1, 0, 1, 10, 100) if abs(t) < widest]
            getattr(axes, f"set_{which}ticks")(ticks, [f"{t:g}".replace("-", "−") for t in ticks], minor=False)
            getattr(axes, f"{which}axis").set_minor_locator(style.NullLocator())
        axes.grid(True, color=style.FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(f"{gradient}: {len(values) // (2 * len(claims))} entries", loc="left")
        axes.set_xlabel("true entry (certified)")
        if place == 0:
            axes.set_ylabel("claimed entry")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False, fontsize=8, handletextpad=0.2)
    return drawn

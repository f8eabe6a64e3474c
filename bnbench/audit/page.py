"""The audit's pages: audit.md, audit.html, audit.json and one figure, in a folder."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bnbench.audit.rulings import HOLDS, VACUOUS, WRONG, Evidence, Ruling, shown
from bnbench.folder import Folder
from bnbench.report import templates
from bnbench.report.plots import style

FIGURE = "audit-claimed-against-true"
PANELS = (  # gradient, and the claims of numbers about it: id, place of the evidence, label, colour, marker
    ("∂R/∂β", (
        ("beta-formula", 0, "formula: holds", style.GREEN, "o"),
        ("beta-figures", 0, "printed figures: wrong", style.VERMILLION, "s"),
        ("beta-loop", 1, "loop, with the right a': wrong", style.BLACK, "X"),
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


def write(rulings: list[Ruling], reproduction: list[dict], path: Path, command: str) -> None:
    """Write the pages into the folder at `path`, which is made if absent.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    folder = Folder(path)
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
        claimed, true = shown(evidence.claimed[index]), shown(evidence.true[index])
        rows.append((place, claimed, true, f"{evidence.distances[index]:.3g}", bool(evidence.apart[index])))
    return evidence.plain() | {"rows": rows}


def figure(rulings: Sequence[Ruling]) -> Figure:
    """Claimed against true entries, a panel a gradient; what is right lies on the line."""
    by_id = {ruling.id: ruling for ruling in rulings}
    drawn = Figure(figsize=(11, 4.6))
    panels = drawn.subplots(1, len(PANELS))
    for axes, (gradient, claims) in zip(panels, PANELS, strict=True):
        for name, number, label, color, marker in claims:
            evidence = by_id[name].evidence[number]
            true, claimed = ([float(ball.mid()) for ball in balls.flat] for balls in (evidence.true, evidence.claimed))
            axes.plot(true, claimed, linestyle="none", color=color, marker=marker, markersize=6,
                      markeredgecolor="white", label=label)  # fmt: skip
        axes.set_xscale("symlog", linthresh=1, linscale=0.7)
        axes.set_yscale("symlog", linthresh=1, linscale=0.7)
        widest = 1.2 * max(map(abs, (*axes.get_xlim(), *axes.get_ylim())))
        axes.set(xlim=(-widest, widest), ylim=(-widest, widest), xlabel="true entry (certified)")
        axes.axline((0, 0), (1, 1), color=style.MUTED, linewidth=0.8, zorder=1)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_title(f"{gradient}: {len(true)} entries")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), handletextpad=0.2)
    panels[0].set_ylabel("claimed entry")
    return drawn

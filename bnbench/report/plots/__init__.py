"""The plots of a report, as PNG and SVG. Importing this package imports matplotlib (never pyplot)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from bnbench.folder import Folder
from bnbench.report import analysis
from bnbench.report.plots import devices, layout, limit, maps, quality, style, timing
from bnbench.report.plots.layout import Skipped

DRAWINGS = {
    "time-vs-N": timing.time_vs_n,
    "crossover": maps.crossover,
    "winner": maps.winner,
    "break-even": timing.break_even,
    "accuracy": quality.accuracy,
    "memory": quality.memory,
    "roofline": limit.roofline,
}
OF_SEVERAL_DEVICES = {"devices": devices.crossing}  # drawn only of a run with such rows


@dataclass(frozen=True)
class Plot:
    """A plot on disk and the words that go with it."""

    name: str  # of the files, without their ending
    title: str
    caption: str  # how to read it
    png: Path
    svg: Path
    alt: str

    @property
    def files(self) -> tuple[str, str]:
        """Its files' names from the folder on."""
        return f"plots/{self.png.name}", f"plots/{self.svg.name}"


def draw(table: pd.DataFrame, folder: Folder, data: str = "") -> tuple[list[Plot], list[tuple[str, str]]]:
    """Draw every plot for every setting in `tables.frame`'s table into the plots of `folder`.

    `data` names the table that X and y are from; empty where they were drawn at random. Returns the plots drawn, and
    (name, reason) for each that the data are too few for. Names carry the setting only where there are several.
    """
    plots, skipped = [], []
    settings = analysis.parts(table)
    if not settings:
        return [], [(name, "there are no cells") for name in DRAWINGS]
    looks = style.looks(table)
    with matplotlib.rc_context(style.RC):
        for part in settings:
            several = not analysis.devices(part.table).empty
            for kind, function in (DRAWINGS | (OF_SEVERAL_DEVICES if several else {})).items():
                name = kind + part.suffix
                try:
                    drawing = function(part, looks)
                except Skipped as reason:
                    skipped.append((name, str(reason)))
                    continue
                setting = f"{part.label}, data: {style.short(data)}" if data else part.label
                layout.head(drawing, setting)
                png, svg = style.save(drawing.figure, folder, name)
                title = drawing.title + (f" ({part.label})" if len(settings) > 1 else "")
                caption = f"{drawing.caption} X and y are from {data}." if data else drawing.caption
                plots.append(Plot(name, title, caption, png, svg, drawing.alt))
    return plots, skipped

"""Tables, plots and one self-contained HTML page from journal records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

    from bnbench.record import Record

PLOTS = re.compile(r"plots/(?!history|audit).*")  # those of a run


def build(
    records: Iterable[Record], environment: dict[str, Any], folder: str | Path, command: str
) -> tuple[pd.DataFrame, list[str]]:
    """Write summary.csv, summary.md, plots/*.png and *.svg, and report.html into `folder`.

    Plots of an earlier build that are not drawn again are removed; files are replaced whole. Nothing is touched that
    bnbench did not write there, see `bnbench.folder`.

    Args:
        records: those of a run; none, or none that is ok, is fine.
        environment: what environment.json holds; nested dicts and lists are fine.
        folder: made if absent; its name is that of the run.
        command: the command line that reproduces the run, as shown in the page.

    Returns:
        The summary as a table, and remarks for the reader: each plot that was skipped, and why.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    from bnbench.report import html, markdown, plots, tables  # pandas and matplotlib: only once a report is asked for

    written = Folder(folder)
    machine = environment["machine"].get("host", "") if isinstance(environment.get("machine"), dict) else ""
    table = tables.frame(records, written.path.resolve().name, str(environment.get("date") or ""), str(machine))
    written.put("summary.csv", tables.csv(table))
    written.put("summary.md", markdown.page(table, environment))
    data = source.get("name", "") if isinstance(source := environment.get("table"), dict) else ""
    drawn, skipped = plots.draw(table, written, str(data))
    written.retire(PLOTS, (name for plot in drawn for name in plot.files))
    remarks = [f"plot {name} skipped: {reason}" for name, reason in skipped]
    written.put("report.html", html.page(table, drawn, environment, command, remarks))
    return table, remarks

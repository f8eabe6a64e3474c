"""Tables, plots and one self-contained HTML page from journal records."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bnbench.folder import Folder

if TYPE_CHECKING:
    from bnbench.record import Record

PLOTS = re.compile(r"plots/(?!history|audit).*")  # those of a run


def build(records: Iterable[Record], environment: dict, folder: str | Path, command: str) -> list[str]:
    """Write summary.csv, summary.md, plots/*.png and *.svg, and report.html into `folder`.

    Plots of an earlier build that are not drawn again are removed; files are replaced whole. Nothing is touched that
    bnbench did not write there, see `bnbench.folder`.

    Parameters
    ----------
    records : those of a run; none, or none that is ok, is fine.
    environment : what environment.json holds; nested dicts and lists are fine.
    folder : made if absent.
    command : the command line that reproduces the run, as shown in the page.

    Returns
    -------
    Remarks for the reader: each plot that was skipped, and why.

    Raises
    ------
    FolderError : a file cannot be written, or one of its name is there that is not bnbench's.
    """
    from bnbench.report import html, plots, tables  # pandas and matplotlib: only once a report is asked for

    folder = Folder(folder)
    table = tables.frame(records)
    folder.put("summary.csv", tables.csv(table))
    folder.put("summary.md", tables.markdown(table, environment))
    data = found.get("name", "") if isinstance(found := environment.get("table"), dict) else ""
    drawn, skipped = plots.draw(table, folder, str(data))
    folder.retire(PLOTS, (name for plot in drawn for name in plot.files))
    remarks = [f"plot {name} skipped: {reason}" for name, reason in skipped]
    folder.put("report.html", html.page(table, drawn, environment, command, remarks))
    return remarks

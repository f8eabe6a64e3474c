"""Tables, plots and one self-contained HTML page from journal records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def build(records: Iterable[dict], environment: dict, folder: str | Path, command: str) -> list[str]:
    """Write summary.csv, summary.md, plots/*.png and *.svg, and report.html into `folder`.

    Plots of an earlier build there are removed first, those of `history` are not; files are replaced whole.

    Parameters
    ----------
    records : journal records, as the store keeps them; none, or none that is ok, is fine.
    environment : what environment.json holds; nested dicts and lists are fine.
    folder : made if absent.
    command : the command line that reproduces the run, as shown in the page.

    Returns
    -------
    Remarks for the reader: each plot that was skipped, and why.
    """
    from bnbench.report import html, plots, tables  # pandas and matplotlib: only once a report is asked for

    folder = Path(folder)
    drawn_in = folder / "plots"
    drawn_in.mkdir(parents=True, exist_ok=True)
    for stale in drawn_in.iterdir():
        if stale.suffix in (".png", ".svg") and not stale.name.startswith("history"):
            stale.unlink()
    table = tables.frame(records)
    tables.write_summary(table, folder / "summary.csv")
    tables.write_markdown(table, folder / "summary.md")
    drawn, skipped = plots.draw(table, drawn_in)
    remarks = [f"plot {name} skipped: {reason}" for name, reason in skipped]
    html.write_html(table, drawn, environment, folder, command, remarks)
    return remarks

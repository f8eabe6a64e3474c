"""A study on disk: NAME.md and NAME.html, which needs nothing else, NAME.csv, and its plots as PNG and SVG."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bnbench.folder import Folder
from bnbench.report import tables, templates
from bnbench.report.table import Table, Text, number
from bnbench.study.base import HOLDS, REFUTED, UNDECIDED, Study

ROLES = {HOLDS: "faster", REFUTED: "slower", UNDECIDED: "unclear"}  # the colours of a verdict on a terminal


def write(study: Study, folder: Folder, command: str) -> None:
    """Write the study's files into the folder.

    Raises:
        FolderError: a file cannot be written, or one of its name is there that is not bnbench's.
    """
    import matplotlib

    from bnbench.report.plots import style  # matplotlib: only once something is drawn

    plots = []
    with matplotlib.rc_context(style.RC):
        for name, draw in study.plots.items():
            figure = draw()
            png, svg = style.save(figure, folder, f"{study.name}-{name}")
            plots.append((png.name, str(figure.get_label() or name), templates.svg_uri(svg)))
    folder.put(f"{study.name}.csv", tables.csv(study.table))
    content = {
        "study": study,
        "shown_tables": [claims(study), *study.tables],
        "rows": whole(study.table),
        "plots": plots,
        "command": command,
    }
    for suffix in ("md", "html"):
        template = templates.environment("bnbench.study", escaped=suffix == "html").get_template(f"study.{suffix}.j2")
        folder.put(f"{study.name}.{suffix}", template.render(content))


def plain(study: Study) -> dict[str, Any]:
    """The study as JSON holds it: study, question, answer, claims and table; None where there is no value."""
    claims, rows = (
        tables.plain_rows(table.replace([np.inf, -np.inf], np.nan))
        for table in (pd.DataFrame(study.claims), study.table)
    )
    return {"study": study.name, "question": study.question, "answer": study.answer, "claims": claims, "table": rows}


def claims(study: Study) -> Table:
    """The claims of a study, a row each."""
    rows: list[dict[str, str | Text]] = [
        {
            "claim": one.text, "verdict": Text(one.verdict, ROLES[one.verdict]), "theory": number(say(one.theory)),
            "measured": number(say(one.measured)), "95 % interval": number(f"{say(one.low)} to {say(one.high)}"),
        }
        for one in study.claims
    ]  # fmt: skip
    note = (
        "A claim holds where the whole interval is within the tolerance that it states, is refuted where all of it is "
        "outside, and is undecided where the interval is too wide to say."
    )
    return Table.of("What theory says, and what was measured", rows, note=note)


def whole(table: pd.DataFrame) -> Table:
    """All rows of a study's table."""
    rows: list[dict[str, str | Text]] = [
        {name: value if isinstance(value, str) else number(say(value)) for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    return Table.of("Everything that was measured", rows)


def say(value: float) -> str:
    """A number to five significant digits; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.5g}"

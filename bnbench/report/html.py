"""The report as one HTML page that needs nothing else: no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from bnbench.report import analysis, answers, pages, records, tables, units
from bnbench.variants.formulas import SYMBOLS

if TYPE_CHECKING:
    from bnbench.report.plots import Plot

TEMPLATE, SCRIPT = "report.html.j2", "report.js"
LONGEST_FIGURE = 20  # characters


@dataclass(frozen=True)
class Median:
    """A cell of the table of medians."""

    text: str
    kind: str  # best, number, word (a status), or nothing
    noise: str = ""  # what is said against it


def page(
    table: pd.DataFrame, plots: Sequence[Plot], environment: dict, command: str, remarks: Sequence[str] = ()
) -> str:
    """The text of report.html: answers, plots, tables, variants, records, environment.

    `table` is `tables.frame`'s; the plots' SVG files are read and embedded; `remarks` say what is missing.
    Everything that comes from data is escaped, and the page's policy lets no script but its own run and nothing load.
    """
    loader = jinja2.PackageLoader("bnbench.report", ".")
    surroundings = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    surroundings.filters |= {"code": _code, "formula": _formula}
    surroundings.tests["figure"] = _figure
    script = loader.get_source(surroundings, SCRIPT)[0]
    warnings = environment.get("warnings")
    shown = records.columns(table)
    return surroundings.get_template(TEMPLATE).render(
        scope=answers.scope(table),
        source=answers.source(environment),
        machine=_machine(environment),
        answers=answers.answers(table, warnings if isinstance(warnings, list) else ()),
        plots=[(plot, _data_uri(plot.svg)) for plot in plots],
        remarks=remarks,
        settings=[
            (part.label, *medians(part.table), tables.against_frameworks(part.table)) for part in analysis.parts(table)
        ],
        statuses=tables.statuses(table),
        failures=tables.not_ok(table),
        accuracy=tables.accuracy(table),
        compiling=tables.compile_times(table),
        compile_note=tables.compile_note(table),
        noise_legend=tables.noise_legend(table),
        noise_mark=tables.NOISE_MARK,
        pages=pages.pages(table),
        symbols=SYMBOLS,
        anchors=pages.ids(table["variant"].unique()),
        constant=[(records.HEADS.get(name, name), text) for name, text in records.constant(table)],
        columns=shown,
        rows=records.rows(table, shown),
        environment=environment,
        command=command,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def medians(part: pd.DataFrame) -> tuple[list[str], list[tuple[str, list[Median]]]]:
    """Variants, and for each cell its sizes as text and each variant's median, or the status where there is none."""
    best = {tuple(row[k] for k in analysis.CELL): row["tied"] for row in analysis.winners(part)}
    variants = list(part.loc[part["status"] != "unavailable", "variant"].unique())
    found: dict[tuple, dict[str, Median]] = {}
    for row, noise in zip(part.to_dict("records"), analysis.noise(part), strict=True):
        cell = tuple(row[k] for k in analysis.CELL)
        shown = Median(row["status"], "word")
        if row["status"] == "ok":
            text = units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
            shown = Median(text, "best" if row["variant"] in best.get(cell, ()) else "number", noise)
        found.setdefault(cell, {})[row["variant"]] = shown
    absent = Median("", "")
    return variants, [
        (" × ".join(units.count(size) for size in cell), [cells.get(name, absent) for name in variants])
        for cell, cells in found.items()
    ]


def _data_uri(path: Path) -> Markup:
    """The drawing as what stands between the double quotes of an attribute: no reader's escapes are needed in it."""
    svg = " ".join(path.read_text(encoding="utf-8").split()).replace('"', "'")
    return Markup("data:image/svg+xml," + urllib.parse.quote(svg, safe=" '()*,-./:;=?@[]_~+!$"))


def _code(text: str) -> Markup:
    """The text escaped, with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if k % 2 else part for k, part in enumerate(parts))


def _formula(line: str) -> Markup:
    """A line of mathematics escaped, its indices (x_ij) set low."""
    return Markup(re.sub(r"_([A-Za-z]+)", r"<sub>\1</sub>", str(escape(line))))


def _figure(text: object) -> bool:
    """Whether a text of a table is a number with its unit, or the dash in its place."""
    return len(str(text)) < LONGEST_FIGURE and str(text)[:1] in set("0123456789–")


def _machine(environment: dict) -> str:
    """One line on where and when, of what the environment has."""
    machine, software = (
        found if isinstance(found := environment.get(name), dict) else {} for name in ("machine", "software")
    )
    words = [str(machine["cpu"])] if machine.get("cpu") else []
    words += [units.plural(machine["processors"], "processor")] if machine.get("processors") else []
    words += [f"{machine['memory_gib']:g}{units.GAP}GiB"] if machine.get("memory_gib") else []
    words += [str(environment["date"])[:10]] if environment.get("date") else []
    words += [f"bnbench {software['bnbench']}"] if software.get("bnbench") else []
    return ", ".join(words)

"""The report as one HTML page that needs nothing else: no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from bnbench.report import analysis, answers, pages, records, tables, templates, units
from bnbench.report.table import NOISE_MARK
from bnbench.variants.formulas import SYMBOLS

if TYPE_CHECKING:
    from bnbench.report.plots import Plot

TEMPLATE, SCRIPT = "report.html.j2", "report.js"


def page(
    table: pd.DataFrame, plots: Sequence[Plot], environment: dict, command: str, remarks: Sequence[str] = ()
) -> str:
    """The text of report.html: answers, plots, tables, variants, records, environment.

    `table` is `tables.frame`'s; the plots' SVG files are read and embedded; `remarks` say what is missing.
    Everything that comes from data is escaped, and the page's policy lets no script but its own run and nothing load.
    """
    jinja = templates.environment()
    script = (Path(__file__).parent / SCRIPT).read_text("utf-8")
    here = analysis.present(table)
    parts = analysis.parts(here)
    columns = records.columns(here)
    return jinja.get_template(TEMPLATE).render(
        scope=answers.scope(table),
        source=answers.source(environment),
        machine=_machine(environment),
        answers=answers.answers(table, _warnings(environment)),
        by_size=[by_size for part in parts if (by_size := tables.loops_or_matrix(part))],
        plots=[(plot, templates.svg_uri(plot.svg)) for plot in plots],
        remarks=remarks,
        settings=[(part.label, tables.medians(part), tables.against_frameworks(part)) for part in parts],
        statuses=tables.statuses(here),
        over_hosts=tables.over_hosts(here),
        failures=tables.not_ok(here),
        not_installed=answers.not_installed(table),
        accuracy=tables.accuracy(here),
        compiling=tables.compile_times(here),
        noise_mark=NOISE_MARK,
        pages=pages.pages(here),
        symbols=SYMBOLS,
        anchors=pages.ids(here["variant"].unique()),
        constant=[(records.HEADS.get(name, name), text) for name, text in records.constant(here)],
        columns=columns,
        rows=records.rows(here, columns),
        environment=environment,
        command=command,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _hosts(environment: dict) -> dict[str, dict]:
    """What describes each host of a sweep over several; of one without, nothing."""
    hosts = environment.get("hosts")
    return {name: own for name, own in hosts.items() if isinstance(own, dict)} if isinstance(hosts, dict) else {}


def _warnings(environment: dict) -> list[str]:
    """What machines said against their timings."""
    given = {"": environment} | {f"{name}: ": own for name, own in _hosts(environment).items()}
    known = {who: warnings for who, own in given.items() if isinstance(warnings := own.get("warnings"), list)}
    return [f"{who}{warning}" for who, warnings in known.items() for warning in warnings]


def _machine(environment: dict) -> str:
    """One line on where and when, of what the environment has; of several hosts each one's."""
    if hosts := _hosts(environment):
        return "; ".join(f"{name}: {_machine(own | {'hosts': None})}" for name, own in hosts.items())
    machine, software = (
        known if isinstance(known := environment.get(name), dict) else {} for name in ("machine", "software")
    )
    words = [str(machine["cpu"])] if machine.get("cpu") else []
    words += [units.plural(machine["processors"], "processor")] if machine.get("processors") else []
    words += [f"{machine['memory_gib']:g}{units.GAP}GiB"] if machine.get("memory_gib") else []
    words += [str(environment["date"])[:10]] if environment.get("date") else []
    words += [f"bnbench {software['bnbench']}"] if software.get("bnbench") else []
    return ", ".join(words)

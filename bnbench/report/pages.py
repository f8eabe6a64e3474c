"""A section for each variant of a run: what it is, and how it did."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnbench.report import analysis, tables, units
from bnbench.report.table import Table
from bnbench.variants import PluginError, Variant, variants

PLUGIN, FOLDER = "bnbench_plugin_", 9  # how a module made of a plug-in file is named: this, its stem, _ and 8 digits


@dataclass(frozen=True)
class Page:
    """What the report says of one variant."""

    name: str
    id: str
    description: list[str]  # paragraphs; none where the variant is not known here, as a plug-in that was not loaded
    formula: str
    facts: list[tuple[str, str]]
    not_ok: Table


def pages(table: pd.DataFrame) -> list[Page]:
    """One page a variant, in order of appearance."""
    try:
        known = variants()
    except PluginError:  # an installed plug-in is broken: the run's words matter less than its figures
        known = {}
    won = [row for part in analysis.parts(table) for row in analysis.winners(part.table)]
    compiling = analysis.compile_times(table)
    names = ids(table["variant"].unique())
    made = []
    for name, rows in table.groupby("variant", sort=False):
        cls = known.get(name)
        facts = [*_identity(rows, cls), *_figures(name, rows, won, compiling[rows.index].dropna())]
        formula = (cls.formula or "").strip() if cls else ""
        made.append(Page(name, names[name], _paragraphs(cls), formula, facts, tables.not_ok(rows)))
    return made


def ids(names: Iterable[str]) -> dict[str, str]:
    """Each variant's anchor in the page: its name, with what an anchor may not hold replaced."""
    taken: dict[str, str] = {}
    for name in names:
        anchor = first = "variant-" + (re.sub(r"[^\w-]+", "-", name).strip("-") or "unnamed")
        count = 1
        while anchor in taken.values():
            count += 1
            anchor = f"{first}-{count}"
        taken[name] = anchor
    return taken


def source(cls: type[Variant]) -> str:
    """The file a variant is in, as a reader of the project or of the plug-in would name it."""
    module = cls.__module__
    if module.startswith(PLUGIN):
        return module.removeprefix(PLUGIN)[:-FOLDER] + ".py"
    return module.replace(".", "/") + ".py"


def _paragraphs(cls: type[Variant] | None) -> list[str]:
    return [" ".join(text.split()) for text in (cls.__doc__ or "").split("\n\n")] if cls else []


def _identity(rows: pd.DataFrame, cls: type[Variant] | None) -> list[tuple[str, str]]:
    first = rows.iloc[0]
    facts = [("Family", first["family"] or "–"), ("Device", first["device"] or "–")]
    if cls:
        facts.append(("Source", source(cls)))
        if cls.algorithms:
            facts.append(("Chooses among", "; ".join(f"{name}: {words}" for name, words in cls.algorithms.items())))
    return facts


def _figures(name: str, rows: pd.DataFrame, won: list[dict], compiling: pd.Series) -> list[tuple[str, str]]:
    ok = int((rows["status"] == "ok").sum())
    facts = [("Records ok", f"{units.count(ok)} of {units.count(len(rows))}")]
    judged = rows[rows["max_error_ratio"].notna()]
    if len(judged):
        worst = judged.loc[judged["max_error_ratio"].idxmax()]
        facts.append(("Worst error", f"{worst['max_error_ratio']:.2g} times its tolerance, {_at(worst)}"))
    timed = rows[rows["median_s"].notna()]
    if timed.empty:
        return facts
    first, tied = analysis.standings(won).reindex([name], fill_value=0).loc[name, ["first", "tied"]]
    words = f"{units.count(first)} of {units.plural(len(won), 'cell')}"
    facts.append(("Fastest", words + (f", and tied in {units.count(tied)} more" if tied else "")))
    limited = timed[timed["limit_fraction"].notna()]
    if len(limited):
        best, least = (limited.loc[getattr(limited["limit_fraction"], which)()] for which in ("idxmax", "idxmin"))
        for label, row in (("Most of the limit", best), ("Least of the limit", least)):
            facts.append((label, f"{units.percent(row['limit_fraction'])}, {_at(row)}"))
    facts.append(("Compile time", analysis.compile_time(compiling)))
    if marked := int((analysis.noise(timed) != "").sum()):
        facts.append(("Under noise", f"{units.count(marked)} of {units.plural(len(timed), 'median')}"))
    return facts


def _at(row: Any) -> str:
    return "at " + ", ".join(f"{k} {units.count(row[k])}" for k in analysis.CELL) + f", {row['dtype']}"

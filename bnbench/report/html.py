"""The report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from bnbench.report import analysis, tables, units

if TYPE_CHECKING:
    from bnbench.report.plots import Plot

TEMPLATE = "report.html.j2"
SECONDS = {"prepare_s", "compile_s", "limit_s"}
BYTES = {"peak_bytes", "baseline_bytes"}
HEADS = {
    "median_s": "median",
    "ci_low_s": "95 % low",
    "ci_high_s": "95 % high",
    "inner_loops": "inner loops",
    "compile_s": "compile",
    "prepare_s": "prepare",
    "peak_bytes": "peak memory",
    "baseline_bytes": "baseline memory",
    "gflops": "GFLOP/s",
    "limit_s": "limit",
    "limit_fraction": "share of limit",
    "gemm_flops_s": "matrix products, FLOP/s",
    "triad_bytes_s": "memory, byte/s",
    "max_error_ratio": "error / tolerance",
    "max_error": "largest error",
}


def write_html(
    table: pd.DataFrame,
    plots: Sequence[Plot],
    environment: dict,
    folder: str | Path,
    command: str,
    remarks: Sequence[str] = (),
) -> None:
    """Write report.html into `folder` (which must exist): headlines, plots, tables, environment, command.

    `table` is `tables.frame`'s; the plots' SVG files are read and embedded; `remarks` say what is missing.
    Everything that comes from data is escaped.
    """
    loader = jinja2.PackageLoader("bnbench.report", ".")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = template.get_template(TEMPLATE).render(
        headlines=analysis.headlines(table),
        plots=[(plot, _data_uri(plot.svg)) for plot in plots],
        remarks=remarks,
        statuses=tables.statuses(table),
        settings=[(part.label, _marked(part.table)) for part in analysis.parts(table)],
        failures=tables.not_ok(table),
        accuracy=tables.accuracy(table),
        compiling=tables.compile_times(table),
        constant=_constant(table),
        summary=_readable(table),
        environment=environment,
        command=command,
    )
    tables.write_whole(Path(folder) / "report.html", page)


def _data_uri(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _marked(part: pd.DataFrame) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Medians as (column names, rows of (text, class)): class best, number, or word."""
    mark = "\x01"  # no text of the table holds it, so that it tells winners without a look at the text
    cells = tables.medians(part, bold=(mark, ""))
    rows = []
    for values in cells.itertuples(index=False):
        row = []
        for name, value in zip(cells.columns, values, strict=True):
            best = value.startswith(mark)
            word = name not in analysis.CELL and value in analysis.STATUSES
            row.append((value.removeprefix(mark), "best" if best else "word" if word else "number"))
        rows.append(row)
    return list(cells.columns), rows


def _constant(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Columns that say the same in every row, as (name, text): said once instead of in each row."""
    if len(table) < 2:
        return []
    same = [name for name in table if table[name].nunique(dropna=False) == 1 and table[name].notna().all()]
    nothing = (float("nan"), float("nan"))
    texts = [(HEADS.get(name, name), _say(name, table[name].iloc[0], nothing)) for name in same]
    return [(name, text) for name, text in texts if text]


def _readable(table: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[tuple[str, bool]]]]:
    """Full summary as (columns, rows), each text marked whether a number; dull columns are left out."""
    dull = {name for name in table if table[name].isna().all() or (table[name] == "").all()}
    if len(table) > 1:
        dull |= {name for name in table if table[name].nunique(dropna=False) == 1}
    columns = [name for name in table if name not in dull]
    rows = []
    for row in table[columns].to_dict("records"):
        interval = (row.get("ci_low_s", float("nan")), row.get("ci_high_s", float("nan")))
        rows.append([(_say(name, value, interval), name not in tables.TEXT) for name, value in row.items()])
    return [(HEADS.get(name, name), name not in tables.TEXT) for name in columns], rows


def _say(name: str, value: object, interval: tuple[float, float]) -> str:
    if value is None or pd.isna(value):
        return ""
    if name in ("median_s", "ci_low_s", "ci_high_s"):
        return units.seconds(value, *interval)
    if name in SECONDS:
        return units.seconds(value)
    if name in BYTES:
        return units.bytes_(value)
    if name in ("max_error", "eps"):
        return units.scientific(value)
    if name in tables.WHOLE:
        return units.grouped(value, 0)
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""Every record as rows of cells: the text to read, and the number to sort by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnbench.record import AXES
from bnbench.report import analysis, tables, units
from bnbench.report.table import Text

HEADS = {
    "median_s": "median",
    "ci_low_s": "95 % low",
    "ci_high_s": "95 % high",
    "inner_loops": "inner loops",
    "compile_s": "compile",
    "kernels_s": "compile, by kernel",
    "prepare_s": "prepare",
    "peak_bytes": "peak memory",
    "baseline_bytes": "baseline memory",
    "step_bytes": "memory of the step",
    "gflops": "GFLOP/s",
    "limit_s": "limit",
    "limit_fraction": "share of limit",
    "gemm_flops_s": "rate of matrix products",
    "triad_bytes_s": "rate of memory",
    "max_error_ratio": "error / tolerance",
    "max_error": "largest error",
    "steal_share": "stolen time",
    "others_share": "others' time",
    "switches_per_s": "switches per second",
    "page_faults": "page faults a step",
    "pass_low_s": "fastest process",
    "pass_high_s": "slowest process",
}
FILTERS = {  # columns offered for choosing rows: "order" keeps the order of the rows, "words" splits at commas
    "variant": "order",
    "noise": "words",
} | dict.fromkeys(["family", "device", "host", *AXES, "status"], "sorted")
LAST = ("noise", "reason", "details")  # texts, of which most rows have none
RATES = {"gemm_flops_s": "GFLOP/s", "triad_bytes_s": "GB/s"}
SHARES = {"limit_fraction", "steal_share", "others_share"}


@dataclass(frozen=True)
class Column:
    """A column of the record table."""

    name: str
    head: str
    number: bool
    filter: str  # how it is offered for choosing rows, see `FILTERS`; empty where it is not


def columns(table: pd.DataFrame) -> list[Column]:
    """The columns worth a reader's while: those that are all empty, or the same in every row, are left out."""
    dull = {name for name in table if table[name].isna().all() or (table[name] == "").all()}
    dull |= {name for name, _ in constant(table)} | set([] if analysis.hosts(table) else ["host"])
    wordy = [name for name in LAST if name in table]
    return [
        Column(name, HEADS.get(name, name), pd.api.types.is_numeric_dtype(table[name]), FILTERS.get(name, ""))
        for name in [*table.columns.drop(wordy), *wordy]
        if name not in dull
    ]


def rows(table: pd.DataFrame, shown: list[Column]) -> list[list[Text]]:
    """The table's rows as texts of the columns shown; the key of a number has six digits."""
    made = []
    for row in table.to_dict("records"):
        interval = (row.get("ci_low_s", math.nan), row.get("ci_high_s", math.nan))
        texts = []
        for column in shown:
            value = row[column.name]
            median = column.name == "median_s" and pd.notna(value)
            text = tables.median(row) if median else Text(say(column.name, value, interval))
            key = f"{value:.6g}".replace("inf", "Infinity") if column.number and text.text else ""
            texts.append(text._replace(key=key))
        made.append(texts)
    return made


def constant(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Columns that say the same in every row, as (name, text): said once instead of in each row.

    The machine's rates also where some rows have none; the host is the machine that the page names anyway.
    """
    if len(table) < 2:
        return []
    constants = []
    for name in table.columns.drop(["variant", "host"]):
        values = table[name].dropna().unique()
        whole = name in RATES or table[name].notna().all()
        if len(values) == 1 and whole and (text := say(name, values[0])):
            constants.append((name, text))
    return constants


def say(name: str, value: Any, interval: tuple[float, float] = (math.nan, math.nan)) -> str:
    """A value of a column as text, empty where there is none; times on the interval's digits."""
    if value is None or pd.isna(value):
        return ""
    if name in ("median_s", "ci_low_s", "ci_high_s"):
        return units.seconds(value, *interval)
    if name in RATES:
        return f"{value / 1e9:.3g}{units.GAP}{RATES[name]}"
    if name.endswith("_bytes"):
        return units.bytes_(value)
    if name.endswith("_s") and name != "switches_per_s":
        return units.seconds(value)
    if name in SHARES:
        return units.percent(value)
    if name in ("max_error", "eps"):
        return units.scientific(value)
    if name in tables.WHOLE or name == "page_faults":
        return units.grouped(value, 0)
    return f"{value:.3g}" if isinstance(value, float) else str(value)

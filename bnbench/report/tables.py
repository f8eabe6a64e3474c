"""Journal records as one table, that as CSV and JSON, and the tables of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bnbench.measure.noise import WORDS, noise
from bnbench.record import STATUSES, Record
from bnbench.report import analysis, units
from bnbench.report.analysis import LOST, TIED, WON, Part
from bnbench.report.table import NOISE_MARK, Table, Text, number

DEVICE_TIMES = ["cold_s", "host_to_device_s", "end_to_end_s"]
OF_RUN = ["data", "run", "date"]  # what tells rows of several runs apart
TEXT = [
    "variant",
    "family",
    "device",
    "host",
    "dtype",
    "activation",
    "normalization",
    "regime",
    "status",
    "reason",
    "details",
]
TEXT += ["noise", "memory", "loss", *OF_RUN]
WHOLE = ["N", "p1", "p2", "threads", "samples", "inner_loops", "peak_bytes", "ddof", "baseline_bytes", "outliers"]
WHOLE += ["step_bytes", "passes", "depth", "linear", "units"]
COLUMNS = [  # described in docs/reports.md
    *["variant", "family", "device", "host", "N", "p1", "p2", "depth", "linear", "units", "dtype", "activation"],
    *[
        "normalization",
        "loss",
        "threads",
        "regime",
        "status",
        "reason",
        "median_s",
        "ci_low_s",
        "ci_high_s",
        "samples",
        "inner_loops",
    ],
    *["compile_s", "prepare_s", "peak_bytes", "gflops", "limit_s", "limit_fraction", "max_error_ratio"],
    *["ddof", "eps", "baseline_bytes", "max_error", "outliers", "gemm_flops_s", "triad_bytes_s"],
    *["details", "noise", "steal_share", "others_share", "switches_per_s", "page_faults"],
    *DEVICE_TIMES,
    *["kernels_s", "memory", "step_bytes", "passes", "pass_low_s", "pass_high_s", *OF_RUN],
]
OF_TIMED = [  # empty where there are no times
    *["median_s", "ci_low_s", "ci_high_s", "samples", "inner_loops", "compile_s", "prepare_s", "gflops", "limit_s"],
    *["limit_fraction", "outliers", *DEVICE_TIMES, "kernels_s", "passes", "pass_low_s", "pass_high_s"],
]
LEAST_SAMPLES = 4  # from which on that nothing was found against them says something
SIZES_HEAD = "N × p1 × p2"
COMPILE_HEAD = "compile time of one cell"
COMPILE_NOTE = "What a process must compile that runs one cell alone, its compiler's own start included."
OLD_COMPILE_NOTE = (
    "This run was made before compile times were measured: shown is the most that a first step took longer than a "
    "steady one. What was compiled before that step is not in it."
)
FORMULAS = ("=", "+", "-", "@")
REASON_WIDTH = 200  # characters of an example reason that a table shows


def frame(records: Iterable[Record], run: str = "", date: str = "", host: str = "") -> pd.DataFrame:
    """One row a record, columns `COLUMNS`, sorted by setting, N, p1, p2 and first appearance.

    Times are in seconds per step. Timing columns are empty (NaN, or <NA> in whole-number columns) where the status is
    not ok. `run` and `date` are the same in every row, and so is `host` where no sweep over hosts made them.
    """
    of_run = {"run": run, "date": date}
    rows = [_row(record) | of_run | {"host": record.host or host} for record in records]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in WHOLE:
        table[name] = pd.array(table[name], dtype="Int64")
    for name in COLUMNS:
        if name in TEXT:
            table[name] = table[name].astype("object")
        elif name not in WHOLE:
            table[name] = table[name].astype("float64")
    order = {name: place for place, name in enumerate(table["variant"].unique())}
    keys = [*analysis.SETTING, *analysis.CELL, "variant"]
    table = table.sort_values(
        keys, key=lambda column: column.map(order) if column.name == "variant" else column, kind="stable"
    )
    return table.reset_index(drop=True)


def _row(record: Record) -> dict[str, Any]:
    row = record.cell.columns | {name: getattr(record, name) for name in COLUMNS if hasattr(Record, name)}
    words, medians = ", ".join(noise(record)), record.pass_medians_s
    row |= {
        "details": "; ".join(f"{name}: {value}" for name, value in (record.details or {}).items()),
        "noise": words or (analysis.CLEAN if record.timed and record.samples >= LEAST_SAMPLES else ""),
        "passes": len(medians),
        "pass_low_s": min(medians) if len(medians) > 1 else None,
        "pass_high_s": max(medians) if len(medians) > 1 else None,
        "data": record.data or "",
    }
    return row if record.timed else row | dict.fromkeys(OF_TIMED, None)


def csv(table: pd.DataFrame) -> str:
    """The table as CSV, full precision; before what a spreadsheet would take for a formula stands an apostrophe."""

    def harmless(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(harmless) for name in texts}).to_csv(index=False)


def plain_rows(table: pd.DataFrame) -> list[dict]:
    """The rows as JSON holds them, full precision; None where there is no value."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{name: value.item() if hasattr(value, "item") else value for name, value in row.items()} for row in rows]


# ---- the tables of a report


def statuses(table: pd.DataFrame) -> Table:
    """Variants, of several hosts by host, by status: the number of records of each."""
    heads = [status for status in STATUSES if (table["status"] == status).any()]
    rows = []
    for (name, *host), group in table.groupby(["variant", *_host(table)], sort=False):
        counts = group["status"].value_counts()
        row = {"variant": name} | dict(zip(["host"], host, strict=False))
        rows.append(row | {status: number(units.count(counts.get(status, 0))) for status in heads})
    return Table.of("Records by status", rows)


def over_hosts(table: pd.DataFrame) -> Table:
    """Variants: on each host how many times as long as the reference's their steps take, over the cells that all have.

    Empty of a run of one host.
    """
    ratios, reference = analysis.over_hosts(table)
    names, rows = analysis.hosts(table), []
    for variant in table["variant"].unique():
        own = ratios[ratios["variant"] == variant].dropna()
        if len(own):
            means = np.exp(np.log(own[names]).mean())
            worst = own.loc[own["apart"].idxmax()]
            row: dict[str, str | Text] = {"variant": variant, "cells": number(units.count(len(own)))}
            row |= {name: number(units.factor(means[name])) for name in names}
            row |= {"most apart": number(f"{units.factor(worst['apart'])}×"), f"at {SIZES_HEAD}": number(sizes(worst))}
            rows.append(row)
    note = (
        f"On each host the time of a step over that of {reference} on the same host, the geometric mean over the cells "
        "that all hosts have timed; and by what factor one cell's ratios differ at most. Times of different hosts are "
        "not compared."
    )
    return Table.of("Ratios over hosts", rows, note=note)


def _host(table: pd.DataFrame) -> list[str]:
    """The column that tells hosts apart, where there are several."""
    return ["host"] if analysis.hosts(table) else []


def loops_or_matrix(part: Part) -> Table:
    """Shapes by N: whether loops or the matrix form win there, by how much, or that they tie."""
    rows: dict[str, dict[str, str | Text]] = {}
    cells = analysis.crossover(part.table)
    for cell in cells.sort_values(["p1", "p2", "N"]).to_dict("records"):
        shape = f"{units.count(cell['p1'])} × {units.count(cell['p2'])}"
        rows.setdefault(shape, {"p1 × p2": number(shape)})[_at_N(cell["N"])] = _lead(cell)
    heads = ["p1 × p2", *(_at_N(N) for N in sorted(cells["N"].unique()))]
    note = (
        "The faster of the two forms, each by its fastest variant but those compiled elsewhere (C++, Pythran, Rcpp), "
        "and by how many times. A tie: their 95 % intervals "
    )
    note += f"overlap. ≥ is the least that the intervals allow, where a median is too noisy to rank ({NOISE_MARK})."
    return Table.of(f"Loops or matrix form, by size: {part.label}", rows.values(), heads, note)


def _at_N(N: int) -> str:
    return f"N = {units.count(N)}"


def _lead(cell: dict[str, Any]) -> Text:
    if not cell["verdict"]:
        return Text("only matrix" if pd.isna(cell["loops_s"]) else "only loops", "status")
    if cell["verdict"] == TIED:
        return Text("tie", "tie", "" if cell["ranked"] else analysis.UNRANKED)
    name, factor, least = {
        WON: ("loops", 1 / cell["ratio"], 1 / cell["high"]), LOST: ("matrix", cell["ratio"], cell["low"]),
    }[cell["verdict"]]  # fmt: skip
    if cell["ranked"]:
        return Text(f"{name} {units.factor(factor)}×", name)
    return Text(f"{name} ≥{units.at_least(least)}×", name, analysis.UNRANKED)


def medians(part: Part) -> Table:
    """Cells by variants: the median time, or the status where there is none; "best" are the fastest and its ties.

    Variants that are not available under the setting have no column.
    """
    best = {tuple(row[k] for k in analysis.CELL): row["tied"] for row in analysis.winners(part.table)}
    here = part.table[part.table["status"] != "unavailable"]
    rows: dict[tuple, dict[str, str | Text]] = {}
    for row in here.to_dict("records"):
        cell = tuple(row[k] for k in analysis.CELL)
        text = Text(row["status"], "status")
        if row["status"] == "ok":
            text = median(row, "best" if row["variant"] in best.get(cell, ()) else "number")
        rows.setdefault(cell, {SIZES_HEAD: number(sizes(row))})[row["variant"]] = text
    note = (
        "Bold is fastest; several bold in a row are tied: their 95 % intervals overlap the fastest's. Digits go as far "
    )
    note += f"as the interval justifies. {noise_legend(here)}"
    heads = [SIZES_HEAD, *here["variant"].unique()]
    return Table.of(f"Median time of a step: {part.label}", rows.values(), heads, note.rstrip())


def against_frameworks(part: Part) -> Table:
    """Cells: the fastest fused variant and framework, the ratio of their times, the share of the limit.

    Empty where a run has not both families.
    """
    measured = analysis.measured(part.table)
    by_name = {(*(row[k] for k in analysis.CELL), row["variant"]): row for row in measured.to_dict("records")}
    rows = []
    for cell in analysis.contest(measured, "fused", "autodiff").to_dict("records"):
        if not cell["verdict"]:
            continue
        fused, peer = (by_name[*(cell[k] for k in analysis.CELL), cell[side]] for side in ("ours", "theirs"))
        factor = Text(units.factor(1 / cell["ratio"]), "number", "" if cell["ranked"] else analysis.UNRANKED)
        share = fused["limit_fraction"]
        rows.append(
            {
                SIZES_HEAD: number(sizes(cell)),
                "fused": median(fused),
                "of": fused["details"] or fused["variant"],
                "fastest framework": peer["variant"],
                "its time": median(peer),
                "times as long": Text("tie", "tie") if cell["verdict"] == TIED else factor,
                "share of the limit": number("" if pd.isna(share) else units.percent(share)),
            }
        )
    note = "The fastest variant of the family fused against the fastest of autodiff."
    return Table.of(f"Against the frameworks: {part.label}", rows, note=note)


def noise_legend(table: pd.DataFrame) -> str:
    """What the mark of noise means, and each of its words that occurs; empty where none does."""
    words = {word for said in analysis.noise(table) for word in said.split(", ") if word}
    if not words:
        return ""
    said = [f"{word} ({WORDS[word]})" if word in WORDS else word for word in sorted(words)]
    return f"{NOISE_MARK} marks a median with something against it, which the column noise says: {', '.join(said)}."


def median(row: dict[str, Any], role: str = "number") -> Text:
    """A row's median, with what the column `noise` says against it."""
    words = row.get("noise")
    said = words if isinstance(words, str) and words != analysis.CLEAN else ""
    return Text(units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"]), role, said)


def sizes(row: dict[str, Any]) -> str:
    """N × p1 × p2 of a row."""
    return " × ".join(units.count(row[name]) for name in analysis.CELL)


def not_ok(table: pd.DataFrame) -> Table:
    """Everything that is not ok, one row for each variant, status and kind of reason, with an example.

    Two reasons are of a kind when they differ in numbers only.
    """
    bad = table[table["status"] != "ok"]
    kinds = bad["reason"].map(lambda reason: re.sub(r"\d[\d.,e+\-]*", "#", reason))
    order = list(table["variant"].unique())
    groups = bad.groupby(["variant", "status", kinds, *_host(table)], sort=False)
    rows = []
    for (variant, status, _, *host), group in sorted(groups, key=lambda pair: order.index(pair[0][0])):
        example = " ".join(group["reason"].iloc[0].split())
        shown = example if len(example) <= REASON_WIDTH else example[: REASON_WIDTH - 1] + "…"
        rows.append(
            {
                "variant": variant,
                **dict(zip(["host"], host, strict=False)),
                "status": status,
                "records": number(units.count(len(group))),
                **{name: number(_span(group[name])) for name in analysis.CELL},
                "reason (an example)": shown or "none given",
            }
        )
    return Table.of(
        "Everything that is not ok, with its reason", rows, note="Reasons that differ in numbers only are one row."
    )


def accuracy(table: pd.DataFrame) -> Table:
    """Variants with a verdict: the worst error over its tolerance, where it occurred, and the worst error."""
    rows = []
    for variant, group in table[table["max_error_ratio"].notna()].groupby("variant", sort=False):
        worst = group.loc[group["max_error_ratio"].idxmax()]
        rows.append(
            {
                "variant": variant,
                "worst error / tolerance": number(f"{worst['max_error_ratio']:.3g}"),
                f"at {SIZES_HEAD}": number(sizes(worst)),
                "dtype": worst["dtype"],
                "largest relative error of any gradient": number(units.scientific(group["max_error"].max())),
                "cells judged": number(units.count(len(group))),
            }
        )
    return Table.of("Accuracy: the worst error over its tolerance", rows)


def compile_times(table: pd.DataFrame) -> Table:
    """Variants by setting: what a process must compile that runs one cell alone, from the least cell to the most.

    The setting is left out where it does not matter.
    """
    settings = analysis.parts(table)
    rows = []
    for variant in table.loc[table["compile_s"].notna(), "variant"].unique():
        said = {}
        for part in settings:
            seconds = part.table.loc[part.table["variant"] == variant, "compile_s"].dropna()
            if len(seconds):
                said[part.label] = analysis.compile_time(seconds)
        if len(set(said.values())) == 1:
            said = {"": next(iter(said.values()))}
        rows += [{"variant": variant, "setting": label, COMPILE_HEAD: number(text)} for label, text in said.items()]
    heads = ["variant", *["setting"] * any(row["setting"] for row in rows), COMPILE_HEAD]
    return Table.of("Compile times", rows, heads, compile_note(table))


def compile_note(table: pd.DataFrame) -> str:
    """What the compile times of a table are."""
    return OLD_COMPILE_NOTE if table.loc[table["compile_s"].notna(), "kernels_s"].isna().any() else COMPILE_NOTE


def _span(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "–"
    low, high = values.min(), values.max()
    return units.count(low) if low == high else f"{units.count(low)}–{units.count(high)}"

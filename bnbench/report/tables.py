"""Journal records as one table, and the table as CSV and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from bnbench.measure.noise import WORDS, noise
from bnbench.record import STATUSES, Record
from bnbench.report import analysis, answers, units

DEVICE_TIMES = ["cold_s", "host_to_device_s", "end_to_end_s"]
TEXT = ["variant", "family", "device", "dtype", "activation", "normalization", "regime", "status", "reason", "details"]
TEXT += ["noise", "memory"]
WHOLE = [
    *["N", "p1", "p2", "threads", "samples", "inner_loops", "peak_bytes", "ddof", "baseline_bytes"],
    "outliers",
]
COLUMNS = [
    *["variant", "family", "device", "N", "p1", "p2", "dtype", "activation", "normalization", "threads"],
    *["regime", "status", "reason", "median_s", "ci_low_s", "ci_high_s", "samples", "inner_loops"],
    *["compile_s", "prepare_s", "peak_bytes", "gflops", "limit_s", "limit_fraction", "max_error_ratio"],
    *["ddof", "eps", "baseline_bytes", "max_error", "outliers", "gemm_flops_s", "triad_bytes_s"],
    *["details", "noise", "steal_share", "others_share", "switches_per_s", "page_faults"],
    *DEVICE_TIMES,
    *["kernels_s", "memory", "process_spread"],
]
OF_TIMED = [  # empty where there are no times
    *["median_s", "ci_low_s", "ci_high_s", "samples", "inner_loops", "compile_s", "prepare_s", "gflops", "limit_s"],
    *["limit_fraction", "outliers", *DEVICE_TIMES, "kernels_s", "process_spread"],
]
NOISE_MARK = "≈"
COMPILE_HEAD = "compile time of one cell"
COMPILE_NOTE = "What a process must compile that runs one cell alone, its compiler's own start included."
OLD_COMPILE_NOTE = (
    "This run is of before compile times were measured: what is shown is the most that a first step took longer than a "
    "steady one. What was compiled before that step is not in it."
)
FORMULAS = ("=", "+", "-", "@")
REASON_WIDTH = 200  # characters of an example reason that a table shows


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record, columns `COLUMNS`, sorted by setting, N, p1, p2 and first appearance.

    Times are in seconds per step, with the 95 % order-statistic interval on the median; `gflops` counts the
    two matrix products of a step, 2 N p1 p2 flops each: 4 N p1 p2 / median_s / 1e9. `max_error` is the
    largest relative error of any gradient (the loss left out). `limit_s` is the least time of a step at the
    machine's rates (`gemm_flops_s`, `triad_bytes_s`; see measure/roofline.py), `limit_fraction` that over the median.
    `compile_s` is what a process that runs the cell alone must compile, `kernels_s` of it what is known kernel by
    kernel, the rest the first step's excess over a steady one; where `kernels_s` is empty the run is of before that was
    measured, and its `compile_s` is that excess, whatever was compiled before.
    `details` is what a variant says of itself there: its algorithm, a library it ran on. `noise` says what is wrong
    with the samples (words of measure/noise.py); `steal_share` and `others_share` are the shares of the processors'
    time that other machines and other processes took, `switches_per_s` how often a thread had to give up its processor;
    `page_faults` how many pages a step touched that the system had yet to give the worker (not those of an R process).
    `memory` says whether the C library returned what a step freed to the system or kept it. `process_spread` is by how
    much another process of the same code may be off: the largest of the passes' medians over the least, less 1.
    On a device alone: `cold_s` is a step after its cache was emptied, `host_to_device_s` copying X, y and the
    parameters there, `end_to_end_s` these copies, a step and the gradients copied back; each a median.
    Timing columns are empty (NaN, or <NA> in whole-number columns) where the status is not ok.
    """
    table = pd.DataFrame([_row(record) for record in records], columns=COLUMNS)
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


def _row(record: Record) -> dict:
    row = record.cell.columns | {name: getattr(record, name) for name in COLUMNS if hasattr(Record, name)}
    row |= {
        "details": "; ".join(f"{name}: {value}" for name, value in (record.details or {}).items()),
        "noise": ", ".join(noise(record)),
    }
    return row if record.timed else row | dict.fromkeys(OF_TIMED, None)


def csv(table: pd.DataFrame) -> str:
    """The table as CSV, full precision; before what a spreadsheet would take for a formula stands an apostrophe."""

    def harmless(value):
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(harmless) for name in texts}).to_csv(index=False)


def plain_rows(table: pd.DataFrame) -> list[dict]:
    """The rows as JSON holds them, full precision; None where there is no value."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{name: value.item() if hasattr(value, "item") else value for name, value in row.items()} for row in rows]


def markdown(table: pd.DataFrame, environment: dict | None = None) -> str:
    """Markdown summary: the three answers, statuses, medians by cell, what is not ok and why, accuracy, compile times.

    In the medians, the fastest variant of a cell is bold, and so is every one whose interval overlaps its.
    """
    blocks = ["# bnbench: summary", answers.scope(table)]
    blocks += [_plain(source)] if (source := answers.source(environment or {})) else []
    for answer in answers.answers(table):
        lines = [*answer.lines, *(f"{label}: {line}" for label, lines in answer.settings for line in lines)]
        blocks += [f"## {answer.question}", answer.verdict]
        blocks += [f"    {answer.command}"] if answer.command else []
        blocks += ["\n".join(f"- {_plain(line)}" for line in lines)]
    blocks += ["## Records by status", _table(statuses(table))]
    for part in analysis.parts(table):
        blocks += [
            f"## Median time of a step: {part.label}",
            "Bold is fastest; several bold in a row are tied (their 95 % intervals overlap the fastest's)."
            + f" {noise_legend(part.table)}".rstrip(),
            _table(medians(part.table, bold=("**", "**"))),
        ]
        if (against := against_frameworks(part.table)).size:
            blocks += [
                f"## Against the frameworks: {part.label}",
                "The fastest variant of the family `fused` against the fastest of `autodiff`.",
                _table(against),
            ]
    if (failures := not_ok(table)).size:
        blocks += ["## Everything that is not ok, with its reason", _table(failures)]
    if (errors := accuracy(table)).size:
        blocks += ["## Accuracy: the worst error over its tolerance", _table(errors)]
    if (compiling := compile_times(table)).size:
        blocks += ["## Compile times", compile_note(table), _table(compiling)]
    return "\n\n".join(blocks) + "\n"


def statuses(table: pd.DataFrame) -> pd.DataFrame:
    """Variants by status: the number of records of each."""
    counts = pd.crosstab(table["variant"], table["status"]) if len(table) else pd.DataFrame()
    columns = [status for status in STATUSES if status in counts]
    columns += [status for status in counts if status not in columns]
    counts = counts.reindex(index=table["variant"].unique(), columns=columns)
    return counts.astype(object).rename_axis(columns=None).reset_index(names="variant")


def medians(part: pd.DataFrame, bold: tuple[str, str] = ("", "")) -> pd.DataFrame:
    """Cells by variants, as text: the median time, or the status in words where there is none.

    `bold` is put around the winner of each cell and those tied with it. Variants that are not available on this
    machine have no column.
    """
    best = {tuple(row[k] for k in analysis.CELL): row["tied"] for row in analysis.winners(part)}
    rows: dict[tuple, dict] = {}
    for row in part.to_dict("records"):
        cell = tuple(row[k] for k in analysis.CELL)
        text = row["status"]
        if row["status"] == "ok":
            text = median(row)
        if row["status"] == "ok" and row["variant"] in best.get(cell, ()):
            text = bold[0] + text + bold[1]
        rows.setdefault(cell, {k: units.count(v) for k, v in zip(analysis.CELL, cell, strict=True)})
        rows[cell][row["variant"]] = text
    here = part[part["status"] != "unavailable"]
    columns = [*analysis.CELL, *here["variant"].unique()]
    return pd.DataFrame(rows.values(), columns=columns).fillna("")


def against_frameworks(part: pd.DataFrame) -> pd.DataFrame:
    """Cells, as text: fastest fused variant and framework, the ratio of their times, share of the limit.

    Empty where a run has not both families.
    """
    rows = []
    for cell, fused, peer in analysis.against_frameworks(part):
        share = fused["limit_fraction"]
        rows.append(
            {k: units.count(v) for k, v in zip(analysis.CELL, cell, strict=True)}
            | {
                "fused": median(fused),
                "of": fused["details"] or fused["variant"],
                "fastest framework": peer["variant"],
                "its time": median(peer),
                "times as long": units.factor(peer["median_s"] / fused["median_s"]),
                "share of the limit": "" if pd.isna(share) else units.percent(share),
            }
        )
    return pd.DataFrame(rows)


def noise_legend(table: pd.DataFrame) -> str:
    """What the mark of noise means, and each of its words that occurs; empty where none does."""
    found = {word for words in analysis.noise(table) for word in words.split(", ") if word}
    if not found:
        return ""
    said = [f"{word} ({WORDS[word]})" if word in WORDS else word for word in sorted(found)]
    return f"{NOISE_MARK} marks a median with something against it, which the column noise says: {', '.join(said)}."


def median(row: pd.Series | dict) -> str:
    """A row's median as text, with `NOISE_MARK` after it where the column `noise` says something against it."""
    text = units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
    noise = row.get("noise")
    return text + (NOISE_MARK if isinstance(noise, str) and noise else "")


def not_ok(table: pd.DataFrame) -> pd.DataFrame:
    """Everything that is not ok, one row for each variant, status and kind of reason, with an example.

    Two reasons are of a kind when they differ in numbers only.
    """
    bad = table[table["status"] != "ok"]
    kinds = bad["reason"].map(lambda reason: re.sub(r"\d[\d.,e+\-]*", "#", reason))
    order = list(table["variant"].unique())
    groups = bad.groupby(["variant", "status", kinds], sort=False)
    rows = []
    for (variant, status, _), group in sorted(groups, key=lambda pair: order.index(pair[0][0])):
        example = " ".join(group["reason"].iloc[0].split())
        shown = example if len(example) <= REASON_WIDTH else example[: REASON_WIDTH - 1] + "…"
        rows.append(
            {
                "variant": variant,
                "status": status,
                "records": units.count(len(group)),
                **{name: _span(group[name]) for name in analysis.CELL},
                "reason (an example)": shown or "none given",
            }
        )
    return pd.DataFrame(rows)


def accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """Variants with a verdict: the worst error over its tolerance, where it occurred, and the worst error."""
    rows = []
    for variant, group in table[table["max_error_ratio"].notna()].groupby("variant", sort=False):
        worst = group.loc[group["max_error_ratio"].idxmax()]
        rows.append(
            {
                "variant": variant,
                "worst error / tolerance": f"{worst['max_error_ratio']:.3g}",
                "at N": units.count(worst["N"]),
                "p1": units.count(worst["p1"]),
                "p2": units.count(worst["p2"]),
                "dtype": worst["dtype"],
                "largest relative error of any gradient": units.scientific(group["max_error"].max()),
                "cells judged": units.count(len(group)),
            }
        )
    return pd.DataFrame(rows)


def compile_times(table: pd.DataFrame) -> pd.DataFrame:
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
        rows += [{"variant": variant, "setting": label, COMPILE_HEAD: text} for label, text in said.items()]
    found = pd.DataFrame(rows)
    return found if len(found) and found["setting"].any() else found.drop(columns="setting", errors="ignore")


def compile_note(table: pd.DataFrame) -> str:
    """What the compile times of a table are."""
    return OLD_COMPILE_NOTE if table.loc[table["compile_s"].notna(), "kernels_s"].isna().any() else COMPILE_NOTE


def _span(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "–"
    low, high = values.min(), values.max()
    return units.count(low) if low == high else f"{units.count(low)}–{units.count(high)}"


def _table(table: pd.DataFrame) -> str:
    text = table.map(lambda value: _plain(value).replace("|", "\\|"))
    text.columns = [_plain(name).replace("|", "\\|") for name in text]
    return text.to_markdown(index=False, disable_numparse=True)


def _plain(text: object) -> str:
    return str(text).replace("<", "&lt;")

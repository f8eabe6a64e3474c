"""What the table says: settings, winners, crossover, break-even, slopes, noise. Numbers only, no rendering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bnbench import record
from bnbench.measure.excess import COMPILED_S, least_excess_s
from bnbench.report import units

CELL = ["N", "p1", "p2"]
SETTING = list(record.SETTING)
ALWAYS_NAMED = {"dtype", "activation", "normalization", "threads", "regime"}
UNRANKED = "noisy"  # the word of the column `noise` for a median that no ranking can lean on
REFERENCE = "matrix-numpy"  # what a compiled variant has to pay its compile time back against


@dataclass(frozen=True)
class Part:
    """The rows measured under one setting."""

    label: str  # "float64, relu, batch, 2 threads, fresh"
    suffix: str  # for file names: the values that differ between settings; empty where there is one
    table: pd.DataFrame  # its compile_s is that of `compile_times`


def parts(table: pd.DataFrame) -> list[Part]:
    """Split the rows that belong to a cell by setting, in sorted order."""
    cells = table.dropna(subset=[*CELL, "dtype"])
    if cells.empty:
        return []
    differing = [name for name in SETTING if cells[name].nunique(dropna=False) > 1]
    cells = cells.assign(compile_s=compile_times(cells))
    found = []
    for values, group in cells.groupby(SETTING, dropna=False, sort=True):
        words = {
            name: _say(name, value)
            for name, value in zip(SETTING, values, strict=True)
            if pd.notna(value) and (name in ALWAYS_NAMED or name in differing)
        }
        suffix = "".join(f"-{words[name].replace(' ', '')}" for name in differing if name in words)
        found.append(Part(", ".join(words.values()), suffix, group.reset_index(drop=True)))
    return found


def compile_times(rows: pd.DataFrame) -> pd.Series:
    """Of each row the seconds of compiling that a process pays which runs its cell alone; NaN where none was timed.

    Runs of before that was measured (`kernels_s` is NaN) have the first step's excess, which holds what compiled in it
    for the first time: there it is the variant's largest under the row's setting, else under any.
    """
    old = rows["kernels_s"].isna()
    if not old.any():
        return rows["compile_s"]
    memory = (rows["peak_bytes"] - rows["baseline_bytes"]).fillna(0)
    excess = rows["compile_s"].where(rows["compile_s"] >= least_excess_s(rows["median_s"], memory.astype(float)))
    here = excess.groupby([rows[name] for name in ["variant", *SETTING]], dropna=False).transform("max")
    anywhere = excess.groupby(rows["variant"]).transform("max")
    largest = here.fillna(anywhere).fillna(0.0)
    return rows["compile_s"].where(~old, largest.where(rows["compile_s"].notna()))


def compile_time(seconds: pd.Series) -> str:
    """Compile times of several cells as text: one, or the least and the most; "none" where nothing was compiled."""
    ends = seconds.min(), seconds.max()
    low, high = (units.seconds(value) if value >= COMPILED_S else "none" for value in ends)
    return low if low == high else f"{low} to {high}"


def _say(name: str, value: object) -> str:
    if name == "threads":
        return units.plural(value, "thread")
    if name in ("ddof", "eps"):
        return f"{name} {value:g}"
    if name == "normalization":
        return {"batch": "batch normalisation", "none": "no normalisation"}.get(value, str(value))
    return str(value)


def measured(part: pd.DataFrame) -> pd.DataFrame:
    """Rows with a median, the last where a cell and variant occur twice; whole numbers as plain int64."""
    rows = part[(part["status"] == "ok") & (part["median_s"] > 0)]
    rows = rows.drop_duplicates([*SETTING, *CELL, "variant"], keep="last")
    return rows.astype(dict.fromkeys(CELL, "int64"))


def winners(part: pd.DataFrame) -> list[dict]:
    """For each cell measured: N, p1, p2, the winner, its median and interval, and those tied (itself first).

    A variant ties where its interval on the median overlaps the winner's.
    """
    rows = measured(part).sort_values([*CELL, "median_s"], kind="stable")
    best = rows.drop_duplicates(CELL)
    rows = rows.merge(best[[*CELL, "ci_high_s"]], on=CELL, suffixes=("", "_best"))
    tied: dict[tuple, list[str]] = {}
    for *cell, name in rows.loc[rows["ci_low_s"] <= rows["ci_high_s_best"], [*CELL, "variant"]].itertuples(index=False):
        tied.setdefault(tuple(cell), []).append(name)
    return [
        {k: row[k] for k in CELL}
        | {"winner": row["variant"], "tied": tied[tuple(row[k] for k in CELL)]}
        | {name: row[name] for name in ("median_s", "ci_low_s", "ci_high_s")}
        for row in best.to_dict("records")
    ]


def crossover(part: pd.DataFrame) -> pd.DataFrame:
    """Loops against matrix form: N, p1, p2, loops_s, matrix_s (the families' fastest medians), ratio.

    ratio = loops_s / matrix_s, above 1 where the matrix form is faster; NaN where a family is missing.
    Where variants ran on several devices, the device with most cells of both families is taken (`device`).
    """
    rows = measured(part)
    rows = rows[rows["family"].isin(["loops", "matrix"])]
    best = rows.groupby(["device", *CELL, "family"], dropna=False)["median_s"].min().unstack("family")
    best = best.reindex(columns=["loops", "matrix"]).rename(columns={"loops": "loops_s", "matrix": "matrix_s"})
    best["ratio"] = best["loops_s"] / best["matrix_s"]
    best = best.reset_index().rename_axis(columns=None)
    if best["device"].nunique() > 1:
        both = best[best["ratio"].notna()].groupby("device").size()
        best = best[best["device"] == (both.idxmax() if both.size else best["device"].iloc[0])]
    return best.reset_index(drop=True)


def frontier(N: np.ndarray, ratio: np.ndarray) -> list[float]:
    """The N at which `ratio` crosses 1: log ratio interpolated linearly in log N between neighbours."""
    order = np.argsort(N)
    x, y = np.log(np.asarray(N, float)[order]), np.log(np.asarray(ratio, float)[order])
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    found = [x[i] for i in range(len(x)) if y[i] == 0]
    for i in range(len(x) - 1):
        if y[i] * y[i + 1] < 0:
            found += [x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])]
    return sorted(float(np.exp(value)) for value in found)


def devices(part: pd.DataFrame) -> pd.DataFrame:
    """CPU against another device: N, p1, p2, the fastest variant of each (cpu, device), its median (cpu_s, device_s).

    `end_to_end_s` is the least of the device's variants with the copies there and back, NaN where none was measured.
    Only cells that were timed on both.
    """
    rows = measured(part)
    found = []
    for cell, group in rows.groupby(CELL):
        cpu, other = group[group["device"] == "cpu"], group[group["device"] != "cpu"]
        if len(cpu) and len(other):
            best = {"cpu": cpu.loc[cpu["median_s"].idxmin()], "device": other.loc[other["median_s"].idxmin()]}
            found.append(
                dict(zip(CELL, cell, strict=True))
                | {name: row["variant"] for name, row in best.items()}
                | {f"{name}_s": row["median_s"] for name, row in best.items()}
                | {"end_to_end_s": other["end_to_end_s"].min()}
            )
    return pd.DataFrame(found, columns=[*CELL, "cpu", "device", "cpu_s", "device_s", "end_to_end_s"])


def wins_from(N: np.ndarray, ratio: np.ndarray) -> float:
    """The N from which on `ratio` stays below 1; NaN where it is nowhere above 1, or not below 1 at the largest N."""
    N, ratio = np.asarray(N, float), np.asarray(ratio, float)
    known = np.isfinite(ratio)
    crossed = frontier(N[known], ratio[known])
    return crossed[-1] if crossed and ratio[known][N[known].argmax()] < 1 else float("nan")


def break_even(part: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Calls until compiling has paid: one row a compiled variant and cell, and the reference's name.

    Columns: variant, N, p1, p2, compile_s (what the cell's own kernels took), saved_s (per step, against the
    reference), calls = compile_s / saved_s, infinite where nothing is saved. The reference is
    `matrix-numpy`, else the fastest variant of each cell that does not compile.
    """
    rows = measured(part)
    compiled = set(rows.loc[rows["compile_s"] >= COMPILED_S, "variant"])
    plain = rows[~rows["variant"].isin(compiled)]
    name = "the fastest variant that does not compile"
    if (plain["variant"] == REFERENCE).any():
        name, plain = REFERENCE, plain[plain["variant"] == REFERENCE]
    reference = plain.groupby(CELL)["median_s"].min().rename("reference_s").reset_index()
    found = rows[rows["variant"].isin(compiled)].merge(reference, on=CELL)
    found["saved_s"] = found["reference_s"] - found["median_s"]
    found["calls"] = np.where(
        found["saved_s"] > 0, found["compile_s"] / found["saved_s"].where(found["saved_s"] > 0, 1), np.inf
    )
    return found[["variant", *CELL, "compile_s", "saved_s", "calls"]], name


def slope(N: np.ndarray, time_s: np.ndarray) -> float:
    """Least-squares b of time ~ N^b over the upper half (in log N) of the range; NaN below 2 points."""
    x, y = np.log(np.asarray(N, float)), np.log(np.asarray(time_s, float))
    if len(x) < 2:
        return float("nan")
    upper = x >= (x.min() + x.max()) / 2 - 1e-9
    if len(np.unique(x[upper])) < 2:
        return float("nan")
    return float(np.polyfit(x[upper], y[upper], 1)[0])


def against_frameworks(part: pd.DataFrame) -> list[tuple[tuple, dict, dict]]:
    """Cells with both: (cell, the row of the fastest variant of the family fused, that of the fastest framework)."""
    rows = measured(part)
    best = rows.loc[rows.groupby([*CELL, "family"])["median_s"].idxmin()].to_dict("records")
    fused, peers = (
        {tuple(row[k] for k in CELL): row for row in best if row["family"] == family}
        for family in ("fused", "autodiff")
    )
    return [(cell, row, peers[cell]) for cell, row in fused.items() if cell in peers]


def noise(table: pd.DataFrame) -> pd.Series:
    """What is said against each row's median: words with commas between them, empty where nothing is."""
    if "noise" not in table:
        return pd.Series("", index=table.index, dtype=object)
    return table["noise"].fillna("").astype(str).astype(object)

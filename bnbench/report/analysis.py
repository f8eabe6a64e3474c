"""What the table says: settings, winners, contests, break-even, slopes, noise. Numbers only, no rendering."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bnbench import record
from bnbench.measure.excess import COMPILED_S, least_excess_s
from bnbench.report import units

CELL, SETTING = list(record.SIZES), [*record.SETTING, "host"]  # as pandas takes names of columns; hosts are apart
ALWAYS_NAMED = {"dtype", "activation", "normalization", "threads", "regime"}
NETWORK: dict[str, Callable] = {
    "depth": lambda value: units.plural(value, "hidden layer"),
    "linear": lambda value: units.plural(value, "linear term"),
    "units": lambda value: units.plural(value, "unit"),
    "loss": lambda value: f"{value} loss",
}
UNRANKED = "noisy"  # the word of the column `noise` for a median that no ranking can lean on
COMPILED_ELSEWHERE = re.compile("rcpp-.*|.*-(cpp|eigen|pythran)")  # names of variants of another compiler
CLEAN = "clean"  # what the column `noise` says where nothing was found
REFERENCE = "matrix-numpy"  # what a compiled variant has to pay its compile time back against
NOT_IN_NAMES = re.compile(r"[^\w.@+-]+")  # of files
WON, LOST, TIED = "won", "lost", "tied"


@dataclass(frozen=True)
class Part:
    """The rows measured under one setting."""

    label: str  # "float64, relu, batch, 2 threads, fresh"
    short: str  # of it what differs between settings; empty where there is one
    suffix: str  # for file names: the values that differ between settings; empty where there is one
    table: pd.DataFrame  # its compile_s is that of `compile_times`


def absent(table: pd.DataFrame) -> list[str]:
    """The variants that are not installed here: all of their records are unavailable."""
    here = table.loc[table["status"] != "unavailable", "variant"].unique()
    return [name for name in table["variant"].unique() if name not in here]


def present(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all other variants."""
    return table[~table["variant"].isin(absent(table))]


def parts(table: pd.DataFrame) -> list[Part]:
    """Split the rows that belong to a cell by setting, in sorted order."""
    cells = table.dropna(subset=[*CELL, "dtype"])
    if cells.empty:
        return []
    differing = [name for name in SETTING if cells[name].nunique(dropna=False) > 1]
    cells = cells.assign(compile_s=compile_times(cells))
    settings = []
    for values, group in cells.groupby(SETTING, dropna=False, sort=True):
        words = {
            name: _say(name, value)
            for name, value in zip(SETTING, values, strict=True)
            if pd.notna(value) and (name in ALWAYS_NAMED or name in differing or value != record.ADDED.get(name, value))
        }
        said = [words[name] for name in differing if name in words]
        suffix = "".join("-" + NOT_IN_NAMES.sub("", each) for each in said)
        settings.append(Part(", ".join(words.values()), ", ".join(said), suffix, group.reset_index(drop=True)))
    return settings


def compile_times(rows: pd.DataFrame) -> pd.Series:
    """Of each row the seconds of compiling that a process pays which runs its cell alone; NaN where none was timed.

    Runs of before that was measured (`kernels_s` is NaN) have the first step's excess, which holds what compiled in it
    for the first time: there it is the variant's largest under the row's setting, else under any.
    """
    old = rows["kernels_s"].isna()
    if not old.any():
        return rows["compile_s"]
    memory = rows["step_bytes"].fillna(0)
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


def _say(name: str, value: Any) -> str:
    if name == "threads":
        return units.plural(value, "thread")
    if name in ("ddof", "eps"):
        return f"{name} {value:g}"
    if name in ("memory", "host"):
        return f"{name} {value}"
    if name == "normalization":
        return {"batch": "batch normalisation", "none": "no normalisation", "frozen": "frozen statistics"}[str(value)]
    if name in NETWORK:
        return NETWORK[name](value)
    return str(value)


def measured(part: pd.DataFrame) -> pd.DataFrame:
    """Rows with a median, the last where a cell and variant occur twice; whole numbers as plain int64."""
    rows = part[(part["status"] == "ok") & (part["median_s"] > 0)]
    rows = rows.drop_duplicates([*SETTING, *CELL, "variant"], keep="last")
    return rows.astype(dict.fromkeys(CELL, "int64"))


def hosts(table: pd.DataFrame) -> list[str]:
    """The hosts, where there are several."""
    names = [str(name) for name in table["host"].dropna().unique()]
    return sorted(names) if len(names) > 1 else []


def over_hosts(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The ratios that can be compared over hosts: one row a setting, cell and variant; and the reference's name.

    A column a host has the variant's median over the reference's on the same host, NaN where one is missing; `apart`
    is the largest of them over the least. The reference is `matrix-numpy`, else the variant timed most often; rows are
    those that several hosts have.
    """
    rows = measured(table)
    if not hosts(rows):
        return pd.DataFrame(columns=["variant", "apart"]), ""
    counts = rows["variant"].value_counts()
    name = REFERENCE if REFERENCE in counts else str(counts.index[0])
    here = [*record.SETTING, *CELL]
    reference = rows.loc[rows["variant"] == name, [*here, "host", "median_s"]]
    rows = rows[rows["variant"] != name].merge(reference, on=[*here, "host"], suffixes=("", "_reference"))
    rows = rows.assign(ratio=rows["median_s"] / rows["median_s_reference"])
    ratios = rows.pivot(index=[*here, "variant"], columns="host", values="ratio")
    ratios = ratios[ratios.notna().sum(axis=1) > 1]
    return ratios.assign(apart=ratios.max(axis=1) / ratios.min(axis=1)).reset_index(), name


def noise(table: pd.DataFrame) -> pd.Series:
    """What is said against each row's median: words with commas between them, empty where nothing is."""
    if "noise" not in table:
        return pd.Series("", index=table.index, dtype=object)
    return table["noise"].fillna("").astype(str).replace(CLEAN, "").astype(object)


def unranked(table: pd.DataFrame) -> pd.Series:
    """Whether each row's median is too noisy to rank."""
    return noise(table).map(lambda words: UNRANKED in words.split(", ")).astype(bool)


def winners(part: pd.DataFrame) -> list[dict]:
    """For each cell measured: N, p1, p2, the fastest (winner), its median and interval, and those tied (itself first).

    A variant ties where its interval on the median overlaps that of the fastest; a cell is won where nobody ties.
    `noisy` says whether the fastest's median is too noisy to rank.
    """
    rows = measured(part).sort_values([*CELL, "median_s"], kind="stable")
    rows = rows.assign(noisy=unranked(rows))
    best = rows.drop_duplicates(CELL)
    rows = rows.merge(best[[*CELL, "ci_high_s"]], on=CELL, suffixes=("", "_best"))
    tied: dict[tuple, list[str]] = {}
    for *cell, name in rows.loc[rows["ci_low_s"] <= rows["ci_high_s_best"], [*CELL, "variant"]].itertuples(index=False):
        tied.setdefault(tuple(cell), []).append(name)
    return [
        {k: row[k] for k in CELL}
        | {"winner": row["variant"], "tied": tied[tuple(row[k] for k in CELL)]}
        | {name: row[name] for name in ("median_s", "ci_low_s", "ci_high_s", "noisy")}
        for row in best.to_dict("records")
    ]


def standings(won: list[dict]) -> pd.DataFrame:
    """Of `winners`: by variant the cells in which it is the fastest (`first`), and those in which it ties (`tied`)."""
    rows = [(name, len(row["tied"]) == 1) for row in won for name in row["tied"]]
    counts = (
        pd.DataFrame(rows, columns=["variant", "first"]).groupby("variant", sort=False)["first"].agg(["sum", "size"])
    )
    counts = pd.DataFrame({"first": counts["sum"], "tied": counts["size"] - counts["sum"]}).astype(int)
    return counts.sort_values(["first", "tied"], ascending=False, kind="stable")


def contest(rows: pd.DataFrame, ours: str, theirs: str) -> pd.DataFrame:
    """The fastest variant of one family against that of another, at each cell that either was measured at.

    Columns: N, p1, p2; ours, theirs (the variants), ours_s, theirs_s (their medians); ratio = ours_s / theirs_s, and
    low, high between which it lies by the intervals on both; verdict: `WON` or `LOST` where these are apart, `TIED`
    where they overlap, empty where a family is missing; ranked: whether neither median is too noisy to rank.
    """
    columns = [*CELL, "variant", "median_s", "ci_low_s", "ci_high_s", "noisy"]
    rows = rows.assign(noisy=unranked(rows)).sort_values("median_s", kind="stable")
    one, other = (rows.loc[rows["family"] == family, columns].drop_duplicates(CELL) for family in (ours, theirs))
    both = one.merge(other, how="outer", on=CELL, suffixes=("_ours", "_theirs"))
    cells = both[CELL].assign(
        **{side: both[f"variant_{side}"] for side in ("ours", "theirs")},
        **{f"{side}_s": both[f"median_s_{side}"] for side in ("ours", "theirs")},
        ratio=both["median_s_ours"] / both["median_s_theirs"],
        low=both["ci_low_s_ours"] / both["ci_high_s_theirs"],
        high=both["ci_high_s_ours"] / both["ci_low_s_theirs"],
        ranked=both["noisy_ours"].eq(False) & both["noisy_theirs"].eq(False),
    )
    outcomes = {WON: cells["high"] < 1, LOST: cells["low"] > 1, TIED: cells["ratio"].notna()}
    return cells.assign(verdict=np.select(list(outcomes.values()), list(outcomes), ""))


def compiled_elsewhere(rows: pd.DataFrame) -> pd.Series:
    """Of each row whether another compiler than Numba made its variant: of C++, Pythran, Rcpp."""
    return rows["variant"].str.fullmatch(COMPILED_ELSEWHERE)


def crossover(part: pd.DataFrame, elsewhere: bool = False) -> pd.DataFrame:
    """The contest of loops with the matrix form: loops, matrix (variants), loops_s, matrix_s, ratio and so on.

    Of the variants that were compiled elsewhere, or of all others: C++ is not held against NumPy here.
    ratio = loops_s / matrix_s, above 1 where the matrix form is faster; NaN where a family is missing. It lies between
    low and high; verdict is `WON` where loops win. Where variants ran on several devices, that with most cells of both
    families is taken (`device`).
    """
    rows = measured(part)
    rows = rows[rows["family"].isin(["loops", "matrix"]) & (compiled_elsewhere(rows) == elsewhere)]
    if rows["device"].nunique() > 1:
        both = rows.groupby(["device", *CELL])["family"].nunique() == 2
        rows = rows[rows["device"] == both.groupby("device").sum().idxmax()]
    cells = contest(rows, "loops", "matrix").assign(device=rows["device"].iloc[0] if len(rows) else None)
    return cells.rename(columns={"ours": "loops", "theirs": "matrix", "ours_s": "loops_s", "theirs_s": "matrix_s"})


def frontier(N: np.ndarray, ratio: np.ndarray) -> list[float]:
    """The N at which `ratio` crosses 1: log ratio interpolated linearly in log N between neighbours."""
    order = np.argsort(N)
    x, y = np.log(np.asarray(N, float)[order]), np.log(np.asarray(ratio, float)[order])
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    crossings = [x[i] for i in range(len(x)) if y[i] == 0]
    for i in range(len(x) - 1):
        if y[i] * y[i + 1] < 0:
            crossings += [x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])]
    return sorted(float(np.exp(value)) for value in crossings)


def devices(part: pd.DataFrame) -> pd.DataFrame:
    """CPU against another device: N, p1, p2, the fastest variant of each (cpu, device), its median (cpu_s, device_s).

    `end_to_end_s` is the least of the device's variants with the copies there and back, NaN where none was measured.
    Only cells that were timed on both.
    """
    cells = []
    for cell, group in measured(part).groupby(CELL):
        cpu, other = group[group["device"] == "cpu"], group[group["device"] != "cpu"]
        if len(cpu) and len(other):
            best = {"cpu": cpu.loc[cpu["median_s"].idxmin()], "device": other.loc[other["median_s"].idxmin()]}
            cells.append(
                dict(zip(CELL, cell, strict=True))
                | {name: row["variant"] for name, row in best.items()}
                | {f"{name}_s": row["median_s"] for name, row in best.items()}
                | {"end_to_end_s": other["end_to_end_s"].min()}
            )
    return pd.DataFrame(cells, columns=[*CELL, "cpu", "device", "cpu_s", "device_s", "end_to_end_s"])


def wins_from(N: np.ndarray, ratio: np.ndarray) -> float:
    """The N from which on `ratio` stays below 1; NaN where it is nowhere above 1, or not below 1 at the largest N."""
    N, ratio = np.asarray(N, float), np.asarray(ratio, float)
    known = np.isfinite(ratio)
    crossed = frontier(N[known], ratio[known])
    return crossed[-1] if crossed and ratio[known][N[known].argmax()] < 1 else float("nan")


def break_even(part: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Calls until compiling has paid: one row a compiled variant and cell, and the reference's name.

    Columns: variant, N, p1, p2, compile_s (what the cell's own kernels took), saved_s (per step, against the
    reference), calls = compile_s / saved_s, infinite where nothing is saved; verdict: `TIED` where the intervals of
    both overlap, so that what is saved may be nothing. The reference is `matrix-numpy`, else the fastest variant of
    each cell that does not compile.
    """
    rows = measured(part)
    compiled = set(rows.loc[rows["compile_s"] >= COMPILED_S, "variant"])
    others = rows[~rows["variant"].isin(compiled)]
    name = "the fastest variant that does not compile"
    if (others["variant"] == REFERENCE).any():
        name, others = REFERENCE, others[others["variant"] == REFERENCE]
    reference = others.sort_values("median_s", kind="stable").drop_duplicates(CELL)
    cells = rows[rows["variant"].isin(compiled)].merge(
        reference[[*CELL, "median_s", "ci_low_s", "ci_high_s"]], on=CELL, suffixes=("", "_reference")
    )
    saved = cells["median_s_reference"] - cells["median_s"]
    outcomes = {
        WON: cells["ci_high_s"] < cells["ci_low_s_reference"], LOST: cells["ci_low_s"] > cells["ci_high_s_reference"],
    }  # fmt: skip
    cells = cells.assign(
        saved_s=saved,
        calls=np.where(saved > 0, cells["compile_s"] / saved.where(saved > 0, 1), np.inf),
        verdict=np.select(list(outcomes.values()), list(outcomes), TIED),
    )
    return cells[["variant", *CELL, "compile_s", "saved_s", "calls", "verdict"]], name

"""The three questions, answered in words drawn from the table. Plain text: the pages render it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from bnbench.report import analysis, units
from bnbench.report.analysis import CELL

MOST_NAMED = 6  # wrong variants that are named one by one
MOST_INPUTS = 12  # columns of a table that its heading names


@dataclass(frozen=True)
class Answer:
    """One question with its answer: a sentence that stands alone, and what is behind it."""

    question: str
    verdict: str
    lines: list[str] = field(default_factory=list)
    settings: list[tuple[str, list[str]]] = field(default_factory=list)  # label, and what holds under that setting
    command: str = ""  # what to type where the data cannot answer


def answers(table: pd.DataFrame, warnings: Sequence[str] = ()) -> list[Answer]:
    """Answer from `tables.frame`'s table; `warnings` are what the machine said against its timings."""
    return [is_it_right(table), which_is_fastest(table), is_it_slower(table, warnings)]


def scope(table: pd.DataFrame) -> str:
    """How much was asked: variants, cells, settings, records."""
    settings = analysis.parts(table)
    cells = sum(len(part.table.drop_duplicates(CELL)) for part in settings)
    several = f" in {units.plural(len(settings), 'setting')}" if len(settings) > 1 else ""
    ok = int((table["status"] == "ok").sum())
    return (
        f"{units.plural(table['variant'].nunique(), 'variant')} on {units.plural(cells, 'cell')}{several}: "
        f"{units.count(ok)} of {units.plural(len(table), 'record')} ok."
    )


def source(environment: dict) -> str:
    """The table that X and y are from, and the names of its columns; empty where they were drawn."""
    found = environment.get("table")
    if not isinstance(found, dict) or not isinstance(inputs := found.get("inputs"), list):
        return ""
    named = ", ".join(map(str, inputs[:MOST_INPUTS])) + (", …" if len(inputs) > MOST_INPUTS else "")
    return f"Data: {found.get('name')}, {found.get('target')} from {units.plural(len(inputs), 'input')} ({named})."


# ---- is this gradient right?


def is_it_right(table: pd.DataFrame) -> Answer:
    """How many gradients are valid, how close the worst came to its tolerance, which are wrong and why."""
    question = "Is this gradient right?"
    wrong = table[table["status"] == "invalid"]
    within = (table["status"] == "ok") | (table["max_error_ratio"] <= 1) & ~table["status"].isin(["failed", "crashed"])
    valid = table[within & (table["status"] != "invalid")]
    judged = len(wrong) + len(valid)
    lines = []
    if not judged:
        verdict = "Not known: no gradient was judged."
    elif wrong.empty:
        verdict = (
            f"Yes: all {units.count(judged)} gradients that were judged, of "
            f"{units.plural(valid['variant'].nunique(), 'variant')}, are within their tolerance of the reference."
        )
    else:
        verdict = (
            f"Not of {_listed(wrong['variant'].unique())}: {units.count(len(wrong))} of {units.count(judged)} "
            "gradients that were judged are invalid."
        )
    if (worst := _worst_error(table)) and judged:
        lines.append(worst)
    for status in ("invalid", "failed", "crashed"):
        for variant, rows in list(table[table["status"] == status].groupby("variant", sort=False))[:MOST_NAMED]:
            lines.append(
                f"{variant}: {status} in {units.plural(len(rows), 'record')}, first at {_place(rows.iloc[0])}: "
                f"{_reason(rows.iloc[0])}"
            )
    unjudged = table.drop(index=[*wrong.index, *valid.index])
    if len(unjudged):
        counts = unjudged["status"].value_counts(sort=False)
        lines.append(
            f"Not judged: {units.plural(len(unjudged), 'record')} "
            f"({', '.join(f'{units.count(n)} {status}' for status, n in counts.items())})."
        )
    return Answer(question, verdict, lines)


def _worst_error(table: pd.DataFrame) -> str:
    judged = table[table["max_error_ratio"].notna()]
    if judged.empty:
        return ""
    worst = judged.loc[judged["max_error_ratio"].idxmax()]
    ratio = worst["max_error_ratio"]
    return (
        f"The worst error is {f'{ratio:.2f}' if 0.005 <= ratio < 100 else f'{ratio:.2g}'} times its tolerance "
        f"({worst['variant']}, {_place(worst)}, {worst['dtype']})."
    )


def _reason(row: pd.Series) -> str:
    return " ".join(row["reason"].split())[:300] or "no reason was given."


# ---- which form is fastest?


def which_is_fastest(table: pd.DataFrame) -> Answer:
    """Who wins where, loops against matrix form, the distance to the limit, fused against frameworks."""
    question = "Which form is fastest at my size, and how far from the machine's limit?"
    settings = analysis.parts(table)
    won = [row for part in settings for row in analysis.winners(part.table)]
    if not won:
        return Answer(question, "Not known: nothing was timed successfully.")
    names = table.loc[table["status"] == "ok", "variant"].unique()
    tally = pd.Series([row["winner"] for row in won]).value_counts()
    best = tally.index[0]
    if len(names) == 1:
        verdict = f"Only {best} was timed, so there is nothing to rank it against."
    else:
        verdict = f"{best} is fastest in {units.count(tally[best])} of {units.plural(len(won), 'cell')}"
        tied = sum(row["winner"] != best and best in row["tied"] for row in won)
        verdict += f" and tied with the fastest in {units.count(tied)} more" if tied else ""
        shares = pd.concat([_shares(part.table) for part in settings])["limit_fraction"]
        low, high = units.percent(shares.min()), units.percent(shares.max())
        reached = "a share that was not measured" if shares.empty else low if low == high else f"{low} to {high}"
        verdict += f". The fastest of each cell reaches {reached} of the machine's limit."
    found = [(part.label, _under_one_setting(part.table)) for part in settings]
    if len(settings) == 1:
        return Answer(question, verdict, found[0][1])
    return Answer(question, verdict, settings=found)


def _under_one_setting(part: pd.DataFrame) -> list[str]:
    won = analysis.winners(part)
    if not won:
        return ["Nothing was timed successfully."]
    lines = [_who_wins(part, won), _loops_or_matrix(part), _share_of_limit(part), _frameworks(part)]
    lines.append(_compiling(part))
    return [line for line in [*lines, _page_faults(part), _unsettled(part, won)] if line]


def _who_wins(part: pd.DataFrame, won: list[dict]) -> str:
    rows = analysis.measured(part)
    cells = rows[CELL].drop_duplicates()
    winners = pd.DataFrame(won)
    words = []
    for name, n in winners["winner"].value_counts().items():
        where = _where(winners[winners["winner"] == name], cells)
        words.append(f"{name} in {units.plural(n, 'cell')}{where}")
    tied = int((winners["tied"].map(len) > 1).sum())
    text = f"Fastest: {', '.join(words)}." + (f" In {units.count(tied)} of these a runner-up is tied." if tied else "")
    first = winners["winner"].value_counts().index[0]
    own = rows[rows["variant"] == first].merge(winners[[*CELL, "median_s"]], on=CELL, suffixes=("", "_best"))
    ratio = own["median_s"] / own["median_s_best"]
    if len(ratio) and ratio.max() > 1:
        text += f" Where it loses, {first} takes at most {units.factor(ratio.max())} times as long as the winner."
    return text


def _loops_or_matrix(part: pd.DataFrame) -> str:
    ratio = analysis.crossover(part).dropna(subset=["ratio"])
    if ratio.empty:
        return "Loops against matrix form: no cell was timed in both families."
    loops, matrix = ratio[ratio["ratio"] < 1], ratio[ratio["ratio"] >= 1]
    both = units.plural(len(ratio), "cell")
    if loops.empty:
        most = units.factor(matrix["ratio"].max())
        return f"The matrix form beats loops in all {both} with both, by up to {most} times."
    text = (
        f"Loops beat the matrix form in {units.count(len(loops))} of {both} with both{_where(loops, ratio)}, by up to "
        f"{units.factor(1 / loops['ratio'].min())} times"
    )
    if matrix.empty:
        return text + "."
    return (
        f"{text}; the matrix form beats them in {units.count(len(matrix))}{_where(matrix, ratio)}, by up to "
        f"{units.factor(matrix['ratio'].max())} times.{_what_decides(ratio)}"
    )


def _what_decides(ratio: pd.DataFrame) -> str:
    """Say how often loops win by the axis along which that changes most."""
    wins = ratio.assign(loops=ratio["ratio"] < 1)
    shares = {name: wins.groupby(name)["loops"].agg(["sum", "size"]) for name in CELL}
    spread = {
        name: (found["sum"] / found["size"]).agg(lambda share: share.max() - share.min())
        for name, found in shares.items()
    }
    name = max(spread, key=spread.get)
    found = shares[name]
    if spread[name] == 0 or len(found) > MOST_NAMED:
        return ""
    words = [
        f"{units.count(row['sum'])} of {units.count(row['size'])} at {units.count(value)}"
        for value, row in found.iterrows()
    ]
    return f" By {name}, loops win {', '.join(words)}."


def _page_faults(part: pd.DataFrame) -> str:
    """Which variants' steps take memory from the system anew, and in how many cells."""
    rows = analysis.measured(part)
    words = []
    for name, own in rows.groupby("variant", sort=False):
        found = own.loc[own["page_faults"] >= 1, "page_faults"]
        if len(found):
            most = units.grouped(found.max(), 0)
            words.append(f"{name} in {units.count(len(found))} of {units.count(len(own))} (up to {most} a step)")
    if not words:
        return ""
    return (
        f"Memory that a step frees and the next one takes from the system again costs page faults: {', '.join(words)}. "
        "With --keep-memory a sweep measures without them."
    )


def _shares(part: pd.DataFrame) -> pd.DataFrame:
    """The winners' rows, where their share of the limit is known."""
    rows = analysis.measured(part).sort_values("median_s", kind="stable").drop_duplicates(CELL)
    return rows[rows["limit_fraction"].notna()]


def _share_of_limit(part: pd.DataFrame) -> str:
    rows = _shares(part)
    if rows.empty:
        return "How far that is from the machine's limit was not measured."
    share = rows["limit_fraction"]
    most, least = rows.loc[share.idxmax()], rows.loc[share.idxmin()]
    rates = f"{most['gemm_flops_s'] / 1e9:.3g} GFLOP/s, {most['triad_bytes_s'] / 1e9:.3g} GB/s"
    if len(rows) == 1:
        return f"The fastest reaches {units.percent(share.iloc[0])} of the machine's limit ({rates})."
    return (
        f"Of the machine's limit ({rates}) the fastest reaches least at {_place(least)} "
        f"({units.percent(share.min())}), and most at {_place(most)} ({units.percent(share.max())}); "
        f"in half of the cells more than {units.percent(share.median())}."
    )


def _frameworks(part: pd.DataFrame) -> str:
    pairs = analysis.against_frameworks(part)
    if not pairs:
        return "Fused against frameworks: no cell was timed with both."
    ratios = [peer["median_s"] / fused["median_s"] for _, fused, peer in pairs]
    cells = units.plural(len(pairs), "cell")
    won = sum(ratio > 1 for ratio in ratios)
    if won == len(ratios):
        low, high = units.factor(min(ratios)), units.factor(max(ratios))
        span = low if low == high else f"{low} to {high}"
        return f"The fused form beats the fastest framework in all {cells} with both, by {span} times."
    text = f"The fused form beats the fastest framework in {units.count(won)} of {cells} with both"
    text += f", by up to {units.factor(max(ratios))} times" if won else ""
    return f"{text}; elsewhere it takes up to {units.factor(1 / min(ratios))} times as long."


def _compiling(part: pd.DataFrame) -> str:
    """What compiling takes, and how soon that is paid back; nothing where a run has but first steps' excess."""
    if part.loc[part["compile_s"].notna(), "kernels_s"].isna().any():
        return ""
    found, reference = analysis.break_even(part)
    words = []
    for name, rows in found.groupby("variant", sort=False):
        took, calls = analysis.compile_time(rows["compile_s"]), rows["calls"].min()
        paid = f"after {units.plural(math.ceil(calls), 'call')} at best" if math.isfinite(calls) else "never"
        words.append(f"{name} {took} ({paid})")
    if not words:
        return ""
    return (
        f"To compile what one cell runs takes {', '.join(words)}; in brackets, when that is paid against {reference}."
    )


def _unsettled(part: pd.DataFrame, won: list[dict]) -> str:
    """How many cells are too noisy to rank: the fastest are tied there, and one of them is marked so."""
    rows = analysis.measured(part)
    noisy = rows[analysis.noise(rows).map(lambda words: analysis.UNRANKED in _words(words))]
    marked = set(noisy[[*CELL, "variant"]].itertuples(index=False, name=None))
    if not marked:
        return ""
    touched = [row for row in won if any((*(row[k] for k in CELL), name) in marked for name in row["tied"])]
    tied = sum(len(row["tied"]) > 1 for row in touched)
    return (
        f"Too noisy to rank: {units.count(tied)} of {units.plural(len(won), 'cell')}, where the fastest are tied and "
        f"one of them is noisy. In all, {units.count(len(marked))} of {units.plural(len(rows), 'median')} are noisy, "
        f"the fastest in {units.plural(len(touched), 'cell')} among them."
    )


# ---- did my change make it slower?


def is_it_slower(table: pd.DataFrame, warnings: Sequence[str] = ()) -> Answer:
    """How to ask, and what this run's noise would let a comparison see."""
    lines = []
    timed = table[(table["status"] == "ok") & (table["ci_high_s"] > table["ci_low_s"])]
    if len(timed):
        half = (timed["ci_high_s"] - timed["ci_low_s"]) / 2 / timed["median_s"]
        lines.append(
            f"What this run would let it see: half of its {units.plural(len(timed), 'timing')} are known to within "
            f"±{units.percent(half.median())} (95 %), nine in ten to within ±{units.percent(half.quantile(0.9))}. "
            "Smaller changes drown in that."
        )
    else:
        lines.append("What this run would let it see is not known: no timing has an interval.")
    noise = analysis.noise(table)
    if noise.any():
        counts = noise[noise != ""].map(_words).explode().value_counts()
        kinds = ", ".join(f"{units.count(n)} {word}" for word, n in counts.items())
        timings = units.plural(int((table["status"] == "ok").sum()), "timing")
        lines.append(
            f"{units.count((noise != '').sum())} of {timings} bear a mark of noise ({kinds}): measure "
            "them again before a change is blamed."
        )
        lines.append(
            "On a noisy machine let both versions be measured side by side instead: "
            "`python -m bnbench compare --interleaved --old-ref GITREF`."
        )
    lines += [f"Said before the run: {warning}." for warning in warnings]
    return Answer(
        "Did my change make it slower?",
        "A single run cannot say. Run the same sweep before and after the change, on the same machine, and compare "
        "the two folders; the exit code is 3 where something became slower.",
        lines,
        command="python -m bnbench compare OLD NEW",
    )


# ---- words


def _words(noise: str) -> list[str]:
    return [word.strip() for word in noise.split(",") if word.strip()]


def _where(cells: pd.DataFrame, all_cells: pd.DataFrame) -> str:
    """The ranges of N, p1 and p2 of some cells, those left out that span everything: " (N 100, p2 4)"."""
    words = []
    for name in CELL:
        low, high = cells[name].min(), cells[name].max()
        if (low, high) != (all_cells[name].min(), all_cells[name].max()):
            words.append(f"{name} {units.count(low)}" + ("" if low == high else f" to {units.count(high)}"))
    return f" ({', '.join(words)})" if words else ""


def _place(row: pd.Series) -> str:
    return ", ".join(f"{name} {units.count(row[name])}" for name in CELL)


def _listed(names: Sequence[str]) -> str:
    names = list(names)
    shown = names[:MOST_NAMED] + ([f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

"""The three questions, answered in words drawn from the table. Plain text: the pages render it.

Who wins is said by intervals: where they overlap it is a tie. By how much is said of medians that are not too noisy to
rank, and of no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bnbench.record import FAULTS, SETTING
from bnbench.report import analysis, units
from bnbench.report.analysis import CELL, LOST, TIED, WON, Part

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
    here = analysis.present(table)
    return [is_it_right(here), which_is_fastest(here), is_it_slower(here, warnings)]


def scope(table: pd.DataFrame) -> str:
    """How much was asked of the variants that are installed: variants, cells, settings, records; how many are not."""
    here, absent = analysis.present(table), len(analysis.absent(table))
    cells = here.dropna(subset=[*CELL, "dtype"])[[*SETTING, *CELL]].drop_duplicates()
    settings, hosts = len(cells[list(SETTING)].drop_duplicates()), len(analysis.hosts(here))
    several = f" in {units.plural(settings, 'setting')}" if settings > 1 else ""
    several += f" on {hosts} hosts" if hosts else ""
    ok = int((here["status"] == "ok").sum())
    more = f" {units.plural(absent, 'variant')} more {'is' if absent == 1 else 'are'} not installed." if absent else ""
    return (
        f"{units.plural(here['variant'].nunique(), 'variant')} on {units.plural(len(cells), 'cell')}{several}: "
        f"{units.count(ok)} of {units.plural(len(here), 'record')} ok.{more}"
    )


def not_installed(table: pd.DataFrame) -> str:
    """Which variants are not installed, and what says how to add them; empty where all are."""
    names = analysis.absent(table)
    return f"Not installed: {', '.join(names)}. `bnbench list` says how to add them." if names else ""


def source(environment: dict) -> str:
    """The table that X and y are from, and the names of its columns; empty where they were drawn."""
    table = environment.get("table")
    if not isinstance(table, dict) or not isinstance(inputs := table.get("inputs"), list):
        return ""
    named = ", ".join(map(str, inputs[:MOST_INPUTS])) + (", …" if len(inputs) > MOST_INPUTS else "")
    return f"Data: {table.get('name')}, {table.get('target')} from {units.plural(len(inputs), 'input')} ({named})."


# ---- is this gradient right?


def is_it_right(table: pd.DataFrame) -> Answer:
    """How many gradients are valid, how close the worst came to its tolerance, which are wrong and why."""
    question = "Is this gradient right?"
    wrong = table[table["status"] == "invalid"]
    within = (table["status"] == "ok") | (table["max_error_ratio"] <= 1) & ~table["status"].isin(["failed", "crashed"])
    valid = table[within & (table["status"] != "invalid")]
    judged = len(wrong) + len(valid)
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
    lines = [_worst_error(table)] if judged else []
    for status in FAULTS:
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
    return Answer(question, verdict, [line for line in lines if line])


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
    if table.loc[table["status"] == "ok", "variant"].nunique() == 1:
        verdict = f"Only {won[0]['winner']} was timed, so there is nothing to rank it against."
    else:
        best = analysis.standings(won).iloc[0]
        hosts = len(analysis.hosts(table))
        cells = units.plural(len(won), "cell") + (f" (a cell of each of {hosts} hosts counts)" if hosts else "")
        verdict = f"{best.name} is the fastest in {units.count(best['first'])} of {cells}"
        verdict += f" and ties with the fastest in {units.count(best['tied'])}" if best["tied"] else ""
        shares = pd.concat([_shares(part.table) for part in settings])["limit_fraction"]
        span = _span(units.percent(shares.min()), units.percent(shares.max()))
        reached = "a share that was not measured" if shares.empty else span
        verdict += f". The fastest of each cell reaches {reached} of the machine's limit.{_loops_or_matrix(settings)}"
    said = [(part.label, _under_one_setting(part)) for part in settings]
    if len(said) == 1:
        return Answer(question, verdict, said[0][1])
    return Answer(question, verdict, _over_hosts(table), settings=said)


def _over_hosts(table: pd.DataFrame) -> list[str]:
    """How far the ratios between variants carry over from host to host; nothing of one host."""
    ratios, reference = analysis.over_hosts(table)
    if ratios.empty:
        return []
    apart = ratios["apart"]
    return [
        f"Of {units.plural(len(ratios), 'ratio')} of a variant's time to {reference}'s half differ between hosts by a "
        f"factor below {units.factor(apart.median())}, nine in ten by one below {units.factor(apart.quantile(0.9))}."
    ]


def _loops_or_matrix(settings: list[Part]) -> str:
    """In how many cells loops beat the matrix form, by setting where there are two."""
    tables = [(part.short, analysis.crossover(part.table)["verdict"]) for part in settings]
    if len(tables) > 2:
        tables = [("", pd.concat([verdicts for _, verdicts in tables]))]
    said = []
    for short, verdicts in tables:
        won, lost, tied = ((verdicts == word).sum() for word in (WON, LOST, TIED))
        if cells := won + lost + tied:
            where = f" with {short}" if short else ""
            tie = f", tie in {units.count(tied)}" if tied else ""
            said.append(
                f"{units.count(won)} of {units.plural(cells, 'cell')}{where} (lose in {units.count(lost)}{tie})"
            )
    return f" Loops beat the matrix form in {', and in '.join(said)}." if said else ""


def _under_one_setting(setting: Part) -> list[str]:
    part = setting.table
    won = analysis.winners(part)
    if not won:
        return ["Nothing was timed successfully."]
    crossover, elsewhere = analysis.crossover(part), analysis.crossover(part, elsewhere=True)
    built = ("loops compiled elsewhere", "beat", "such a matrix form", "beats")
    frameworks = analysis.contest(analysis.measured(part), "fused", "autodiff")
    lines = [
        _who_wins(part, won),
        _contest(crossover, "loops", "beat", "the matrix form", "beats") + _what_decides(crossover),
        _contest(elsewhere, *built) if elsewhere["verdict"].any() else "",
        _share_of_limit(part),
        _contest(frameworks, "the fused form", "beats", "the fastest framework", "beats"),
        _compiling(part), _page_faults(part), _unsettled(part, won), _processes(part),
    ]  # fmt: skip
    return [line for line in lines if line]


def _who_wins(part: pd.DataFrame, won: list[dict]) -> str:
    rows, winners = analysis.measured(part), pd.DataFrame(won)
    rows = rows.assign(noisy=analysis.unranked(rows))
    cells, alone = rows[CELL].drop_duplicates(), winners[winners["tied"].map(len) == 1]
    counts = alone["winner"].value_counts()
    words = [
        f"{name} in {units.plural(n, 'cell')}{_where(alone[alone['winner'] == name], cells)}"
        for name, n in counts.items()
    ]
    ties = units.plural(len(winners) - len(alone), "cell")
    text = f"Fastest: {', '.join(words)}." if words else f"No variant is the fastest alone: in all {ties} several tie."
    if words and len(winners) > len(alone):
        text += f" In {ties} several tie."
    first = analysis.standings(won).index[0]
    lost = winners[[first not in tied for tied in winners["tied"]]]
    own = rows[rows["variant"] == first].merge(lost, on=CELL, suffixes=("", "_best"))
    own = own[~own["noisy"] & ~own["noisy_best"]]
    if len(own):
        most = units.factor((own["median_s"] / own["median_s_best"]).max())
        text += f" Where it loses, {first} takes at most {most} times as long as the winner{_of_ranked(own, lost)}."
    return text


def _contest(cells: pd.DataFrame, one: str, beats: str, other: str, beat: str) -> str:
    """Who wins in how many cells, by how much, and in how many both tie."""
    cells = cells[cells["verdict"] != ""]
    title = one[0].upper() + one[1:]
    if cells.empty:
        return f"{title} against {other}: no cell was timed with both."
    both = f"{units.plural(len(cells), 'cell')} with both"
    sides = ((WON, one, beats, other, 1 / cells["ratio"]), (LOST, other, beat, one, cells["ratio"]))
    said: list[str] = []
    for verdict, name, verb, loser, factors in sides:
        rows = cells[cells["verdict"] == verdict]
        if rows.empty:
            continue
        number = "all" if len(rows) == len(cells) else f"{units.count(len(rows))} of"
        where = f"in {units.count(len(rows))}" if said else f"in {number} {'the ' * (number != 'all')}{both}"
        ranked = rows[rows["ranked"]]
        span = factors[ranked.index]
        by = f", by {_span(units.factor(span.min()), units.factor(span.max()))} times" if len(ranked) else ""
        by += _of_ranked(ranked, rows)
        said.append(f"{name} {verb} {loser} {where}{_where(rows, cells)}{by}")
    if ties := (cells["verdict"] == TIED).sum():
        said.append(f"they tie in {units.count(ties)}" if said else f"{one} and {other} tie in all {both}")
    text = "; ".join(said)
    return text[0].upper() + text[1:] + "."


def _of_ranked(ranked: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Of how many of some cells a factor is said; empty where it is all."""
    if len(ranked) == len(rows):
        return ""
    if ranked.empty:
        return ", too noisy to say by how much"
    return f" in the {units.count(len(ranked))} of these where neither median is noisy"


def _what_decides(cells: pd.DataFrame) -> str:
    """Say how often loops win by the axis along which that changes most."""
    wins = cells[cells["verdict"] != ""].assign(loops=cells["verdict"] == WON)
    if wins.empty:
        return ""
    shares = {name: wins.groupby(name)["loops"].agg(["sum", "size"]) for name in CELL}
    spread = {name: float(np.ptp(share["sum"] / share["size"])) for name, share in shares.items()}
    name = max(spread, key=lambda axis: spread[axis])
    if spread[name] == 0 or len(shares[name]) > MOST_NAMED:
        return ""
    words = [
        f"{units.count(row['sum'])} of {units.count(row['size'])} at {units.count(value)}"
        for value, row in shares[name].iterrows()
    ]
    return f" By {name}, loops win {', '.join(words)}."


def _page_faults(part: pd.DataFrame) -> str:
    """Which variants' steps take memory from the system anew, and in how many cells."""
    words = []
    for name, own in analysis.measured(part).groupby("variant", sort=False):
        faults = own.loc[own["page_faults"] >= 1, "page_faults"]
        if len(faults):
            most = units.grouped(faults.max(), 0)
            words.append(f"{name} in {units.count(len(faults))} of {units.count(len(own))} (up to {most} a step)")
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


def _compiling(part: pd.DataFrame) -> str:
    """What compiling takes, and how soon that is paid back; nothing where a run has but first steps' excess."""
    if part.loc[part["compile_s"].notna(), "kernels_s"].isna().any():
        return ""
    cells, reference = analysis.break_even(part)
    words = []
    for name, rows in cells.groupby("variant", sort=False):
        took, calls = analysis.compile_time(rows["compile_s"]), rows.loc[rows["verdict"] == WON, "calls"].min()
        paid = f"after {units.plural(math.ceil(calls), 'call')} at best" if math.isfinite(calls) else "in no cell"
        words.append(f"{name} {took} ({paid})")
    if not words:
        return ""
    return (
        f"To compile what one cell runs takes {', '.join(words)}; in brackets, when that is paid against {reference}."
    )


def _unsettled(part: pd.DataFrame, won: list[dict]) -> str:
    """How many cells are too noisy to rank: the fastest are tied there, and one of them is marked so."""
    rows = analysis.measured(part)
    marked = set(rows.loc[analysis.unranked(rows), [*CELL, "variant"]].itertuples(index=False, name=None))
    if not marked:
        return ""
    touched = [row for row in won if any((*(row[k] for k in CELL), name) in marked for name in row["tied"])]
    tied = sum(len(row["tied"]) > 1 for row in touched)
    return (
        f"Too noisy to rank: {units.count(tied)} of {units.plural(len(won), 'cell')}, where the fastest are tied and "
        f"one of them is noisy. In all, {units.count(len(marked))} of {units.plural(len(rows), 'median')} are noisy, "
        f"the fastest in {units.plural(len(touched), 'cell')} among them."
    )


def _processes(part: pd.DataFrame) -> str:
    """What another process of the same code would give."""
    rows = analysis.measured(part)
    rows = rows[rows["passes"].fillna(1) > 1]
    if rows.empty:
        return (
            "Each cell was measured in one process. Another of the same code may be faster or slower as a whole: these "
            "intervals do not cover that."
        )
    count, spread = int(rows["passes"].min()), rows["pass_high_s"] / rows["pass_low_s"] - 1
    return (
        f"Measured in {count} processes one after the other: between them half of {units.plural(len(rows), 'median')} "
        f"move by less than {units.percent(spread.median())}, nine in ten by less than "
        f"{units.percent(spread.quantile(0.9))}. The intervals hold what all of them gave; one more process of the "
        f"same code is expected within that in {units.percent((count - 1) / (count + 1))} of cells."
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
        counts = noise[noise != ""].str.split(", ").explode().value_counts()
        kinds = ", ".join(f"{units.count(n)} {word}" for word, n in counts.items())
        timings = units.plural(int((table["status"] == "ok").sum()), "timing")
        lines.append(
            f"{units.count((noise != '').sum())} of {timings} bear a mark of noise ({kinds}): measure "
            "them again before a change is blamed."
        )
        lines.append(
            "On a noisy machine have both versions measured side by side instead: "
            "`python -m bnbench compare --interleaved --old-ref GITREF`."
        )
    lines += [f"A warning before the run: {warning}." for warning in warnings]
    return Answer(
        "Did my change make it slower?",
        "A single run cannot say. Run the same sweep before and after the change, on the same machine, and compare "
        "the two folders; the exit code is 3 where something became slower.",
        lines,
        command="python -m bnbench compare OLD NEW",
    )


# ---- words


def _where(cells: pd.DataFrame, all_cells: pd.DataFrame) -> str:
    """The ranges of N, p1 and p2 of some cells, those left out that span everything: " (N 100, p2 4)"."""
    words = []
    for name in CELL:
        low, high = cells[name].min(), cells[name].max()
        if (low, high) != (all_cells[name].min(), all_cells[name].max()):
            words.append(f"{name} {_span(units.count(low), units.count(high))}")
    return f" ({', '.join(words)})" if words else ""


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _place(row: Any) -> str:
    return ", ".join(f"{name} {units.count(row[name])}" for name in CELL)


def _listed(names: Sequence[str]) -> str:
    names = list(names)
    shown = names[:MOST_NAMED] + ([f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

"""The end of a sweep on the terminal: the fastest of each kind by size, the three answers, where the report lies."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnbench.commands.terminal import console, say_axis, wrapped
from bnbench.report import analysis, answers, units

LOOPS, MATRIX, FUSED, ELSEWHERE, FRAMEWORK = "loops", "matrix form", "fused", "compiled elsewhere", "framework"
KINDS = {"loops": LOOPS, "matrix": MATRIX, "fused": FUSED, "elsewhere": ELSEWHERE, "autodiff": FRAMEWORK}  # by family
DEFAULTS = (
    ("ddof", 0),
    ("eps", 1e-5),
    ("depth", 1),
    ("linear", 0),
    ("units", 0),
    ("loss", "squared"),
)  # not worth saying
MOST_SIZES = 14  # rows of the table
SETTINGS_APART = 5.0  # how far two settings are from each other, where N, p1 and p2 are as far as their logarithms
ALWAYS_WIDE = 10_000  # columns, to measure what a table would take


@dataclass(frozen=True)
class Size:
    """One size under one setting, and the fastest variant of each kind there, as rows of the report's table."""

    setting: dict[str, Any]
    sizes: tuple[int, ...]  # N, p1, p2
    fastest: dict[str, dict[str, Any]]

    def wins(self, kind: str) -> bool:
        """Whether a kind's fastest is the fastest of all, or tied with it: their intervals overlap."""
        best = min(self.fastest.values(), key=lambda row: row["median_s"])
        return bool(self.fastest[kind]["ci_low_s"] <= best["ci_high_s"])

    @property
    def ratio(self) -> float:
        """Loops over matrix form; NaN where one of them was not timed."""
        if not {LOOPS, MATRIX} <= self.fastest.keys():
            return math.nan
        return float(self.fastest[LOOPS]["median_s"] / self.fastest[MATRIX]["median_s"])

    @property
    def ratio_text(self) -> str:
        """The ratio, and whether the two are tied."""
        if math.isnan(self.ratio):
            return ""
        loops, matrix = self.fastest[LOOPS], self.fastest[MATRIX]
        apart = loops["ci_high_s"] < matrix["ci_low_s"] or matrix["ci_high_s"] < loops["ci_low_s"]
        return ("" if apart else "tied ") + units.factor(self.ratio)


def by_size(frame: pd.DataFrame) -> list[Size]:
    """What was timed, by setting and size, in the order of the report's table."""
    rows = analysis.measured(frame)
    found = []
    for _, group in rows.groupby([*analysis.SETTING, *analysis.CELL], dropna=False, sort=False):
        fastest: dict[str, dict[str, Any]] = {}
        for row in group.sort_values("median_s", ascending=False).to_dict("records"):
            fastest[kind_of(row)] = row
        setting = {name: group[name].iloc[0] for name in analysis.SETTING}
        found.append(Size(setting, tuple(int(group[name].iloc[0]) for name in analysis.CELL), fastest))
    return found


def kind_of(row: dict[str, Any]) -> str:
    """The kind that a row of the report's table belongs to: its family, but for what another compiler made.

    Runs made by hand may lack family and device.
    """
    family, device = (value if isinstance(value, str) else "" for value in (row["family"], row["device"]))
    kind = ELSEWHERE if analysis.COMPILED_ELSEWHERE.fullmatch(row["variant"]) else KINDS.get(family, family or "other")
    return kind if device in ("cpu", "") else f"{kind} ({device})"


def telling(found: list[Size], most: int = MOST_SIZES) -> list[Size]:
    """Of many sizes those that tell most: where loops and matrix form are furthest apart, and others far from these."""
    if len(found) <= most:
        return found
    settings = list(dict.fromkeys(tuple(size.setting.values()) for size in found))
    points = [
        (*map(math.log, size.sizes), SETTINGS_APART * settings.index(tuple(size.setting.values()))) for size in found
    ]
    known = [place for place, size in enumerate(found) if not math.isnan(size.ratio)] or [0]
    chosen = {min(known, key=lambda place: found[place].ratio), max(known, key=lambda place: found[place].ratio)}
    while len(chosen) < most:
        chosen.add(max(range(len(found)), key=lambda place: min(math.dist(points[place], points[k]) for k in chosen)))
    return [found[place] for place in sorted(chosen)]


def ending(frame: pd.DataFrame, folder: Path) -> None:
    """Print how a sweep ended: the table that people would paste, the three answers, and where the report lies."""
    screen = console()
    if found := by_size(frame):
        screen.print()
        print_sizes(screen, found)
    counts = Counter(frame["status"])
    untimed = [f"{counts[status]} {status}" for status in counts if status not in ("ok", "unavailable")]
    if untimed:
        _say(screen, f"Not timed: {', '.join(untimed)}; the report has each with its reason.")
    screen.print()
    for answer in answers.answers(frame):
        _say(screen, f"{answer.question} {answer.verdict}", bold=len(answer.question))
        if answer.command:
            _say(screen, f"  {answer.command}")
    screen.print()
    screen.print(f"Report: {folder / 'report.html'}", markup=False, soft_wrap=True)


def print_sizes(screen: Console, found: list[Size]) -> None:
    """Print the fastest of each kind by size: as a table where that fits, else a paragraph a size."""
    kinds = list(dict.fromkeys([*KINDS.values(), *(kind for size in found for kind in size.fastest)]))
    kinds = [kind for kind in kinds if any(kind in size.fastest for size in found)]
    differing = [name for name in analysis.SETTING if len({size.setting[name] for size in found}) > 1]
    shown = telling(found)
    common = {name: value for name, value in found[0].setting.items() if name not in [*differing, "host"]}
    common = {name: value for name, value in common.items() if (name, value) not in DEFAULTS}
    heading = f"Time of a step, fastest of each kind: {', '.join(say_axis(*item) for item in common.items())}"
    _say(screen, heading, bold=len(heading))
    for named in (True, False):
        table = size_table(shown, kinds, differing, named=named)
        if table.__rich_measure__(screen, screen.options.update(width=ALWAYS_WIDE)).maximum <= screen.width:
            screen.print(table)
            break
    else:
        named = False
        for size in shown:
            _say(screen, size_text(size, kinds, differing))
    _say(screen, "* fastest, or tied with the fastest: their 95 % intervals overlap")
    if len(shown) < len(found):
        _say(screen, f"{len(shown)} of {len(found)} sizes, spread over all; the report has the others")
    said = [f"{kind}: {variants_of(found, kind)}" for kind in kinds if not (named and kind == FRAMEWORK)]
    _say(screen, f"Variants: {'; '.join(said)}")


def variants_of(found: list[Size], kind: str) -> str:
    """Which variants are the fastest of a kind, and where they are several, at how many sizes."""
    counts = Counter(size.fastest[kind]["variant"] for size in found if kind in size.fastest).most_common()
    if len(counts) == 1:
        return str(counts[0][0])
    return ", ".join(f"{name} ({units.plural(count, 'size')})" for name, count in counts)


def size_table(shown: list[Size], kinds: list[str], differing: list[str], *, named: bool) -> Table:
    """The sizes as a table; named: with the framework's name beside its time."""
    with_ratio = any(size.ratio_text for size in shown)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in differing:
        table.add_column(name, no_wrap=True, vertical="bottom")
    for name in [*analysis.CELL, *kinds, *(["loops/ matrix"] if with_ratio else [])]:
        table.add_column(name.replace(" ", "\n", 1), justify="right", no_wrap=True, vertical="bottom")
    for size in shown:
        cells = [time_text(size, kind, named=named and kind == FRAMEWORK) for kind in kinds]
        table.add_row(
            *(say_axis(name, size.setting[name]) for name in differing),
            *map(str, size.sizes),
            *(Text(text, style="bold" if "*" in text else "") for text in cells),
            *([size.ratio_text] if with_ratio else []),
        )
    return table


def time_text(size: Size, kind: str, *, named: bool = False) -> str:
    """The time of a kind's fastest at a size, with a star where it wins; empty where none was timed."""
    row = size.fastest.get(kind)
    if row is None:
        return ""
    time = units.seconds(row["median_s"], row["ci_low_s"], row["ci_high_s"])
    star = "*" if size.wins(kind) else " "
    return f"{row['variant']} {time}{star}" if named else f"{time}{star}"


def size_text(size: Size, kinds: list[str], differing: list[str]) -> str:
    """A size as a paragraph."""
    where = [say_axis(name, size.setting[name]) for name in differing]
    where += [f"{name}={value}" for name, value in zip(analysis.CELL, size.sizes, strict=True)]
    parts = [f"{kind} {time_text(size, kind).rstrip()}" for kind in kinds if kind in size.fastest]
    ratio = [f"loops/matrix {size.ratio_text}"] if size.ratio_text else []
    return f"{' '.join(where)}: {', '.join(parts + ratio)}"


def _say(screen: Console, text: str, bold: int = 0) -> None:
    """Print a text, wrapped; so many of its first characters are bold."""
    said = Text(wrapped(text, screen.width))
    said.stylize("bold", 0, bold)
    screen.print(said, soft_wrap=True)

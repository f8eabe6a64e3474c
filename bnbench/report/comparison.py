"""Two runs compared, in words: the sentence that answers, a table by variant, and the cells that differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bnbench.compare.causes import CHANGE, MACHINE, METHOD, Decomposition, Explained
from bnbench.compare.verdicts import FASTER, MISSING, SAME, SLOWER, UNCLEAR, VERDICTS, WORSE, Comparison
from bnbench.record import AXES, SIZES
from bnbench.report import tables, units
from bnbench.report.table import Table, Text, number

ALL_BELOW = 25  # cells, up to which all are shown
SAID = {SLOWER: "slower", FASTER: "faster", SAME: "the same", UNCLEAR: "unclear"}
RATIO = "NEW / OLD (95 %)"
OWN = "own (95 %)"
OWN_NOTE = (
    f"NEW / OLD is controls × own: controls are variants that have not changed, and what moved them is the machine; "
    f"{OWN} is what is left of a variant's ratio, and no product of the columns beside it, since each is a median."
)
CAUSED = {CHANGE: "itself", MACHINE: "by the machine", METHOD: "by the measuring"}
NOTED = {
    CHANGE: "changed itself, beside controls that did not move with it",
    MACHINE: "moved by the machine, as the controls were",
    METHOD: "moved by the way of measuring, as the controls were",
}
RATIO_NOTES = {  # by whether the runs were made side by side
    False: f"{RATIO} is the median over all pairs of a sample of OLD and one of NEW (Hodges and Lehmann); it need not "
    "be the quotient of the two medians.",
    True: f"{RATIO} is the geometric mean over the passes of the median ratio of their rounds; it need not be the "
    "quotient of the two medians.",
}


def answer(comparisons: Sequence[Comparison], gone: Sequence[str] = ()) -> str:
    """One sentence: what is worse, better or the same, what nothing can be said about, and which variants are gone."""
    cells = measured(comparisons)
    if not cells:
        return "Not known: neither run has measured a cell of both."
    counts = Counter(each.verdict for each in cells)
    worse = {
        "no longer valid": sum(each.validity == WORSE for each in cells),
        "less accurate": sum(each.errors == WORSE for each in cells),
        "with more memory": sum(each.memory == WORSE for each in cells),
    }
    if any(each.regression for each in cells):
        finding = "Regression"
    elif counts[UNCLEAR] == len(cells):
        finding = "Not known"
    elif counts[FASTER]:
        finding = "Faster"
    else:
        finding = "No regression" if not counts[UNCLEAR] else "No regression found"
    said = [
        f"{counts[word]} {SAID[word]}{causes(each.cause for each in cells if each.verdict == word)}"
        for word in SAID
        if counts[word] or word == SLOWER
    ]
    said += [f"{count} {words}" for words, count in worse.items() if count]
    text = f"{finding}: {', '.join(said)} of {units.plural(len(cells), 'cell')}"
    if counts[UNCLEAR]:
        text += f": nothing can be said about {these(counts[UNCLEAR], len(cells))}"
    return text + (f". Gone from NEW: {', '.join(gone)}." if gone else ".")


def causes(found: Iterable[str]) -> str:
    """In brackets, by which causes cells moved; empty where nothing is known, or all moved by themselves."""
    counts = Counter(found)
    known = [cause for cause in CAUSED if counts[cause]]
    if not known or known == [CHANGE]:
        return ""
    if counts[known[0]] == counts.total():
        return f" ({CAUSED[known[0]]})"
    said = [f"{counts[cause]} {CAUSED[cause]}" for cause in known]
    return f" ({', '.join(said)})"


def about_causes(explained: Explained, *, again: bool) -> list[str]:
    """What there is to say about the causes: which variants are controls, how many moved by what, what was repeated."""
    notes = []
    moved = [each for each in explained.cells if each.cause]
    if explained.controls:
        notes.append(f"controls, the same in both: {', '.join(explained.controls)}")
        for cause, words in NOTED.items():
            if names := dict.fromkeys(each.variant for each in moved if each.cause == cause):
                notes.append(f"{words}: {', '.join(names)}")
    elif any(each.cause != CHANGE for each in moved):
        notes.append("no variant is known to be the same in both: whether it was the machine cannot be said")
    if again:
        notes.append("what was slower was measured again in new processes, and is slower where it was seen again")
    return notes


def measured(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of which either run has a time; of the others nothing is said."""
    return [each for each in comparisons if each.measured]


def counted(cells: Mapping[str, int]) -> str:
    """Variants with the number of their cells."""
    return ", ".join(f"{name} at {units.plural(count, 'cell')}" for name, count in cells.items())


def these(unclear: int, cells: int = 0) -> str:
    """The unclear ones of some cells."""
    return (
        ("this" if unclear == 1 else "these")
        if unclear == cells
        else f"the unclear {'one' if unclear == 1 else 'ones'}"
    )


def by_variant(comparisons: Sequence[Comparison], variants: Sequence[Decomposition] = ()) -> Table:
    """One row a variant: its cells by verdict, the ratios' geometric mean and range, what is its own, the cause."""
    rows = []
    parts = {each.variant: each for each in variants}
    for variant in dict.fromkeys(each.variant for each in measured(comparisons)):
        own = [each for each in measured(comparisons) if each.variant == variant]
        counts = Counter(each.verdict for each in own)
        ratios = [each.ratio for each in own if each.ratio]
        mean = f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}" if ratios else ""
        span = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else ""
        numbers = {word: number(str(counts[word])) for word in VERDICTS}
        row: dict[str, str | Text] = {"variant": variant, **numbers}
        row |= {"NEW / OLD, mean": number(mean), "range": number(span)}
        if part := parts.get(variant):
            row |= {"controls": number(f"{part.controls:.3f}"), OWN: number(interval(part.own, part.low, part.high))}
            row["cause"] = ", ".join(dict.fromkeys(each.cause for each in own if each.cause))
        rows.append(row)
    return Table.of("Verdicts", rows, note=OWN_NOTE if parts else "")


def worth_showing(comparisons: Sequence[Comparison], *, everything: bool = False) -> list[Comparison]:
    """All of a few; of many, those in which anything differs."""
    cells = measured(comparisons)
    if everything or len(cells) <= ALL_BELOW:
        return cells
    return [
        each
        for each in cells
        if each.verdict in (FASTER, SLOWER) or {each.validity, each.errors, each.memory} != {SAME}
    ]


def not_shown(comparisons: Sequence[Comparison], shown: Sequence[Comparison]) -> str:
    """How many cells a table leaves out, by verdict; empty where it leaves out none."""
    left = Counter(each.verdict for each in measured(comparisons)) - Counter(each.verdict for each in shown)
    if not left.total():
        return ""
    said = ", ".join(f"{count} {SAID[word]}" for word, count in left.items())
    return f"{units.plural(left.total(), 'cell')} more: {said}."


def cells(comparisons: Sequence[Comparison], paired: bool) -> Table:
    """One row a comparison; of the cell's axes the sizes, and what else differs between these."""
    others = [name for name in (*AXES, "host") if name not in SIZES]
    differing = [name for name in others if len({each.cell.get(name) for each in comparisons}) > 1]
    apart = any(each.own for each in comparisons)
    rows = []
    for each in comparisons:
        row: dict[str, str | Text] = {"variant": each.variant, tables.SIZES_HEAD: number(tables.sizes(each.cell))}
        row |= {name: str(each.cell[name]) for name in differing}
        for head, seconds, status in (("OLD, median", each.old_s, each.was), ("NEW, median", each.new_s, each.now)):
            row[head] = Text(status, "status") if seconds is None else number(units.seconds(seconds))
        row |= {
            RATIO: number("" if each.ratio is None else interval(each.ratio, each.low, each.high)),
            "p": number("" if each.p is None else f"{each.p:.2g}"),
        }
        if apart:
            row[OWN] = number("" if each.own is None else interval(each.own, each.own_low, each.own_high))
        row["verdict"] = Text(each.verdict, each.verdict)
        row |= {"cause": each.cause} if apart else {}
        row["besides"] = besides(each)
        rows.append(row)
    return Table.of("Cells", rows, note=RATIO_NOTES[paired])


def interval(ratio: float, low: float | None, high: float | None) -> str:
    """A ratio with its interval."""
    return f"{ratio:.3f} ({low:.3f} to {high:.3f})"


def besides(comparison: Comparison) -> str:
    """What there is to say beside the verdict on time."""
    kinds = {"validity": comparison.validity, "errors": comparison.errors, "memory": comparison.memory}
    parts = [f"{kind} {word}" for kind, word in kinds.items() if word not in (SAME, MISSING)]
    again = f"seen again: {comparison.again:.3f}" if comparison.again and comparison.verdict == SLOWER else ""
    parts += [part for part in (again, comparison.reason, comparison.noise) if part]
    return "; ".join(parts)


def markdown(
    comparisons: Sequence[Comparison],
    variants: Sequence[Decomposition],
    gone: Sequence[str],
    notes: Sequence[str],
    *,
    paired: bool,
    everything: bool,
) -> str:
    """The comparison for a pull request."""
    shown = worth_showing(comparisons, everything=everything)
    verdicts = by_variant(comparisons, variants)
    blocks = [f"**{answer(comparisons, gone)}**", verdicts.markdown(), verdicts.note]
    if shown:
        table = cells(shown, paired)
        blocks += [table.markdown(), table.note]
    blocks += [not_shown(comparisons, shown), "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"

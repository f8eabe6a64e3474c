"""A comparison in words: the sentence that answers, a table by variant, and the cells that differ; as Markdown too."""

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from bnbench.compare.verdicts import MISSING, SAME, VERDICTS, Verdict
from bnbench.record import AXES
from bnbench.report import units

SIZES = ("N", "p1", "p2")
ALL_BELOW = 25  # cells, up to which all are shown


def answer(verdicts: Sequence[Verdict]) -> str:
    """One sentence: whether anything is worse, and what."""
    worse = [verdict for verdict in verdicts if verdict.regression]
    compared = units.plural(len(verdicts), "cell")
    if not worse:
        return f"No regression in {compared}."
    kinds = {
        "slower": sum(verdict.verdict == "slower" for verdict in worse),
        "no longer valid": sum(verdict.validity == "worse" for verdict in worse),
        "less accurate": sum(verdict.errors == "worse" for verdict in worse),
        "with more memory": sum(verdict.memory == "worse" for verdict in worse),
    }
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"Regression in {len(worse)} of {compared}: {parts}."


def by_variant(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a variant, as text: its cells by verdict, and the geometric mean and range of the ratios."""
    rows = []
    for variant in dict.fromkeys(verdict.variant for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.variant == variant]
        counts = Counter(verdict.verdict for verdict in own)
        ratios = [verdict.ratio for verdict in own if verdict.ratio]
        mean = f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}" if ratios else ""
        span = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else ""
        numbers = {word: str(counts[word]) for word in VERDICTS}
        rows.append({"variant": variant} | numbers | {"NEW / OLD, mean": mean, "range": span})
    return pd.DataFrame(rows)


def worth_showing(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """All of a few; of many, those in which anything differs."""
    if len(verdicts) <= ALL_BELOW:
        return list(verdicts)
    return [v for v in verdicts if v.verdict in ("faster", "slower") or {v.validity, v.errors, v.memory} != {SAME}]


def cells(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a verdict, as text; of the cell's axes the sizes, and what else differs between these verdicts."""
    axes = [name for name in AXES if name in SIZES or len({verdict.cell[name] for verdict in verdicts}) > 1]
    rows = []
    for verdict in verdicts:
        timed = verdict.ratio is not None
        row = {"variant": verdict.variant}
        row |= {name: units.count(verdict.cell[name]) if name in SIZES else str(verdict.cell[name]) for name in axes}
        row |= {
            "OLD": units.seconds(verdict.old_s) if timed else verdict.was,
            "NEW": units.seconds(verdict.new_s) if timed else verdict.now,
            "NEW / OLD": f"{verdict.ratio:.3f} ({verdict.low:.3f} to {verdict.high:.3f})" if timed else "",
            "p": f"{verdict.p:.2g}" if timed else "",
            "verdict": verdict.verdict,
            "besides": remarks(verdict),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def remarks(verdict: Verdict) -> str:
    """What there is to say beside the verdict on time."""
    kinds = {"validity": verdict.validity, "errors": verdict.errors, "memory": verdict.memory}
    parts = [f"{kind} {word}" for kind, word in kinds.items() if word not in (SAME, MISSING)]
    parts += [part for part in (verdict.reason, verdict.noise) if part]
    return "; ".join(parts)


def markdown(verdicts: Sequence[Verdict], notes: Sequence[str]) -> str:
    """The comparison for a pull request."""
    shown = worth_showing(verdicts)
    blocks = [f"**{answer(verdicts)}**", _table(by_variant(verdicts))]
    if shown:
        blocks.append(_table(cells(shown)))
    if len(shown) < len(verdicts):
        blocks.append(f"{units.plural(len(verdicts) - len(shown), 'cell')} more, in which nothing differs.")
    blocks += [f"- {note}" for note in notes]
    return "\n\n".join(blocks) + "\n"


def _table(frame):
    return frame.map(lambda text: text.replace("|", "\\|")).to_markdown(index=False, disable_numparse=True)

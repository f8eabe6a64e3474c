"""`compare`: whether a second run is slower, of two run folders or of two versions side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnbench.commands.beside import Beside
from bnbench.commands.bisect import bisect
from bnbench.commands.common import FAULT, OK, REGRESSION, UsageError, print_json, quiet_flag
from bnbench.commands.plans import chosen_of, plan_flags

if TYPE_CHECKING:
    from bnbench.compare.runs import Run
    from bnbench.record import Record

AGAIN = "again"  # folder of the runs in which what was slower is measured once more


def add(commands: Any) -> None:
    """Add the command's parser."""
    compare = commands.add_parser(
        "compare",
        help="say cell by cell whether a second run is slower; exit code 3 where it is",
        description="Compare two runs cell by cell: a difference must be significant and large enough. Or, with "
        "--interleaved, measure the working tree and an older version of the package side by side, in one sweep. This "
        "works on a noisy machine too, where two runs one after the other do not. Exit code 3 where anything is worse.",
    )
    compare.add_argument("old", metavar="OLD", nargs="?", help="the run folder to compare with")
    compare.add_argument("new", metavar="NEW", nargs="?", help="the run folder that is judged")
    compare.add_argument(
        "--threshold", metavar="R", help="the ratio from which a difference matters (default: 1.05; interleaved 1.01)"
    )
    compare.add_argument("--force", action="store_true", help="compare runs of different machines or settings as well")
    compare.add_argument("--all", action="store_true", help="show every cell, not only those that differ")
    compare.add_argument(
        "--strict",
        action="store_true",
        help="exit code 3 as well where a cell is unclear, or NEW lacks a variant or a cell that OLD has measured",
    )
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one object a cell and variant as JSON")
    form.add_argument("--markdown", action="store_true", help="print as Markdown, for a pull request")
    compare.add_argument("--interleaved", action="store_true", help="measure two versions of the package side by side")
    compare.add_argument(
        "--old-ref", metavar="GITREF", help="the older version: a commit, branch or tag of this source tree"
    )
    compare.add_argument(
        "--bisect", metavar="GOOD..BAD", help="find the commit that made a variant slower, each measured against GOOD"
    )
    compare.add_argument("--passes", metavar="K", help="passes, each with new processes (default: 10, at least 3)")
    quiet_flag(compare)
    compare.add_argument(
        "--out", metavar="DIR", help="folder for the two runs that --interleaved makes, DIR/old and DIR/new"
    )
    plan_flags(compare, None, ("sampling_s", "timeout"))
    compare.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`compare`."""
    from bnbench import store
    from bnbench.compare import runs

    threshold = read_threshold(options.threshold)
    faults: list[str] = []
    whole = again = None
    try:
        if options.interleaved:
            if options.old or options.new:
                raise UsageError("run folders are given with --interleaved; use --interleaved --old-ref GITREF alone")
            if bool(options.old_ref) == bool(options.bisect):
                given = "both --old-ref and --bisect" if options.bisect else "neither --old-ref nor --bisect"
                raise UsageError(f"--interleaved is given with {given}; allowed is one: --interleaved --old-ref GITREF")
            if options.bisect:
                return bisect(options, threshold)
            old, new, again, faults = measure(options, threshold)
        else:
            if not (options.old and options.new):
                raise UsageError("compare takes two run folders, OLD NEW, or --interleaved --old-ref GITREF")
            if options.old_ref or options.bisect or options.passes or options.out:
                raise UsageError("--old-ref, --bisect, --passes and --out are for --interleaved")
            read_old, read_new = (runs.read(folder) for folder in (options.old, options.new))
            whole = runs.by_host(read_old).get("", read_old), runs.by_host(read_new).get("", read_new)
            old, new = chosen_of(options, whole)
        code = tell(old, new, threshold, options, whole=whole, again=again)
    except store.StoreError as error:
        raise UsageError(error) from error
    for fault in faults:
        print(f"bnbench: {fault}", file=sys.stderr)
    return code or (FAULT if faults else OK)


def tell(
    old: Run,
    new: Run,
    threshold: float | None,
    options: argparse.Namespace,
    *,
    whole: tuple[Run, Run] | None = None,
    again: tuple[Run, Run] | None = None,
) -> int:
    """Compare two runs and print what came out; the exit code.

    Args:
        old, new: the runs, with those of their records that are compared.
        threshold: the ratio from which on a difference matters; None for the default.
        options: of the command line.
        whole: the runs with all their records, in which controls are looked for; None where these are all.
        again: what was slower, measured once more; None where nothing was.
    """
    from bnbench.commands.tables import comparison
    from bnbench.compare import causes, runs, verdicts
    from bnbench.report import comparison as words

    paired, threshold = runs.paired(old, new), threshold or default_threshold(old, new)
    differing = runs.differences(old, new)
    if differing and not options.force:
        raise UsageError(f"the runs differ in {'; '.join(differing)} (OLD, NEW); use runs alike, or --force")
    explained = causes.compare(old, new, threshold=threshold, whole=whole)
    cells = explained.cells
    if again:
        cells = verdicts.confirmed(cells, *(run.records for run in again), threshold=threshold)
    if not cells:
        raise UsageError(f"{old.folder} and {new.folder} have no variant and cell in common; nothing can be compared")
    gone = verdicts.gone(old.records, new.records)
    alone = {
        "OLD": verdicts.alone(old.records, new.records),
        "NEW": verdicts.alone(new.records, old.records),
    }
    notes = [*old.remarks, *new.remarks]
    notes += [f"forced: the runs differ in {difference} (OLD, NEW)" for difference in differing]
    notes += [f"other software or host: {difference} (OLD, NEW)" for difference in runs.software(old, new)]
    notes += [f"measured in {side} alone: {words.counted(names)}" for side, names in alone.items() if names]
    if untimed := len(cells) - len(words.measured(cells)):
        notes.append(f"measured in neither run: {untimed} records")
    notes += words.about_causes(explained, again=again is not None)
    how = "side by side, in pairs" if paired else "one after the other: what the machine did meanwhile is in the ratio"
    notes.append(f"measured {how}; threshold {threshold:g}, false discovery rate {verdicts.ALPHA:g} over all cells")
    if options.json:
        print_json(
            {"answer": words.answer(cells, gone), "notes": notes, "gone": gone}
            | {"only_in_old": alone["OLD"], "only_in_new": alone["NEW"], "controls": explained.controls}
            | {"variants": [each.plain() for each in explained.variants], "cells": [cell.plain() for cell in cells]}
        )
    elif options.markdown:
        print(words.markdown(cells, explained.variants, gone, notes, paired=paired, everything=options.all), end="")
    else:
        comparison(cells, explained.variants, gone, notes, paired=paired, everything=options.all)
    missing = gone or alone["OLD"] or any(cell.verdict == verdicts.UNCLEAR for cell in words.measured(cells))
    regression = any(cell.regression for cell in cells)
    return REGRESSION if regression or (options.strict and missing) else OK


def measure(options: argparse.Namespace, threshold: float | None) -> tuple[Run, Run, tuple[Run, Run] | None, list[str]]:
    """Measure two versions side by side, and what was slower once more in new processes; write their run folders.

    Returns:
        The two runs as read back, those of what was slower or None, and what was not measured.
    """
    from bnbench.commands.sweep import named
    from bnbench.compare import causes
    from bnbench.measure import data, interleaved
    from bnbench.report import units
    from bnbench.temporary import TemporaryFolder

    beside, again = Beside(options), None
    refs = {"old_ref": options.old_ref}
    try:
        with TemporaryFolder() as room:
            sources = {
                interleaved.OLD: interleaved.checkout(options.old_ref, room),
                interleaved.NEW: interleaved.PACKAGE_FOLDER,
            }
            say = [f"note: {remark}" for remark in beside.remarks]
            old, new = beside.measured(sources, beside.folder, say=say, refs=refs)
            cells = causes.compare(old, new, threshold=threshold or default_threshold(old, new)).cells
            if slower := [each for each in cells if each.slowed]:
                what = f"{units.plural(len(slower), 'cell')} slower: measured again in new processes"
                wanted = {each.key for each in slower}
                again = beside.measured(sources, beside.folder / AGAIN, wanted=wanted, say=[what], refs=refs)
    except (interleaved.VersionError, data.NoRoomError) as error:
        raise UsageError(error) from error
    if not options.quiet:
        print(f"runs: {beside.folder / interleaved.OLD}, {beside.folder / interleaved.NEW}", file=sys.stderr)
    return old, new, again, not_compared(old.records, new.records, named(beside.plan))


def default_threshold(old: Run, new: Run) -> float:
    """The ratio from which on a difference of two runs matters."""
    from bnbench.compare import runs, verdicts

    return verdicts.threshold(paired=runs.paired(old, new))


def not_compared(old: Sequence[Record], new: Sequence[Record], names: Sequence[str]) -> list[str]:
    """What of the named was measured at no cell on both sides, a sentence each; or that nothing was."""
    without: dict[str, tuple[str, Record]] = {}
    measured = set()
    for pair in zip(old, new, strict=True):
        bad = [(side, record) for side, record in zip(("OLD", "NEW"), pair, strict=True) if record.status != "ok"]
        if bad:
            without.setdefault(pair[0].variant, bad[0])
        else:
            measured.add(pair[0].variant)
    sought = [name for name in names if name not in measured] or ([] if measured else list(without)[:1])
    return [
        f"{name} was measured at no cell on both sides: in {side} {record.status}: {record.reason}"
        for name, (side, record) in without.items()
        if name in sought
    ]


def read_threshold(text: str | None) -> float | None:
    """A threshold above 1, or None."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 < value < float("inf"):
        raise UsageError(f"--threshold is {text!r}; expected a ratio above 1, such as 1.05")
    return value

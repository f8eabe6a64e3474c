"""`compare`: whether a second run is slower, of two run folders or of two versions side by side."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.commands.common import FAULT, OK, REGRESSION, UsageError, print_json, quiet_flag
from bnbench.commands.plans import chosen_of, plan_flags

if TYPE_CHECKING:
    from bnbench.compare.runs import Run
    from bnbench.record import Record
    from bnbench.store import Journal

INTERLEAVED_PLAN = {"N": (10, 1000), "p1": (4, 32), "p2": (4, 32), "threads": (1,), "sampling_s": 1.0}


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
    try:
        if options.interleaved:
            if options.old or options.new:
                raise UsageError("run folders are given with --interleaved; use --interleaved --old-ref GITREF alone")
            if not options.old_ref:
                raise UsageError("--interleaved is given without --old-ref; use --interleaved --old-ref GITREF")
            old, new, faults = measure(options)
        else:
            if not (options.old and options.new):
                raise UsageError("compare takes two run folders, OLD NEW, or --interleaved --old-ref GITREF")
            if options.old_ref or options.passes or options.out:
                raise UsageError("--old-ref, --passes and --out are for --interleaved")
            read = [runs.read(folder) for folder in (options.old, options.new)]
            old, new = chosen_of(options, [runs.by_host(run).get("", run) for run in read])
        code = tell(old, new, threshold, options)
    except store.StoreError as error:
        raise UsageError(error) from error
    for fault in faults:
        print(f"bnbench: {fault}", file=sys.stderr)
    return code or (FAULT if faults else OK)


def tell(old: Run, new: Run, threshold: float | None, options: argparse.Namespace) -> int:
    """Compare two runs and print what came out; the exit code."""
    from bnbench.commands.tables import comparison
    from bnbench.compare import runs, verdicts
    from bnbench.report import comparison as words

    paired = bool(old.interleaved) and old.interleaved == new.interleaved
    threshold = threshold or (verdicts.THRESHOLD_INTERLEAVED if paired else verdicts.THRESHOLD)
    differing = runs.differences(old, new)
    if differing and not options.force:
        raise UsageError(f"the runs differ in {'; '.join(differing)} (OLD, NEW); use runs alike, or --force")
    cells = verdicts.compare(old.records, new.records, threshold=threshold, paired=paired)
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
    how = "side by side, in pairs" if paired else "one after the other: what the machine did meanwhile is in the ratio"
    notes.append(f"measured {how}; threshold {threshold:g}, false discovery rate {verdicts.ALPHA:g} over all cells")
    if options.json:
        print_json(
            {"answer": words.answer(cells, gone), "notes": notes, "gone": gone}
            | {"only_in_old": alone["OLD"], "only_in_new": alone["NEW"], "cells": [cell.plain() for cell in cells]}
        )
    elif options.markdown:
        print(words.markdown(cells, gone, notes, paired=paired, everything=options.all), end="")
    else:
        comparison(cells, gone, notes, paired=paired, everything=options.all)
    missing = gone or alone["OLD"] or any(cell.verdict == verdicts.UNCLEAR for cell in words.measured(cells))
    regression = any(cell.regression for cell in cells)
    return REGRESSION if regression or (options.strict and missing) else OK


def measure(options: argparse.Namespace) -> tuple[Run, Run, list[str]]:
    """Measure two versions side by side, write their run folders; both as read back, and what was not measured."""
    from bnbench.commands.common import default_folder, saved_plan
    from bnbench.commands.plans import make_plan
    from bnbench.commands.progress import Progress
    from bnbench.commands.sweep import named, notes
    from bnbench.compare import runs
    from bnbench.measure import data, environment, interleaved
    from bnbench.measure.plan import STEADY
    from bnbench.temporary import TemporaryFolder

    passes = read_passes(options.passes, interleaved.PASSES, interleaved.LEAST_PASSES)
    plan, table = make_plan(options, INTERLEAVED_PLAN | {"memory": STEADY})
    if len(plan.memory) > 1:
        plan = dataclasses.replace(plan, memory=STEADY)
    names = plan.variants or own_variants()
    description = environment.describe() | data.described(table)
    saved = saved_plan(plan, table) | {"variants": names, "passes": passes}
    folder = Path(options.out) if options.out else default_folder(saved)
    try:
        with TemporaryFolder() as room, Progress(plan, passes, quiet=options.quiet) as progress:
            for remark in [*notes(table), *description["warnings"]]:
                progress.say(f"note: {remark}")
            older = interleaved.checkout(options.old_ref, room)
            sources = {interleaved.OLD: older, interleaved.NEW: interleaved.PACKAGE_FOLDER}
            with journals(folder, description, saved, options) as written:  # before anything is measured
                records = interleaved.interleave(
                    plan, sources, names, table=table, events=progress.of_pass, passes=passes
                )
                for side, journal in written.items():
                    for record in records[side]:
                        journal.append(record)
            progress.say(f"runs: {folder / interleaved.OLD}, {folder / interleaved.NEW}")
    except (interleaved.VersionError, data.NoRoomError) as error:
        raise UsageError(error) from error
    old, new = (runs.read(folder / side) for side in interleaved.SIDES)
    return old, new, not_compared(old.records, new.records, named(plan))


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


def own_variants() -> tuple[str, ...]:
    """What is compared unless variants are named: no frameworks, and nothing that cannot run here.

    Plug-ins are asked by their workers, not here, where one that hangs would cost everything.
    """
    from bnbench.variants import variants

    return tuple(
        name
        for name, cls in variants().items()
        if not cls.__module__.startswith("bnbench.variants.peer_")
        and not (cls.__module__.startswith("bnbench.") and cls.unavailable())
    )


@contextlib.contextmanager
def journals(
    folder: Path, description: dict[str, Any], saved: dict[str, Any], options: argparse.Namespace
) -> Iterator[dict[str, Journal]]:
    """The journals of both sides, by side; where what is done with them fails, an interrupt too, they are no runs."""
    import secrets

    from bnbench import store
    from bnbench.measure import interleaved

    token = secrets.token_hex(8)
    with contextlib.ExitStack() as opened:
        written: dict[str, Journal] = {}
        try:
            for side in interleaved.SIDES:
                described = store.new_environment(description, saved, command_line(options))
                described |= {"interleaved": token, "side": side, "old_ref": options.old_ref}
                written[side] = opened.enter_context(store.Journal(folder / side, described, resume=False))
            yield written
        except BaseException:
            for journal in written.values():
                journal.discard()
            raise


def command_line(options: argparse.Namespace) -> str:
    """The command that does this comparison again."""
    from bnbench.commands.common import command_line

    left_out = ("old", "new", "all", "markdown", "force", "threshold", "strict")
    return command_line("compare", options, leave_out=left_out)


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


def read_passes(text: str | None, default: int, least: int) -> int:
    """A number of passes."""
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise UsageError(f"--passes is {text!r}; expected a whole number of at least {least}")
    return int(text)

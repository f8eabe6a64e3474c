"""`compare`: whether a second run is slower, of two run folders or of two versions side by side."""

import contextlib
import json
import sys
from pathlib import Path

from bnbench.commands.common import FAULT, OK, REGRESSION, UsageError, quiet_flag
from bnbench.commands.plans import chosen_of, plan_flags

INTERLEAVED_PLAN = {"N": (10, 1000), "p1": (4, 32), "p2": (4, 32), "threads": (1,), "sampling_s": 1.0}
INTERLEAVED_PLAN |= {"keep_memory": True}  # whether freed memory goes back is a matter of luck, process by process


def add(commands):
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
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one object a cell and variant as JSON")
    form.add_argument("--markdown", action="store_true", help="print as Markdown, for a pull request")
    compare.add_argument("--interleaved", action="store_true", help="measure two versions of the package side by side")
    compare.add_argument(
        "--old-ref", metavar="GITREF", help="the older version: a commit, branch or tag of this source tree"
    )
    compare.add_argument("--passes", metavar="K", help="passes, each with new processes (default: 10, at least 3)")
    quiet_flag(compare)
    compare.add_argument("--timeout", metavar="S", help="limit for one variant at one cell in seconds")
    compare.add_argument(
        "--sampling", metavar="S", help="time for samples of one variant at one cell and pass in seconds"
    )
    compare.add_argument(
        "--out", metavar="DIR", help="folder for the two runs that --interleaved makes, DIR/old and DIR/new"
    )
    plan_flags(compare, None)
    compare.set_defaults(command=run)


def run(options) -> int:
    """`compare`."""
    from bnbench import store
    from bnbench.compare import runs

    threshold, faults = read_threshold(options.threshold), []
    try:
        if options.interleaved:
            if options.old or options.new:
                raise UsageError("run folders are given with --interleaved; allowed is --interleaved --old-ref GITREF")
            if not options.old_ref:
                raise UsageError("--interleaved is given without --old-ref; allowed is --interleaved --old-ref GITREF")
            old, new, faults = measure(options)
        else:
            if not (options.old and options.new):
                raise UsageError("compare takes two run folders, OLD NEW, or --interleaved --old-ref GITREF")
            if options.old_ref or options.passes or options.out:
                raise UsageError("--old-ref, --passes and --out are for --interleaved")
            old, new = chosen_of(options, [runs.read(folder) for folder in (options.old, options.new)])
        code = judge(old, new, threshold, options)
    except store.StoreError as error:
        raise UsageError(error) from error
    for fault in faults:
        print(f"bnbench: {fault}", file=sys.stderr)
    return code or (FAULT if faults else OK)


def judge(old, new, threshold, options) -> int:
    """Give the verdicts on two runs and print them; the exit code."""
    from bnbench.commands.tables import comparison
    from bnbench.compare import runs, verdicts, words

    paired = bool(old.interleaved) and old.interleaved == new.interleaved
    threshold = threshold or (verdicts.THRESHOLD_INTERLEAVED if paired else verdicts.THRESHOLD)
    differing = runs.differences(old, new)
    if differing and not options.force:
        raise UsageError(f"the runs differ in {'; '.join(differing)} (OLD, NEW); allowed is the same, or --force")
    found = verdicts.compare(old.records, new.records, threshold=threshold, paired=paired)
    if not found:
        raise UsageError(f"{old.folder} and {new.folder} have no variant and cell in common; nothing can be compared")
    notes = [*old.remarks, *new.remarks]
    notes += [f"forced: the runs differ in {difference} (OLD, NEW)" for difference in differing]
    notes += [f"other software or host: {difference} (OLD, NEW)" for difference in runs.software(old, new)]
    notes += [
        f"{count} records are in {name} alone"
        for name, count in zip(("OLD", "NEW"), verdicts.unmatched(old.records, new.records), strict=True)
        if count
    ]
    how = "side by side, in pairs" if paired else "one after the other: what the machine did meanwhile is in the ratio"
    notes.append(f"measured {how}; threshold {threshold:g}, false discovery rate {verdicts.ALPHA:g} over all cells")
    if options.json:
        print(json.dumps({"notes": notes, "cells": [verdict.plain() for verdict in found]}, indent=1))
    elif options.markdown:
        print(words.markdown(found, notes), end="")
    else:
        comparison(found, notes, everything=options.all)
    return REGRESSION if any(verdict.regression for verdict in found) else OK


def measure(options):
    """Measure two versions side by side, write their run folders; both as read back, and what was not measured."""
    from bnbench.commands.common import default_folder, saved_plan
    from bnbench.commands.plans import make_plan
    from bnbench.commands.progress import Progress
    from bnbench.commands.sweep import named, notes
    from bnbench.compare import runs
    from bnbench.measure import data, environment, interleaved
    from bnbench.temporary import TemporaryFolder

    passes = read_passes(options.passes, interleaved.PASSES, interleaved.LEAST_PASSES)
    plan, table = make_plan(options, INTERLEAVED_PLAN)
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
                found = interleaved.interleave(
                    plan, sources, names, table=table, events=progress.of_pass, passes=passes
                )
                for side, journal in written.items():
                    for record in found[side]:
                        journal.append(record)
            progress.say(f"runs: {folder / interleaved.OLD}, {folder / interleaved.NEW}")
    except (interleaved.VersionError, data.NoRoomError) as error:
        raise UsageError(error) from error
    old, new = (runs.read(folder / side) for side in interleaved.SIDES)
    return old, new, not_compared(old.records, new.records, named(plan))


def not_compared(old, new, names) -> list[str]:
    """What of the named was measured at no cell on both sides, a sentence each; or that nothing was."""
    without, measured = {}, set()
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
def journals(folder, description, saved, options):
    """The journals of both sides, by side; where what is done with them fails, an interrupt too, they are no runs."""
    import secrets

    from bnbench import store
    from bnbench.measure import interleaved

    token = secrets.token_hex(8)
    with contextlib.ExitStack() as opened:
        written = {}
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


def command_line(options):
    """The command that does this comparison again."""
    from bnbench.commands.common import command_line

    return command_line("compare", options, leave_out=("old", "new", "all", "markdown", "force", "threshold"))


def read_threshold(text):
    """A threshold above 1, or None."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 < value < float("inf"):
        raise UsageError(f"--threshold is {text!r}; allowed is a ratio above 1, such as 1.05")
    return value


def read_passes(text, default, least):
    """A number of passes."""
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise UsageError(f"--passes is {text!r}; allowed is a whole number of at least {least}")
    return int(text)

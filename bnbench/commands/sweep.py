"""`sweep` and `verify`: validate and time variants, or only validate them."""

import argparse
import dataclasses
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.commands.common import (
    FAULT,
    INTERRUPTED,
    OK,
    RESULTS,
    UsageError,
    command_line,
    conclude,
    default_folder,
    exit_code,
    quiet_flag,
    saved_plan,
    write_report,
)
from bnbench.commands.dry import dry_run
from bnbench.commands.plans import make_plan, plan_flags, plan_of

if TYPE_CHECKING:
    from bnbench.commands.progress import Progress
    from bnbench.measure.data import Table
    from bnbench.measure.plan import Plan
    from bnbench.record import Record

LOST = ("timeout", "out-of-memory")  # how a cell may end before there is a verdict
DRIFT = 1.1  # by which the machine's rates may change over a sweep before that is said


def add(commands: Any) -> None:
    """Add the commands' parsers."""
    sweep = commands.add_parser(
        "sweep",
        help="validate and time every variant over N, p1, p2; write tables and plots",
        description="Validate and time every variant at every cell of a sweep, and write DIR/summary.csv, "
        "summary.md, plots/ and report.html beside the journal of raw samples.",
    )
    plan_flags(sweep, "default", ("passes", "sampling_s", "timeout", "time_budget"))
    sweep.add_argument("--out", metavar="DIR", help=f"run folder (default: {RESULTS}/<date>-<host>-<short id>)")
    sweep.add_argument(
        "--resume",
        action="store_true",
        help="finish the run in --out with its own settings; measure only what is missing",
    )
    sweep.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="sweep on every host of the Dask cluster whose scheduler is there, such as tcp://10.0.0.1:8786",
    )
    sweep.add_argument("--journal-only", action="store_true", help=argparse.SUPPRESS)  # tables are made elsewhere
    sweep.add_argument("--dry-run", action="store_true", help="list the cells and estimate the time; measure nothing")
    quiet_flag(sweep)
    sweep.add_argument("--json", action="store_true", help="print the rows of summary.csv as JSON, and nothing else")
    sweep.set_defaults(command=run_sweep)

    verify = commands.add_parser(
        "verify",
        help="validate variants without timing them",
        description="Check every variant against the reference: all activations, normalizations, dtypes and "
        "regimes at two sizes, unless flags say otherwise. Nothing is timed or written.",
    )
    plan_flags(verify, None, ("timeout",))
    quiet_flag(verify)
    verify.add_argument("--json", action="store_true", help="print one object a cell and variant as JSON")
    verify.set_defaults(command=run_verify)


def run_sweep(options: Namespace) -> int:
    """`sweep`."""
    from bnbench import store
    from bnbench.commands.progress import Progress
    from bnbench.measure import data, environment
    from bnbench.measure.fingerprints import of_names

    if options.resume and not options.out:
        raise UsageError("--resume is given without --out; allowed is --resume --out DIR")
    if options.dask:
        from bnbench.commands import hosts

        return hosts.run(options)
    plan, table = make_plan(options, plan_of(options.out) if options.resume else {})
    if options.dry_run:
        begun = options.resume and (Path(options.out) / store.JOURNAL).exists()
        return dry_run(plan, store.read_journal(options.out)[0] if begun else [], notes(table), options.json)
    description = environment.describe() | data.described(table)
    saved = saved_plan(plan, table)
    description["fingerprints"] = of_names(saved["variants"])
    folder = Path(options.out) if options.out else default_folder(saved)
    try:
        journal = store.Journal(
            folder, store.new_environment(description, saved, command_line("sweep", options)), resume=options.resume
        )
    except store.StoreError as error:
        raise UsageError(error) from error
    with journal, Progress(plan, quiet=options.quiet, stored=journal.records) as progress:
        if journal.records:
            there = sum(not record.lacked_time for record in journal.records)
            progress.say(f"resuming: {there} records are there already")
        for remark in [*journal.remarks, *notes(table), *description["warnings"]]:
            progress.say(f"note: {remark}")
        try:
            records, rooflines = carry_out(plan, table, journal.append, journal.records, progress)
        except KeyboardInterrupt:
            again = f"bnbench sweep --resume --out {shlex.quote(str(folder))}"
            progress.say(f"interrupted; {len(journal.records)} records are kept. To go on:\n  {again}", always=True)
            return INTERRUPTED
        store.add_rooflines(folder, rooflines)
        for remark in drifts(rooflines) + held_down(records) + unfinished(records, folder):
            progress.say(f"note: {remark}")
        if not options.journal_only:
            progress.stage("writing tables and plots")
            frame, remarks = write_report(folder, records)
            for remark in remarks:
                progress.say(f"note: {remark}")
    if options.journal_only:
        code = exit_code(record.status for record in records)
    else:
        code = conclude(frame, folder, options.json)
    return max(code, tell(not_judged(records, named(plan))))


def run_verify(options: Namespace) -> int:
    """`verify`."""
    from bnbench.commands.progress import Progress
    from bnbench.commands.tables import verdict_table
    from bnbench.problem import ACTIVATIONS, DTYPES, REGIMES
    from bnbench.variants.base import SIMPLEST

    plan, table = make_plan(
        options,
        {
            "N": (10, 1000),
            "p1": (7,),
            "p2": (4,),
            "activation": ACTIVATIONS,
            "normalization": SIMPLEST["normalizations"],
            "dtype": DTYPES,
            "regime": REGIMES,
            "timeout": 60.0,
        },
    )
    with Progress(plan, timing=False, quiet=options.quiet) as progress:
        for note in notes(table):
            progress.say(f"note: {note}")
        records, _ = carry_out(plan, table, lambda record: record, [], progress, timing=False)
    if options.json:
        said = ("status", "reason", "max_error_ratio")
        rows = [
            {"variant": record.variant} | record.cell.axes | {name: getattr(record, name) for name in said}
            for record in records
        ]
        print(json.dumps(rows, indent=1))
    else:
        verdict_table(records)
    faults = not_judged(records, named(plan), everywhere=True)
    return max(exit_code(record.status for record in records), tell(faults))


def notes(table: "Table | None") -> tuple[str, ...]:
    """What a reader of a table should know of it."""
    return table.notes if table else ()


def named(plan: "Plan") -> tuple[str, ...]:
    """The variants that were asked for by name, or by the file of their plug-in."""
    from bnbench.variants import variants

    def file(cls: type) -> str:
        return str(Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or ".").resolve())

    known = variants()
    return plan.named or tuple(name for name in plan.variants or known if file(known[name]) in plan.plugins)


def not_judged(records: "Sequence[Record]", names: Iterable[str], *, everywhere: bool = False) -> list[str]:
    """What was named and got no verdict at any cell, a sentence each; or that nothing got one.

    With everywhere, cells at which it ran out of time or memory are named as well, though others were judged.
    """
    from bnbench.record import FAULTS

    sentences = []
    for name in names:
        own = [record for record in records if record.variant == name]
        without = [record for record in own if not judged(record)]
        lost = [record for record in without if record.status in LOST]
        if any(record.status in FAULTS for record in own):
            continue  # that is said, and a fault, already
        if len(without) == len(own):
            sentences.append(f"{name} was judged at no cell; {first(without)}")
        elif everywhere and lost:
            sentences.append(f"{name} was not judged at {len(lost)} of {len(own)} cells; {first(lost)}")
    if not sentences and not any(judged(record) or record.status in FAULTS for record in records):
        sentences.append(f"nothing was judged; {records[0].variant} {first(records)}")
    return sentences


def judged(record: "Record") -> bool:
    """Whether there was a verdict; a cell may have ended otherwise after it."""
    return record.status in ("ok", "invalid") or record.max_error_ratio is not None


def first(records: "Sequence[Record]") -> str:
    """How and why the first of these cells ended."""
    record = records[0]
    return f"{record.status} at {record.cell}: {record.reason}"


def tell(faults: Iterable[str]) -> int:
    """Say what is wrong; the exit code."""
    for fault in faults:
        print(f"bnbench: {fault}", file=sys.stderr)
    return FAULT if faults else OK


def carry_out(
    plan: "Plan",
    table: "Table | None",
    write: "Callable[[Record], Record]",
    there: "Iterable[Record]",
    progress: "Progress",
    *,
    timing: bool = True,
) -> "tuple[list[Record], list[dict[str, Any]]]":
    """Run the sweep beside the records that are there, in all its passes.

    Returns:
        All records, and the machine's limits before and after the first pass.

    Raises:
        UsageError: the table has no room in the temporary directory.
    """
    from bnbench.measure import clock
    from bnbench.measure.data import NoRoomError
    from bnbench.measure.passes import another
    from bnbench.measure.scheduler import JUDGED, TIMED, Events, Sweep

    done = [record for record in there if not record.lacked_time]
    scope, started = TIMED if timing else JUDGED, clock.now()
    try:
        with Sweep(plan, write, done, table=table, scope=scope, events=progress.events) as sweep:
            records = sweep.run()
        for number in range(2, plan.passes + 1 if timing else 2):
            left = None if plan.time_budget is None else plan.time_budget - (clock.now() - started)
            if left is not None and left <= 0:
                break
            progress.flush()
            progress.say(f"pass {number} of {plan.passes}: the same again in new processes")
            # a cell has one line, that of its first pass
            events = Events(stage=progress.stage, cell=progress.begin, sample=progress.sample)
            again = dataclasses.replace(plan, time_budget=left, passes=plan.passes - number + 1)
            records = another(number, again, records, write, table=table, events=events)
        progress.flush()
        return records, sweep.rooflines
    except NoRoomError as error:
        raise UsageError(error) from error


def unfinished(records: "Iterable[Record]", folder: Path) -> list[str]:
    """How what the time budget left out is made up for, where it left out something."""
    records = list(records)
    count = sum(record.lacked_time for record in records)
    again = f"python -m bnbench sweep --resume --out {shlex.quote(str(folder))} --time-budget S"
    return [f"the time budget left out {count} of {len(records)} records; to make them: {again}"] if count else []


def drifts(rooflines: Sequence[dict[str, Any]]) -> list[str]:
    """What the machine did otherwise at the end of the sweep than at its start, beyond a tenth."""
    from bnbench.measure.roofline import place

    remarks = []
    at = {(roof["when"], roof["dtype"], place(roof)): roof for roof in rooflines}
    for (when, *setting), roof in at.items():
        before = at.get(("start", *setting))
        if when == "start" or before is None:
            continue
        for name, words in (("gemm_flops_s", "matrix products"), ("triad_bytes_s", "memory")):
            ratio = roof[name] / before[name]
            if not 1 / DRIFT < ratio < DRIFT:
                where = f"{setting[0]}, {setting[1]}" + (" threads" if "threads" in roof else "")
                remarks.append(f"the machine drifted: {words} at the end at {ratio:.2f} of the start's rate ({where})")
    return remarks


def held_down(records: "Iterable[Record]") -> list[str]:
    """What held a GPU's clocks down, and at how many cells; nothing where nothing did."""
    why = [str((record.clocks or {}).get("after", {}).get("held_down") or "") for record in records]
    counts = {reason: why.count(reason) for reason in sorted(filter(None, set(why)))}
    return [f"the GPU's clocks were held down ({reason}) in {count} records" for reason, count in counts.items()]

"""`report`, `list` and `doctor`: what is there already."""

import sys
from pathlib import Path

from bnbench.commands.common import (
    FAULT,
    OK,
    UsageError,
    conclude,
    load_variants,
    needs_workers,
    print_json,
    write_report,
)


def add(commands):
    """Add the commands' parsers."""
    report = commands.add_parser("report", help="write a run's tables, plots and HTML page again")
    report.add_argument("folder", metavar="DIR", help="a run folder")
    report.add_argument("--json", action="store_true", help="print the summary rows as JSON")
    report.add_argument("--pyperf", metavar="FILE.json", help="also write the samples to a new file for pyperf")
    report.set_defaults(command=run_report)

    listing = commands.add_parser("list", help="list the variants, and say how to add those that are not installed")
    listing.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    listing.set_defaults(command=run_list)

    doctor = commands.add_parser("doctor", help="show what is installed, and what would make timings unreliable here")
    doctor.add_argument("--json", action="store_true", help="print as JSON")
    doctor.add_argument(
        "--kernels",
        action="store_true",
        help="instead, compile every CUDA kernel (no GPU needed) and list what registers it takes",
    )
    doctor.add_argument(
        "--selftest",
        action="store_true",
        help="instead, measure the same code twice (about 3 minutes): what is the smallest difference that shows here?",
    )
    doctor.set_defaults(command=run_doctor)


def run_report(options) -> int:
    """`report`."""
    from bnbench.compare import runs
    from bnbench.folder import Folder
    from bnbench.report import pyperf

    run = runs.read(options.folder)
    folder = Folder(run.folder).claim()
    if options.pyperf:
        pyperf.write(run, options.pyperf)
        folder.adopt(options.pyperf)
    frame, more = write_report(run.folder, run.records)
    for remark in run.remarks + more:
        print(f"note: {remark}", file=sys.stderr)
    return conclude(frame, Path(options.folder), options.json, judge=False)


def run_list(options) -> int:
    """`list`."""
    from concurrent.futures import ThreadPoolExecutor

    known = load_variants(options.plugin)
    with ThreadPoolExecutor(1) as pool:  # to ask R takes longer than all else, which meanwhile goes on here
        reasons = pool.map(lambda cls: cls.unavailable(), known.values())
        from bnbench.commands.tables import variant_table

    rows = []
    for (name, cls), reason in zip(known.items(), reasons, strict=True):
        words = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        rows.append(
            {
                "name": name,
                "family": cls.family,
                "device": cls.device,
                "available": not reason,
                "reason": reason,
            }
            | {"description": words, "algorithms": dict(cls.algorithms)}
        )
    if options.json:
        print_json(rows)
    else:
        variant_table(rows)
    return OK


def run_doctor(options) -> int:
    """`doctor`."""
    if options.kernels:
        return list_kernels(options)
    if options.selftest:
        return measure_noise(options)
    from bnbench import codecache
    from bnbench.commands.tables import environment_table
    from bnbench.measure import environment

    found = environment.describe() | {"compile_cache": codecache.report()}
    found["warnings"] += filter(None, [found["compile_cache"]["warning"]])
    if options.json:
        print_json(found)
    else:
        environment_table(found)
    return OK


def measure_noise(options) -> int:
    """`doctor --selftest`: what the same code twice says of this machine."""
    import dataclasses

    from bnbench.commands.progress import Progress
    from bnbench.commands.tables import floor_table
    from bnbench.compare.floor import SIZES, VARIANTS, floor
    from bnbench.compare.verdicts import FASTER, SLOWER, THRESHOLD_INTERLEAVED, compare
    from bnbench.measure import interleaved
    from bnbench.measure.plan import Plan

    needs_workers()
    plan = Plan(sizes=tuple("x".join(map(str, size)) for size in SIZES), threads=(1,), sampling_s=1.0, keep_memory=True)
    sources = dict.fromkeys(interleaved.SIDES, interleaved.PACKAGE_FOLDER)
    with Progress(plan, interleaved.PASSES) as progress:
        sides = interleaved.interleave(plan, sources, VARIANTS, events=progress.of_pass)
    old, new = sides.values()
    broken = [record for record in (*old, *new) if record.status != "ok"]
    if broken:
        first = broken[0]
        raise UsageError(
            f"the self-test needs {', '.join(VARIANTS)}, and {first.variant} is {first.status}: {first.reason}"
        )
    verdicts = compare(old, new, threshold=THRESHOLD_INTERLEAVED, paired=True)
    floors = [floor(*found) for found in zip(verdicts, old, new, strict=True)]
    if options.json:
        print_json([dataclasses.asdict(found) | {"verdict": found.verdict.plain()} for found in floors])
    else:
        floor_table(floors)
    return FAULT if any(found.verdict.verdict in (FASTER, SLOWER) for found in floors) else OK


def list_kernels(options) -> int:
    """`doctor --kernels`: what each CUDA kernel compiles to."""
    import dataclasses

    from bnbench.commands.tables import kernel_table
    from bnbench.commands.terminal import tracked

    try:
        from bnbench.cuda import offline

        kernels = list(offline.kernels_for())
        rows = [offline.compile_kernel(*kernel) for kernel in tracked(kernels, "compiling")]
    except ImportError as error:
        raise UsageError(
            f"kernels cannot be compiled: {error}; pip install 'bnbench[cuda]' adds what is missing"
        ) from error
    rows = [{name: value for name, value in dataclasses.asdict(row).items() if name != "ptx"} for row in rows]
    if options.json:
        print_json(rows)
    else:
        kernel_table(rows)
    return OK

"""`doctor`: what is installed, what would make timings unreliable, and what can be told apart here."""

import argparse
from typing import Any

from bnbench.commands.common import FAULT, OK, UsageError, needs_workers, print_json


def add(commands: Any) -> None:
    """Add the command's parser."""
    doctor = commands.add_parser(
        "doctor", help="what is installed, threads, BLAS, and what would make timings unreliable"
    )
    doctor.add_argument("--json", action="store_true", help="print as JSON")
    doctor.add_argument(
        "--kernels",
        action="store_true",
        help="compile every CUDA kernel instead, without a GPU: its registers",
    )
    doctor.add_argument(
        "--selftest",
        action="store_true",
        help="measure the same code twice instead (about 3 minutes): the smallest difference that can be told here",
    )
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`doctor`."""
    if options.kernels:
        return list_kernels(options)
    if options.selftest:
        return measure_noise(options)
    from bnbench import codecache
    from bnbench.measure import environment
    from bnbench.progress import environment_table

    cache = codecache.report()
    described = environment.describe() | {"compile_cache": cache}
    described["warnings"] += filter(None, [cache["warning"]])
    if options.json:
        print_json(described)
    else:
        environment_table(described)
    return OK


def measure_noise(options: argparse.Namespace) -> int:
    """`doctor --selftest`: what the same code twice says of this machine."""
    import dataclasses

    from bnbench.compare.floor import SIZES, VARIANTS, floor
    from bnbench.compare.verdicts import FASTER, SLOWER, THRESHOLD_INTERLEAVED, compare
    from bnbench.measure import interleaved
    from bnbench.measure.plan import STEADY, Plan
    from bnbench.progress import Progress, floor_table

    needs_workers()
    plan = Plan(sizes=tuple("x".join(map(str, size)) for size in SIZES), threads=(1,), sampling_s=1.0, memory=STEADY)
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
    floors = [floor(*each) for each in zip(verdicts, old, new, strict=True)]
    if options.json:
        print_json([dataclasses.asdict(each) | {"verdict": each.verdict.plain()} for each in floors])
    else:
        floor_table(floors)
    return FAULT if any(each.verdict.verdict in (FASTER, SLOWER) for each in floors) else OK


def list_kernels(options: argparse.Namespace) -> int:
    """`doctor --kernels`: what each CUDA kernel compiles to."""
    import dataclasses

    from bnbench.progress import kernel_table, tracked

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

"""`doctor`: what is installed, what would make timings unreliable, and what can be told apart here."""

import argparse
from typing import Any

from bnbench.commands.common import FAULT, OK, UsageError, needs_workers, print_json


def add(commands: Any) -> None:
    """Add the command's parser."""
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
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`doctor`."""
    if options.kernels:
        return list_kernels(options)
    if options.selftest:
        return measure_noise(options)
    from bnbench import codecache
    from bnbench.commands.tables import environment_table
    from bnbench.measure import environment

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

    from bnbench.commands.progress import Progress
    from bnbench.commands.tables import floor_table
    from bnbench.compare.floor import SIZES, VARIANTS, floor
    from bnbench.compare.verdicts import FASTER, SLOWER, THRESHOLD_INTERLEAVED, compare
    from bnbench.measure import interleaved
    from bnbench.measure.plan import STEADY, Plan

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

    from bnbench.commands.tables import kernel_table
    from bnbench.commands.terminal import tracked

    try:
        from bnbench.cuda import offline

        kernels = list(offline.kernels_for())
        compiled = [offline.compile_kernel(*kernel) for kernel in tracked(kernels, "compiling")]
    except ImportError as error:
        raise UsageError(
            f"kernels cannot be compiled: {error}; pip install 'bnbench[cuda]' adds what is missing"
        ) from error
    rows = [{name: value for name, value in dataclasses.asdict(each).items() if name != "ptx"} for each in compiled]
    if options.json:
        print_json(rows)
    else:
        kernel_table(rows)
    return OK

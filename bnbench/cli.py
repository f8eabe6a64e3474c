"""The command line, `python -m bnbench`: the only code that prints or sets an exit code.

Exit codes: 0 fine; 1 a variant or formula was invalid, failed or crashed; 2 usage or input error; 130 interrupted.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

OK, FAULT, USAGE, INTERRUPTED = 0, 1, 2, 130
RESULTS = "results"
DRIFT = 1.1  # by which the machine's rates may change over a sweep before that is said

AUDIT_FLAGS = (
    ("N", "N", "rows (default: 50)"),
    ("p1", "P", "inputs (default: 7)"),
    ("p2", "P", "hidden nodes (default: 4)"),
    ("activation", None, "relu, sigmoid, tanh, gaussian, identity (default: all; with a size: relu)"),
    ("normalization", None, "batch, none (default: both; with a size: batch)"),
    ("ddof", None, "the variance divides by N - ddof (default: 1)"),
    ("eps", None, "added to the variance under the root (default: 0.1)"),
    ("dtype", None, "float64, float32 (default: float64)"),
)
PRESET_HELP = "quick (about a minute), default (about 5 minutes), full (hours)"


class UsageError(Exception):
    """Wrong input; the message is one line that says what was given and what is allowed."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        """Raise the message as a UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        options = parser().parse_args(arguments)
        signal.signal(signal.SIGTERM, _interrupt)
        return options.command(options)
    except UsageError as error:
        print(f"bnbench: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("bnbench: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone
        return OK


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(
        prog="bnbench",
        description="Gradients of backpropagation through batch normalisation: proven right, measured honestly.",
        epilog="Exit codes: 0 fine, 1 a variant was invalid, failed or crashed, 2 wrong input, 130 interrupted.",
    )
    from bnbench import __version__

    top.add_argument("--version", action="version", version=f"bnbench {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    sweep = commands.add_parser(
        "sweep",
        help="validate and time every variant over N, p1, p2; write tables and plots",
        description="Validate and time every variant at every cell of a sweep, and write DIR/summary.csv, "
        "summary.md, plots/ and report.html beside the journal of raw samples.",
    )
    plan_flags(sweep, "default")
    sweep.add_argument("--time-budget", metavar="S", help="limit for the whole sweep in seconds")
    sweep.add_argument("--timeout", metavar="S", help="limit for one variant at one cell in seconds")
    sweep.add_argument("--sampling", metavar="S", help="time for samples of one variant at one cell in seconds")
    sweep.add_argument("--out", metavar="DIR", help=f"run folder (default: {RESULTS}/<date>-<host>-<short id>)")
    sweep.add_argument("--resume", action="store_true", help="finish the run in --out: only what is missing is done")
    sweep.add_argument("--json", action="store_true", help="print the summary rows as JSON at the end")
    sweep.set_defaults(command=run_sweep)

    verify = commands.add_parser(
        "verify",
        help="validate variants without timing them",
        description="Check every variant against the reference: all activations, normalizations, dtypes and "
        "regimes at two sizes, or what the flags say. Nothing is timed or written.",
    )
    plan_flags(verify, None)
    verify.add_argument("--timeout", metavar="S", help="limit for one variant at one cell in seconds")
    verify.add_argument("--json", action="store_true", help="print one object a cell and variant as JSON")
    verify.set_defaults(command=run_verify)

    audit = commands.add_parser(
        "audit",
        help="rule on the claims about this gradient, or diagnose a formula of your own",
        description="Rule on thirteen published claims about the gradient, each with its evidence, and write "
        "DIR/audit.md, audit.html, audit.json and a figure. With --formula, say of every function of a plug-in file "
        "whether its gradients are right, and if not, which known mistake reproduces them; nothing is written then.",
    )
    audit.add_argument("--formula", metavar="FILE.py", help="a plug-in file whose functions are to be diagnosed")
    audit.add_argument(
        "--out", metavar="DIR", help=f"folder of the pages (default: {RESULTS}/<date>-<host>-<short id>)"
    )
    audit.add_argument("--json", action="store_true", help="print the rulings, or the diagnoses, as JSON")
    tried = audit.add_argument_group(
        "what a formula is tried on",
        "By default, and where only --activation or --normalization is given, small problems on which no mistake can "
        "hide; where a size or a convention is given, one problem of that kind.",
    )
    for name, metavar, words in AUDIT_FLAGS:
        tried.add_argument(f"--{name}", metavar=metavar, help=words + "; several with commas")
    audit.set_defaults(command=run_audit)

    report = commands.add_parser("report", help="write a run's tables, plots and HTML page again")
    report.add_argument("folder", metavar="DIR", help="a run folder")
    report.add_argument("--json", action="store_true", help="print the summary rows as JSON")
    report.set_defaults(command=run_report)

    listing = commands.add_parser("list", help="the variants, and why one cannot run here")
    listing.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    listing.set_defaults(command=run_list)

    doctor = commands.add_parser(
        "doctor", help="what is installed, threads, BLAS, and what would make timings unreliable"
    )
    doctor.add_argument("--json", action="store_true", help="print as JSON")
    doctor.add_argument(
        "--kernels",
        action="store_true",
        help="compile every CUDA kernel instead, without a GPU: its registers",
    )
    doctor.set_defaults(command=run_doctor)
    return top


def plan_flags(command, preset):
    """Add the flags that say what a sweep is made of."""
    several = "; several with commas"
    group = command.add_argument_group("what is swept")
    group.add_argument("--preset", help=PRESET_HELP if preset else "begin from a sweep's preset: " + PRESET_HELP)
    group.add_argument("--config", metavar="FILE.toml", help="settings from a file, keys as the flags")
    group.add_argument("--N", metavar="N", help="rows" + several)
    group.add_argument("--p1", metavar="P", help="inputs" + several)
    group.add_argument("--p2", metavar="P", help="hidden nodes" + several)
    group.add_argument("--sizes", metavar="NxP1xP2", help="cells of these sizes, in place of --N, --p1, --p2" + several)
    group.add_argument("--dtype", help="float64, float32" + several)
    group.add_argument("--activation", help="relu, sigmoid, tanh, gaussian, identity" + several)
    group.add_argument("--normalization", help="batch, none" + several)
    group.add_argument("--ddof", help="the variance divides by N - ddof" + several)
    group.add_argument("--eps", help="added to the variance under the root" + several)
    group.add_argument("--threads", help="threads of every variant (default: all processors)" + several)
    group.add_argument("--regime", help="fresh (all in every step), fixed (what depends on X is kept)" + several)
    group.add_argument("--tf32", action="store_true", help="let float32 products on a GPU round factors to TF32")
    group.add_argument("--seed", help="of the drawn data and of the order (default: 0)")
    group.add_argument("--variants", metavar="A,B", help="names, see `bnbench list` (default: all)")
    group.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    group.add_argument("--data", metavar="FILE", help="take X and y from a .csv, .parquet or .npy table")
    group.add_argument("--target", metavar="COL", help="the table's outcome column (.npy: its number from 0)")


def run_sweep(options) -> int:
    """`sweep`."""
    from bnbench import store
    from bnbench.measure import environment
    from bnbench.progress import Progress

    plan, table = make_plan(options, {})
    if options.resume and not options.out:
        raise UsageError("--resume is given without --out; allowed is --resume --out DIR")
    description = environment.describe()
    saved = saved_plan(plan, table)
    folder = Path(options.out) if options.out else default_folder(saved)
    try:
        journal = store.Journal(
            folder, store.new_environment(description, saved, command_line(options)), resume=options.resume
        )
    except store.StoreError as error:
        raise UsageError(error) from error
    with journal, Progress(plan) as progress:
        if journal.records:
            progress.say(f"resuming: {len(journal.records)} records are there already")
        for remark in [*journal.remarks, *description["warnings"]]:
            progress.say(f"note: {remark}")
        try:
            records, rooflines = carry_out(plan, table, journal.append, journal.records, progress)
        except KeyboardInterrupt:
            progress.say(f"interrupted; {len(journal.records)} records are kept. To go on: --resume --out {folder}")
            return INTERRUPTED
        store.add_rooflines(folder, rooflines)
        for remark in drifts(rooflines) + held_down(records):
            progress.say(f"note: {remark}")
        progress.stage("writing tables and plots")
        frame, remarks = write_report(folder, records)
        for remark in remarks:
            progress.say(f"note: {remark}")
    return conclude(frame, folder, options.json)


def run_verify(options) -> int:
    """`verify`."""
    from bnbench.problem import ACTIVATIONS, DTYPES, NORMALIZATIONS, REGIMES
    from bnbench.progress import Progress, verdict_table

    plan, table = make_plan(
        options,
        {
            "N": (10, 1000),
            "p1": (7,),
            "p2": (4,),
            "activation": ACTIVATIONS,
            "normalization": NORMALIZATIONS,
            "dtype": DTYPES,
            "regime": REGIMES,
            "timeout": 60.0,
        },
    )
    with Progress(plan) as progress:
        records, _ = carry_out(plan, table, lambda record: record, [], progress, timing=False)
    if options.json:
        kept = (
            "variant",
            "N",
            "p1",
            "p2",
            "dtype",
            "activation",
            "normalization",
            "ddof",
            "eps",
            "threads",
            "regime",
        )
        kept += ("status", "reason", "max_error_ratio")
        print(json.dumps([{name: record.get(name) for name in kept} for record in records], indent=1))
    else:
        verdict_table(records)
    return exit_code(record["status"] for record in records)


def run_audit(options) -> int:
    """`audit`."""
    if options.formula:
        if options.out:
            raise UsageError("--out is given with --formula; allowed is one: a diagnosis is printed, not written")
        return diagnose_formula(options)
    for name, *_ in AUDIT_FLAGS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is given without --formula FILE.py; the claims' problem is fixed")
    from bnbench.audit import claims, page, question
    from bnbench.progress import ruling_table

    folder = Path(options.out) if options.out else default_folder({})
    reproduction, rulings = question.reproduce(), claims.rule_all()
    try:
        page.write(rulings, reproduction, folder, f"python -m bnbench audit --out {folder.name}")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    if options.json:
        print(json.dumps([ruling.plain() for ruling in rulings], indent=1, ensure_ascii=False))
    else:
        ruling_table(rulings, reproduction, page.summary(rulings), folder)
    return OK if all(row["reproduced"] for row in reproduction) else FAULT


def diagnose_formula(options) -> int:
    """`audit --formula`."""
    from itertools import product

    from bnbench.audit.diagnosis import diagnose
    from bnbench.measure.plan import coerce
    from bnbench.problem import Problem
    from bnbench.variants import PluginError, load_plugin

    try:
        names = load_plugin(options.formula)
        given = {name: getattr(options, name) for name, *_ in AUDIT_FLAGS if getattr(options, name) is not None}
        axes = {name: coerce(f"--{name}", name, value.split(",")) for name, value in given.items()}
        if set(axes) <= {"activation", "normalization"}:
            found = {name: diagnose(name, **{f"{axis}s": values for axis, values in axes.items()}) for name in names}
        else:
            axes = {"N": (50,), "p1": (7,), "p2": (4,), "ddof": (1,), "eps": (0.1,)} | axes
            problems = [Problem(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
            found = {name: diagnose(name, problems) for name in names}
    except (PluginError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        print(json.dumps([{"id": name} | diagnosis.plain() for name, diagnosis in found.items()], indent=1))
    else:
        print("\n\n".join(f"{name}: {diagnosis}" for name, diagnosis in found.items()))
    return OK if all(diagnosis.correct for diagnosis in found.values()) else FAULT


def run_report(options) -> int:
    """`report`."""
    from bnbench import store

    try:
        records, remarks = store.read_journal(options.folder)
        frame, more = write_report(Path(options.folder), records)
    except store.StoreError as error:
        raise UsageError(error) from error
    except OSError as error:
        raise UsageError(f"{options.folder} cannot be written: {error.strerror}") from error
    for remark in remarks + more:
        print(f"note: {remark}", file=sys.stderr)
    return conclude(frame, Path(options.folder), options.json, judge=False)


def run_list(options) -> int:
    """`list`."""
    from bnbench.progress import variant_table

    rows = []
    for name, cls in load_variants(options.plugin).items():
        words = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        reason = cls.unavailable()
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
        print(json.dumps(rows, indent=1))
    else:
        variant_table(rows)
    return OK


def run_doctor(options) -> int:
    """`doctor`."""
    if options.kernels:
        return list_kernels(options)
    from bnbench.measure import environment
    from bnbench.progress import environment_table

    found = environment.describe()
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        environment_table(found)
    return OK


def list_kernels(options) -> int:
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
        print(json.dumps(rows, indent=1))
    else:
        kernel_table(rows)
    return OK


def make_plan(options, base):
    """The plan that flags, config and preset make on top of base, and the table of --data, checked."""
    from bnbench.measure import data
    from bnbench.measure.plan import AXES, PRESETS, Plan, coerce, make_plan, read_config

    flags = {}
    for name in (*AXES, "sizes", "variants", "seed", "timeout", "time_budget", "data", "target"):
        given = getattr(options, name, None)
        if given is not None:
            parts = [part.strip() for part in given.split(",")]
            listed = name in (*AXES, "sizes", "variants")
            if listed and "" in parts:
                raise UsageError(f"--{name} is {given!r}; allowed are values with commas between them")
            flags[name] = parts if listed else given
    if options.tf32:
        flags["tf32"] = True
    if getattr(options, "sampling", None) is not None:
        flags["sampling_s"] = options.sampling
    try:
        flags = {name: coerce(f"--{name.replace('_', '-')}", name, value) for name, value in flags.items()}
        settings = read_config(options.config) if options.config else {}
        preset = options.preset or settings.pop("preset", None)
        settings.pop("preset", None)
        plugins = [*settings.pop("plugins", ()), *(options.plugin or ())]
        known = load_variants(plugins)
        settings["plugins"] = tuple(str(Path(plugin).resolve()) for plugin in plugins)
        chosen = settings | flags
        if "sizes" in chosen and (also := [name for name in ("N", "p1", "p2", "data") if name in chosen]):
            raise UsageError(f"--sizes is given with --{also[0]}; allowed is one of them")
        table = None
        if chosen.get("data") or chosen.get("target"):
            if not chosen.get("data"):
                raise UsageError("--target is given without --data; allowed is --data FILE --target COL")
            if "p1" in chosen:
                raise UsageError("--p1 is given with --data; allowed is one: the table's columns say p1")
            table = data.read_table(chosen["data"], chosen.get("target", ""))
            rows, p1 = table.X.shape
            axis = chosen.get("N")
            if axis is None:
                axis = (PRESETS.get(preset, {}) if preset else base).get("N", Plan.N)
                axis = (*(N for N in axis if N < rows), rows)
            too_many = [N for N in axis if N > rows]
            if too_many:
                raise UsageError(f"N is {too_many[0]}; {table.name} has {rows} rows, allowed is up to that")
            chosen |= {"p1": (p1,), "N": tuple(axis)}
        plan = make_plan(preset, base, chosen)
    except ValueError as error:
        raise UsageError(error) from error
    for name in plan.variants:
        if name not in known:
            raise UsageError(f"variant is {name!r}; allowed are {', '.join(known)}")
    return plan, table


def load_variants(plugins):
    """The registry with these plug-ins in it."""
    from bnbench.variants import PluginError, load_plugin, variants

    try:
        for plugin in plugins or ():
            load_plugin(plugin)
        return variants()
    except PluginError as error:
        raise UsageError(error) from error


def saved_plan(plan, table) -> dict:
    """The plan as environment.json keeps it: names of files, not their paths, and a hash of the data."""
    import dataclasses

    from bnbench.variants import variants

    saved = dataclasses.asdict(plan)
    saved["variants"] = plan.variants or tuple(variants())
    saved["plugins"] = tuple(Path(plugin).name for plugin in plan.plugins)
    saved["data"] = table.name if table else ""
    saved["data_digest"] = table.digest if table else ""
    return json.loads(json.dumps(saved))


def default_folder(saved) -> Path:
    """results/<date>-<host>-<short id>, a name that is not taken."""
    import hashlib
    import platform
    import time

    now = time.strftime("%Y-%m-%d")
    short = hashlib.sha256(f"{time.time_ns()}{saved}".encode()).hexdigest()[:6]
    return Path(RESULTS) / f"{now}-{platform.node() or 'host'}-{short}"


def command_line(options) -> str:
    """The command that does this run again: its flags but for the folder, files by name."""
    words = ["python -m bnbench sweep"]
    for name, value in vars(options).items():
        if name in ("command", "out", "resume", "json") or value in (None, False):
            continue
        for item in value if isinstance(value, list) else [value]:
            text = Path(item).name if name in ("plugin", "data", "config") else str(item)
            words.append(f"--{name.replace('_', '-')}" + ("" if item is True else f" {text}"))
    return " ".join(words)


def carry_out(plan, table, write, stored, progress, *, timing=True):
    """Run the sweep; the records of all its cells, and the machine's limits as measured before and after."""
    from bnbench.measure.plan import Cell
    from bnbench.measure.scheduler import Sweep
    from bnbench.problem import FIELDS, Problem

    done = {}
    for record in stored:
        problem = Problem(**{name: record[name] for name in FIELDS})
        done[record["variant"], Cell(problem, record["threads"], record["regime"])] = record
    with Sweep(plan, write, done, table=table, timing=timing, events=progress.events) as sweep:
        return sweep.run(), sweep.rooflines


def drifts(rooflines) -> list[str]:
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


def held_down(records) -> list[str]:
    """What held a GPU's clocks down, and at how many cells; nothing where nothing did."""
    why = [(record.get("clocks") or {}).get("after", {}).get("held_down") for record in records]
    counts = {reason: why.count(reason) for reason in sorted(filter(None, set(why)))}
    return [f"the GPU's clocks were held down ({reason}) in {count} records" for reason, count in counts.items()]


def write_report(folder, records):
    """Tables, plots and the HTML page of a run; its summary as a frame, and remarks."""
    from bnbench import store
    from bnbench.measure.roofline import with_best
    from bnbench.report import build, tables

    environment = store.read_environment(folder)
    records = with_best(records, environment.get("rooflines", []))
    order = {name: place for place, name in enumerate(environment["plan"]["variants"])}
    records = sorted(records, key=lambda record: order.get(record["variant"], len(order)))
    remarks = build(records, environment, folder, environment["command"])
    return tables.frame(records), remarks


def conclude(frame, folder, as_json, *, judge=True) -> int:
    """Say what came out and where it lies; the exit code."""
    from bnbench.progress import summary_table

    if as_json:
        print(frame.to_json(orient="records", indent=1))
    else:
        summary_table(frame, folder)
    return exit_code(frame["status"]) if judge else OK


def exit_code(statuses) -> int:
    """1 where a variant was invalid, failed or crashed."""
    from bnbench.store import FAULTS

    return FAULT if any(status in FAULTS for status in statuses) else OK


def _interrupt(signum, frame):
    raise KeyboardInterrupt

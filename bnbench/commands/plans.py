"""The flags that say what a sweep is made of, and the plan that they make."""

from pathlib import Path

from bnbench.commands.common import UsageError, as_text, load_variants, needs_workers

PRESET_HELP = "quick (about a minute), default (about 5 minutes), full (hours)"


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
    group.add_argument("--threads", help="threads (default: all processors, or as a quota allows)" + several)
    group.add_argument("--regime", help="fresh (all in every step), fixed (what depends on X is kept)" + several)
    group.add_argument("--tf32", action="store_true", help="let float32 products on a GPU round factors to TF32")
    group.add_argument(
        "--keep-memory", action="store_true",
        help="let the C library (glibc) keep the memory that a step frees, instead of taking it from the system anew",
    )  # fmt: skip
    group.add_argument("--seed", help="of the drawn data and of the order (default: 0)")
    group.add_argument("--variants", metavar="A,B", help="names, see `bnbench list` (default: all)")
    group.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    group.add_argument("--data", metavar="FILE", help="take X and y from a .csv, .tsv, .parquet or .npy table")
    group.add_argument("--target", metavar="COL", help="the table's outcome (without a header its number, from 0)")
    group.add_argument("--no-header", action="store_true", help="the table's first row is data: columns are 0, 1, …")
    group.add_argument("--decimal", metavar="POINT", help="the table's decimal point, . or , (default: .)")


def make_plan(options, base):
    """The plan that flags, config and preset make on top of base, and the table of --data, checked."""
    from bnbench.measure import data
    from bnbench.measure.plan import AXES, PRESETS, SWITCHES, Plan, coerce, make_plan, read_config

    needs_workers()
    flags = {}
    for name in (*AXES, "sizes", "variants", "seed", "timeout", "time_budget", "data", "target", "decimal"):
        given = getattr(options, name, None)
        if given is not None:
            given = given if name == "data" else as_text(given)
            parts = [part.strip() for part in given.split(",")]
            listed = name in (*AXES, "sizes", "variants")
            if listed and "" in parts:
                raise UsageError(f"--{name} is {given!r}; allowed are values with commas between them")
            flags[name] = parts if listed else given
    flags |= {name: True for name in SWITCHES if getattr(options, name)}
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
        about = [name for name in ("target", "no_header", "decimal") if chosen.get(name)]
        if about and not chosen.get("data"):
            flag = f"--{about[0].replace('_', '-')}"
            raise UsageError(f"{flag} is given without --data; allowed is --data FILE --target COL")
        if chosen.get("data"):
            if "p1" in chosen:
                raise UsageError("--p1 is given with --data; allowed is one: the table's columns say p1")
            said = {name: (base | chosen).get(name, getattr(Plan, name)) for name in ("target", "no_header", "decimal")}
            table = data.read_table(
                chosen["data"], said["target"], header=not said["no_header"], decimal=said["decimal"]
            )
            rows, p1 = table.X.shape
            axis = chosen.get("N")
            if axis is None:
                axis = (PRESETS.get(preset, {}) if preset else base).get("N", Plan.N)
                axis = (*(N for N in axis if N < rows), rows)
            too_many = [N for N in axis if N > rows]
            if too_many:
                raise UsageError(f"N is {too_many[0]}; {table.name} has {rows} rows, allowed is up to that")
            chosen |= {"p1": (p1,), "N": tuple(axis)}
        plan = make_plan(preset, base, chosen | {"held": tuple(name for name in ("ddof", "eps") if name in chosen)})
    except ValueError as error:
        raise UsageError(error) from error
    for name in plan.variants:
        if name not in known:
            raise UsageError(f"variant is {name!r}; allowed are {', '.join(known)}")
    return plan, table

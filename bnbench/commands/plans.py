"""The flags that say what a sweep is made of, and the plan that they make."""

import fnmatch
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
    group.add_argument(
        "--variants",
        metavar="A,B",
        help="names, families, patterns such as 'fused*', and '-r-*' for all but those (default: all)",
    )
    group.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    group.add_argument("--data", metavar="FILE", help="take X and y from a .csv, .tsv, .parquet or .npy table")
    group.add_argument("--target", metavar="COL", help="the table's outcome (without a header its number, from 0)")
    group.add_argument("--no-header", action="store_true", help="the table's first row is data: columns are 0, 1, …")
    group.add_argument("--decimal", metavar="POINT", help="the table's decimal point, . or , (default: .)")


def make_plan(options, base):
    """The plan that flags, config and preset make on top of base, and the table of --data, checked."""
    from bnbench.measure import data
    from bnbench.measure.plan import PRESETS, Plan, make_plan, read_config

    needs_workers()
    try:
        flags = given_flags(options)
        settings = read_config(options.config) if options.config else {}
        preset = options.preset or settings.pop("preset", None)
        settings.pop("preset", None)
        base = PRESETS.get(preset, {}) if preset else base
        plugins = [*settings.pop("plugins", ()), *(options.plugin or ())]
        known = load_variants(plugins)
        settings["plugins"] = tuple(str(Path(plugin).resolve()) for plugin in plugins)
        chosen = settings | flags
        for name, flag in (("data", "data"), ("plugins", "plugin")):
            if base.get(name) and not chosen.get(name):
                raise UsageError(f"the run was made with --{flag}, whose path it does not keep: give --{flag} again")
        if "sizes" in chosen and (also := [name for name in ("N", "p1", "p2", "data") if name in chosen]):
            raise UsageError(f"--sizes is given with --{also[0]}; allowed is one of them")
        if chosen.get("variants"):
            families = {name: cls.family for name, cls in known.items()}
            chosen["variants"], chosen["named"] = choose(chosen["variants"], families)
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
                axis = base.get("N", Plan.N)
                axis = (*(N for N in axis if N < rows), rows)
            too_many = [N for N in axis if N > rows]
            if too_many:
                raise UsageError(f"N is {too_many[0]}; {table.name} has {rows} rows, allowed is up to that")
            chosen |= {"p1": (p1,), "N": tuple(axis)}
        held = tuple(name for name in ("ddof", "eps") if name in chosen or name in base.get("held", ()))
        plan = make_plan(preset, base, chosen | {"held": held})
    except ValueError as error:
        raise UsageError(error) from error
    for name in plan.variants:
        if name not in known:
            raise UsageError(f"variant is {name!r}; allowed are {', '.join(known)}")
    return plan, table


def given_flags(options) -> dict:
    """The flags that were given, as settings of a plan; ValueError or UsageError where one is not what it may be."""
    from bnbench.measure.plan import SWITCHES, coerce
    from bnbench.record import AXES

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
    return {name: coerce(f"--{name.replace('_', '-')}", name, value) for name, value in flags.items()}


def choose(asked, families):
    """The variants that are asked for by name, family or pattern, less those behind a "-"; and those by name.

    Args:
        asked: such as "loops-numba", "fused", "torch-*", "-r-*"; one that begins with "-" is taken from all.
        families: of each variant that there is.

    Raises:
        UsageError: one that stands for nothing, or nothing is left.
    """
    found, named = {}, []
    for item in asked:
        wanted = item.removeprefix("-")
        names = [wanted] if wanted in families else [name for name, family in families.items() if family == wanted]
        names = names or [name for name in families if fnmatch.fnmatchcase(name, wanted)]
        if not names:
            raise UsageError(
                f"variant is {wanted!r}; expected {', '.join(families)}, a family, or a pattern such as 'loops*'"
            )
        if item != wanted:
            found = {name: None for name in (families if item is asked[0] else found) if name not in names}
        else:
            found |= dict.fromkeys(names)
            named += names if wanted in families else []
    if not found:
        raise UsageError(f"--variants {','.join(asked)} leaves no variant")
    return tuple(found), tuple(name for name in named if name in found)


def plan_of(folder):
    """The settings of a run that is resumed; none where nothing was begun there.

    Raises:
        UsageError, StoreError: they cannot be read, or it is one side of a comparison.
    """
    from bnbench import store
    from bnbench.measure.plan import FIELD_NAMES, coerce

    if not (Path(folder) / store.ENVIRONMENT).exists():
        return {}
    try:
        environment = store.read_environment(folder)
        plan = environment["plan"]
        settings = {
            name: coerce(f"{name} in {store.ENVIRONMENT}", name, plan[name])
            for name in (*FIELD_NAMES, "named", "held")
            if plan.get(name) not in (None, "", [])
        }
    except ValueError as error:
        raise UsageError(error) from error
    if "interleaved" in environment:
        raise UsageError(f"{folder} is one side of compare --interleaved, which cannot be resumed: compare anew")
    return settings


FILTERS = ("variants", "sizes")  # and the axes: flags by which records of two runs are chosen


def chosen_of(options, runs):
    """The runs with those of their records that --variants, --sizes and the axes' flags choose.

    Raises:
        UsageError: a flag that chooses none of them, or that only says how to measure.
    """
    import dataclasses

    from bnbench.measure.plan import read_size
    from bnbench.record import AXES

    try:
        flags = given_flags(options)
        sizes = [read_size(text) for text in flags.pop("sizes", ())]
    except ValueError as error:
        raise UsageError(error) from error
    asked = flags.pop("variants", ())
    others = [name for name in ("preset", "config", "plugin", "sampling") if getattr(options, name)]
    for name in [*others, *flags]:
        if name not in AXES:
            raise UsageError(
                f"--{name.replace('_', '-')} says how to measure, with --interleaved; of two runs, "
                f"--{', --'.join((*FILTERS, *AXES))} choose what is compared"
            )
    records = [record for run in runs for record in run.records]
    wanted = {axis: set(values) for axis, values in flags.items()}
    if asked:
        wanted["variant"] = set(choose(asked, {record.variant: record.family for record in records})[0])
    if sizes:
        wanted["size"] = set(sizes)

    def traits(record):
        return {"variant": record.variant, "size": record.cell.sizes} | record.cell.axes

    for name, values in wanted.items():
        there = {traits(record)[name] for record in records}
        if absent := [value for value in values if value not in there]:
            say = "x".join(map(str, absent[0])) if name == "size" else absent[0]
            raise UsageError(f"no record of the two runs has {name} {say}; they have {_listed(there)}")
    remark = ["compared is what the flags choose"] if wanted else []
    return [
        dataclasses.replace(
            run,
            records=[r for r in run.records if all(traits(r)[name] in values for name, values in wanted.items())],
            remarks=run.remarks + (remark if run is runs[-1] else []),
        )
        for run in runs
    ]


def _listed(values, most=12):
    texts = ["x".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in sorted(values)]
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")

"""The flags that say what a sweep is made of, and the plan that they make."""

import dataclasses
import fnmatch
import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.commands.common import UsageError, as_text, load_variants, needs_workers
from bnbench.problem import Problem

if TYPE_CHECKING:
    from bnbench.compare.runs import Run
    from bnbench.measure.data import Table
    from bnbench.measure.plan import Plan

PRESET_HELP = "quick (about a minute and a half), default (about 5 minutes), full (hours)"


def plan_flags(command: ArgumentParser, preset: str | None, limits: Sequence[str] = ()) -> None:
    """Add the flags that say what a sweep is made of, and those of these limits of time."""
    from bnbench.measure.plan import SETTINGS
    from bnbench.record import KEPT

    what, time = command.add_argument_group("what is swept"), command.add_argument_group("how long it may take")
    what.add_argument("--preset", help=PRESET_HELP if preset else "begin from a sweep's preset: " + PRESET_HELP)
    what.add_argument("--config", metavar="FILE.toml", help="settings from a file, keys as the flags")
    for setting in SETTINGS.values():
        flag = setting.flag
        if flag is None or (flag.limit and setting.name not in limits):
            continue
        group, name = time if flag.limit else what, setting.option
        if setting.kind is bool:
            group.add_argument(name, action="store_true", help=flag.help)
        elif setting.name == "plugins":  # a path may hold a comma
            group.add_argument(name, action="append", metavar=flag.metavar, help=flag.help)
        else:
            several = "; several with commas" if setting.several and setting.name != "variants" else ""
            group.add_argument(name, metavar=flag.metavar, help=flag.help + several)
        if setting.name == "memory":
            group.add_argument(
                "--keep-memory", dest="memory", action="store_const", const=KEPT, help=f"short for --memory {KEPT}"
            )


def make_plan(options: Namespace, base: dict[str, Any]) -> "tuple[Plan, Table | None]":
    """The plan that flags, config and preset make on top of base, and the table of --data, checked.

    Raises:
        UsageError: a value that is not allowed, or flags that do not go together.
    """
    from bnbench import losses
    from bnbench.measure.plan import DRAWN, PRESETS, make_plan, read_config

    needs_workers()
    try:
        flags = given_flags(options)
        settings = read_config(options.config) if options.config else {}
        preset = settings.pop("preset", None)
        preset = options.preset or preset
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
        if chosen.get("data"):
            table, of_table = read_table(base, chosen)
            chosen |= of_table
        elif about := [name for name in ("target", "no_header", "decimal") if chosen.get(name)]:
            flag = f"--{about[0].replace('_', '-')}"
            raise UsageError(f"{flag} is given without --data; allowed is --data FILE --target COL")
        held = tuple(name for name in DRAWN if name in chosen or name in base.get("held", ()))
        plan = make_plan(preset, base, chosen | {"held": held})
        if table is not None:
            for loss, N, units in itertools.product(plan.loss, plan.N, plan.units):
                drawn = Problem(N, 1, 1, units=units, seed=plan.seed).sample()  # of units, those of any p1 and p2
                losses.check(loss, table.y[:N], drawn.units)
    except ValueError as error:
        raise UsageError(error) from error
    for name in plan.variants:
        if name not in known:
            raise UsageError(f"variant is {name!r}; allowed are {', '.join(known)}")
    return plan, table


def read_table(base: dict[str, Any], chosen: dict[str, Any]) -> "tuple[Table, dict[str, Any]]":
    """The table of --data, and the p1 and N that a plan gets by it.

    Raises:
        ValueError, UsageError: it cannot be read, or --p1 or --N do not fit it.
    """
    from bnbench.measure import data
    from bnbench.measure.plan import Plan

    if "p1" in chosen:
        raise UsageError("--p1 is given with --data; allowed is one: the table's columns say p1")
    target, no_header, decimal = (
        (base | chosen).get(name, getattr(Plan, name)) for name in ("target", "no_header", "decimal")
    )
    axis = chosen.get("N")
    known = axis or (base["N"] if base.get("data") else None)  # of a run that is resumed
    wanted = max(known) if known else None
    table = data.read_table(chosen["data"], target, header=not no_header, decimal=decimal, rows=wanted)
    rows, p1 = table.X.shape
    if axis is None:
        axis = (*(N for N in base.get("N", Plan.N) if N < rows), rows)
    if too_many := [N for N in axis if N > rows]:
        raise UsageError(f"N is {too_many[0]}; {table.name} has {rows} rows, allowed is up to that")
    return table, {"p1": (p1,), "N": tuple(axis)}


def given_flags(options: Namespace) -> dict[str, Any]:
    """The flags that were given, as settings of a plan; plug-ins apart.

    Raises:
        ValueError, UsageError: one is not what it may be.
    """
    from bnbench.measure.plan import SETTINGS

    flags = {}
    for setting in SETTINGS.values():
        value = getattr(options, setting.key, None) if setting.flag and setting.name != "plugins" else None
        if value is None or value is False:
            continue
        if isinstance(value, str) and setting.name != "data":
            value = as_text(value)
        if setting.several:
            parts = [part.strip() for part in value.split(",")]
            if "" in parts:
                raise UsageError(f"{setting.option} is {value!r}; allowed are values with commas between them")
            value = parts
        flags[setting.name] = setting.read(setting.option, value)
    return flags


def choose(asked: Sequence[str], families: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The variants that are asked for by name, family or pattern, less those behind a "-"; and those by name.

    Args:
        asked: such as "loops-numba", "fused", "torch-*", "-r-*"; one that begins with "-" is taken from all.
        families: of each variant that there is.

    Raises:
        UsageError: one that stands for nothing, or nothing is left.
    """
    chosen: dict[str, None] = {}
    named: list[str] = []
    for item in asked:
        wanted = item.removeprefix("-")
        names = [wanted] if wanted in families else [name for name, family in families.items() if family == wanted]
        names = names or [name for name in families if fnmatch.fnmatchcase(name, wanted)]
        if not names:
            raise UsageError(
                f"variant is {wanted!r}; expected {', '.join(families)}, a family, or a pattern such as 'loops*'"
            )
        if item != wanted:
            chosen = {name: None for name in (families if item is asked[0] else chosen) if name not in names}
        else:
            chosen |= dict.fromkeys(names)
            named += names if wanted in families else []
    if not chosen:
        raise UsageError(f"--variants {','.join(asked)} leaves no variant")
    return tuple(chosen), tuple(name for name in named if name in chosen)


def plan_of(folder: str | Path) -> dict[str, Any]:
    """The settings of a run that is resumed; none where nothing was begun there.

    Raises:
        UsageError, StoreError: they cannot be read, or it is one side of a comparison.
    """
    from bnbench import store
    from bnbench.measure.plan import SETTINGS
    from bnbench.record import KEPT

    if not (Path(folder) / store.ENVIRONMENT).exists():
        return {}
    try:
        environment = store.read_environment(folder)
        plan = environment["plan"]
        settings = {
            name: setting.read(f"{name} in {store.ENVIRONMENT}", plan[name])
            for name, setting in SETTINGS.items()
            if plan.get(name) not in (None, "", [])
        }
        if plan.get("keep_memory"):  # of before memory was an axis
            settings["memory"] = (KEPT,)
    except ValueError as error:
        raise UsageError(error) from error
    if "interleaved" in environment:
        raise UsageError(f"{folder} is one side of compare --interleaved, which cannot be resumed: compare anew")
    return settings


FILTERS = ("variants", "sizes")  # and the axes: flags by which records of two runs are chosen


def chosen_of(options: Namespace, runs: "Sequence[Run]") -> "list[Run]":
    """The runs with those of their records that --variants, --sizes and the axes' flags choose.

    Raises:
        UsageError: a flag that chooses none of them, or that only says how to measure.
    """
    from bnbench.measure.plan import SETTINGS, read_size
    from bnbench.record import AXES, Record

    try:
        flags = given_flags(options)
        sizes = [read_size(text) for text in flags.pop("sizes", ())]
    except ValueError as error:
        raise UsageError(error) from error
    asked = flags.pop("variants", ())
    others = [f"--{name}" for name in ("preset", "config", "plugin") if getattr(options, name)]
    others += [SETTINGS[name].option for name in flags if name not in AXES]
    if others:
        raise UsageError(
            f"{others[0]} says how to measure, with --interleaved; of two runs, "
            f"--{', --'.join((*FILTERS, *AXES))} choose what is compared"
        )
    records = [record for run in runs for record in run.records]
    wanted: dict[str, set] = {axis: set(values) for axis, values in flags.items()}
    if asked:
        wanted["variant"] = set(choose(asked, {record.variant: str(record.family) for record in records})[0])
    if sizes:
        wanted["size"] = set(sizes)

    def traits(record: Record) -> dict[str, Any]:
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


def _listed(values: Iterable, most: int = 12) -> str:
    texts = ["x".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in sorted(values)]
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")

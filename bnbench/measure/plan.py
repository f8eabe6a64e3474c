"""What a sweep is made of: its settings, each defined once for flags, files and defaults; presets; cells in order."""

import dataclasses
import itertools
import re
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from bnbench.measure.delimited import DECIMALS
from bnbench.measure.environment import default_threads, processors
from bnbench.measure.memory import can_keep
from bnbench.problem import ACTIVATIONS, DTYPES, LOSSES, NORMALIZATIONS, REGIMES, Problem
from bnbench.record import AXES, KEPT, MEMORIES, RETURNED, SETTING, Cell

DRAWN = ("ddof", "eps")  # conventions that the derivation check draws, unless they were asked for by name
MOST_PASSES = 1000
RETURNED_FROM_BYTES = 2**17  # of an array that glibc takes from the system, and returns to it: M_MMAP_THRESHOLD
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class Flag(NamedTuple):
    """How a setting is given on the command line; one without a flag is not given at all."""

    help: str
    metavar: str | None = None
    name: str = ""  # where it is not the setting's own
    limit: bool = False  # of time: a command names those that it takes


@dataclass(frozen=True)
class Plan:
    """A sweep as it was asked for. The axes are tuples; the cells are their product.

    Attributes:
        sizes: in place of the product of N, p1 and p2; empty for that.
        variants: names, in the order of the tables; empty means all.
        plugins: files, loaded in every worker.
        data: a table's file, or "" for drawn data; target: its outcome column.
        passes: over the cells whose steps are short, each with new processes.
        sampling_s, timeout, time_budget: seconds, compilation apart; None for no limit.
        named: of the variants, those that were asked for one by one, and not by a pattern or family.
        held: of `DRAWN`, those that were asked for by name: the derivation check then draws no others.
    """

    N: Annotated[tuple[int, ...], Flag("rows", "N")] = (10, 100, 1000, 10_000, 100_000)
    p1: Annotated[tuple[int, ...], Flag("inputs", "P")] = (4, 32, 256)
    p2: Annotated[tuple[int, ...], Flag("hidden nodes", "P")] = (4, 32, 256)
    sizes: Annotated[tuple[str, ...], Flag("cells of these sizes, in place of --N, --p1, --p2", "NxP1xP2")] = ()
    depth: Annotated[tuple[int, ...], Flag("hidden layers, each of P nodes", "L")] = (1,)
    linear: Annotated[tuple[int, ...], Flag("linear terms in the head", "Q")] = (0,)
    units: Annotated[tuple[int, ...], Flag("units of a panel, each with an effect", "U")] = (0,)
    dtype: Annotated[tuple[str, ...], Flag(", ".join(DTYPES))] = ("float64",)
    activation: Annotated[tuple[str, ...], Flag(", ".join(ACTIVATIONS))] = ("relu",)
    normalization: Annotated[tuple[str, ...], Flag(", ".join(NORMALIZATIONS))] = ("batch",)
    loss: Annotated[tuple[str, ...], Flag(", ".join(LOSSES))] = ("squared",)
    ddof: Annotated[tuple[int, ...], Flag("the variance divides by N - ddof")] = (Problem.ddof,)
    eps: Annotated[tuple[float, ...], Flag("added to the variance under the root")] = (Problem.eps,)
    threads: Annotated[tuple[int, ...], Flag("threads (default: all processors, or as a quota allows)")] = (
        dataclasses.field(default_factory=lambda: (default_threads(),))
    )
    regime: Annotated[tuple[str, ...], Flag("fresh (all in every step), fixed (what depends on X is kept)")] = (
        "fresh",
    )
    memory: Annotated[
        tuple[str, ...],
        Flag("what the C library does with freed memory: returned (as in any new process), kept (glibc alone)"),
    ] = (RETURNED,)
    tf32: Annotated[bool, Flag("let float32 products on a GPU round factors to TF32")] = False
    seed: Annotated[int, Flag("of the drawn data and of the order (default: 0)")] = 0
    variants: Annotated[
        tuple[str, ...],
        Flag("names, families, patterns such as 'fused*', and '-r-*' for all but those (default: all)", "A,B"),
    ] = ()
    plugins: Annotated[tuple[str, ...], Flag("a plug-in file; may be repeated", "FILE.py", "plugin")] = ()
    data: Annotated[
        str, Flag("take X and y from a .csv, .tsv, .parquet or .npy table, or a folder of .parquet files", "FILE")
    ] = ""
    target: Annotated[str, Flag("the table's outcome (without a header its number, from 0)", "COL")] = ""
    no_header: Annotated[bool, Flag("the table's first row is data: columns are 0, 1, …")] = False
    decimal: Annotated[str, Flag("the table's decimal point, . or , (default: .)", "POINT")] = DECIMALS[0]
    passes: Annotated[int, Flag("passes, each with new processes", "K", limit=True)] = 1
    sampling_s: Annotated[
        float, Flag("time for samples of one variant at one cell and pass in seconds", "S", "sampling", limit=True)
    ] = 0.3
    timeout: Annotated[float, Flag("limit for one variant at one cell in seconds", "S", limit=True)] = 12.0
    time_budget: Annotated[float | None, Flag("limit for the whole sweep in seconds", "S", limit=True)] = None
    named: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for axis in AXES:
            if not getattr(self, axis):
                raise ValueError(f"{axis} is empty; allowed is at least one value")
        for threads in self.threads:
            if not 1 <= threads <= processors():
                raise ValueError(f"threads is {threads}; allowed is 1 to {processors()} on this machine")
        for name in ("sampling_s", "timeout", "time_budget"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; allowed is a positive number of seconds")
        if not 1 <= self.passes <= MOST_PASSES:
            raise ValueError(f"passes is {self.passes}; allowed is 1 to {MOST_PASSES}")
        if KEPT in self.memory and not can_keep():
            raise ValueError(f"memory is {KEPT!r}; this system's C library cannot be told to, allowed is {RETURNED!r}")
        if self.decimal not in DECIMALS:
            raise ValueError(f"decimal is {self.decimal!r}; allowed are {' and '.join(DECIMALS)}")
        self.cells()

    def cells(self) -> list[Cell]:
        """Every cell, settings apart and small before large, so that a larger one can be judged by a smaller.

        Those for which memory is kept come last: a process that has begun to keep it does so for good. Where both are
        asked for, they are those alone whose Z is so large that the C library would return it.

        Raises:
            ValueError: a value that `Problem` does not allow.
        """
        cells = [Cell.of(dict(zip(AXES, values, strict=True)) | {"seed": self.seed}) for values in self._product()]
        order = {setting: place for place, setting in enumerate(dict.fromkeys(cell.setting for cell in cells))}
        return sorted(
            dict.fromkeys(cell for cell in cells if not self._same_kept(cell)),
            key=lambda cell: (cell.memory == KEPT, order[cell.setting], cell.problem.work, cell.sizes),
        )

    def _same_kept(self, cell: Cell) -> bool:
        """Whether a cell that keeps memory would be measured as one that returns it is, which is measured too."""
        problem = cell.problem
        Z_bytes = problem.N * problem.p2 * (4 if problem.dtype == "float32" else 8)
        return cell.memory == KEPT and RETURNED in self.memory and Z_bytes < RETURNED_FROM_BYTES

    def _product(self) -> Iterator[tuple]:
        settings = itertools.product(*(getattr(self, axis) for axis in SETTING))
        sizes = [read_size(text) for text in self.sizes] or list(itertools.product(self.N, self.p1, self.p2))
        return (size + setting for setting in settings for size in sizes)


def read_size(text: str) -> tuple[int, int, int]:
    """N, p1, p2 of "NxP1xP2".

    Raises:
        ValueError: it is not three whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"sizes has {text!r}; allowed is NxP1xP2, such as 1000x16x16")
    N, p1, p2 = map(int, parts)
    return N, p1, p2


STEADY = (KEPT,) if can_keep() else (RETURNED,)  # where luck with the heap is to be kept out of a comparison
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "N": (10, 100, 1000),
        "p1": (4, 32),
        "p2": (4, 32),
        "threads": (1,),  # at these sizes a second one gains nothing, and a worker can be held to its processor
        "memory": MEMORIES if can_keep() else (RETURNED,),
        "passes": 2,
        "sampling_s": 0.1,
        "timeout": 3.0,
    },
    "default": {},
    "full": {
        "N": (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000),
        "p1": (4, 32, 256, 1024),
        "p2": (4, 64, 256, 1024),
        "dtype": ("float64", "float32"),
        "activation": ("relu", "tanh"),
        "regime": REGIMES,
        "sampling_s": 0.5,
        "timeout": 120.0,
        "time_budget": 4 * 3600.0,
    },
}


@dataclass(frozen=True)
class Setting:
    """One field of `Plan`, and how a value for it is read.

    Attributes:
        name: the field's; kind: the type of one value; several: whether it is a tuple of those.
        flag: how it is given on the command line, None where it is not.
    """

    name: str
    kind: type
    several: bool
    flag: Flag | None

    @property
    def key(self) -> str:
        """Its name on the command line and in files, with underscores."""
        return (self.flag and self.flag.name) or self.name

    @property
    def option(self) -> str:
        """Its flag."""
        return "--" + self.key.replace("_", "-")

    def read(self, label: str, value: Any) -> Any:
        """A value from a flag's text, a file or a stored plan as the plan has it; of several, each once.

        Raises:
            ValueError: it is of another kind; the message names the label.
        """
        if not self.several:
            return self._one(label, value)
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(dict.fromkeys(self._one(label, item) for item in items))

    def _one(self, label: str, item: Any) -> Any:
        try:
            if self.kind is int and not isinstance(item, bool):
                return whole(item)
            return msgspec.convert(item, self.kind, strict=not (self.kind is float and isinstance(item, str)))
        except (ValueError, OverflowError, TypeError):
            raise ValueError(f"{label} is {item!r}; allowed is {KINDS[self.kind]}") from None


def _setting(name: str, hint: Any) -> Setting:
    """The setting of a field by its type."""
    flag = None
    if typing.get_origin(hint) is Annotated:
        hint, flag = typing.get_args(hint)
    kinds = typing.get_args(hint) or (hint,)
    return Setting(name, kinds[0], typing.get_origin(hint) is tuple, flag)


SETTINGS = {name: _setting(name, hint) for name, hint in typing.get_type_hints(Plan, include_extras=True).items()}


def make_plan(preset: str | None, base: dict[str, Any], settings: dict[str, Any]) -> Plan:
    """The plan of a preset, or of base where none is named, changed by settings.

    Raises:
        ValueError: an unknown preset, or a value that is not allowed.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; allowed are {', '.join(PRESETS)}")
    return Plan(**((PRESETS[preset] if preset else base) | settings))


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of a TOML file by their names in `Plan`, and `preset`, checked for type.

    A key is a flag's name or the setting's own.

    Raises:
        ValueError: the file cannot be read, or has another key or a value of another kind.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"config {path.name} could not be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config {path.name} is not TOML: {error}") from error
    except RecursionError:
        raise ValueError(f"config {path.name} is nested too deeply; allowed are keys and lists") from None
    given = [setting for setting in SETTINGS.values() if setting.flag]
    known = {key: setting for setting in given for key in (setting.name, setting.key)}
    for key in content:
        if key not in known and key != "preset":
            allowed = ", ".join(setting.key for setting in given)
            raise ValueError(f"config {path.name} has {key!r}; allowed are preset, {allowed}")
    preset = {"preset": content.pop("preset")} if "preset" in content else {}
    return preset | {
        known[key].name: known[key].read(f"{key} in config {path.name}", value) for key, value in content.items()
    }


def whole(item: object) -> int:
    """The whole number that is meant, to the last digit: 12, "12", "1_000", "1e5", 1e5.

    Raises:
        ValueError, OverflowError: it is none.
    """
    text = str(item).replace("_", "").strip()
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if (number := float(text)) != int(number):
        raise ValueError
    return int(number)


def coerce(label: str, key: str, value: Any) -> Any:
    """A setting as the plan has it; ValueError names the label."""
    return SETTINGS[key].read(label, value)

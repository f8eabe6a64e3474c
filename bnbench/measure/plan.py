"""What a sweep is made of: the axes, the presets, and the cells in their order."""

import dataclasses
import itertools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from bnbench.measure.delimited import DECIMALS
from bnbench.measure.environment import default_threads, processors
from bnbench.problem import REGIMES, Problem
from bnbench.record import AXES, SETTING, Cell

WHOLE_NUMBERS = ("N", "p1", "p2", "ddof", "threads")
SWITCHES = ("tf32", "keep_memory", "no_header")


@dataclass(frozen=True)
class Plan:
    """A sweep as it was asked for. The axes are tuples; the cells are their product.

    Attributes:
        sizes: "NxP1xP2" each, in place of the product of N, p1 and p2; empty for that.
        variants: names, in the order of the tables; empty means all.
        plugins: files of plug-ins, loaded in every worker.
        data: a table's file, or "" for drawn data; target: its outcome column.
        no_header: whether the first row of that file is data; decimal: its decimal point.
        tf32: whether float32 products on a device may round their factors to TF32.
        keep_memory: whether the C library keeps the memory that a step frees, for the next one (glibc).
        sampling_s: time for the samples of one variant at one cell, seconds.
        timeout: limit for one variant at one cell, seconds, compilation apart.
        time_budget: limit for the whole sweep, seconds; None for none.
        named: of the variants, those that were asked for one by one, and not by a pattern or family.
        held: "ddof", "eps" where they were asked for by name: the derivation check then draws no others.
    """

    N: tuple[int, ...] = (10, 100, 1000, 10_000, 100_000)
    p1: tuple[int, ...] = (4, 32, 256)
    p2: tuple[int, ...] = (4, 32, 256)
    dtype: tuple[str, ...] = ("float64",)
    activation: tuple[str, ...] = ("relu",)
    normalization: tuple[str, ...] = ("batch",)
    ddof: tuple[int, ...] = (0,)
    eps: tuple[float, ...] = (1e-5,)
    threads: tuple[int, ...] = dataclasses.field(default_factory=lambda: (default_threads(),))
    regime: tuple[str, ...] = ("fresh",)
    sizes: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    data: str = ""
    target: str = ""
    no_header: bool = False
    decimal: str = "."
    seed: int = 0
    tf32: bool = False
    keep_memory: bool = False
    sampling_s: float = 0.3
    timeout: float = 12.0
    time_budget: float | None = None
    named: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    def __post_init__(self):
        for axis in AXES:
            values = getattr(self, axis)
            if not values:
                raise ValueError(f"{axis} is empty; allowed is at least one value")
        for threads in self.threads:
            if not 1 <= threads <= processors():
                raise ValueError(f"threads is {threads}; allowed is 1 to {processors()} on this machine")
        for name in ("sampling_s", "timeout", "time_budget"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; allowed is a positive number of seconds")
        if self.decimal not in DECIMALS:
            raise ValueError(f"decimal is {self.decimal!r}; allowed are {' and '.join(DECIMALS)}")
        self.cells()

    def cells(self) -> list[Cell]:
        """Every cell, settings apart and small before large, so that a larger one can be judged by a smaller.

        Raises:
            ValueError: a value that `Problem` does not allow.
        """
        columns = [dict(zip(AXES, values, strict=True)) for values in self._product()]
        cells = []
        for column in columns:
            threads, regime = column.pop("threads"), column.pop("regime")
            cells.append(Cell(Problem(**column, seed=self.seed), threads, regime))
        order = {setting: place for place, setting in enumerate(dict.fromkeys(cell.setting for cell in cells))}
        return sorted(dict.fromkeys(cells), key=lambda cell: (order[cell.setting], cell.problem.work, cell.sizes))

    def _product(self):
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
    return tuple(int(part) for part in parts)


PRESETS = {
    "quick": {
        "N": (10, 100, 1000),
        "p1": (4, 32),
        "p2": (4, 32),
        "sampling_s": 0.06,
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
FIELD_NAMES = tuple(field.name for field in dataclasses.fields(Plan) if field.name not in ("named", "held"))


def make_plan(preset: str | None, base: dict, settings: dict) -> Plan:
    """The plan of a preset, or of base where none is named, changed by settings.

    Raises:
        ValueError: an unknown preset, or a value that is not allowed.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; allowed are {', '.join(PRESETS)}")
    return Plan(**((PRESETS[preset] if preset else base) | settings))


def read_config(path: str | Path) -> dict:
    """The settings of a TOML file, each a key of the plan (`preset` and `plugin` as well), checked for type."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"config {path.name} could not be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config {path.name} is not TOML: {error}") from error
    except RecursionError:
        raise ValueError(f"config {path.name} is nested too deeply; allowed are keys and lists") from None
    if "plugin" in content:
        content["plugins"] = content.pop("plugin")
    for key, value in content.items():
        if key != "preset" and key not in FIELD_NAMES:
            raise ValueError(f"config {path.name} has {key!r}; allowed are preset, {', '.join(FIELD_NAMES)}")
        content[key] = coerce(f"{key} in config {path.name}", key, value)
    return content


def whole(item) -> int:
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


def coerce(label: str, key: str, value):
    """A setting as the plan wants it: a tuple for an axis, numbers as numbers; ValueError names the label."""

    def one(item):
        try:
            if isinstance(item, bool):
                raise ValueError
            if key in WHOLE_NUMBERS or key == "seed":
                return whole(item)
            if key in ("eps", "sampling_s", "timeout", "time_budget"):
                return float(item)
        except (ValueError, OverflowError, TypeError):
            kind = "a whole number" if key in WHOLE_NUMBERS or key == "seed" else "a number"
            raise ValueError(f"{label} is {item!r}; allowed is {kind}") from None
        if not isinstance(item, str):
            raise ValueError(f"{label} is {item!r}; allowed is text")
        return item

    if key in SWITCHES:
        if not isinstance(value, bool):
            raise ValueError(f"{label} is {value!r}; allowed are true and false")
        return value
    if key in (*AXES, "sizes", "variants", "plugins", "named", "held"):
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(dict.fromkeys(one(item) for item in items))
    return one(value)

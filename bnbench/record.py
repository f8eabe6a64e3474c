"""What was measured of a variant at a cell: a typed record from worker to table; what follows from it are properties.

In the journal a record is one flat object (`Record.row`, and back by `Record.of`) without what is unknown.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from bnbench.measure.statistics import median_interval, outliers
from bnbench.problem import FIELDS, REGIMES, Problem

STATUSES = ("ok", "invalid", "failed", "crashed", "timeout", "out-of-memory", "unsupported", "unavailable", "pruned")
FAULTS = ("invalid", "failed", "crashed")  # what makes a sweep end with exit code 1
SIZES = ("N", "p1", "p2")
SETTING = (
    "depth", "linear", "units", "dtype", "activation", "normalization", "loss", "ddof", "eps", "threads", "regime",
    "memory",
)  # fmt: skip
ADDED: dict[str, Any] = {"depth": 1, "linear": 0, "units": 0, "loss": "squared", "memory": "returned"}  # to old runs
AXES = SIZES + SETTING
MEMORIES = RETURNED, KEPT = ("returned", "kept")  # what the C library does with the memory that a step frees
MOST_WORK = 2**53  # of N p1 p2: every table and every reader of JSON holds it exactly; a step would take hours
MOST_THREADS = 2**20
BUDGET = "time budget"  # the words in the reason of a record that was pruned for lack of it

KINDS = {"str": "text", "int": "a whole number", "float": "a number", "array": "a list", "object": "an object"}
KINDS |= {"bool": "true or false"}  # as msgspec names them

T = TypeVar("T")
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]  # seconds, or events a step
Step = Annotated[float, Meta(ge=1e-15, le=1e12)]  # seconds
Finite = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
Rate = Annotated[float, Meta(ge=1, le=1e24)]  # a second


@dataclass(frozen=True)
class Cell:
    """One point of a sweep.

    Attributes:
        problem: the problem.
        threads: how many it may use.
        regime: "fresh" or "fixed".
        memory: whether the C library gives freed memory back to the system as it does in any new process, "returned",
            or keeps it for the next step, "kept".
    """

    problem: Problem
    threads: int = 1
    regime: str = "fresh"
    memory: str = RETURNED

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Cell:
        """The cell of these `columns`; others are left out. Runs of before 2026-12 have not those of `ADDED`.

        Raises:
            KeyError: one is missing.
            ValueError: one is out of range.
        """
        columns = ADDED | dict(columns)
        problem = Problem(**{name: columns[name] for name in FIELDS})
        return cls(problem, columns["threads"], columns["regime"], columns["memory"])

    def __post_init__(self) -> None:
        if self.problem.work > MOST_WORK:
            raise ValueError(f"N p1 p2 is above {MOST_WORK:.0e} with {self}; allowed is up to that")
        if type(self.threads) is not int or not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads is {self.threads!r}; allowed is a whole number of at least 1")
        if self.regime not in REGIMES:
            raise ValueError(f"regime is {self.regime!r}; allowed are {', '.join(REGIMES)}")
        if self.memory not in MEMORIES:
            raise ValueError(f"memory is {self.memory!r}; allowed are {', '.join(MEMORIES)}")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """N, p1, p2."""
        return self.problem.N, self.problem.p1, self.problem.p2

    @functools.cached_property
    def setting(self) -> tuple:
        """All but the sizes: cells compare, and dominate each other, only within a setting."""
        return tuple(self.axes[name] for name in SETTING)

    @functools.cached_property
    def axes(self) -> dict[str, Any]:
        """The cell by `AXES`: all but the seed."""
        columns = self.columns
        return {name: columns[name] for name in AXES}

    @property
    def columns(self) -> dict[str, Any]:
        """The cell as columns of a journal record."""
        return {name: getattr(self.problem, name) for name in FIELDS} | {
            "threads": self.threads,
            "regime": self.regime,
            "memory": self.memory,
        }

    def __str__(self) -> str:
        return f"N={self.problem.N}, p1={self.problem.p1}, p2={self.problem.p2}"


class Record(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One variant at one cell: what it was, how it ended, and what was measured; what is None or empty is unknown.

    Times are in seconds; a sample's is that of one step.

    Attributes:
        machine: an identity of the machine; data: the table's name, None for drawn data.
        host: where in a sweep over several hosts it was made; None in any other.
        reason: why the status is not ok, or what has to be said beside an ok.
        errors: name of a gradient (or loss) to its `error`, `tolerance` and `ratio`, all relative.
        details: what the variant says of its last step.
        samples_s: every sample, in the order they were taken; of them `switches` (forced) and `faults` (page faults a
            step) are the accounts, one each (runs of before 2026-12 lack those of a first sample of 0.1 s or more).
        passes: how many of the samples are of each pass, which has a process of its own; None where there was one.
        held: whether the worker was held to as many processors as it has threads.
        elapsed_s, stolen_s, others_s: over all samples, see measure/interference.py.
        interleaved: how many variants were sampled together.
        compile_s: what a process compiles that runs this cell alone; kernels: of it what is known, by kernel. Runs of
            before kernels were known have the first step's excess there.
        gemm_flops_s, triad_bytes_s, limit_s: the machine's rates, and the least seconds of a step by them.
    """

    variant: str
    cell: Cell
    family: str | None = None
    device: str | None = None
    machine: str | None = None
    host: str | None = None
    data: str | None = None

    status: str
    reason: str = ""
    errors: dict[str, dict[str, Finite | None] | None] | None = None
    max_error_ratio: Finite | None = None
    details: dict[str, str] | None = None
    threads_in_force: dict[str, Count] | None = None

    inner_loops: Count | None = None
    samples_s: tuple[Step, ...] = ()
    switches: tuple[Count, ...] = ()
    faults: tuple[Amount, ...] = ()
    passes: tuple[Count, ...] | None = None
    held: bool | None = None
    elapsed_s: Amount | None = None
    stolen_s: Number | None = None
    others_s: Number | None = None
    clock_mhz: tuple[Rate, Rate] | None = None
    clocks: dict[str, dict[str, str | float]] | None = None
    interleaved: Count | None = None
    prepare_s: Amount | None = None
    first_step_s: Amount | None = None
    compile_s: Number | None = None
    kernels: dict[str, Amount] | None = None
    peak_bytes: Count | None = None
    baseline_bytes: Count | None = None
    cold_s: Amount | None = None
    host_to_device_s: Amount | None = None
    end_to_end_s: Amount | None = None
    gemm_flops_s: Rate | None = None
    triad_bytes_s: Rate | None = None
    limit_s: Step | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}; allowed are {', '.join(STATUSES)}")
        if self.passes is not None and sum(self.passes) != len(self.samples_s):
            raise ValueError(f"passes are of {sum(self.passes)} samples together; there are {len(self.samples_s)}")

    @classmethod
    def of(cls, row: dict[str, Any]) -> Record:
        """The record that an object of the journal is; names that this version does not know are left out.

        Raises:
            ValueError: a field is missing, or holds what cannot be; the message says which.
        """
        try:
            cell = Cell.of(row)
        except KeyError as error:
            raise ValueError(f"it has no {error.args[0]}") from None
        return typed(row | {"cell": cell}, cls)

    def row(self) -> dict[str, Any]:
        """The record as an object of the journal, without what is unknown; a number that is not finite is none.

        What was measured has six digits; the cell is as it was asked for.
        """
        fields = _written(msgspec.structs.asdict(self) | {"cell": None})
        known = {name: value for name, value in fields.items() if value not in (None, [])}
        return {"variant": self.variant, **self.cell.columns} | known

    def having(self, **fields: Any) -> Record:
        """The record with these fields."""
        return msgspec.structs.replace(self, **fields)

    @property
    def key(self) -> tuple[str, Cell]:
        """What a record is the only one of on its host: its variant and its cell."""
        return self.variant, self.cell

    @property
    def lacked_time(self) -> bool:
        """Whether it was pruned for lack of a time budget: with another it can be made."""
        return self.status == "pruned" and BUDGET in self.reason

    def replaces(self, before: Record) -> bool:
        """Whether it may follow another of the same variant and cell: another try, a pass more, or a fault in one."""
        more = len(self.passes or ()) > max(1, len(before.passes or ()))
        return before.lacked_time or more or (before.timed and self.status in FAULTS)

    @property
    def timed(self) -> bool:
        """Whether there are times to be shown."""
        return self.status == "ok" and bool(self.samples_s)

    @functools.cached_property
    def interval(self) -> tuple[float, float, float]:
        """The median of the samples and its 95 % interval; NaN where there is none to be shown.

        Of several passes the interval also holds that of their medians, which for few passes is all of these.
        """
        if not self.timed:
            return (math.nan,) * 3
        median, low, high = median_interval(self.samples_s)
        if len(self.pass_medians_s) > 1:
            _, least, most = median_interval(self.pass_medians_s)
            low, high = min(low, least), max(high, most)
        return median, low, high

    @functools.cached_property
    def by_pass(self) -> list[tuple[float, ...]]:
        """The samples of each pass."""
        ends = list(itertools.accumulate(self.passes or [self.samples]))
        return [self.samples_s[start:end] for start, end in itertools.pairwise([0, *ends]) if start < end]

    @functools.cached_property
    def pass_medians_s(self) -> list[float]:
        """The median of each pass."""
        return [statistics.median(samples) for samples in self.by_pass]

    @property
    def median_s(self) -> float:
        """The median."""
        return self.interval[0]

    @property
    def ci_low_s(self) -> float:
        """The lower end of its interval."""
        return self.interval[1]

    @property
    def ci_high_s(self) -> float:
        """The upper end of its interval."""
        return self.interval[2]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.samples_s)

    @property
    def outliers(self) -> int:
        """How many of them lie outside Tukey's fences."""
        return int(outliers(self.samples_s).sum()) if self.samples_s else 0

    @property
    def gflops(self) -> float:
        """The rate of the layers' matrix products in a step, 2 N p1 p2 operations each of one layer."""
        return self.cell.problem.flops / self.median_s / 1e9

    @property
    def limit_fraction(self) -> float:
        """The least time of a step over the median."""
        return math.nan if self.limit_s is None else self.limit_s / self.median_s

    @property
    def kernels_s(self) -> float:
        """Of compile_s what is known kernel by kernel."""
        return math.nan if self.kernels is None else sum(self.kernels.values())

    @property
    def max_error(self) -> float:
        """The largest relative error of any gradient, the loss left out; NaN where one is unknown, or all are."""
        entries = [entry for name, entry in (self.errors or {}).items() if entry and name != "loss"]
        errors = [entry.get("error") for entry in entries]
        known = [error for error in errors if error is not None]
        return max(known) if known and len(known) == len(errors) else math.nan

    @property
    def step_bytes(self) -> int | None:
        """The memory that the worker took for the cell, beyond what it held before; None if unknown."""
        if self.peak_bytes is None or self.baseline_bytes is None:
            return None
        return self.peak_bytes - self.baseline_bytes

    @property
    def steal_share(self) -> float:
        """The share of the processors' time that a hypervisor or a quota withheld meanwhile; NaN if unknown."""
        return max(0.0, self.stolen_s or 0.0) / self.elapsed_s if self.elapsed_s else math.nan

    @property
    def others_share(self) -> float:
        """The share of the processors' time that other processes used meanwhile; NaN if unknown."""
        return max(0.0, self.others_s or 0.0) / self.elapsed_s if self.elapsed_s else math.nan

    @property
    def switches_per_s(self) -> float:
        """How often a second a thread of the worker was made to give up its processor; NaN if unknown."""
        return sum(self.switches) / self.elapsed_s if self.elapsed_s else math.nan

    @property
    def page_faults(self) -> float:
        """How many pages of memory a step touched that the system had yet to give it, the median; NaN if unknown."""
        return statistics.median(self.faults) if self.faults else math.nan

    def __str__(self) -> str:
        return f"{self.cell}, {self.cell.problem.dtype}, {self.cell.problem.activation}"


def typed(content: object, kind: type[T]) -> T:
    """What was read of JSON as an object of a type.

    Raises:
        ValueError: it is none; the message says what was expected where, and what was there.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$")
        if absent := re.fullmatch("Object missing required field `(.*)`", said):
            raise ValueError(f"it has no {absent[1]}") from None
        said = re.sub("`(.*?)`", lambda kinds: KINDS.get(kind := kinds[1].removesuffix(" | null"), kind), said)
        place = place.strip(".`")
        raise ValueError(f"{place}: {said[0].lower()}{said[1:]}" if place else said) from None


def _written(value: Any) -> Any:
    """The value with NaN and infinities as None, which JSON has no names for, and others to six digits, as measured."""
    if isinstance(value, dict):
        return {name: _written(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

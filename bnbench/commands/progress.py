"""How a sweep gets on, on standard error: a live table on a terminal, and everywhere a line for each cell that is done.

The screen is drawn between samples, never by a thread of its own: that would take time from what is being measured.
"""

import statistics
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bnbench.commands.terminal import NARROW, can_redraw, console, listed, say_axis, wrapped
from bnbench.measure.plan import Plan
from bnbench.measure.scheduler import Events
from bnbench.record import FAULTS, SETTING, Cell, Record
from bnbench.report import units

REDRAWN_S = 0.25  # at most so often
MOST_ROWS = 12  # of the live table
FAULT_LENGTH = 300  # characters of a reason, about, when it first occurs
WRONG = (*FAULTS, "timeout", "out-of-memory")  # what a cell's line names; pruned and unsupported are in the report
GROUPED = ("dtype", "activation", "normalization")  # verify has a line for each of these


class Progress:
    """The progress of a sweep, a verification or an interleaved comparison; a context manager."""

    def __init__(
        self,
        plan: Plan,
        passes: int = 0,
        *,
        timing: bool = True,
        quiet: bool = False,
        stored: Iterable[Record] = (),
    ):
        """Show how a plan gets on.

        Args:
            plan: what is measured.
            passes: of an interleaved comparison, which has a line for each pass; 0 for a line for each cell.
            timing: whether steps are timed; a verification has a line for each of `GROUPED`.
            quiet: say nothing but what is passed to `say` with `always`.
            stored: records of an earlier call, which are ranked with those to come.
        """
        self.cells, self.passes, self.timing, self.quiet = plan.cells(), passes, timing, quiet
        self.differing = [name for name in SETTING if len({cell.axes[name] for cell in self.cells}) > 1]
        self.stored: dict[Cell, list[Record]] = {}
        for record in stored:
            self.stored.setdefault(record.cell, []).append(record)
        self.console = console(stderr=True)
        self.events = Events(stage=self.stage, record=self.record, cell=self.begin, sample=self.sample)
        self.place, self.pass_number = 0, 0
        self.doing = ""
        self.left_s: float | None = None
        self.drawn_s, self.begun_s = 0.0, time.monotonic()
        self.heading = ""
        self.records: list[Record] = []  # of the line to come
        self.samples: dict[str, list[float]] = {}  # of the cell being measured, by variant
        self.absent: list[str] = []
        self.told: set[tuple[str, ...]] = set()
        self.live: Live | None = None
        if can_redraw(self.console) and not quiet:
            # what goes to standard output is not for this console, even where both are one terminal
            self.live = Live(
                get_renderable=self.screen, console=self.console, auto_refresh=False, transient=True,
                redirect_stdout=False,
            )  # fmt: skip

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str, *, always: bool = False, style: str = "", most: int = 0) -> None:
        """Print a text on lines of its own, wrapped; an indented line is a command, and stays whole, to be copied.

        always: even where it should be quiet; most: lines that each of its lines may become, 0 for any number.
        """
        if always or not self.quiet:
            width = self.console.width
            lines = (line if line.startswith("  ") else wrapped(line, width, most) for line in text.split("\n"))
            self.console.print("\n".join(lines), markup=False, soft_wrap=True, style=style)

    # --- what happens

    def stage(self, text: str) -> None:
        """What is being done now."""
        if not (self.doing or self.live or self.passes):
            self.say(f"{units.plural(len(self.cells), 'cell')}: {text}")
        self.tell_absent()
        self.doing = text
        self.redraw(at_once=True)

    def sample(self, name: str, step_s: float) -> None:
        """A variant has taken a sample of so many seconds a step."""
        self.samples.setdefault(name, []).append(step_s)
        self.redraw()

    def begin(self, place: int, left_s: float | None) -> None:
        """A cell begins: its place in the plan, and the seconds that the sweep still takes, if they are known."""
        if not self.passes:
            self.left_s = left_s
        if self.timing or self.group(self.cells[place]) != self.group(self.cells[self.place]):
            self.flush()
        self.place, self.samples = place, {}
        self.redraw(at_once=True)

    def record(self, record: Record) -> None:
        """A record was written."""
        if record.status == "unavailable":
            self.absent += [record.variant] * (record.variant not in self.absent)
            return
        self.records.append(record)
        if record.status != "ok":
            self.samples.pop(record.variant, None)
        if record.status in WRONG and (record.variant, record.status) not in self.told:
            self.told.add((record.variant, record.status))  # the same at further cells is in their lines
            text = f"{record.variant}: {record.status} at {record}: {record.reason}"
            self.say(text, style="red", most=FAULT_LENGTH // self.console.width)
        self.redraw()

    def of_pass(self, number: int) -> Events:
        """The events of one pass of several; 0 is the one that judges and times nothing."""
        now = time.monotonic()
        if number == 1:
            self.begun_s = now
        if number > 1:  # the first that is timed says how long the others take
            self.left_s = (now - self.begun_s) / (number - 1) * (self.passes - number + 1)
        self.pass_number, self.place, self.records = number, 0, []
        left = "" if self.left_s is None else f" ({clock(self.left_s)} left)"
        what = f"pass {number} of {self.passes}" if number else f"judging both versions at {len(self.cells)} cells"
        if not self.live:
            self.say(f"{what}{left}")
        return self.events

    def tell_absent(self) -> None:
        """Say once which variants cannot run here."""
        if self.absent and ("absent",) not in self.told:
            self.told.add(("absent",))
            many = len(self.absent) > 1
            who = f"{len(self.absent)} variants are" if len(self.absent) > 3 else listed(self.absent)
            verb = "" if len(self.absent) > 3 else " are" if many else " is"
            self.say(f"{who}{verb} not installed here: bnbench list says how to add {'them' if many else 'it'}")

    def flush(self) -> None:
        """Say what came of the cell, or of the cells, since the last time."""
        self.tell_absent()
        if self.records and not self.passes:
            width = self.console.width
            if self.timing:
                cell = self.cells[self.place]
                if self.heading != self.group(cell):
                    self.heading = self.group(cell)
                    self.say(f"{self.heading}:")
                known = self.left_s is not None and not self.live and self.place + 1 < len(self.cells)
                left = f" ({clock(self.left_s or 0)} left)" if known else ""
                here = f"{self.place + 1:>{len(str(len(self.cells)))}}/{len(self.cells)}"
                size = sizes(cell) if width >= NARROW else "x".join(map(str, cell.sizes))
                self.say(cell_line(f"{here}  {size}", [*self.stored.get(cell, ()), *self.records], left, width))
            else:
                self.say(verdict_line(self.group(self.records[0].cell), self.records, width))
        self.records = []

    def group(self, cell: Cell) -> str:
        """The part of a cell's setting that a line names: where it is timed, what differs between the plan's cells."""
        names = self.differing if self.timing else GROUPED
        return ", ".join(say_axis(name, cell.axes[name]) for name in names)

    # --- the screen

    def redraw(self, *, at_once: bool = False) -> None:
        """Draw the live table anew, unless that was done just now."""
        now = time.monotonic()
        if self.live and (at_once or now - self.drawn_s > REDRAWN_S):
            self.drawn_s = now
            self.live.refresh()

    def screen(self) -> Group:
        """The live part: how far the sweep is, what is being done, and the cell that is being measured."""
        width, cell = self.console.width, self.cells[self.place]
        turns = self.passes + 1 if self.passes else 1
        done, total = self.pass_number * len(self.cells) + self.place, turns * len(self.cells)
        left = "" if self.left_s is None else f"{clock(self.left_s)} left"
        turn = f"pass {self.pass_number}/{self.passes}" if self.pass_number else "judging"
        head = Table.grid(padding=(0, 2))
        head.add_row(
            turn if self.passes else f"{self.place + 1}/{len(self.cells)}",
            ProgressBar(total, done, width=max(4, min(24, width - 28))),
            left,
        )
        about, _, rest = self.doing.partition(": ")
        doing = f"{sizes(cell)}: {rest}" if about == str(cell) else self.doing
        lines = (head, Text(doing, no_wrap=True, overflow="ellipsis"))
        return Group(*lines, self.cell_table(width) if self.samples else "")

    def cell_table(self, width: int) -> Table:
        """The variants of the cell that is being measured, the fastest first, by the samples taken so far."""
        medians = {name: statistics.median(taken) for name, taken in self.samples.items()}
        best = min(medians.values())
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("variant", no_wrap=True)
        for name in ("step", "", "samples"):
            table.add_column(name, justify="right", no_wrap=True)
        most = max(1, min(MOST_ROWS, self.console.height - 6))
        for name in sorted(medians, key=medians.__getitem__)[:most]:
            ratio = f"{units.factor(medians[name] / best)}x" if medians[name] > best else ""
            table.add_row(Text(name), units.seconds(medians[name]), ratio, str(len(self.samples[name])))
        if len(medians) > most:
            table.add_row(f"and {len(medians) - most} more")
        if width < NARROW:
            table.columns = table.columns[:2]
        return table


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def sizes(cell: Cell) -> str:
    """A cell's sizes."""
    return " ".join(f"{name}={value}" for name, value in zip(("N", "p1", "p2"), cell.sizes, strict=True))


def cell_line(place: str, records: Iterable[Record], left: str, width: int) -> str:
    """A cell in one line: the fastest, its time, its lead or whom it ties with, what is wrong, the time left.

    What does not fit is left out, the time left first; the fastest and what is wrong last.
    """
    timed = sorted((record for record in records if record.timed), key=lambda record: record.median_s)
    named, counted = wrong(records)
    if not timed:
        statuses = [record.status for record in records]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
        return _first_that_fits(width, [f"{place}: nothing was timed ({counts}){left}", f"{place}: nothing was timed"])
    best, *others = timed
    head = f"{place}: {best.variant} {units.seconds(*best.interval)}"
    tied = [record.variant for record in others if record.ci_low_s <= best.ci_high_s]
    leads = [""]
    if tied:
        leads = [f", tied with {listed(tied, most)}" for most in (2, 1)]
    elif others:
        ratio = others[0].median_s / best.median_s
        by = f"{units.factor(ratio)}x" if ratio >= 1.1 else units.percent(ratio - 1)
        leads = [f", {by} ahead of {others[0].variant}"]
    return _first_that_fits(
        width,
        [f"{head}{lead}{said}{rest}" for lead in leads for said in (named, counted) for rest in (left, "")]
        + [head + counted, head],
    )


def verdict_line(group: str, records: list[Record], width: int) -> str:
    """What validation found in some cells, in one line."""
    judged = [record for record in records if record.max_error_ratio is not None or record.status in WRONG]
    valid = sum(record.status == "ok" for record in judged)
    named, counted = wrong(records)
    worst = max((record for record in judged if record.status == "ok"), key=_ratio, default=None)
    error = "" if worst is None else f", the worst error {_ratio(worst):.2g} of its tolerance"
    head = f"{group}: {valid} of {len(judged)} valid"
    by = "" if worst is None else f" ({worst.variant})"
    return _first_that_fits(
        width, [head + error + by + named, head + error + named, head + named, head + counted, head]
    )


def _ratio(record: Record) -> float:
    return record.max_error_ratio or 0.0


def wrong(records: Iterable[Record]) -> tuple[str, str]:
    """What went wrong, by name and by number; empty where nothing did."""
    names: dict[str, list[str]] = {}
    for record in records:
        if record.status in WRONG:
            names.setdefault(record.status, []).append(record.variant)
    named = "".join(f"; {status}: {listed(list(dict.fromkeys(found)), 2)}" for status, found in names.items())
    return named, "".join(f"; {len(found)} {status}" for status, found in names.items())


def _first_that_fits(width: int, lines: list[str]) -> str:
    return next((line for line in lines if len(line) <= width), lines[-1])

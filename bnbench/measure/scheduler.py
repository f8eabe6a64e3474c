"""The sweep: its workers are started, its cells run in their order, its records handed on.

What is to be done, in which order, is the planner's (`planner.py`); one cell is `cell.py`; a record is built in
`measurement.py`.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bnbench import temporary
from bnbench.measure.cell import CellRun, Scope
from bnbench.measure.crew import Crew, Lane
from bnbench.measure.data import Table, shared
from bnbench.measure.plan import Plan
from bnbench.measure.planner import Planner
from bnbench.measure.roofline import Roof
from bnbench.measure.rounds import Rounds, Singly
from bnbench.record import Record
from bnbench.variants import variants

TIMED = Scope()
JUDGED = Scope(times=False, compilation=False, limit=False)


@dataclass
class Events:
    """What a sweep tells whoever watches it; each a function that does nothing by default.

    stage(text); cell(place, seconds): a cell begins, with an estimate of the time left or None; record(record);
    sample(name, seconds): a lane has taken a sample of so many seconds a step.
    """

    stage: Callable[[str], None] = lambda text: None
    record: Callable[[Record], None] = lambda record: None
    cell: Callable[[int, float | None], None] = lambda place, seconds: None
    sample: Callable[[str, float], None] = lambda name, step_s: None


class Sweep:
    """A plan being carried out. Use it as a context manager: leaving it ends every child.

    Attributes:
        rooflines: the machine's rates, each as measured, with `when`: "start" or "end".
    """

    def __init__(
        self,
        plan: Plan,
        write: Callable[[Record], Record],
        done: Iterable[Record] = (),
        *,
        table: Table | None = None,
        scope: Scope = TIMED,
        rounds: Rounds | None = None,
        events: Events | None = None,
        lanes: dict[str, Lane] | None = None,
    ) -> None:
        """Carry out a plan.

        Args:
            plan: what is measured.
            write: stores a record, and gives it as stored.
            done: records that are there already.
            table: whose leading rows are X and y; None for drawn data.
            scope: what is found out: `TIMED`, or `JUDGED` alone.
            rounds: in which order the workers of a cell give their samples; `Singly` by default.
            events: what is told on the way.
            lanes: in place of the plan's variants, by the names that their records get.
        """
        self.plan, self.write, self.scope, self.events = plan, write, scope, events or Events()
        self.lanes = lanes or {name: Lane(name) for name in plan.variants or variants()}
        temporary.clear()
        self.opened = contextlib.ExitStack()
        here = self.opened.enter_context(shared(table))
        self.planner = Planner(plan, list(self.lanes), done, timing=scope.times)
        self.crew = Crew(
            plan,
            self.lanes,
            self.planner.memory_limit,
            cached=not scope.compilation,
            inherits=() if here is None else (here.file,),
        )
        self.cell_run = CellRun(
            plan,
            self.planner,
            self.crew,
            rounds or Singly(),
            scope,
            table=here,
            data=table.name if table is not None else None,
            stage=self.events.stage,
            sampled=self.events.sample,
            write=self.take,
        )
        self.rooflines: list[dict[str, Any]] = []

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *exception: object) -> None:
        self.crew.close()
        self.opened.close()

    @property
    def records(self) -> dict:
        """The records that are there, by variant (or lane) and cell."""
        return self.planner.records

    def run(self) -> list[Record]:
        """Do every cell that has variants left to do; returns the records of all, in the plan's order."""
        planner = self.planner
        wanted, unusable = planner.wanted(), {}
        if wanted:
            self.events.stage(f"starting {len(wanted)} workers")
            unusable = self.crew.start(wanted, judge=self.scope.verdicts)
        settings = self.settings([name for name in wanted if name not in unusable])
        if self.scope.limit:
            self.cell_run.roofs = self.measure_roofs(settings, "start")
        for place, cell in enumerate(planner.cells):
            self.events.cell(place, planner.remaining_s(place))
            if names := planner.missing(cell):
                sampling_s = planner.sampling_s(place)
                with planner.watching(cell, names):
                    self.cell_run.run(cell, names, unusable, sampling_s)
        if self.scope.limit:
            self.measure_roofs(settings, "end")
        return [planner.records[name, cell] for cell in planner.cells for name in self.lanes]

    def settings(self, names: list[str]) -> list[tuple[str, int | str]]:
        """The dtypes with the thread counts, and the device, whose limits are to be measured for these lanes."""
        cells = [cell for cell, _ in self.planner.to_do()]
        on_cpu = dict.fromkeys((cell.problem.dtype, cell.threads) for cell in cells)
        on_cuda = any(self.crew.device[name] == "cuda" for name in names)
        return [*on_cpu, *(dict.fromkeys((dtype, "cuda") for dtype, _ in on_cpu) if on_cuda else ())]

    def measure_roofs(self, settings: Iterable[tuple[str, int | str]], when: str) -> dict[tuple[str, int | str], Roof]:
        """The machine's rates now, kept for the run's description as well."""
        roofs = self.crew.roofs(settings, self.events.stage)
        for (dtype, place), roof in roofs.items():
            at = {"device" if isinstance(place, str) else "threads": place}
            self.rooflines.append({"when": when, "dtype": dtype} | at | asdict(roof))
        return roofs

    def take(self, record: Record) -> None:
        """Hand on a record that was made, and learn from it."""
        record = self.write(record)
        self.planner.take(record)
        self.events.record(record)

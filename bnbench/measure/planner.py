"""What a sweep measures, in which order, and within which budget of time and memory."""

import contextlib
import random
from collections.abc import Iterable, Sequence

from bnbench.measure.child import data_limit
from bnbench.measure.environment import available_bytes
from bnbench.measure.forecast import Forecast
from bnbench.measure.measurement import Measurement
from bnbench.measure.plan import Plan
from bnbench.problem import Problem
from bnbench.record import Cell, Record

BUDGET_FOR_SAMPLES = 0.5  # share of what is left of a time budget that goes into samples
MEMORY_SHARE = 0.6  # of the memory available at the start, which no child may exceed
WORKER_BYTES = 2**29  # of it, what a worker holds without a cell
MEMORY_BASE = 3 * 2**30  # what a worker may take at any cell, for its libraries and compilers
ARRAYS_ALLOWED = 20  # and this many times the cell's X and Z beside it
ARRAYS_LIKE_Z = 10  # how many times X and Z a step may hold; where that does not fit, a cell is not interleaved


class Planner:
    """The cells of a plan in their order, what is still to be done of them, and what is left out.

    Attributes:
        records: those that are there, by variant (or lane) and cell.
        random: what is drawn in a sweep, seeded.
        memory_limit: bytes that no child may exceed.
    """

    def __init__(self, plan: Plan, names: Sequence[str], done: Iterable[Record], *, timing: bool) -> None:
        """Plan for lanes of these names; done are the records that are there already."""
        self.plan, self.names, self.timing = plan, list(names), timing
        self.cells = plan.cells()
        self.records: dict[tuple[str, Cell], Record] = {record.key: record for record in done}
        self.random = random.Random(plan.seed)
        self.memory_limit = int(min(MEMORY_SHARE * available_bytes(), data_limit()))
        self.forecast = Forecast(plan)
        for record in self.records.values():
            self.forecast.learn(record)

    def missing(self, cell: Cell) -> list[str]:
        """The lanes that have no record of a cell."""
        return [name for name in self.names if (name, cell) not in self.records]

    def wanted(self) -> list[str]:
        """The lanes that have something to do."""
        return [name for name in self.names if any((name, cell) not in self.records for cell in self.cells)]

    def to_do(self, place: int = 0) -> list[tuple[Cell, list[str]]]:
        """The cells from a place on that have something to do, each with its lanes."""
        pairs = ((cell, self.missing(cell)) for cell in self.cells[place:])
        return [(cell, names) for cell, names in pairs if names]

    def remaining_s(self, place: int) -> float | None:
        """Seconds that the cells from a place on and later passes take, roughly; None where nothing is known yet."""
        return self.forecast.remaining(self.to_do(place), len(self.cells) * len(self.names)) if self.timing else None

    def sampling_s(self, place: int) -> float:
        """Seconds for the samples of one variant at the cell of a place."""
        measurements = sum(len(names) for _, names in self.to_do(place))
        return min(self.plan.sampling_s, BUDGET_FOR_SAMPLES * self.forecast.left() / measurements)

    def watching(self, cell: Cell, names: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """A context in which a cell is measured, so that later estimates can learn from what it took."""
        return self.forecast.watching(cell, names)

    def pruned(self, name: str, cell: Cell) -> str:
        """Why a lane is not tried at a cell, or "": it timed out at a smaller one, or would overrun."""
        return self.forecast.pruned(name, cell, timing=self.timing)

    def too_large(self, problem: Problem, needs_bytes: int) -> str:
        """Why a problem does not fit in memory beside the judge's copy of the batch, or "".

        needs_bytes is what a step needs beyond X and y, by the variant's model.
        """
        batch, room = problem.batch_bytes, self.memory_limit - WORKER_BYTES
        if max(batch + needs_bytes, 2 * batch) <= room:
            return ""
        return (
            f"X and y take {batch / 2**30:.2g} GiB and a step {needs_bytes / 2**30:.2g} GiB beyond; "
            f"a worker may take {max(0, room) / 2**30:.2g} GiB here"
        )

    def worker_bytes(self, problem: Problem, needs_bytes: int) -> int:
        """What a worker may take at a problem."""
        return min(self.memory_limit, MEMORY_BASE + ARRAYS_ALLOWED * array_bytes(problem) + 2 * needs_bytes)

    def fit_together(self, problem: Problem, measurements: Sequence[Measurement]) -> bool:
        """Whether memory holds all of these at once, so that they can be interleaved."""
        least = ARRAYS_LIKE_Z * array_bytes(problem)
        together = sum(max(least, measurement.needs_bytes) for measurement in measurements)
        return together <= MEMORY_SHARE * available_bytes()

    def take(self, record: Record) -> None:
        """Take up a record that was made."""
        self.records[record.key] = record
        self.forecast.learn(record)


def array_bytes(problem: Problem) -> int:
    """Bytes of X, y and Z."""
    return problem.batch_bytes * (problem.p1 + problem.depth * problem.p2 + 1) // (problem.p1 + 1)

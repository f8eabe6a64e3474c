"""What a cell will cost, predicted from the smaller cells of its setting: what to prune, and how long is left."""

import contextlib
import math
import statistics
from collections.abc import Iterator, Sequence

from bnbench.measure import clock
from bnbench.measure.plan import Plan
from bnbench.measure.statistics import MIN_SAMPLES
from bnbench.record import BUDGET, Cell, Record

CALLS_S = 5e-3  # a step below this may be all calls, and says little of a larger one's products
STEPS_BESIDE_SAMPLES = 2  # one for each verdict; calibrating and warming count only where steps are short
REFERENCE_S = 4e-7  # of both references, for each element of Z


class Forecast:
    """Predictions from the records so far.

    A step is taken to grow with N p1 p2, and a short one with N (p1 + p2): the least that either may.
    """

    def __init__(self, plan: Plan) -> None:
        """Begin with no records; the time budget runs from now."""
        self.plan = plan
        self.started = clock.now()
        self.steps: dict[tuple, list[tuple[Cell, float]]] = {}
        self.timed_out: dict[tuple, list[Cell]] = {}
        self.begun: set[tuple] = set()  # settings that have a cell already
        self.beside_s: list[float] = []  # what later cells took for each variant beside their samples

    def learn(self, record: Record) -> None:
        """Take up a record."""
        key = record.variant, record.cell.setting
        if record.timed:
            self.steps.setdefault(key, []).append((record.cell, record.median_s))
        elif record.status == "timeout":
            self.timed_out.setdefault(key, []).append(record.cell)

    @contextlib.contextmanager
    def watching(self, cell: Cell, names: Sequence[str]) -> Iterator[None]:
        """Learn from what a cell takes, beside its samples and reference, for estimates of what remains.

        The first cell of a setting teaches nothing: its variants compile.
        """
        predicted, started, first = self.cost(cell, names), clock.now(), cell.setting not in self.begun
        yield
        self.begun.add(cell.setting)
        if not first and names:
            self.beside_s.append((clock.now() - started - predicted) / len(names))

    def pruned(self, name: str, cell: Cell, *, timing: bool) -> str:
        """Why a variant is not tried at a cell, or "": it timed out at a smaller one, or would overrun."""
        for smaller in self.timed_out.get((name, cell.setting), ()):
            if dominates(cell, smaller):
                return f"it timed out at {smaller}, which is no larger"
        if not timing:
            return ""
        need = self.least(name, cell)
        if need > self.plan.timeout:
            return f"it would take about {need:.2g} s, more than the time-out of {self.plan.timeout:g} s"
        left = self.left()
        if left <= 0:
            return f"the {BUDGET} of {self.plan.time_budget:g} s is spent"
        if need > left:
            return f"it would take about {need:.2g} s, and {left:.2g} s of the {BUDGET} are left"
        return ""

    def left(self) -> float:
        """Seconds left of the time budget; infinite without one."""
        if self.plan.time_budget is None:
            return math.inf
        return self.plan.time_budget - (clock.now() - self.started)

    def least(self, name: str, cell: Cell) -> float:
        """Seconds that a variant at least takes at a cell, by the steps that cannot be spared; 0 if unknown."""
        estimates = []
        for smaller, step_s in self.steps.get((name, cell.setting), ()):
            if dominates(cell, smaller):
                size = elements if step_s < CALLS_S else work
                estimates.append(step_s * size(cell) / size(smaller))
        return (MIN_SAMPLES + STEPS_BESIDE_SAMPLES) * min(estimates, default=0.0)

    def cost(self, cell: Cell, names: Sequence[str]) -> float:
        """Seconds that a cell is predicted to take: its samples and its reference."""
        needs = [self.least(name, cell) for name in names]
        samples = sum(max(need, self.plan.sampling_s) for need in needs if need <= self.plan.timeout)
        return samples + REFERENCE_S * cell.problem.N * cell.problem.p2 * cell.problem.depth

    def remaining(self, cells: Sequence[tuple[Cell, Sequence[str]]], again: int = 0) -> float | None:
        """Seconds that these cells will take, roughly; None before a second one of a setting is done.

        With the passes after this one, each of which measures again so many times, but no long steps.
        """
        if not self.beside_s or not cells:
            return None
        beside_s = statistics.median(self.beside_s)
        predicted = sum(self.cost(cell, names) + beside_s * len(names) for cell, names in cells)
        predicted += (self.plan.passes - 1) * again * max(0.0, self.plan.sampling_s + beside_s)
        return max(0.0, min(predicted, self.left()))


def work(cell: Cell) -> int:
    """Multiply-adds of a product with X."""
    return cell.problem.work


def elements(cell: Cell) -> int:
    """Elements of X and Z, with which a step grows at least."""
    return cell.problem.N * (cell.problem.p1 + cell.problem.p2)


def dominates(cell: Cell, smaller: Cell) -> bool:
    """Whether a cell is of the same setting as another, and as large in every size."""
    return cell.setting == smaller.setting and all(a >= b for a, b in zip(cell.sizes, smaller.sizes, strict=True))

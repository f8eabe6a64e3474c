"""One cell brought to its records.

It runs through these states, and only one process computes at any time:

    survey   every worker says whether its variant takes the problem, and what memory it needs
    batch    the judge computes the references; every worker samples its batch (nothing is timed yet)
    open     one worker after another: prepare with other parameters than the cell's, first step; the cell's own are
             loaded, a step; a verdict on each; derivation check once a setting; calibration
    sample   rounds in seeded random order, a sample of each variant a round, until its interval is tight or its
             time is spent
    look     verdict on the last step that was timed, and whether the batch is what it was
    close    peak memory; one record for each variant

A variant that fails on the way gets its record then and is out of the cell. A worker that died is started again
when its variant's next cell comes.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bnbench.measure import clock, protocol
from bnbench.measure.child import ChildError
from bnbench.measure.crew import START_S, Crew
from bnbench.measure.data import SharedTable
from bnbench.measure.judge import CONVENTIONS, LOADED, PREPARED, TIMED
from bnbench.measure.measurement import Measurement
from bnbench.measure.plan import Plan
from bnbench.measure.planner import Planner
from bnbench.measure.roofline import Roof
from bnbench.measure.rounds import Limits, Rounds
from bnbench.measure.statistics import MIN_SAMPLES
from bnbench.record import KEPT, Cell, Record
from bnbench.validation import DERIVATIONS, Verdict
from bnbench.variants import variants

DEVICE_TIMES_S, DEVICE_TIMES_STEPS = 60.0, 10  # what a device's own times may take: so long, and so many steps
SLOWER = 3  # how much slower than calibrated a step may become before that is a time-out
SAMPLED_BYTES_S = 5e7  # that a worker at least samples or checks in a second, beside the others


@dataclass(frozen=True)
class Scope:
    """What is found out about a variant at a cell.

    Attributes:
        times: samples; without, a cell ends with its verdict.
        compilation: what compiling takes.
        limit: the machine's rates, before and after.
        verdicts: whether answers are right; without, only that the batch is left alone.
        derivation: the derivation check as well.
    """

    times: bool = True
    compilation: bool = True
    limit: bool = True
    verdicts: bool = True
    derivation: bool = True


class CellRun:
    """The states of a cell, for one cell after another.

    Attributes:
        roofs: the machine's rates by dtype and threads or device, as far as they are known.
    """

    def __init__(
        self,
        plan: Plan,
        planner: Planner,
        crew: Crew,
        rounds: Rounds,
        scope: Scope,
        *,
        table: SharedTable | None,
        data: str | None,
        stage: Callable[[str], None],
        sampled: Callable[[str, float], None],
        write: Callable[[Record], None],
    ) -> None:
        """Run cells for a planner with the workers of a crew.

        Args:
            plan, planner, crew, rounds, scope: what to do, with whom, in which order.
            table: the table whose leading rows are X and y, None for drawn data; data: its name.
            stage: told what is being done; sampled: a lane, and the seconds of its sample's steps; write: given each
                record.
        """
        self.plan, self.planner, self.crew, self.rounds, self.scope = plan, planner, crew, rounds, scope
        self.table, self.data, self.stage, self.sampled, self.write = table, data, stage, sampled, write
        self.roofs: dict[tuple[str, int | str], Roof] = {}
        self.derived: dict[tuple, tuple[str, str]] = {}

    def run(self, cell: Cell, names: Sequence[str], unusable: dict[str, tuple[str, str]], sampling_s: float) -> None:
        """Bring one cell to its records.

        Args:
            cell, names: the lanes to be measured there.
            unusable: status and reason of lanes that cannot run at all.
            sampling_s: time for the samples of each.
        """
        self.limits = Limits(sampling_s, self.plan.timeout)
        self.held_to: list[int] | None = None
        measurements = []
        for name in names:
            measurement = self.begun(name, cell)
            if name in unusable:
                self.finish(measurement, *unusable[name])
            elif reason := self.planner.pruned(name, cell):
                self.finish(measurement, "pruned", reason)
            else:
                measurements.append(measurement)
        order = self.each(measurements, self.survey)
        if not order:
            return
        self.stage(f"{cell}: reference")
        self.planner.random.shuffle(order)
        try:
            if self.scope.verdicts:
                self.crew.judge("refer", problem=cell.problem, table=self.table)
        except ChildError as error:
            for measurement in order:
                self.finish(measurement, error.status, error.reason)
            return
        for group in self.rounds.groups(order, fit=self.planner.fit_together(cell.problem, order)):
            self.run_group(cell, group)

    def run_group(self, cell: Cell, group: list[Measurement]) -> None:
        """Take the measurements that are interleaved through the states from their batch on."""
        group = self.each(group, self.request_batch)
        group = self.each(group, self.await_batch)
        for measurement in group:
            measurement.interleaved = len(group)
        group = self.each(group, self.open)
        if self.scope.times:
            group = self.each(group, self.calibrate)
            while turn := self.rounds.turn(group, self.limits, self.planner.random):
                self.stage(f"{cell}: sampling {len(turn)} variants")
                alive = self.each(turn, self.sample)
                group = [measurement for measurement in group if measurement in alive or measurement not in turn]
        group = self.each(group, self.look_again)
        if self.scope.times:
            group = self.each(group, self.close)
        for measurement in group:
            self.finish(measurement, "ok", measurement.caution)

    def each(self, measurements: Sequence[Measurement], state: Callable[[Measurement], bool]) -> list[Measurement]:
        """Take every measurement through a state; those that got through. A failure writes its record."""
        through = []
        for measurement in measurements:
            try:
                if state(measurement):
                    through.append(measurement)
            except ChildError as error:
                self.finish(measurement, error.status, error.reason)
        return through

    def ask(self, measurement: Measurement, do: str, *, allowance: float = 0.0, **arguments: Any) -> Any:
        """A request to a measurement's worker, within what is left of its time-out and an allowance in seconds."""
        start = clock.now()
        try:
            timeout = max(0.0, self.plan.timeout - measurement.spent_s) + allowance
            return self.crew.ask(measurement.lane, do, timeout=timeout, **arguments)
        finally:
            # what compilation took is not the cell's: only a step's own time counts against its limit
            measurement.spent_s += max(0.0, clock.now() - start - allowance)

    # --- the states ---

    def begun(self, name: str, cell: Cell) -> Measurement:
        """A measurement of which nothing is known yet."""
        cls = variants()[self.crew.lanes[name].variant]
        device = self.crew.device.get(name, str(cls.device))
        blank = Record(variant=name, cell=cell, family=cls.family, device=device, data=self.data, status="ok")
        return Measurement(name, cell, blank)

    def survey(self, measurement: Measurement) -> bool:
        """Ask the worker, for a plug-in may hang or crash in this too, whether its variant takes the cell."""
        cell = measurement.cell
        self.crew.child(measurement.lane)  # started anew where it has died, which is not this cell's time
        said = self.ask(measurement, "survey", problem=cell.problem, regime=cell.regime)
        measurement.needs_bytes = said.needs_bytes
        reason = said.unsupported or self.planner.too_large(cell.problem, said.needs_bytes)
        if self.switches_memory(cell) and not variants()[self.crew.lanes[measurement.lane].variant].own_memory:
            reason = reason or "its memory is another process's, which keeps what it frees only from its start on"
        if reason:
            self.finish(measurement, "unsupported", reason)
        return not reason

    def switches_memory(self, cell: Cell) -> bool:
        """Whether workers begin to keep memory at this cell; where all cells keep it, they do so from their start."""
        return cell.memory == KEPT and len(self.plan.memory) > 1

    def request_batch(self, measurement: Measurement) -> bool:
        """Let a worker begin to sample its batch, beside the others."""
        problem = measurement.cell.problem
        limit = self.planner.worker_bytes(problem, measurement.needs_bytes)
        keep = {"keep_memory": True} if self.switches_memory(measurement.cell) else {}
        self.crew.child(measurement.lane).send("load", problem=problem, table=self.table, memory_limit=limit, **keep)
        return True

    def await_batch(self, measurement: Measurement) -> bool:
        """Wait until it has."""
        self.crew.receive(measurement.lane, "load", timeout=self.patience_s(measurement))
        return True

    def patience_s(self, measurement: Measurement) -> float:
        """Seconds in which a worker must have sampled its batch, or looked through it, while all others do."""
        return START_S + len(self.planner.names) * measurement.cell.problem.batch_bytes / SAMPLED_BYTES_S

    def open(self, measurement: Measurement) -> bool:
        """Prepare and first step with other parameters, a step with the cell's; verdicts; the derivation check."""
        cell, allowance = measurement.cell, self.crew.allowance_s[measurement.lane]
        self.stage(f"{cell}: {measurement.lane}")
        opened = self.ask(
            measurement, "open", allowance=allowance, problem=cell.problem, regime=cell.regime, threads=cell.threads
        )
        reloaded = self.ask(measurement, "reload", allowance=allowance)
        measurement.opened, measurement.reloaded = opened, reloaded
        if self.tf32(measurement):
            measurement.remarks += (("tf32", "allowed"),)
        if not self.scope.verdicts:
            return True
        first = self.verdict(measurement, PREPARED, opened.answer)
        own = self.verdict(measurement, LOADED, reloaded.answer)
        measurement.verdict = own if first.valid else first
        reason, not_tried = self.derivation(measurement) if self.scope.derivation else ("", "")
        reason = reason or measurement.verdict.reason
        if reason:
            self.finish(measurement, "invalid", reason)
            return False
        measurement.caution = "; ".join(filter(None, (own.caution, not_tried)))
        return True

    def verdict(self, measurement: Measurement, stage: str, answer: Any) -> Verdict:
        """The judge's verdict on an answer."""
        problem, tf32 = measurement.cell.problem, self.tf32(measurement)
        return self.crew.judge("judge", answer=answer, problem=problem, table=self.table, stage=stage, tf32=tf32)

    def tf32(self, measurement: Measurement) -> bool:
        """Whether the products of a measurement may round to TF32."""
        on_device = self.crew.device.get(measurement.lane) == "cuda"
        return self.plan.tf32 and measurement.cell.problem.dtype == "float32" and on_device

    def derivation(self, measurement: Measurement) -> tuple[str, str]:
        """The reason why a variant fails the derivation check of its setting, or ""; and what of it was not tried."""
        problem, regime = measurement.cell.problem, measurement.cell.regime
        key = (measurement.lane, attrgetter(*CONVENTIONS)(problem), regime)
        if key not in self.derived:
            answers = self.crew.ask(
                measurement.lane,
                "derive",
                timeout=DERIVATIONS * self.plan.timeout + self.crew.allowance_s[measurement.lane],
                problem=problem,
                regime=regime,
                held=self.plan.held,
            )
            self.derived[key] = self.crew.judge("derive", problem=problem, held=self.plan.held, answers=answers)
        return self.derived[key]

    def calibrate(self, measurement: Measurement) -> bool:
        """How many steps a sample holds; a measurement whose samples would overrun the time-out ends here."""
        processors = self.processors(measurement.cell)
        calibration = self.ask(measurement, "calibrate", processors=processors)
        measurement.calibration, measurement.held = calibration, processors is not None
        measurement.samples = self.rounds.first_samples(calibration)
        step_s = calibration.step_s
        need = measurement.spent_s + (MIN_SAMPLES - len(measurement.samples)) * step_s
        if need > self.plan.timeout:
            reason = f"a step takes {step_s:.2g} s; with {MIN_SAMPLES} samples it would take {need:.2g} s"
            self.finish(measurement, "pruned", f"{reason}, more than the time-out of {self.plan.timeout:g} s")
            return False
        return True

    def processors(self, cell: Cell) -> list[int] | None:
        """The processors that the workers of a cell are held to, drawn once a cell; None for all.

        They are the same for all workers, since one processor may be slower for what its neighbour does.
        """
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if self.held_to is None and cell.threads < len(allowed):
            self.held_to = self.planner.random.sample(allowed, cell.threads)
        return self.held_to

    def sample(self, measurement: Measurement) -> bool:
        """One sample."""
        assert measurement.calibration is not None
        start, loops, step_s = clock.now(), measurement.calibration.inner_loops, measurement.step_s
        patience = SLOWER * MIN_SAMPLES * loops * step_s  # one let in may find a noisy machine
        taken = self.ask(measurement, "sample", allowance=patience, inner_loops=loops, step_s=step_s)
        measurement.samples.append(protocol.sample(taken))
        measurement.sampling_s += clock.now() - start
        self.sampled(measurement.lane, measurement.samples[-1].step_s)
        return True

    def look_again(self, measurement: Measurement) -> bool:
        """Judge the last step that was made, and see whether X, y and the parameters are what they were."""
        again = self.crew.ask(measurement.lane, "look_again", timeout=self.plan.timeout + self.patience_s(measurement))
        reason = ""
        if again.changed:
            reason = f"it writes to {again.changed}, which it may only read"
        elif self.scope.verdicts:
            verdict = self.verdict(measurement, TIMED, again.answer)
            if not verdict.valid:
                measurement.verdict, reason = verdict, verdict.reason
        if reason:
            self.finish(measurement, "invalid", reason)
        return not reason

    def close(self, measurement: Measurement) -> bool:
        """The device's own times, where there is one; the peak of memory; the worker lets go of the cell."""
        if self.crew.device.get(measurement.lane, "cpu") != "cpu" and not self.device_times(measurement):
            return True
        measurement.closed = self.ask(measurement, "close", allowance=1.0)
        return True

    def device_times(self, measurement: Measurement) -> bool:
        """Times of copies and from a cold cache; whether the worker lives. A failure costs these columns alone."""
        try:
            timeout = DEVICE_TIMES_S + DEVICE_TIMES_STEPS * measurement.step_s
            times = measurement.device_times = self.crew.ask(measurement.lane, "device_times", timeout=timeout)
            if why := times.clocks.get("after", {}).get("held_down"):
                measurement.remarks += (("clocks", f"held down by {why}"),)
        except ChildError as error:
            measurement.remarks += (("device times", error.reason),)
        return self.crew.children[measurement.lane].alive

    def finish(self, measurement: Measurement, status: str, reason: str) -> None:
        """Write the record of how a measurement ended."""
        cell, device = measurement.cell, measurement.blank.device
        roof = self.roofs.get((cell.problem.dtype, cell.threads if device == "cpu" else str(device)))
        try:
            ended = measurement.record(status, reason, compilation=self.scope.compilation, roof=roof)
        except ValueError as error:  # a plug-in's own clock may say anything
            ended = measurement.blank.having(status="failed", reason=f"what was measured cannot be: {error}")
        self.write(ended)

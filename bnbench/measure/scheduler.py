"""The sweep: cells small before large, variants interleaved sample by sample.

A cell runs through these states, and only one process computes at any time:

    survey   every worker says whether its variant takes the problem, and what memory it needs
    load     the judge computes the references; every worker samples its batch (nothing is timed yet)
    open     one worker after another: prepare with other parameters than the cell's, first step; the cell's own are
             loaded, a step; a verdict on each; derivation check once a setting; calibration
    sample   rounds in seeded random order, a sample of each variant a round, until its interval is tight or its
             time is spent
    look     verdict on the last step that was timed, and whether the batch is what it was
    close    peak memory; one journal record for each variant

A variant that fails on the way gets its record then and is out of the cell. A worker that died is started again
when its variant's next cell comes.
"""

import contextlib
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

from bnbench import temporary
from bnbench.compiling import START
from bnbench.measure import clock
from bnbench.measure.child import ChildError, data_limit
from bnbench.measure.crew import START_S, Crew, Lane
from bnbench.measure.data import Table, stored
from bnbench.measure.environment import available_bytes
from bnbench.measure.excess import least_excess_s
from bnbench.measure.forecast import MIN_SAMPLES, Forecast
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.judge import LOADED, PREPARED, TIMED
from bnbench.measure.plan import Plan
from bnbench.measure.roofline import Roof, limit_s
from bnbench.measure.statistics import median_interval
from bnbench.record import Cell, Record
from bnbench.validation import DERIVATIONS
from bnbench.variants import variants

DEVICE_TIMES_S, DEVICE_TIMES_STEPS = 60.0, 10  # what a device's own times may take: so long, and so many steps
PILOT_SAMPLES = 10
MAX_SAMPLES = 100
TIGHT = 0.01  # half an interval over its median that is asked for
SLOWER = 3  # how much slower than calibrated a step may become before that is a time-out
BUDGET_FOR_SAMPLES = 0.5  # share of what is left of a time budget that goes into samples
MEMORY_SHARE = 0.6  # of the memory available at the start, which no child may exceed
WORKER_BYTES = 2**29  # of it, what a worker holds without a cell
MEMORY_BASE = 3 * 2**30  # what a worker may take at any cell, for its libraries and compilers
ARRAYS_ALLOWED = 20  # and this many times the cell's X and Z beside it
SAMPLED_BYTES_S = 5e7  # that a worker at least samples or checks in a second, beside the others
UNKNOWN_SHARE = 0.1  # of what Numba's functions took to compile: a first step's excess below it is none of theirs
ARRAYS_LIKE_Z = 10  # how many times X and Z a step may hold; where that does not fit, a cell is not interleaved


@dataclass(eq=False)
class Run:
    """One lane at one cell, while it is measured; most lanes are called as their variant is."""

    record: Record  # as far as it is known: a stage that learns more puts another in its place
    spent_s: float = 0.0
    sampling_s: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    step_s: float = math.inf
    needs_bytes: int = 0  # beyond X and y, by the variant's own model

    @property
    def lane(self) -> str:
        """The name of its worker."""
        return self.record.variant

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.record.cell

    def learn(self, **fields):
        """Take up fields of the record."""
        self.record = self.record.having(**fields)

    @property
    def done(self) -> bool:
        """Whether there are as many samples as a tight interval takes, foreseen from the first few.

        To look at the interval after each sample, and to stop where it happens to be narrow, would leave intervals of
        95 % that hold the median in 90 % (Stein, Annals of Mathematical Statistics 16 (1945) 243-258).
        """
        if len(self.samples) < PILOT_SAMPLES:
            return False
        median, low, high = median_interval([sample.step_s for sample in self.samples[:PILOT_SAMPLES]])
        return len(self.samples) >= min(MAX_SAMPLES, PILOT_SAMPLES * ((high - low) / 2 / (TIGHT * median)) ** 2)


@dataclass
class Events:
    """What a sweep tells whoever watches it; each a function that does nothing by default.

    stage(text); cell(place, seconds): a cell begins, with an estimate of the time left or None; record(record);
    sample(name, seconds): a lane has taken a sample of so many seconds a step.
    """

    stage: Callable = lambda text: None
    record: Callable = lambda record: None
    cell: Callable = lambda place, seconds: None
    sample: Callable = lambda name, step_s: None


class Sweep:
    """A plan being carried out. Use it as a context manager: leaving it ends every child."""

    times_compilation = measures_limit = judges = True

    def __init__(
        self,
        plan: Plan,
        write: Callable[[Record], Record],
        done: Iterable[Record] = (),
        *,
        table: Table | None = None,
        timing: bool = True,
        events: Events | None = None,
        lanes: dict[str, Lane] | None = None,
    ):
        """Carry out plan; write(record) stores a record; done is what is stored already.

        With timing off, cells end after their verdict: that is `verify`. lanes, if given, take the place of the plan's
        variants, by the names that stand in their records.
        """
        self.plan, self.write, self.timing = plan, write, timing
        self.events = events or Events()
        self.lanes = lanes or {name: Lane(name) for name in plan.variants or variants()}
        self.names = list(self.lanes)
        self.records = {record.key: record for record in done}
        temporary.clear()
        self.opened = contextlib.ExitStack()
        self.table = self.opened.enter_context(stored(table))
        self.data = table.name if table is not None else None
        self.memory_limit = int(min(MEMORY_SHARE * available_bytes(), data_limit()))
        cached = not (timing and self.times_compilation)
        inherits = () if self.table is None else (self.table.file,)
        self.crew = Crew(plan, self.lanes, self.memory_limit, cached=cached, inherits=inherits)
        self.derived: dict[tuple, tuple[str, str]] = {}
        self.random = random.Random(plan.seed)
        self.forecast = Forecast(plan)
        for record in self.records.values():
            self.forecast.learn(record)
        self.sampling_s = plan.sampling_s
        self.roofs: dict[tuple[str, int], Roof] = {}
        self.rooflines: list[dict] = []  # each roof as measured, with `when`: "start" or "end"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.crew.close()
        self.opened.close()

    def run(self):
        """Do every cell that has variants left to do; returns the records of all, in the plan's order."""
        cells = self.plan.cells()
        missing = {cell: [v for v in self.names if (v, cell) not in self.records] for cell in cells}
        wanted = [name for name in self.names if any(name in names for names in missing.values())]
        unusable = {}
        if wanted:
            self.events.stage(f"starting {len(wanted)} workers")
            unusable = self.crew.start(wanted)
        settings = dict.fromkeys((cell.problem.dtype, cell.threads) for cell in cells if missing[cell])
        if any(self.crew.device[name] == "cuda" for name in wanted if name not in unusable):
            settings |= dict.fromkeys((dtype, "cuda") for dtype, _ in list(settings))
        if self.timing and self.measures_limit:
            self.roofs = self.measure_roofs(settings, "start")
        for place, cell in enumerate(cells):
            to_do = [(later, missing[later]) for later in cells[place:] if missing[later]]
            self.events.cell(place, self.forecast.remaining(to_do) if self.timing else None)
            if missing[cell]:
                runs = sum(len(names) for _, names in to_do)
                self.sampling_s = min(self.plan.sampling_s, BUDGET_FOR_SAMPLES * self.forecast.left() / runs)
                with self.forecast.watching(cell, missing[cell]):
                    self.measure(cell, missing[cell], unusable)
        if self.timing and self.measures_limit:
            self.measure_roofs(settings, "end")
        return [self.records[name, cell] for cell in cells for name in self.names]

    def measure_roofs(self, settings, when):
        """The machine's rates now, kept for the run's description as well."""
        roofs = self.crew.roofs(settings, self.events.stage)
        for (dtype, place), roof in roofs.items():
            at = {"device" if isinstance(place, str) else "threads": place}
            self.rooflines.append({"when": when, "dtype": dtype} | at | asdict(roof))
        return roofs

    def ask(self, run, do, *, allowance=0.0, **arguments):
        """A request to a run's worker, within what is left of the run's time-out."""
        start = clock.now()
        try:
            timeout = max(0.0, self.plan.timeout - run.spent_s) + allowance
            return self.crew.ask(run.lane, do, timeout=timeout, **arguments)
        finally:
            # what compilation took is not the cell's: only a step's own time counts against its limit
            run.spent_s += max(0.0, clock.now() - start - allowance)

    # --- one cell ---

    def measure(self, cell, names, unusable):
        """Bring one cell to its records."""
        runs = []
        for name in names:
            run = self.begun(name, cell)
            if name in unusable:
                self.finish(run, *unusable[name])
            elif reason := self.forecast.pruned(name, cell, timing=self.timing):
                self.finish(run, "pruned", reason)
            else:
                runs.append(run)
        order = self.each(runs, self.survey)
        if not order:
            return
        self.events.stage(f"{cell}: reference")
        self.random.shuffle(order)
        try:
            if self.judges:
                self.crew.judge("refer", problem=cell.problem, table=self.table)
        except ChildError as error:
            for run in order:
                self.finish(run, error.status, error.reason)
            return
        for group in self.groups(cell, order):
            self.measure_group(cell, group)

    def begun(self, name, cell):
        """A run of which nothing is known yet."""
        cls = variants()[self.lanes[name].variant]
        device = self.crew.device.get(name, str(cls.device))
        return Run(Record(variant=name, cell=cell, family=cls.family, device=device, data=self.data, status="ok"))

    def survey(self, run):
        """Ask the worker, for a plug-in may hang or crash in this too, whether its variant takes the cell."""
        self.crew.child(run.lane)  # started anew where it has died, which is not this cell's time
        found = self.ask(run, "survey", problem=run.cell.problem, regime=run.cell.regime)
        run.needs_bytes = found["needs_bytes"]
        reason = found["unsupported"] or self.too_large(run)
        if reason:
            self.finish(run, "unsupported", reason)
        return not reason

    def too_large(self, run):
        """Why a cell does not fit this memory beside the judge's copy of the batch, by the variant's model."""
        batch, needs = run.cell.problem.batch_bytes, run.needs_bytes
        room = self.memory_limit - WORKER_BYTES
        if max(batch + needs, 2 * batch) <= room:
            return ""
        return (
            f"X and y take {batch / 2**30:.2g} GiB and a step {needs / 2**30:.2g} GiB beyond; "
            f"a worker may take {max(0, room) / 2**30:.2g} GiB here"
        )

    def groups(self, cell, order):
        """The runs that are interleaved: all together, or each alone where memory holds no more."""
        together = sum(max(ARRAYS_LIKE_Z * array_bytes(cell.problem), run.needs_bytes) for run in order)
        if together <= MEMORY_SHARE * available_bytes():
            return [order]
        return [[run] for run in order]

    def measure_group(self, cell, runs):
        """Load, open, sample and close the runs of one cell."""
        runs = self.each(runs, self.request_load)
        runs = self.each(runs, self.load)
        for run in runs:
            run.learn(interleaved=len(runs))
        runs = self.each(runs, self.open)
        if self.timing:
            runs = self.each(runs, self.calibrate)
            sampled, active = [], runs
            while active:
                self.events.stage(f"{cell}: sampling {len(active)} variants")
                active = self.round(active)
                alive = self.each(active, self.sample)
                sampled += self.sated(alive)
                active = [run for run in alive if run not in sampled]
            runs = sampled
        runs = self.each(runs, self.look_again)
        if self.timing:
            runs = self.each(runs, self.close)
        for run in runs:
            self.finish(run, "ok", run.record.reason)

    def each(self, runs, stage):
        """Take every run through a stage; those that got through. A failure writes the run's record."""
        through = []
        for run in runs:
            try:
                if stage(run):
                    through.append(run)
            except ChildError as error:
                self.finish(run, error.status, error.reason)
        return through

    def request_load(self, run):
        """Let a worker begin to sample its batch, beside the others."""
        limit = MEMORY_BASE + ARRAYS_ALLOWED * array_bytes(run.cell.problem) + 2 * run.needs_bytes
        self.crew.child(run.lane).send(
            "load", problem=run.cell.problem, table=self.table, memory_limit=min(self.memory_limit, limit)
        )
        return True

    def load(self, run):
        """Wait for the batch."""
        self.crew.receive(run.lane, "load", timeout=self.patience(run))
        return True

    def patience(self, run):
        """Seconds in which a worker must have sampled its batch, or looked through it, while all others do."""
        return START_S + len(self.names) * run.cell.problem.batch_bytes / SAMPLED_BYTES_S

    def open(self, run):
        """Prepare and first step with other parameters, a step with the cell's; verdicts; the derivation check."""
        self.events.stage(f"{run.cell}: {run.lane}")
        cell, problem, allowance = run.cell, run.cell.problem, self.crew.allowance_s[run.lane]
        opened = self.ask(run, "open", allowance=allowance, problem=problem, regime=cell.regime, threads=cell.threads)
        reloaded = self.ask(run, "reload", allowance=allowance)
        run.learn(**{name: opened[name] for name in ("prepare_s", "first_step_s", "threads_in_force")})
        run.learn(details=reloaded["details"] | ({"tf32": "allowed"} if self.tf32(run) else {}))
        if self.timing and self.times_compilation:
            run.learn(kernels=reloaded["kernels"])
        if not self.judges:
            return True
        first, verdict = self.verdict(run, PREPARED, opened["answer"]), self.verdict(run, LOADED, reloaded["answer"])
        told = verdict if first.valid else first
        run.learn(errors=told.errors, max_error_ratio=told.max_error_ratio)
        reason, not_tried = self.derivation(run)
        reason = reason or told.reason
        if reason:
            self.finish(run, "invalid", reason)
            return False
        run.learn(reason="; ".join(filter(None, (verdict.caution, not_tried))))
        return True

    def verdict(self, run, stage, answer):
        """The judge's verdict on an answer of a run's."""
        problem, tf32 = run.cell.problem, self.tf32(run)
        return self.crew.judge("judge", answer=answer, problem=problem, table=self.table, stage=stage, tf32=tf32)

    def tf32(self, run):
        """Whether a run's products may round to TF32."""
        return self.plan.tf32 and run.cell.problem.dtype == "float32" and self.crew.device.get(run.lane) == "cuda"

    def derivation(self, run):
        """The reason why a variant fails the derivation check of its setting, or ""; and what of it was not tried."""
        problem = run.cell.problem
        conventions = problem.activation, problem.normalization, problem.ddof, problem.eps
        key = (run.lane, *conventions, run.cell.regime)
        if key not in self.derived:
            answers = self.crew.ask(
                run.lane,
                "derive",
                timeout=DERIVATIONS * self.plan.timeout + self.crew.allowance_s[run.lane],
                problem=problem,
                regime=run.cell.regime,
                held=self.plan.held,
            )
            self.derived[key] = self.crew.judge("derive", problem=problem, held=self.plan.held, answers=answers)
        return self.derived[key]

    def calibrate(self, run):
        """How many steps a sample holds; a run whose samples would overrun the time-out ends here."""
        found = self.ask(run, "calibrate", processors=self.processors(run.cell))
        run.step_s = found["step_s"]
        run.samples = [Sample(*sample) for sample in found["samples"] if isinstance(sample, tuple)]
        run.learn(inner_loops=found["inner_loops"])
        need = run.spent_s + (MIN_SAMPLES - len(run.samples)) * run.step_s
        if need > self.plan.timeout:
            reason = f"a step takes {run.step_s:.2g} s; with {MIN_SAMPLES} samples it would take {need:.2g} s"
            self.finish(run, "pruned", f"{reason}, more than the time-out of {self.plan.timeout:g} s")
            return False
        return True

    def processors(self, cell):
        """The processors to which the workers of a cell are held; None for all."""
        return None

    def sample(self, run):
        """One sample."""
        start = clock.now()
        loops = run.record.inner_loops
        patience = SLOWER * MIN_SAMPLES * loops * run.step_s  # a run let in may find a noisy machine
        run.samples.append(Sample(*self.ask(run, "sample", allowance=patience, inner_loops=loops, step_s=run.step_s)))
        run.sampling_s += clock.now() - start
        self.events.sample(run.lane, run.samples[-1].step_s)
        return True

    def round(self, runs):
        """The order in which runs get their next sample: one of its own each time, so that drift hits all alike."""
        return self.random.sample(runs, len(runs))

    def sated(self, runs):
        """Those that have enough."""
        return [run for run in runs if self.enough(run)]

    def enough(self, run):
        """Whether a run needs no more samples, or has no time for more."""
        if run.done:
            return True
        over = run.sampling_s >= self.sampling_s or run.spent_s + 2 * run.step_s > self.plan.timeout
        return over and len(run.samples) >= MIN_SAMPLES

    def look_again(self, run):
        """Judge the last step that was made, and see whether X, y and the parameters are what they were."""
        again = self.crew.ask(run.lane, "look_again", timeout=self.plan.timeout + self.patience(run))
        reason = ""
        if again["changed"]:
            reason = f"it writes to {again['changed']}, which it may only read"
        elif self.judges:
            verdict = self.verdict(run, TIMED, again["answer"])
            if not verdict.valid:
                run.learn(errors=verdict.errors, max_error_ratio=verdict.max_error_ratio)
                reason = verdict.reason
        if reason:
            self.finish(run, "invalid", reason)
        return not reason

    def close(self, run):
        """The device's own times, where there is one; the peak of memory; the worker lets go of the cell."""
        if self.crew.device.get(run.lane, "cpu") != "cpu" and not self.device_times(run):
            return True
        run.learn(**self.ask(run, "close", allowance=1.0))
        return True

    def device_times(self, run):
        """Times of copies and from a cold cache; whether the worker lives. A failure costs these columns alone."""
        try:
            timeout = DEVICE_TIMES_S + DEVICE_TIMES_STEPS * run.step_s
            run.learn(**self.crew.ask(run.lane, "device_times", timeout=timeout))
            if why := run.record.clocks.get("after", {}).get("held_down"):
                run.learn(details=run.record.details | {"clocks": f"held down by {why}"})
        except ChildError as error:
            run.learn(details=run.record.details | {"device times": error.reason})
        return self.crew.children[run.lane].alive

    def finish(self, run, status, reason):
        """Write the record of a run."""
        if status == "ok" and self.timing:
            self.conclude(run)
        ended = run.record.having(status=status, reason=reason)
        try:
            ended = Record.of(ended.row())
        except ValueError as error:  # a plug-in's own clock may say anything
            known = self.begun(run.lane, run.cell).record
            ended = known.having(status="failed", reason=f"what was measured cannot be: {error}")
        record = self.write(ended)
        self.records[record.key] = record
        self.forecast.learn(record)
        self.events.record(record)

    def conclude(self, run):
        """Take up the samples with their accounts, and what follows from the median."""
        accounts = [sample.accounts for sample in run.samples]
        total = sum(accounts, Interference())
        run.learn(
            samples_s=tuple(sample.step_s for sample in run.samples),
            switches=tuple(found.switches for found in accounts),
            faults=tuple(found.faults for found in accounts),
            elapsed_s=total.elapsed_s,
            stolen_s=total.stolen_s,
            others_s=total.others_s,
        )
        record, roof_of = run.record, run.cell.threads if run.record.device == "cpu" else run.record.device
        if record.kernels is not None:
            memory = (record.peak_bytes or 0) - (record.baseline_bytes or 0)
            least = least_excess_s(record.median_s, memory)
            if START in record.kernels:  # the functions are Numba's: of what is left, little is compiling
                least = max(least, UNKNOWN_SHARE * record.kernels_s)
            excess = record.first_step_s - record.median_s
            run.learn(compile_s=record.kernels_s + (excess if excess >= least else 0.0))
        if roof := self.roofs.get((run.cell.problem.dtype, roof_of)):
            run.learn(limit_s=limit_s(run.cell.problem, roof), **asdict(roof))


def array_bytes(problem) -> int:
    """Bytes of X, y and Z."""
    return problem.batch_bytes * (problem.p1 + problem.p2 + 1) // (problem.p1 + 1)

"""One variant at one cell: what its worker and the judge have said so far, and the record that is built from it."""

import math
from dataclasses import asdict, dataclass, field

from bnbench.compiling import START
from bnbench.measure.excess import least_excess_s
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.protocol import Calibration, Closed, DeviceTimes, Opened, Reloaded
from bnbench.measure.roofline import Roof, limit_s
from bnbench.measure.statistics import median_interval
from bnbench.record import Cell, Record
from bnbench.validation import Verdict

PILOT_SAMPLES = 10
MAX_SAMPLES = 100
TIGHT = 0.01  # half an interval over its median that is asked for
UNKNOWN_SHARE = 0.1  # of what Numba's functions took to compile: a first step's excess below it is none of theirs


@dataclass(eq=False)
class Measurement:
    """What is known of one lane at one cell while it is measured; most lanes are called as their variant is.

    Attributes:
        lane: the name of its worker, which the record has as its variant.
        blank: the record without anything measured.
        needs_bytes: beyond X and y, by the variant's own model.
        verdict: that on which validity rests.
        caution: what has to be said beside a valid answer.
        remarks: what is said beside the variant's own `details`.
        held: whether its worker is held to as many processors as it has threads.
        spent_s: of its time-out; sampling_s: of it, for samples.
    """

    lane: str
    cell: Cell
    blank: Record
    needs_bytes: int = 0
    interleaved: int | None = None
    opened: Opened | None = None
    reloaded: Reloaded | None = None
    verdict: Verdict | None = None
    caution: str = ""
    calibration: Calibration | None = None
    held: bool | None = None
    samples: list[Sample] = field(default_factory=list)
    device_times: DeviceTimes | None = None
    closed: Closed | None = None
    remarks: tuple[tuple[str, str], ...] = ()
    spent_s: float = 0.0
    sampling_s: float = 0.0

    @property
    def step_s(self) -> float:
        """A step's time as calibrated; infinite before."""
        return math.inf if self.calibration is None else self.calibration.step_s

    @property
    def tight(self) -> bool:
        """Whether there are as many samples as a tight interval takes, predicted from the first few.

        To look at the interval after each sample, and to stop where it happens to be narrow, would leave intervals of
        95 % that hold the median in 90 % (Stein, Annals of Mathematical Statistics 16 (1945) 243-258).
        """
        if len(self.samples) < PILOT_SAMPLES:
            return False
        median, low, high = median_interval([sample.step_s for sample in self.samples[:PILOT_SAMPLES]])
        return len(self.samples) >= min(MAX_SAMPLES, PILOT_SAMPLES * ((high - low) / 2 / (TIGHT * median)) ** 2)

    def record(self, status: str, reason: str, *, compilation: bool = False, roof: Roof | None = None) -> Record:
        """The record of how it ended.

        Args:
            status, reason: as the record has them; only an ok has samples.
            compilation: whether what compiling took is known.
            roof: the machine's rates, where they were measured.

        Raises:
            ValueError: what was measured cannot be: a plug-in's own clock may say anything.
        """
        ended = self.blank.having(status=status, reason=reason, interleaved=self.interleaved)
        if self.opened is not None and self.reloaded is not None:
            ended = ended.having(
                prepare_s=self.opened.prepare_s,
                first_step_s=self.opened.first_step_s,
                threads_in_force=self.opened.threads_in_force,
                details=self.reloaded.details | dict(self.remarks),
                kernels=self.reloaded.kernels if compilation else None,
            )
        if self.verdict is not None:
            ended = ended.having(errors=self.verdict.errors, max_error_ratio=self.verdict.max_error_ratio)
        if self.calibration is not None:
            ended = ended.having(inner_loops=self.calibration.inner_loops, held=self.held)
        if self.device_times is not None:
            times = self.device_times
            ended = ended.having(
                cold_s=times.cold_s,
                host_to_device_s=times.host_to_device_s,
                end_to_end_s=times.end_to_end_s,
                clocks=times.clocks,
            )
        if self.closed is not None:
            ended = ended.having(
                peak_bytes=self.closed.peak_bytes,
                baseline_bytes=self.closed.baseline_bytes,
                clock_mhz=self.closed.clock_mhz,
            )
        if status == "ok" and self.samples:
            ended = under(roof, with_compiling(self.sampled(ended)))
        return Record.of(ended.row())

    def sampled(self, record: Record) -> Record:
        """A record with the samples, and the accounts of what came in between."""
        accounts = [sample.accounts for sample in self.samples]
        total = sum(accounts, Interference())
        return record.having(
            samples_s=tuple(sample.step_s for sample in self.samples),
            switches=tuple(each.switches for each in accounts),
            faults=tuple(each.faults for each in accounts),
            elapsed_s=total.elapsed_s,
            stolen_s=total.stolen_s,
            others_s=total.others_s,
        )


def with_compiling(record: Record) -> Record:
    """A timed record with `compile_s`, where compiling was accounted for.

    To the functions that Numba compiled comes what the first step took beyond a steady one, where that is too much to
    be warming up.
    """
    if record.kernels is None or record.first_step_s is None:
        return record
    memory = (record.peak_bytes or 0) - (record.baseline_bytes or 0)
    least = least_excess_s(record.median_s, memory)
    if START in record.kernels:  # the functions are Numba's: of what is left, little is compiling
        least = max(least, UNKNOWN_SHARE * record.kernels_s)
    excess = record.first_step_s - record.median_s
    return record.having(compile_s=record.kernels_s + (excess if excess >= least else 0.0))


def under(roof: Roof | None, record: Record) -> Record:
    """A record under the machine's rates, where they are known."""
    return record if roof is None else record.having(limit_s=limit_s(record.cell.problem, roof), **asdict(roof))

"""In which order the workers at a cell give their samples, and when they have given enough."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bnbench.measure.interference import Sample
from bnbench.measure.measurement import Measurement
from bnbench.measure.protocol import Calibration
from bnbench.measure.statistics import MIN_SAMPLES


@dataclass(frozen=True)
class Limits:
    """Seconds that one measurement may take: for its samples, and in all."""

    sampling_s: float
    timeout: float

    def over(self, measurement: Measurement) -> bool:
        """Whether there is no time for another sample."""
        return (
            measurement.sampling_s >= self.sampling_s or measurement.spent_s + 2 * measurement.step_s > self.timeout
        )


class Rounds(Protocol):
    """How the measurements of a cell are sampled: `Singly`, or in `Pairs`."""

    def groups(self, measurements: list[Measurement], *, fit: bool) -> list[list[Measurement]]:
        """Those that are interleaved with each other; fit says whether memory holds all at once."""

    def first_samples(self, calibration: Calibration) -> list[Sample]:
        """What of a calibration counts as samples."""

    def round(self, measurements: list[Measurement], random: random.Random) -> list[Measurement]:
        """The order of the next sample of each."""

    def sated(self, measurements: list[Measurement], limits: Limits) -> list[Measurement]:
        """Those that have enough, or no time for more."""


class Singly:
    """Every variant by itself, until its interval is tight: a sweep."""

    def groups(self, measurements: list[Measurement], *, fit: bool) -> list[list[Measurement]]:
        """All together, or each alone."""
        return [measurements] if fit else [[each] for each in measurements]

    def first_samples(self, calibration: Calibration) -> list[Sample]:
        """Those that have accounts."""
        return [sample for sample in calibration.samples if isinstance(sample, Sample)]

    def round(self, measurements: list[Measurement], random: random.Random) -> list[Measurement]:
        """A new order each time, so that drift hits all alike."""
        return random.sample(measurements, len(measurements))

    def sated(self, measurements: list[Measurement], limits: Limits) -> list[Measurement]:
        """Those whose interval is tight, and those out of time, with the least number of samples."""
        return [
            each for each in measurements if each.tight or (limits.over(each) and len(each.samples) >= MIN_SAMPLES)
        ]


@dataclass(frozen=True)
class Pairs:
    """Two lanes of each variant, one right after the other and with as many samples: `compare --interleaved`.

    Attributes:
        variant_of: the variant of each lane.
        rounds: how many; least: how many where time is short.
    """

    variant_of: Mapping[str, str]
    rounds: int
    least: int

    def pairs(self, measurements: Sequence[Measurement]) -> list[list[Measurement]]:
        """The measurements by variant, in the order of the first of each."""
        names = dict.fromkeys(self.variant_of[each.lane] for each in measurements)
        return [[each for each in measurements if self.variant_of[each.lane] == name] for name in names]

    def groups(self, measurements: list[Measurement], *, fit: bool) -> list[list[Measurement]]:
        """All together, or pair by pair."""
        return [measurements] if fit else self.pairs(measurements)

    def first_samples(self, calibration: Calibration) -> list[Sample]:
        """None: what calibration timed has no counterpart."""
        return []

    def round(self, measurements: list[Measurement], random: random.Random) -> list[Measurement]:
        """Pairs in random order, and each in random order."""
        return list(itertools.chain(*self.pairs(random.sample(measurements, len(measurements)))))

    def sated(self, measurements: list[Measurement], limits: Limits) -> list[Measurement]:
        """Both of a pair where one has enough."""
        enough = {
            self.variant_of[each.lane]
            for each in measurements
            if len(each.samples) >= (self.least if limits.over(each) else self.rounds)
        }
        return [each for each in measurements if self.variant_of[each.lane] in enough]

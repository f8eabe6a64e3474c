"""In which order the workers at a cell give their samples, and when they have given enough."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bnbench.measure.interference import Sample
from bnbench.measure.measurement import Measurement
from bnbench.measure.protocol import Calibration, sample
from bnbench.measure.statistics import MIN_SAMPLES


@dataclass(frozen=True)
class Limits:
    """Seconds that one measurement may take: for its samples, and in all."""

    sampling_s: float
    timeout: float

    def over(self, measurement: Measurement) -> bool:
        """Whether there is no time for another sample."""
        late = measurement.spent_s + 2 * measurement.step_s > self.timeout
        return late or measurement.sampling_s >= self.sampling_s

    def shared(self, group: Sequence[Measurement]) -> "Limits":
        """Where those of a group that need no more samples leave their time to the others."""
        wide = [each for each in group if not each.tight]
        used = sum(each.sampling_s for each in group if each.tight)
        return replace(self, sampling_s=(self.sampling_s * len(group) - used) / max(1, len(wide)))


class Rounds(Protocol):
    """How the measurements of a cell are sampled: `Singly`, or in `Pairs`."""

    def groups(self, measurements: list[Measurement], *, fit: bool) -> list[list[Measurement]]:
        """Those that are interleaved with each other; fit says whether memory holds all at once."""

    def first_samples(self, calibration: Calibration) -> list[Sample]:
        """What of a calibration counts as samples."""

    def turn(self, group: list[Measurement], limits: Limits, random: random.Random) -> list[Measurement]:
        """Those of a group that give a sample now, in this order; none where all have enough."""


class Singly:
    """Every variant by itself, until its interval is tight: a sweep. Time is spent where intervals are wide."""

    def groups(self, measurements: list[Measurement], *, fit: bool) -> list[list[Measurement]]:
        """All together, or each alone."""
        return [measurements] if fit else [[each] for each in measurements]

    def first_samples(self, calibration: Calibration) -> list[Sample]:
        """Those that have accounts."""
        return [sample(each) for each in calibration.samples if isinstance(each, tuple)]

    def turn(self, group: list[Measurement], limits: Limits, random: random.Random) -> list[Measurement]:
        """Those whose interval is wide, while there is time: in a new order each time, so that drift hits all alike."""
        shared = limits.shared(group)
        wide = [each for each in group if not each.tight and (not shared.over(each) or len(each.samples) < MIN_SAMPLES)]
        return random.sample(wide, len(wide))


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

    def turn(self, group: list[Measurement], limits: Limits, random: random.Random) -> list[Measurement]:
        """Pairs in random order, and each in random order, but for those of which one has enough."""
        enough = {
            self.variant_of[each.lane]
            for each in group
            if len(each.samples) >= (self.least if limits.over(each) else self.rounds)
        }
        hungry = [each for each in group if self.variant_of[each.lane] not in enough]
        return list(itertools.chain(*self.pairs(random.sample(hungry, len(hungry)))))

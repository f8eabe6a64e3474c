"""The commit that made a variant slower: a search over commits in their order, of which some cannot be measured.

Each is measured side by side with the first, good one. What counts is the variant's time over the good one's, and over
what the same ratio is of the controls, pass by pass.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnbench.compare.verdicts import key, pass_ratios
from bnbench.measure.statistics import mean_shift
from bnbench.record import Record

GOOD, BAD, SKIPPED = "good", "bad", "skipped"


@dataclass(frozen=True)
class Tried:
    """What measuring one commit against the first, good one said.

    Attributes:
        slowdown: its time over the good one's, of what became slower, with its 95 % interval; None where it could not
            be measured, for `reason`.
    """

    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def slowdown(old: Sequence[Record], new: Sequence[Record], variant: str, controls: Sequence[str]) -> Tried:
    """By how much a variant is slower at the cells of two sides measured together, controls apart."""
    before = {key(record): record for record in old}
    pairs = [(before[key(record)], record) for record in new if key(record) in before]
    bad = [each for pair in pairs for each in pair if each.variant == variant and each.status != "ok"]
    if bad:
        return Tried(reason=f"{bad[0].status} at {bad[0].cell}: {bad[0].reason}")
    timed = [(pair[1].variant, pass_ratios(*pair)) for pair in pairs if all(each.timed for each in pair)]
    own = np.mean([ratios for name, ratios in timed if name == variant], axis=0)
    beside = [ratios for name, ratios in timed if name in controls and name != variant]
    found = mean_shift(own - (np.median(beside, axis=0) if beside else 0.0))
    return Tried(math.exp(found.estimate), math.exp(found.low), math.exp(found.high))


@dataclass
class Search:
    """A bisection over commits after a good one, the last of which is bad.

    Attributes:
        commits: in their order; the last is known to be bad, by `worst`.
        worst: the slowdown at the last.
        found: by commit, whether it is `GOOD`, `BAD` or `SKIPPED`.
    """

    commits: Sequence[str]
    worst: float
    found: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.found[self.commits[-1]] = BAD

    @property
    def candidates(self) -> list[str]:
        """The commits of which one made it slower: after the last good one, up to the first bad one."""
        first_bad = next(place for place, commit in enumerate(self.commits) if self.found.get(commit) == BAD)
        good = [place for place in range(first_bad) if self.found.get(self.commits[place]) == GOOD]
        return list(self.commits[max(good, default=-1) + 1 : first_bad + 1])

    def following(self) -> str | None:
        """The commit to be measured next: the one nearest to the middle that was not tried; None where all were."""
        open_ = self.candidates[:-1]
        untried = [place for place, commit in enumerate(open_) if commit not in self.found]
        middle = (len(open_) - 1) / 2
        return open_[min(untried, key=lambda place: abs(place - middle))] if untried else None

    def take(self, commit: str, tried: Tried) -> str:
        """Take up what was found of a commit: bad is what has more than half of the slowdown, by its logarithm."""
        if tried.slowdown is None:
            self.found[commit] = SKIPPED
        else:
            self.found[commit] = BAD if math.log(tried.slowdown) > math.log(self.worst) / 2 else GOOD
        return self.found[commit]

    def run(self, measure: Callable[[str], Tried]) -> list[str]:
        """Measure commits until one is left, or none that can be measured; these."""
        while commit := self.following():
            self.take(commit, measure(commit))
        return self.candidates

"""A ruling on a claim, and the comparison of claimed values with enclosures of the true ones."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

from bnbench.proof.source import claims

HOLDS, WRONG, VACUOUS = "holds", "wrong", "vacuous"
DIGITS = 12  # of the numbers shown
BITS = 512


@dataclass(frozen=True)
class Evidence:
    """A claimed value beside the enclosure of the true one.

    Attributes:
        what: a phrase that says which values these are.
        claimed, true: arrays of balls, of one shape; a printed figure's ball holds all that rounds to it.
    """

    what: str
    claimed: np.ndarray
    true: np.ndarray

    @property
    def apart(self) -> np.ndarray:
        """Which entries are proven different: the two balls share no point."""
        pairs = zip(self.claimed.flat, self.true.flat, strict=True)
        return np.array([not c.overlaps(t) for c, t in pairs]).reshape(self.true.shape)

    @property
    def proven_wrong(self) -> bool:
        """Whether any entry is proven different."""
        return bool(self.apart.any())

    @property
    def distances(self) -> np.ndarray:
        """|claimed - true| of each entry, from below: no pair of points of the two balls is nearer."""
        with ctx.workprec(BITS):
            pairs = zip(self.claimed.flat, self.true.flat, strict=True)
            return np.array([float(abs(c - t).abs_lower()) for c, t in pairs]).reshape(self.true.shape)

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the entry that is furthest off."""
        return tuple(int(i) for i in np.unravel_index(np.argmax(self.distances), self.true.shape))

    @property
    def radius(self) -> float:
        """The widest enclosure's radius over the largest true entry."""
        largest = max(float(abs(t).mid()) for t in self.true.flat)
        return max(float(t.rad()) for t in self.true.flat) / (largest or 1.0)

    def plain(self) -> dict[str, Any]:
        """As JSON has it: every number as text, true ones as [midpoint +/- radius]."""
        return {
            "what": self.what,
            "entries": self.true.size,
            "entries_proven_different": int(self.apart.sum()),
            "worst_entry": list(self.worst),
            "claimed": shown(self.claimed[self.worst]),
            "true": self.true[self.worst].str(30),
            "distance": float(self.distances[self.worst]),
            "enclosure_radius": self.radius,
            "all_claimed": np.vectorize(shown, otypes=[object])(self.claimed).tolist(),
            "all_true": np.vectorize(lambda ball: ball.str(30), otypes=[object])(self.true).tolist(),
        }


@dataclass(frozen=True)
class Ruling:
    """One claim, ruled on.

    Attributes:
        id: the claim's name.
        claim: what it says.
        ruling: "holds", "wrong" or "vacuous" (a check that could not have failed).
        reason: one sentence.
        evidence: what the ruling rests on; where it is "wrong" and numbers are claimed, the first that is apart
            proves it.
        trials: random problems on which the claim agreed with the certified gradient; 0 where none were needed.
        derivation: the section of `derivation.md` with the proof, or where the claim departs from it.
    """

    id: str
    claim: str
    ruling: str
    reason: str
    evidence: tuple[Evidence, ...]
    trials: int
    derivation: str

    def plain(self) -> dict[str, Any]:
        """The ruling as JSON has it."""
        keep = ("id", "claim", "ruling", "reason", "trials", "derivation")
        fields = {name: getattr(self, name) for name in keep} | {"theorems": list(self.theorems)}
        return fields | {"evidence": [e.plain() for e in self.evidence]}

    @property
    def theorems(self) -> tuple[str, ...]:
        """The theorems of `bnbench/proof` that back the ruling, as `File.theorem`."""
        return claims()[self.id]


def shown(ball: Any, digits: int = DIGITS) -> str:
    """A ball's midpoint with that many digits."""
    return ball.mid().str(digits, radius=False)


def printed(texts: Any) -> np.ndarray:
    """The balls of printed figures: each holds the numbers that round to it, half a unit of its last digit around."""
    texts = np.array(texts, object)
    return np.vectorize(_figure, otypes=[object])(texts)


def _figure(text: str) -> arb:
    sign, digits, exponent = Decimal(text).as_tuple()
    places = int(exponent)  # of a finite number it is one
    with ctx.workprec(BITS):
        unit = arb(fmpq(10) ** places)
        value = int("".join(map(str, digits))) * (-1 if sign else 1)
        return arb(value * unit, (unit / 2).upper())

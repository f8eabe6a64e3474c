"""What a chunk of rows answers with, and how the answers of many are merged: `Sums`, `merge`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from bnbench.problem import Layer, Theta

BRANCHES = 8  # answers that a node of the tree merges


@dataclass(frozen=True)
class Sums:
    """What some rows answer with to one phase of a step; in float64, and None where the phase does not ask for it.

    Letters are those of `bnbench docs gradient`. The loss and the gradients are sums over rows, not yet divided by N.

    Attributes:
        count: the rows.
        mean: (p_in,) x̄, the mean of X, or of A where it is the input of an inner layer.
        C: (p1,p1) Σ(x - x̄)(x - x̄)ᵀ.
        mu: (p_out,) the mean of a layer's Z; less Γᵀ shift, where the phase has a shift.
        squares: (p_out,) Σ(z - μ)².
        V: (p_in,p_out) Σ(x - x̄)(z - μ)ᵀ, which is CΓ.
        largest: (p1,) the largest |X_ik| of each column.
        loss: Σℓ.
        gradient: of the layers that the phase reaches Γ (shift taken off their input, and of the lowest without the
            terms through μ and s), γ and β; and of Γ_out and δ.
        by_unit: sums over the rows of each unit (U,), by name.
    """

    count: int
    mean: Any = None
    C: Any = None
    mu: Any = None
    squares: Any = None
    V: Any = None
    largest: Any = None
    loss: float | None = None
    gradient: Theta | None = None
    by_unit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers."""
        return sum(array.nbytes for array in _arrays([getattr(self, one.name) for one in fields(self)]))

    def joined(self, other: Sums) -> Sums:
        """The sums over the rows of both (Chan, Golub & LeVeque 1983)."""
        count = self.count + other.count
        share, weight = other.count / count, self.count / count * other.count
        found: dict[str, Any] = {"count": count}
        steps = {}
        for name in ("mean", "mu"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine is not None:
                steps[name] = its - mine
                found[name] = mine + steps[name] * share
        for name, (of_rows, of_columns) in {"C": ("mean", "mean"), "V": ("mean", "mu")}.items():
            mine, its = getattr(self, name), getattr(other, name)
            if mine is not None:
                found[name] = mine + its + np.multiply.outer(steps[of_rows] * weight, steps[of_columns])
        if self.squares is not None:
            found["squares"] = self.squares + other.squares + steps["mu"] * steps["mu"] * weight
        if self.largest is not None:
            found["largest"] = np.maximum(self.largest, other.largest)
        if self.loss is not None and other.loss is not None:
            found["loss"] = self.loss + other.loss
        found["gradient"] = _added(self.gradient, other.gradient)
        found["by_unit"] = {name: part + other.by_unit[name] for name, part in self.by_unit.items()}
        return Sums(**found)


def merge(answers: Iterable[Sums]) -> Sums:
    """The sums over the rows of all, in a tree that their number alone fixes: eight by eight, in their order.

    So it makes no difference to a bit of the result whether all are merged at once or, level by level, eight at a time.

    Raises:
        ValueError: there are none.
    """
    level = list(answers)
    if not level:
        raise ValueError("there are no sums to merge; allowed is at least one chunk of rows")
    while len(level) > 1:
        level = [merged(level[start : start + BRANCHES]) for start in range(0, len(level), BRANCHES)]
    return level[0]


def merged(answers: list[Sums]) -> Sums:
    """One node of the tree: its answers, one after the other."""
    whole, *rest = answers
    for one in rest:
        whole = whole.joined(one)
    return whole


def _added(one: Any, other: Any) -> Any:
    """The sum of two parts of a gradient, array by array; None of None."""
    if one is None:
        return None
    if isinstance(one, Theta | Layer):
        return type(one)(*map(_added, one, other))
    if isinstance(one, tuple):
        return tuple(map(_added, one, other))
    return one + other


def _arrays(parts: Any) -> Iterable[np.ndarray]:
    """The arrays in tuples, lists and mappings."""
    for part in parts.values() if isinstance(parts, Mapping) else parts:
        if isinstance(part, np.ndarray):
            yield part
        elif isinstance(part, tuple | list | Mapping):
            yield from _arrays(part)

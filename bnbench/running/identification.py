"""Whose convention running statistics follow: the conventions that reproduce them from the batches.

An exponential average of K batches is E = a^K·start + (1-a) Σ_k a^(K-k)·(mean_k, var_k), where a is the weight that the
old statistics keep. For each rule (the biased or the unbiased variance) a is first tried at every framework's default,
and then solved for by least squares from several points. What "reproduces" means is set by rounding alone.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bnbench import arrays, notebook
from bnbench.running.average import batch_of, check_momentum, pair_of
from bnbench.running.conventions import BATCHES, CONVENTIONS, EXPONENTIAL, REFUSED, ROWS, Convention
from bnbench.running.moments import Moments

ROUNDINGS = 32  # units in the last place that numbers may be off: of the frameworks tested, none is off by more than 4
SAME_MOMENTUM = 1e-6  # by which a momentum that is kept as float32 is off
GRID = np.r_[0.0, 1 / (1 + np.exp(-np.linspace(-18, 18, 361))), 1.0]  # of a, dense at both ends
COLUMNS = 64  # by which a is estimated; all are then checked
DEPARTURES, NEWTON = 8, 40  # points that least squares starts from, and its steps
NEAREST = 3  # rules that are shown where none fits
FAST, FAST_ROUNDINGS = "E[x²] - E[x]²", 4  # in units of the last place of x²


@dataclass(frozen=True)
class Fit:
    """A convention, with the momentum and start by which it comes nearest to the numbers.

    Attributes:
        name: of the convention.
        momentum: as the framework's argument, or None where it has none.
        start: (mean, variance), numbers or (p,), or None where it has none.
        origin: of momentum and of start: "default", "given", "estimated", or "" where there is none.
        error: the largest difference to the numbers, over what rounding allows: at most 1 where it reproduces them.
        of_mean, of_var: the largest relative difference of the mean (to the batches' sd) and of the variance.
    """

    name: str
    momentum: float | None
    start: tuple[Any, Any] | None
    origin: tuple[str, str]
    error: float
    of_mean: float
    of_var: float

    def plain(self) -> dict[str, Any]:
        """The fit as plain data for JSON."""
        start = None if self.start is None else [np.asarray(part).tolist() for part in self.start]
        return {
            "name": self.name, "momentum": self.momentum, "momentum_is": self.origin[0], "start": start,
            "start_is": self.origin[1], "error": self.error, "error_of_mean": self.of_mean, "error_of_var": self.of_var,
        }  # fmt: skip

    def __str__(self) -> str:
        words = []
        for name, value, origin in zip(("momentum", "start"), (self.momentum, self.start), self.origin, strict=True):
            if value is not None:
                parts = value if isinstance(value, tuple) else (value,)
                shown = " and ".join(f"{part:.10g}" if np.ndim(part) == 0 else "an array" for part in parts)
                words.append(f"{name} {shown} ({'its default' if origin == 'default' else origin})")
        return f"{self.name:<18} {', '.join(words) or 'it has no momentum and no start'}"

    @property
    def rule(self) -> str:
        """How the numbers are made, which conventions may have in common."""
        held = CONVENTIONS[self.name]
        made = {BATCHES: "the mean over batches", ROWS: "all rows pooled"}.get(held.weights)
        if made is None:
            weight = held.batch_weight(self.momentum or 0.0)
            made = f"new = {1 - weight:.10g}·old + {weight:.10g}·batch"
        return f"{made}, variances over {held.divisor}"


@dataclass(frozen=True)
class Identification:
    """Which conventions reproduce running statistics.

    Attributes:
        fits: those that do, best first: defaults before estimates, and these by how few digits the momentum has.
        nearest: where there is none, those that come nearest.
        remarks: what cannot be told apart, and why.
    """

    fits: tuple[Fit, ...]
    nearest: tuple[Fit, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the conventions that reproduce the numbers, best first; empty where none does."""
        return [fit.name for fit in self.fits]

    def plain(self) -> dict[str, Any]:
        """The answer as plain data for JSON."""
        return {
            "names": self.names, "fits": [fit.plain() for fit in self.fits],
            "nearest": [fit.plain() for fit in self.nearest], "remarks": list(self.remarks),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """In a notebook: the conventions that reproduce the numbers, or come nearest, and the rule of each."""
        first = str(self).split("\n")[0]
        rows = [(fit.name, str(fit).removeprefix(fit.name).strip(), fit.rule) for fit in self.fits or self.nearest]
        return notebook.table(first, ("convention", "with", "rule"), rows, self.remarks)

    def __str__(self) -> str:
        if self.fits:
            lines = [f"these are the running statistics of {' or '.join(self.names)}"]
            for rule, fits in itertools.groupby(self.fits, lambda fit: fit.rule):
                lines += [*map(str, fits), f"{'':<18} {rule}"]
        else:
            lines = ["no convention that is known reproduces these running statistics; nearest are"]
            for fit in self.nearest:
                off = f"off by {fit.of_mean:.2g} sd in the mean, by {fit.of_var:.2g} of itself in the variance"
                lines += [str(fit), f"{'':<18} {fit.rule}", f"{'':<18} {off}"]
        return "\n  ".join([*lines, *self.remarks])


class Batches(NamedTuple):
    """What is known of K batches of p columns: rows (K,), mean (K,p), spread (K,p), and the largest |z| (p,)."""

    rows: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    largest: np.ndarray

    def var(self, ddof: int) -> np.ndarray:
        """The batches' variances (K,p)."""
        return self.spread / np.maximum(self.rows - ddof, 1)[:, None]


class Target(NamedTuple):
    """Given numbers (2,p), mean and variance; what rounding allows them to be off; and their size, sd and variance."""

    numbers: np.ndarray
    room: np.ndarray
    size: np.ndarray

    def off(self, computed: np.ndarray) -> float:
        """The largest difference of computed numbers, over what rounding allows."""
        return float((abs(computed - self.numbers) / self.room).max())


def identify(batches: Any, mean: Any, var: Any, *, momentum: float | None = None, start: Any = None) -> Identification:
    """Say by which conventions running statistics were made of batches.

    Args:
        batches: those that training saw, in their order, as (m,p) arrays: what the layer normalises, before γ and β.
        mean: (p,) running mean.
        var: (p,) running variance.
        momentum: as the framework's argument, where it is known; else it is each framework's default, or estimated.
        start: (mean, variance) before the first batch, where it is known; else 0 and 1, or, where that does not do,
            estimated as two numbers for all columns.

    Returns:
        An `Identification`, whose names are empty where no convention reproduces the numbers to rounding.

    Raises:
        ValueError: shapes that do not fit, entries that are not finite, no batch.
    """
    known, narrow = _read(batches)
    p = known.mean.shape[1]
    numbers = []
    for name, part in (("mean", mean), ("var", var)):
        part = arrays.read(name, part)
        if part.shape != (p,) and not (p == part.size == 1):
            raise ValueError(f"{name} has shape {part.shape}; with batches of {p} columns allowed is ({p},)")
        if not np.isfinite(part).all():
            raise ValueError(f"{name} has {part[~np.isfinite(part)][0]}; allowed are finite numbers")
        narrow |= _is_float32(part)
        numbers.append(part.reshape(p).astype(np.float64))
    if (numbers[1] < 0).any():
        raise ValueError(f"var has {numbers[1].min()}; allowed are numbers of at least 0")
    if momentum is not None:
        check_momentum(momentum)
    begun = None if start is None else np.array(np.broadcast_arrays(*pair_of(start), np.zeros(p))[:2])
    eps = float(np.finfo(np.float32 if narrow else np.float64).eps)
    return _Search(known, np.array(numbers), eps, momentum, begun).answer()


def _read(batches: Any) -> tuple[Batches, bool]:
    """The batches' moments, and whether they are float32."""
    if isinstance(batches, str | bytes | dict) or not hasattr(batches, "__iter__"):
        raise ValueError(f"batches is of type {type(batches).__name__}; allowed is a list of arrays (m, p)")
    found: list[Moments] = []
    largest, narrow = [], False
    for place, one in enumerate(batches):
        name = f"batches[{place}]"
        one = arrays.read(name, one)
        Z = batch_of(name, one[:, None] if one.ndim == 1 else one)
        if found and Z.shape[1] != found[0].mean.size:
            raise ValueError(f"{name} has {Z.shape[1]} columns; with batches[0] allowed are {found[0].mean.size}")
        found.append(Moments())
        found[-1].add(Z)
        largest.append(abs(Z).max(axis=0))
        narrow |= Z.dtype == np.float32
    if not found:
        raise ValueError("batches is empty; allowed is at least one batch")
    rows, mean, spread = (np.array([getattr(one, part) for one in found]) for part in ("count", "mean", "spread"))
    return Batches(rows, mean, spread, np.max(largest, axis=0).astype(np.float64)), bool(narrow)


def _is_float32(numbers: np.ndarray) -> bool:
    """Whether numbers are float32, or were before they were kept as float64; short decimals say nothing."""
    if numbers.dtype == np.float32:
        return True
    with np.errstate(over="ignore"):
        return bool((numbers == numbers.astype(np.float32)).all() and (numbers != np.round(numbers, 3)).any())


class _Search:
    """The search over conventions for one set of numbers (2,p)."""

    def __init__(
        self, batches: Batches, numbers: np.ndarray, eps: float, momentum: float | None, start: np.ndarray | None
    ) -> None:
        self.batches, self.momentum, self.given_start = batches, momentum, start is not None
        p = numbers.shape[1]
        self.start = np.array([np.zeros(p), np.ones(p)]) if start is None else start
        biased, largest = batches.var(0).max(axis=0), batches.largest
        worst = np.array([largest, batches.var(1).max(axis=0) + eps * largest**2])
        room = ROUNDINGS * eps * (np.maximum(worst, abs(self.start)) + abs(numbers)) + np.finfo(float).tiny
        variance = biased + numbers[1]
        variance[variance == 0] = 1
        self.target = Target(numbers, room, np.array([np.sqrt(variance), variance]))
        self.fast_room = FAST_ROUNDINGS * eps * largest**2  # of a batch's E[x²] - E[x]²
        self.some = np.unique(np.linspace(0, p - 1, min(p, COLUMNS)).astype(int))

    def answer(self) -> Identification:
        """All conventions that fit, or the nearest."""
        tried = list(self.fitted(self.start))
        fits, remarks = [fit for fit in tried if fit.error <= 1], []
        if not fits and not self.given_start and self.target.numbers.shape[1] > 2:
            fits = [fit for fit in self.fitted(None) if fit.error <= 1]
        if not fits:
            numbers, room, size = self.target
            if (self.fast_room < size[1] / 4).all():
                self.target = Target(numbers, np.array([room[0], room[1] + self.fast_room]), size)
                fits = [fit for fit in self.fitted(self.start) if fit.error <= 1 and fit.name == "flax"]
                remarks += [f"to the rounding of {FAST} only, by which Flax computes a batch's variance"] * bool(fits)
            else:
                remarks.append(f"Flax's {FAST} has no digits of the variance this far from 0, and is not looked for")
        fits.sort(key=self.rank)
        remarks += self.remarks(fits)
        if fits:
            return Identification(tuple(fits), (), tuple(remarks))
        if not self.given_start:
            remarks.append("a start other than 0 and 1 that differs from column to column has to be given")
        remarks.append("batches have to be all that training saw, in their order")
        nearest: dict[tuple, Fit] = {}
        for fit in sorted(tried, key=lambda fit: fit.error):
            nearest.setdefault((CONVENTIONS[fit.name].weights, CONVENTIONS[fit.name].ddof), fit)
        return Identification((), tuple(nearest.values())[:NEAREST], tuple(remarks))

    @staticmethod
    def rank(fit: Fit) -> tuple[int, int, int]:
        """What comes first: nothing estimated, then a momentum of few digits, then the order of the table."""
        digits = len(repr(fit.momentum)) if fit.origin[0] == "estimated" else 0
        return fit.origin.count("estimated"), digits, list(CONVENTIONS).index(fit.name)

    def fitted(self, start: np.ndarray | None) -> Iterator[Fit]:
        """Each convention at its best: at its default momentum, or else at that which is solved for.

        With start None an exponential average's start is two numbers, mean and variance, that are solved for too.
        """
        solved: dict[int, list[float]] = {}
        for one in CONVENTIONS.values():
            if one.one_row == REFUSED and (self.batches.rows == 1).any():
                continue
            stack = np.stack([self.batches.mean, self.batches.var(one.ddof)], axis=1)  # (K,2,p)
            if one.weights == EXPONENTIAL:
                tried, how = (one.momentum, "default") if self.momentum is None else (self.momentum, "given")
                fit = self.at(one, stack, tried or 0.0, start, how)
                if fit.error > 1 and self.momentum is None:
                    if one.ddof not in solved:
                        solved[one.ddof] = self.solve(stack, start)
                    momenta = (one.batch_weight(1 - keep) for keep in solved[one.ddof])
                    fits = [self.at(one, stack, momentum, start, "estimated") for momentum in momenta]
                    fit = min([*fits, fit], key=lambda fit: max(fit.error, 1))  # the first of those that fit: 0 or 1
                yield fit
            elif start is not None and self.momentum is None:
                yield self.fit(one, self.pooled() if one.weights == ROWS else stack.mean(axis=0))

    def pooled(self) -> np.ndarray:
        """Mean and variance of all rows."""
        moments = Moments()
        for count, mean, spread in zip(*self.batches[:3], strict=True):
            moments.merge(int(count), mean, spread)
        return np.array([moments.mean, moments.spread / moments.count])

    def at(self, held: Convention, stack: np.ndarray, momentum: float, start: np.ndarray | None, origin: str) -> Fit:
        """A convention's fit at a momentum, or where it is estimated and fits, at one of fewer digits that does too."""
        how, K, p = ("given" if self.given_start else "default"), len(stack), stack.shape[2]
        if start is None:
            how, keep = "estimated", 1 - held.batch_weight(momentum)
            zero = average(stack, np.array([keep]), np.zeros((2, p)))[0][0]
            weights = 1 / self.target.room**2
            short = ((self.target.numbers - zero) * weights).sum(axis=1) / weights.sum(axis=1)
            start = np.repeat((short / max(keep**K, np.finfo(float).eps))[:, None], p, axis=1)
            start[1] = np.maximum(start[1], 0)

        def computed(momentum: float) -> np.ndarray:
            return average(stack, np.array([1 - held.batch_weight(momentum)]), start)[0][0]

        if origin == "estimated" and self.target.off(computed(momentum)) <= 1:
            shorter = (float(f"{momentum:.{digits}g}") for digits in range(1, 17))
            momentum = next((one for one in shorter if self.target.off(computed(one)) <= 1), momentum)
            if abs(momentum - (held.momentum or 0.0)) < SAME_MOMENTUM:  # kept as float32, as in ONNX
                origin = "default"
        pair = tuple(part if (part != part[0]).any() else float(part[0]) for part in start)
        return self.fit(held, computed(momentum), momentum, pair, (origin, how))

    def fit(
        self, held: Convention, computed: np.ndarray, momentum: float | None = None, start: Any = None,
        origin: tuple[str, str] = ("", ""),
    ) -> Fit:  # fmt: skip
        """A fit for computed numbers."""
        of_mean, of_var = (abs(computed - self.target.numbers) / self.target.size).max(axis=1)
        return Fit(held.name, momentum, start, origin, self.target.off(computed), float(of_mean), float(of_var))

    def solve(self, stack: np.ndarray, start: np.ndarray | None) -> list[float]:
        """Weights a by which an exponential average comes nearest, from several points of departure; 0 and 1 first."""
        stack, (numbers, room, _) = stack[:, :, self.some], (part[:, self.some] for part in self.target)
        begun = np.zeros_like(numbers) if start is None else start[:, self.some]

        def residual(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            E, slope = average(stack, keep, begun)
            parts = [E - numbers, slope]
            if start is None:  # what two numbers, the same for all columns, cannot make up for
                weights = 1 / room**2
                parts = [part - (part * weights).sum(-1, keepdims=True) / weights.sum(-1)[:, None] for part in parts]
            return tuple((part / room).reshape(len(keep), -1) for part in parts)

        with np.errstate(all="ignore"):
            cost = (residual(GRID)[0] ** 2).sum(axis=1)
            low = np.r_[True, cost[1:] <= cost[:-1]] & np.r_[cost[:-1] <= cost[1:], True]
            points = GRID[low][np.argsort(cost[low])[:DEPARTURES]]
            for _ in range(NEWTON):
                r, slope = residual(points)
                before, step = points, np.nan_to_num((r * slope).sum(axis=1) / (slope**2).sum(axis=1))
                points = np.clip(points - step, 0, 1)
                if (points == before).all():
                    break
        return [0.0, 1.0, *points.tolist()]

    def remarks(self, fits: list[Fit]) -> Iterator[str]:
        """What cannot be told apart, and why."""
        rows = self.batches.rows
        ones = int((rows == 1).sum())
        if ones:
            refused = " and ".join(one.name for one in CONVENTIONS.values() if one.one_row == REFUSED)
            yield f"{ones} of {len(rows)} batches {'has' if ones == 1 else 'have'} one row: {refused} refuse them"
        rules = [CONVENTIONS[fit.name] for fit in fits]
        momenta = [one.batch_weight(fit.momentum or 0.0) for one, fit in zip(rules, fits, strict=True) if one.momentum]
        if momenta and not any(momenta):
            yield "the numbers are the start: no batch has a weight in them, and any exponential average may be theirs"
        elif 1 in momenta:
            yield "the numbers are the last batch's: nothing else has a weight in them"
        if len(rows) == 1 and len({one.weights for one in rules}) > 1:
            yield "there is one batch: averages over batches, over rows, and exponential ones without a start coincide"
        if len({one.ddof for one in rules}) > 1:
            why = "a batch of one row has variance 0 either way" if ones == len(rows) else "here they fit alike"
            yield f"variances over m and over m - 1 cannot be told apart: {why}"
        alike: dict[tuple, list[str]] = {}
        for one in rules:
            alike.setdefault((one.weights, one.ddof), []).append(one.name)
        for names in alike.values():
            if len(names) > 1:
                yield f"{', '.join(names)} are one rule: their defaults alone differ"


def average(stack: np.ndarray, keep: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponential averages E (n,2,p) of batches (K,2,p), for each weight a (n,) that the old one keeps, and ∂E/∂a."""
    K, a, begun = len(stack), keep[:, None], start.ravel()
    back = np.arange(K - 1, -1, -1.0)  # batches that came after
    powers = a**back
    slopes = (1 - a) * back * a ** np.maximum(back - 1, 0) - powers
    rows, shape = stack.reshape(K, -1), (len(keep), *start.shape)
    E = ((1 - a) * powers) @ rows + a**K * begun
    return E.reshape(shape), (slopes @ rows + K * a ** (K - 1) * begun).reshape(shape)

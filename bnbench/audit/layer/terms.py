"""The three terms of a backward, fitted column by column, and their factors named in numbers, γ, s and N.

dx = (γ/s) ( a S - b 1 mean(S) - c X̂ mean(S ⊙ X̂) ), S being dout with the slope of what follows the affine map; right
are a = b = 1, c = N/(N-ddof), times s/sd where eps stands outside the root.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

Powers = tuple[tuple[str, Fraction], ...]

ZERO = 1e-7  # a term below this, of the right ones' size, is none
MOST_LETTERS = 4  # that a factor is named in
FEWEST = 6  # numbers that name a factor
SHOWN = 6  # digits of a number that is no fraction


@dataclass(frozen=True)
class Batch:
    """One trial's columns, with what its forward gave.

    Attributes:
        S, xhat: (M,D).  gamma, s, sd, mu: (D,).  M: rows that are averaged over; pixels: H W.
        right: a, b, c (3,D) of the true gradient.
        keep: (D,) columns that are judged.
    """

    S: np.ndarray
    xhat: np.ndarray
    gamma: np.ndarray
    s: np.ndarray
    sd: np.ndarray
    mu: np.ndarray
    right: np.ndarray
    keep: np.ndarray
    M: int
    pixels: int
    eps: float
    SS: np.ndarray

    def vectors(self) -> np.ndarray:
        """The three vectors with their factor γ/s, (3,M,D)."""
        w = self.gamma / self.s
        return np.stack(
            [
                self.S * w,
                np.broadcast_to(-self.S.mean(0) * w, self.S.shape),
                -self.xhat * (self.S * self.xhat).mean(0) * w,
            ]
        )

    def truth(self) -> np.ndarray:
        """dx (M,D) of the right factors."""
        return np.einsum("kd,kmd->md", self.right, self.vectors())

    def fit(self, dx: np.ndarray, hidden: float = ZERO) -> tuple[np.ndarray, np.ndarray]:
        """(a, b, c) as (3,D), NaN where rounding hides them, and how much of each column of dx they leave, relative."""
        vectors = self.vectors()
        factors, left = np.empty((3, dx.shape[1])), np.empty(dx.shape[1])
        for j in range(dx.shape[1]):
            A = vectors[:, :, j].T
            size = np.linalg.norm(A, axis=0)
            if (self.S[:, j] != 0).sum() < 4:  # behind a relu that is off
                factors[:, j], left[j] = np.nan, 0.0
                continue
            factors[:, j] = np.linalg.lstsq(A / size, dx[:, j], rcond=None)[0] / size
            scale = max(np.linalg.norm(dx[:, j]), 1e-9 * np.linalg.norm(A[:, 0]))
            left[j] = np.linalg.norm(dx[:, j] - A @ factors[:, j]) / scale
            factors[np.abs(factors[:, j]) * size < hidden * scale, j] = np.nan
        return factors, left


@dataclass(frozen=True)
class Factor:
    """A factor: plus + constant · product of letters to their powers; "0" where it is none."""

    constant: float
    powers: Powers = ()
    plus: int = 0

    @property
    def zero(self) -> bool:
        """Whether the term is missing."""
        return self.constant == 0 and self.plus == 0

    def times(self, other: "Factor") -> "Factor":
        """The product of two factors without a sum."""
        powers = dict(self.powers)
        for letter, n in other.powers:
            powers[letter] = powers.get(letter, Fraction(0)) + n
        return Factor(self.constant * other.constant, tuple((letter, n) for letter, n in powers.items() if n))

    def __str__(self) -> str:
        powers = dict(self.powers)
        if self.constant == -1 and not self.plus and powers == {"(N-1)": 1}:
            return "1-N"
        up = [_power(letter, n) for letter, n in self.powers if n > 0]
        down = [_power(letter, -n) for letter, n in self.powers if n < 0]
        sign, size = ("-" if self.constant < 0 else ""), abs(self.constant)
        whole = Fraction(size).limit_denominator(64)
        if abs(float(whole) - size) < 1e-9 * max(size, 1):
            top, bottom = whole.numerator, whole.denominator
            up = ([str(top)] if top != 1 or not up else []) + up
            down = ([str(bottom)] if bottom != 1 else []) + down
        else:
            up = [f"{size:.{SHOWN}g}", *up]
        text = "·".join(up)
        if (
            len(up) == 1
            and text.startswith("(")
            and text.endswith(")")
            and not down
            and not sign
            and text.count("(") == 1
        ):
            text = text[1:-1]
        if down:
            text += "/" + (down[0] if len(down) == 1 else f"({'·'.join(down)})")
        if not self.plus:
            return sign + text
        return f"{self.plus} {'-' if sign else '+'} {text}"


def _power(letter: str, n: Fraction) -> str:
    if n == Fraction(1, 2):
        return f"√{letter}"
    return letter if n == 1 else f"{letter}^{n}" if n.denominator == 1 else f"{letter}^({n})"


class Letters:
    """What factors are named in: arrays (T,), one entry for each judged column of each batch."""

    def __init__(self, batches: Sequence[Batch], tolerance: float, by_sd: bool = False) -> None:
        self.batches, self.tolerance = batches, tolerance

        def gather(values: Callable[[Batch], Any]) -> np.ndarray:
            return np.concatenate(
                [np.broadcast_to(values(b), b.gamma.shape)[b.keep] for b in batches] or [np.empty(0)]
            ).astype(float)

        self.gather = gather
        self.gather_list = lambda rows: np.concatenate(
            [np.asarray(r)[b.keep] for r, b in zip(rows, batches, strict=True)]
        )
        self.s, self.sd = gather(lambda b: b.s), gather(lambda b: b.sd)
        pixels = gather(lambda b: b.pixels)
        M = gather(lambda b: b.M)
        flat = np.all(pixels == 1)
        self.rows = "N" if flat else "N·H·W"
        self.values = {"γ": gather(lambda b: b.gamma), "N": M / pixels}
        self.values[f"({self.rows}-1)"] = M - 1
        if not flat:
            self.values |= {"N·H·W": M, "H·W": pixels}
            self.values["(N-1)"] = M / pixels - 1
        self.values["s"] = self.s
        if by_sd:
            self.values["sd"] = self.sd
        self.eps = gather(lambda b: b.eps)
        if np.allclose(self.values["γ"], 1):
            del self.values["γ"]
        self.other = ""  # the s of another forward, once it is found: its formula

    def explain(self, values: np.ndarray) -> Factor | None:
        """The simplest factor that gives these numbers (T,), or None; NaN stands for one that rounding hides."""
        seen = np.isfinite(values)
        if np.abs(values[seen]).max(initial=0) <= max(ZERO, self.tolerance):
            return Factor(0.0)
        if seen.sum() < min(FEWEST, len(values)):
            return None
        if not seen.all():
            return self.only(seen).explain(values[seen])
        for plus in (0, 1, -1):
            named = self._product(values - plus)
            if named is not None:
                return Factor(*named, plus)
        return None

    def only(self, seen: np.ndarray) -> "Letters":
        """The same letters, of some of the entries."""
        other = copy.copy(self)
        other.values = {name: value[seen] for name, value in self.values.items()}
        return other

    def _product(self, values: np.ndarray) -> tuple[float, Powers] | None:
        if np.abs(values).min() == 0:
            return None
        logs = np.log(np.abs(values))
        letters = [
            name for name in self.values if np.ptp(np.abs(self.values[name])) > 0 or (self.values[name] < 0).any()
        ]
        for count in range(MOST_LETTERS + 1):
            best = None
            for names in itertools.combinations(letters, count):
                named = self._powers(values, logs, names)
                if named and (best is None or named[0] < best[0]):
                    best = named
            if best:
                return best[1:]
        return None

    def _powers(
        self, values: np.ndarray, logs: np.ndarray, names: tuple[str, ...]
    ) -> tuple[Fraction | int, float, Powers] | None:
        columns = [np.log(np.abs(self.values[name])) for name in names]
        A = np.stack([np.ones_like(logs), *columns], 1)
        solution = np.linalg.lstsq(A, logs, rcond=None)[0]
        powers = [Fraction(round(2 * float(p)), 2) for p in solution[1:]]
        if any(p == 0 or abs(p) > 6 for p in powers):
            return None
        if any(p.denominator != 1 and name in ("γ", "s", "sd") for p, name in zip(powers, names, strict=True)):
            return None
        product = np.ones_like(values)
        for name, power in zip(names, powers, strict=True):
            v = self.values[name]
            product = (
                product
                * (np.sign(v) if power.numerator % 2 and power.denominator == 1 else 1)
                * np.abs(v) ** float(power)
            )
        ratios = values / product
        constant = float(np.median(ratios))
        nice = Fraction(constant).limit_denominator(12)
        off = np.abs(ratios / constant - 1).max()
        if off > 10 * self.tolerance:
            return None
        whole = abs(float(nice) / constant - 1) <= 10 * self.tolerance
        if whole:
            constant = float(nice)
        effort = sum(abs(p) for p in powers) + (0 if whole else 10)
        return effort, constant, tuple(zip(names, powers, strict=True))

    def find_other_scale(self, *candidates: Any) -> bool:
        """Look for the s of another forward, s' = sqrt(var + e) and the like, in factors that are powers of s/s'."""
        M, SS = self.gather(lambda b: b.M), self.gather(lambda b: b.SS)
        best = None
        for values in candidates:
            values = np.asarray(values, float)
            seen = np.isfinite(values) & (values != 0)
            if seen.sum() < min(FEWEST, len(values)):
                continue
            for extra, power in itertools.product(self._extras(), (1, 3, 2, -1, -2)):
                ratio = np.abs(values if extra is None else values / extra)
                other = self.s / ratio ** (1 / power)
                for effort, text, array in self._models(np.where(seen, other, np.nan), SS, M):
                    off = np.abs(other / array - 1)[seen].max()
                    if off <= 100 * self.tolerance and np.abs(array / self.s - 1).max() > 10 * self.tolerance:
                        key = (effort + 3 * (extra is not None) + abs(power), off)
                        if best is None or key < best[0]:
                            best = (key, text, array)
            if best:
                break
        if best is None:
            return False
        self.other = best[1]
        self.values = {"(s/s')": self.s / best[2]} | self.values
        return True

    def _extras(self) -> Iterator[np.ndarray | None]:
        yield None
        for name in ("γ", "N", "H·W"):
            if name in self.values:
                yield self.values[name]
                yield 1 / self.values[name]
        yield self.values[self.rows] / self.values[f"({self.rows}-1)"]

    def _models(self, other: np.ndarray, SS: np.ndarray, M: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
        """(effort, formula, values) of each kind of s' with the eps that suits `other` best."""
        for ddof in (0, 1):
            n = self.rows if ddof == 0 else f"({self.rows}-1)"
            var = SS / (M - ddof)
            root = f"sqrt(Σ(x-μ)²/{n})"
            yield from self._offsets(other**2, var, ddof, f"sqrt(Σ(x-μ)²/{n}{{}})", 0.5)
            yield from self._offsets(other, np.sqrt(var), ddof + 1, root + "{}", 1)
            yield from self._offsets(other, var, ddof + 2, f"Σ(x-μ)²/{n}{{}}", 1)
            yield from self._offsets(other**2, np.sqrt(var), ddof + 2, f"sqrt({root}{{}})", 0.5)
        for base, text in ((1 / self.s, "1/s"), (self.s, "s"), (self.s**2, "s²"), (1 / self.s**2, "1/s²")):
            yield from self._offsets(other**2, base, 2, f"sqrt({text}{{}})", 0.5)

    def _offsets(
        self, values: np.ndarray, base: np.ndarray, effort: int, text: str, power: float
    ) -> Iterator[tuple[int, str, np.ndarray]]:
        """The same for one kind: values = base + eps, with no eps, a constant one, or the one that forward is given."""
        gap = values - base
        smallest = int(np.argmin(np.where((base > 0) & np.isfinite(values), base, np.inf)))
        e = float(gap[smallest])
        if abs(e) <= 1e-5 * base[smallest]:
            yield effort, text.format(""), base**power
            return
        if e > 0:
            yield effort, text.format(f" + {e:.{SHOWN}g}".replace("e-0", "e-")), (base + e) ** power
        if np.ptp(self.eps) > 0:
            yield effort, text.format(" + eps"), (base + self.eps) ** power

"""What a layer's forward computes, inferred from its outputs: statistics, ddof, eps and its place, γ, β, activation."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnbench.audit.layer.calls import Layer, Raised
from bnbench.audit.layer.layouts import Trial

Scales = tuple[np.ndarray, np.ndarray, int]  # sums of squares, s, and of how many rows

SPREADS = 10.0 ** np.array([-12, -10, -8, -7, -6, -5, -4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 2, 3, 4])
ROWS = (7, 12)  # at which s is read: a constant in the place of N shows
PIXELS = (2, 3)  # H and W of the batches
KNOWN: dict[tuple, str] = {  # (ddof, eps, place)
    (0, 1e-5, "variance"): "as PyTorch",
    (0, 1e-3, "variance"): "as Keras",
    (1, 0.0, ""): "as R's scale",
}
INVERSES: dict[str, tuple[Callable, Callable]] = {  # of what follows the affine map, and its slope at the output
    "": (lambda out: out, lambda out: np.ones_like(out)),
    "tanh": (np.arctanh, lambda out: 1 - out**2),
    "sigmoid": (lambda out: np.log(out / (1 - out)), lambda out: out * (1 - out)),
    "relu": (lambda out: np.where(out > 0, out, np.nan), lambda out: (out > 0) * 1.0),
}
CHANGES = (
    "it gives different numbers when it is called again on the same batch (a class is instantiated for each call; a "
    "function must not keep state that its output depends on)"
)
LIFT = 60.0  # β that keeps every entry above relu's kink


def _near(read: float | None, eps: float) -> bool:
    """Whether an eps that was read off is this one."""
    return read is not None and bool(np.isclose(read, eps, rtol=1e-5))


def number(value: float) -> str:
    """A number as people write it: 1e-5."""
    return f"{value:.6g}".replace("e-0", "e-")


@dataclass(frozen=True)
class Conventions:
    """What a forward computes.

    Attributes:
        statistics: "batch", "frozen" (given, whatever the batch), or "" where it could not be read.
        ddof: the variance divides by N - ddof; None if it does not show.
        eps: the number that is added; None if it does not show.
        eps_place: "variance", "sd", "floor" (the variance is not below eps), or "" for none.
        eps_argument: whether the caller gives eps.
        gamma, beta: whether the output depends on them.
        activation: what follows: "" for nothing, "tanh", "sigmoid" or "relu".
        power: 1 where s divides; 2 where the variance stands in its place.
        unread: why they could not be read; "" if they were.
        rows: what is averaged over, "N" or "N·H·W".
    """

    statistics: str = ""
    ddof: int | None = None
    eps: float | None = None
    eps_place: str = ""
    eps_argument: bool = False
    gamma: bool = True
    beta: bool = True
    activation: str = ""
    power: int = 1
    unread: str = ""
    rows: str = "N"

    def scale(self, SS: np.ndarray, M: int, eps: float | None) -> tuple[np.ndarray, np.ndarray]:
        """s (D,) of the sums of squares SS (D,) about the mean of M rows, and the s-term's factor c = 2 M s ds/dSS."""
        free = M - (self.ddof or 0)
        var = SS / free
        e = (eps if self.eps_argument else self.eps) or 0.0
        c = M / free
        if self.power == 2:
            s = var + e
            return s, 2 * M * s / free
        if self.eps_place == "sd":
            s = np.sqrt(var) + e
            return s, c * s / np.sqrt(var)
        if self.eps_place == "floor":
            return np.sqrt(np.maximum(var, e)), np.where(var > e, c, 0.0)
        return np.sqrt(var + e), np.full_like(SS, c)

    @property
    def formula(self) -> str:
        """s as a formula."""
        n = self.rows if not self.ddof else f"({self.rows}-{self.ddof})"
        var = f"Σ(x-μ)²/{n}"
        e = "eps" if self.eps_argument else number(self.eps) if self.eps is not None else "eps"
        if self.power == 2:
            return f"{var} + {e}" if self.eps_place else var
        return {"sd": f"sqrt({var}) + {e}", "floor": f"sqrt(max({var}, {e}))", "": f"sqrt({var})"}.get(
            self.eps_place, f"sqrt({var} + {e})"
        )

    def __str__(self) -> str:
        if self.unread:
            return f"its conventions could not be read: {self.unread}"
        places = {"variance": "inside the root", "sd": "outside the root", "floor": "as the least variance"}
        e = "" if self.eps is None else f"eps={number(self.eps)}"
        if self.eps_argument:
            places = {key: f"{words} (an argument)" for key, words in places.items()}
        if self.statistics == "frozen":
            parts = [
                "statistics given, not of the batch",
                *([f"{e} {places[self.eps_place]}"] if self.eps_place else []),
            ]
        else:
            parts = [f"ddof={self.ddof}", f"{e} {places[self.eps_place]}" if self.eps_place else "no eps"]
        if self.power == 2:
            parts.append("divided by the variance, not by its root")
        if not self.gamma and not self.beta:
            parts.append("no γ, no β")
        elif not self.gamma or not self.beta:
            parts.append("no γ" if not self.gamma else "no β")
        if self.activation:
            parts.append(f"followed by {self.activation}")
        known = KNOWN.get((self.ddof, self.eps, self.eps_place)) if self.power == 1 else None
        return ", ".join([*parts, *([known] if known and self.statistics == "batch" else [])])

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


class Reader:
    """Reads a layer's conventions.

    Args:
        layer: the Layer, settled.
        eps: the number that its eps argument is given, where it has one.
        others: further numbers to try; empty if the caller has chosen one.
    """

    def __init__(self, layer: Layer, eps: float, others: Sequence[float] = ()) -> None:
        self.layer, self.eps, self.others, self.width = layer, eps, tuple(others), layer.manner.width
        self.rng = np.random.default_rng(2015)
        self.tolerance = 1e-7
        self.activation, self.gamma, self.beta = "", True, True

    @classmethod
    def knowing(cls, layer: Layer, eps: float, conventions: Conventions) -> "Reader":
        """A reader of X̂ alone, of a layer whose conventions are known."""
        reader = cls(layer, eps)
        reader.activation, reader.gamma, reader.beta = conventions.activation, conventions.gamma, conventions.beta
        return reader

    def trial(
        self, x: np.ndarray, gamma: np.ndarray | float = 1.0, beta: np.ndarray | float = 0.0, eps: float | None = None
    ) -> Trial:
        """A trial of these rows."""
        full = np.ones(self.width)
        sizes = (len(x), 1, 1) if self.layer.layout in ("NC", "CN") else (len(x) // 6, *PIXELS)
        return Trial(x, full * gamma, full * beta, self.eps if eps is None else eps, sizes=sizes)

    def rows(self, M: int) -> int:
        """Rows in a layout's batch: N H W of it."""
        return M if self.layer.layout in ("NC", "CN") else 6 * (M // 4)

    def draw(self, M: int, spread: np.ndarray | float = 1.0, offset: float = 1.0) -> np.ndarray:
        """x (M,D): columns of these spreads, about offsets of their own in units of the spread."""
        z = self.rng.normal(size=(self.rows(M), self.width))
        return (z + offset * np.linspace(-1, 1.5, self.width)) * spread

    def read(self) -> Conventions:
        """The conventions."""
        try:
            unread = self._affine()
            if self.layer.single:
                self.tolerance = 2e-4
            if unread:
                return Conventions(gamma=self.gamma, beta=self.beta, activation=self.activation, unread=unread)
            conventions = self._statistics()
        except Raised as error:
            return Conventions(unread=f"forward raises {error}")
        rows = "N" if self.layer.layout in ("NC", "CN") else "N·H·W"
        return dataclasses.replace(conventions, gamma=self.gamma, beta=self.beta, activation=self.activation, rows=rows)

    def _out(
        self, x: np.ndarray, gamma: np.ndarray | float = 1.0, beta: np.ndarray | float = 0.0, eps: float | None = None
    ) -> np.ndarray:
        return self.layer.out(self.trial(x, gamma, beta, eps))

    def xhat(self, x: np.ndarray, eps: float | None = None) -> np.ndarray:
        """X̂ (M,D): the output with the activation, γ and β undone."""
        if self.activation == "relu":  # of γ = 1 and of γ = -1 the halves that it keeps make the whole
            if self.gamma:
                return self._out(x, 1.0, 0.0, eps) - self._out(x, -1.0, 0.0, eps)
            if self.beta:
                return self._out(x, 1.0, LIFT, eps) - LIFT
            return self._out(x, eps=eps) - self._out(-x, eps=eps)  # X̂ of the batch is odd in x
        inverse = INVERSES[self.activation][0]
        if not self.activation or not self.gamma:
            return inverse(self._out(x, 1.0, 0.0, eps))
        with np.errstate(all="ignore"):  # where it is nearly straight, and then where X̂ is seen best
            size = np.abs(inverse(self._out(x, 0.3, 0.0, eps))).max(0) / 0.3
            gamma = np.clip(0.8 / size, 0.1, 1e13)
            return inverse(self._out(x, gamma, 0.0, eps)) / gamma

    def _affine(self) -> str:
        """Whether the output is a(γ X̂ + β) for one of the known a; why not, or ""."""
        x = self.draw(9, np.linspace(0.7, 1.6, self.width))
        g, b = np.linspace(0.5, -0.8, self.width), np.linspace(-0.4, 0.7, self.width)
        plain, again = self._out(x), self._out(x)
        if not np.array_equal(plain, again):
            return CHANGES
        tolerance = 2e-4 if self.layer.single else 1e-9
        self.gamma = not np.allclose(self._out(x, g), plain, rtol=1e-6)
        self.beta = not np.allclose(self._out(x, 1.0, b), plain, rtol=1e-6)
        scale: np.ndarray | float = g if self.gamma else 1.0
        shift: np.ndarray | float = b if self.beta else 0.0
        out = self._out(x, scale, shift)
        for name in INVERSES:
            if name == "relu" and (plain < 0).any():
                continue
            self.activation = name
            with np.errstate(all="ignore"):
                B, hat = INVERSES[name][0](out), self.xhat(x)
                right = scale * hat + shift
                if name == "relu":
                    B, right = out, np.maximum(right, 0)
            if np.isfinite(hat).all() and np.abs(B - right).max() <= tolerance * max(1, np.abs(right).max()):
                if name == "" and not self.gamma and not self.beta and self._squashed(x, hat):
                    continue
                return ""
        self.activation = ""
        return "its output is not γ X̂ + β, nor tanh, sigmoid or relu of that"

    def _squashed(self, x: np.ndarray, hat: np.ndarray) -> bool:
        """Whether X̂ is no affine map of x in its columns, where neither γ nor β can show it."""
        xc, hc = x - x.mean(0), hat - hat.mean(0)
        ratio = (hc * xc).sum(0) / (xc**2).sum(0)
        return np.abs(hc - ratio * xc).max() > 1e-6 * np.abs(hc).max()

    def _statistics(self) -> Conventions:
        x = self.draw(9, np.linspace(0.7, 1.6, self.width))
        moved = x.copy()
        moved[0] += 3.0
        before, after = self.xhat(x), self.xhat(moved)
        size = np.abs(before).max()
        if np.abs(before[1:] - after[1:]).max() <= 1e-12 * size:
            return self._frozen(x, before)
        xc = x - x.mean(0)
        ratio = np.linalg.norm(before, axis=0) / np.linalg.norm(xc, axis=0)
        if np.abs(before - ratio * xc).max() > self.tolerance * size:
            return Conventions(unread=self._across(x, before) or "X̂ is not (x - μ)/s of each node's own mean")
        scales = [self._scales(M, self.eps) for M in ROWS]
        conventions = self._fit(scales)
        if conventions is None:
            return Conventions(unread="s is no known function of Σ(x-μ)² and N")
        argument = False
        for other in self.others:
            again = self._fit([self._scales(M, other) for M in ROWS])
            argument = again is not None and _near(again.eps, other) and conventions.eps_place != ""
        if not self.others:
            argument = "eps" in self.layer.takes and _near(conventions.eps, self.eps)
        if argument and _near(conventions.eps, self.eps):
            conventions = dataclasses.replace(conventions, eps=float(self.eps))
        return dataclasses.replace(conventions, statistics="batch", eps_argument=argument)

    def _across(self, x: np.ndarray, hat: np.ndarray) -> str:
        """What is said of a forward that normalises the other axis; "" of others."""
        across = x - x.mean(1, keepdims=True)
        along = np.linalg.norm(hat, axis=1) / np.maximum(np.linalg.norm(across, axis=1), 1e-300)
        if np.abs(hat - along[:, None] * across).max() > self.tolerance * np.abs(hat).max():
            return ""
        other = {"NC": "CN", "CN": "NC"}.get(self.layer.layout)
        return "it normalises each row over its columns, as layer normalisation does" + (
            f", or its layout is {other}" if other else ""
        )

    def _scales(self, M: int, eps: float | None) -> Scales:
        """(SS, s, M): over many spreads, the sums of squares about the mean and s = ‖x - μ‖/‖X̂‖."""
        squares, roots = [], []
        spreads = SPREADS[SPREADS < 1e4] if self.layer.single else SPREADS
        if self.layer.single:
            spreads = spreads[spreads > 1e-13]
        padded = np.resize(spreads, -(-len(spreads) // self.width) * self.width)
        for group in padded.reshape(-1, self.width):
            x = self.draw(M, group, offset=0.0)
            hat = self.xhat(x, eps)
            xc = x - x.mean(0)
            squares.append((xc**2).sum(0))
            with np.errstate(all="ignore"):
                roots.append(np.sqrt(squares[-1]) / np.linalg.norm(hat, axis=0))
        SS, s = np.concatenate(squares), np.concatenate(roots)
        usable = np.isfinite(s) & (s > 0)
        order = np.argsort(SS[usable])
        return SS[usable][order], s[usable][order], self.rows(M)

    def _fit(self, scales: Sequence[Scales]) -> Conventions | None:
        """The s that explains both batch sizes, from the largest spread (N-ddof) and the smallest (eps)."""
        best = None
        for power in (1, 2):
            for place in ("variance", "sd", "floor"):
                fit = self._try(scales, power, place)
                if fit and (best is None or fit[0] < 0.1 * best[0]):
                    best = fit
        return best and best[1]

    def _try(self, scales: Sequence[Scales], power: int, place: str) -> tuple[float, Conventions] | None:
        residual, ddofs, all_eps = 0.0, [], []
        if power == 2 and place != "variance":
            return None
        for SS, s, M in scales:
            if len(s) < 4:
                return None
            root = s ** (1 / power) if power == 2 else s
            e = 0.0
            for _ in range(3):  # eps and N-ddof correct each other
                large = root[-1] ** 2 if power == 1 and place != "sd" else (root[-1] - e) ** 2 if power == 1 else s[-1]
                if place in ("variance",) and power == 1:
                    large -= e
                if power == 2:
                    large -= e
                ddof = M - SS[-1] / large
                if not np.isfinite(ddof) or abs(ddof - round(ddof)) > 0.02 or not -3 < ddof < M - 2:
                    return None
                ddof = round(ddof)
                var = SS / (M - ddof)
                if power == 2:
                    e = s[0] - var[0]
                elif place == "sd":
                    e = s[0] - np.sqrt(var[0])
                elif place == "floor":
                    e = s[0] ** 2
                else:
                    e = s[0] ** 2 - var[0]
                e = max(float(e), 0.0)
                if e <= 1e-3 * (var[0] if place != "sd" or power == 2 else np.sqrt(var[0])) or (
                    place == "floor" and s[0] ** 2 <= 1.001 * var[0]
                ):
                    e = 0.0
            model = Conventions("batch", ddof, e, place if e else "", power=power).scale(SS, M, None)[0]
            residual = max(residual, float(np.abs(s / model - 1).max()))
            ddofs.append(ddof)
            all_eps.append(e)
        if len(set(ddofs)) > 1 or residual > max(self.tolerance, 1e-6):
            return None
        if max(all_eps) and not np.isclose(all_eps[0], all_eps[1], rtol=1e-3 if self.layer.single else 1e-5):
            return None
        e = float(f"{all_eps[0]:.3g}" if self.layer.single else f"{np.mean(all_eps):.9g}")
        return residual + 1e-15, Conventions("batch", ddofs[0], e, place if e else "", power=power)

    def _frozen(self, x: np.ndarray, hat: np.ndarray) -> Conventions:
        """Statistics that do not depend on the batch: X̂ = (x - μ)/s for the same μ and s everywhere."""
        mu, s = self.line(x, hat)
        if not np.isfinite(mu).all() or not np.isfinite(s).all():
            return Conventions(unread="its output does not depend on x in every node")
        far = self.draw(11, 1.5 if self.activation else 7.0, offset=2.0)  # where nothing saturates
        if np.abs(self.xhat(far) - (far - mu) / s).max() > self.tolerance * max(1, np.abs(far).max()):
            return Conventions(
                unread=self._across(x, hat) or "each row's output depends on it alone, and not along a line"
            )
        eps, place, argument = None, "", False
        for other in self.others or ((2 * self.eps + 0.1,) if "eps" in self.layer.takes else ()):
            s2 = self.line(x, self.xhat(x, other))[1]
            if np.allclose(s2**2 - s**2, other - self.eps, rtol=1e-6):
                eps, place, argument = self.eps, "variance", True
            elif np.allclose(s2 - s, other - self.eps, rtol=1e-6):
                eps, place, argument = self.eps, "sd", True
        if not argument and {"mean", "var"} <= self.layer.takes:
            var = self.layer.statistics(self.width)[1]
            for key, gap in (("variance", s**2 - var), ("sd", s - np.sqrt(var))):
                if np.ptp(gap) < 1e-9 and not place:
                    eps, place = max(round(float(gap.mean()), 12), 0.0), key if gap.mean() > 1e-11 else ""
        return Conventions("frozen", None, eps, place, argument)

    @staticmethod
    def line(x: np.ndarray, hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(μ, s) of the line through the columns' points."""
        xc, hc = x - x.mean(0), hat - hat.mean(0)
        s = (xc**2).sum(0) / (xc * hc).sum(0)
        return x.mean(0) - s * hat.mean(0), s

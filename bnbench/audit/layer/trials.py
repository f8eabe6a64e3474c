"""The batches that a layer is tried on, drawn so that no mistake hides."""

import numpy as np

from bnbench.audit.layer.conventions import Conventions
from bnbench.audit.layer.layouts import Trial

OTHER_EPS = 0.3  # that an eps argument is tried with too
ROWS = (5, 6, 7, 9, 12, 15, 8, 11)  # none of them the number of nodes
IMAGES = ((3, 2, 5), (2, 3, 3), (5, 2, 2), (3, 3, 5), (6, 2, 3), (2, 7, 2), (3, 2, 2), (7, 3, 2))  # N, H, W


class Trials:
    """Draws trials for one layout; `activation` is what follows the layer's affine map, once it is known."""

    def __init__(self, layout: str, eps: float) -> None:
        self.layout, self.eps, self.activation = layout, eps, ""
        self.rng = np.random.default_rng(1502)

    def draw(self, width: int, number: int, spread: np.ndarray, eps: float | None = None) -> Trial:
        """A batch with both signs, many sizes, offsets, and a cotangent with a mean and a part along x̂."""
        if self.layout in ("NC", "CN"):
            sizes = ([n for n in ROWS if n != width][number % 7], 1, 1)
        else:
            free = [size for size in IMAGES if width not in size]
            free = free if len(free) > 4 else list(IMAGES)
            sizes = free[number % len(free)]
        M, rng = int(np.prod(sizes)), self.rng
        j = np.arange(width)
        z = rng.normal(size=(M, width))
        u = rng.uniform(0.4, 1.2, (2, width)) * rng.choice([-1, 1], (2, width))
        dout = rng.normal(size=(M, width)) + u[0] + u[1] * z
        x = (z + rng.uniform(0.5, 2.0, width) * rng.choice([-1, 1], width)) * np.broadcast_to(spread, width)
        gamma = (0.6 + 1.9 * rng.random(width)) * np.where((j + number) % 2, -1.0, 1.0)
        beta = rng.normal(size=width) + 0.5
        if self.activation in ("tanh", "sigmoid"):  # where they still bend, and do not saturate
            gamma, beta = 0.4 * gamma, 0.3 * beta
        elif self.activation == "relu":  # on for most rows
            beta = 0.8 * np.abs(gamma)
        return Trial(x, gamma, beta, self.eps if eps is None else eps, dout, sizes)

    def of(self, conventions: Conventions, width: int, other_eps: bool) -> list[Trial]:
        """All trials of a layer with these conventions; with other_eps also at another eps than its own."""
        c = conventions
        j = np.arange(width)
        ordinary = 0.6 * 4.0 ** (j / max(width - 1, 1))
        e = (self.eps if c.eps_argument else c.eps) or 1e-4
        small = (e if c.eps_place == "sd" else np.sqrt(e)) * np.array([1.3, 0.5, 2.5, 6.0])[j % 4]
        if not 1e-11 < small.min() < 1:
            small = ordinary * 1e-3
        tiny = 10.0 ** (-2 - 3 * j / max(width - 1, 1))
        spreads = [ordinary, 1.3 * ordinary[::-1], small, 12 * ordinary, 1.7 * small[::-1], tiny]
        if c.statistics == "frozen" and self.activation:  # which must not saturate
            spreads = [0.3 * ordinary, 0.5 * ordinary[::-1], *(size * ordinary for size in (0.4, 0.7, 0.2, 0.1))]
        trials = [self.draw(width, number, spread) for number, spread in enumerate(spreads)]
        if other_eps:
            trials += [self.draw(width, 6, ordinary, OTHER_EPS), self.draw(width, 7, 0.4 * ordinary, OTHER_EPS)]
        return trials

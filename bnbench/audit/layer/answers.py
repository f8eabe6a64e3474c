"""What a layer answered to the trials, beside what is right."""

from dataclasses import dataclass

import numpy as np

from bnbench.audit.layer.calls import Layer
from bnbench.audit.layer.conventions import Conventions
from bnbench.audit.layer.layouts import Trial
from bnbench.audit.layer.terms import Batch, Letters
from bnbench.audit.layer.words import first_difference

DOUBLE, SINGLE = 1e-8, 1e-3  # relative, per column: what rounding may move, in float64 and in float32
IN_FLOAT32 = 1e-5  # and below it a float64 answer that was rounded to float32 on its way

Parts = dict[str, np.ndarray]  # "dx" (M,D), "dgamma" and "dbeta" (D,), or some of them


@dataclass
class Answers:
    """A layer's gradients at each trial, and the true ones.

    Attributes:
        layer, conventions: of which layer, and what its forward computes.
        trials, given, truths: a trial, what backward gave for it, and what is right.
        tolerance: relative, per column.
        batches: of each trial, its terms; empty where the conventions could not be read.
        doubts: of each trial, by how much differences may be off where they are the truth; empty elsewhere.
    """

    layer: Layer
    conventions: Conventions
    trials: list[Trial]
    given: list[Parts]
    truths: list[Parts]
    tolerance: float
    batches: list[Batch]
    doubts: list[Parts]

    @property
    def width(self) -> int:
        """Nodes of the layer."""
        return self.layer.manner.width

    @property
    def loose(self) -> float:
        """The tolerance for a factor that is fitted to one parameter's gradient."""
        return 1e-4 if self.layer.single else 1e-7

    def letters(self, batches: list[Batch], tolerance: float) -> Letters:
        """The letters that factors are named in, at these batches."""
        return Letters(batches, tolerance, by_sd=self.conventions.eps_place == "sd")

    def of(self, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """One gradient at every trial: what was given, and what is right."""
        return [given[name] for given in self.given], [truth[name] for truth in self.truths]

    def first_difference(self, name: str, mine: list[np.ndarray] | None = None) -> str:
        """The first entry that differs, in words; of what was given, or of that in another shape."""
        given, truths = self.of(name)
        return first_difference(name, given if mine is None else mine, truths, self.tolerance, self.trials)

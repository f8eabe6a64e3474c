"""Batches of rows and nodes, and the layouts that layers have them in."""

from dataclasses import dataclass
from typing import Any

import numpy as np

LAYOUTS = ("NC", "CN", "NHWC", "NCHW")


@dataclass(frozen=True)
class Trial:
    """A batch in rows and nodes, whatever the layer's layout: x, dout (M,D), gamma, beta (D,), eps, and M = N H W."""

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    eps: float
    dout: np.ndarray | Any = None  # where backward is asked
    sizes: tuple[int, int, int] = (0, 1, 1)

    @property
    def pixels(self) -> int:
        """H W; 1 where there are none."""
        return self.sizes[1] * self.sizes[2]


def shape_in(layout: str, trial: Trial) -> tuple[int, ...]:
    """The shape of a trial's x in a layout."""
    (n, h, w), d = trial.sizes, trial.x.shape[1]
    return {"NC": (n, d), "CN": (d, n), "NHWC": (n, h, w, d), "NCHW": (n, d, h, w)}[layout]


def parameter_shapes(layout: str, width: int) -> tuple[tuple[int, ...], ...]:
    """The shapes that gamma and beta may have in a layout, the usual one first."""
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "NC": ((width,), (1, width)),
        "CN": ((width, 1), (width,)),
        "NHWC": ((width,), (1, 1, 1, width)),
        "NCHW": ((width,), (1, width, 1, 1), (width, 1, 1)),
    }
    return shapes[layout]


def from_rows(layout: str, array: np.ndarray, trial: Trial) -> np.ndarray:
    """Rows and nodes (M,D) in a layout."""
    if layout == "NC":
        return array
    if layout == "CN":
        return array.T
    array = array.reshape(*trial.sizes, -1)
    return array if layout == "NHWC" else array.transpose(0, 3, 1, 2)


def to_rows(layout: str, array: np.ndarray) -> np.ndarray:
    """An array in a layout as rows and nodes (M,D)."""
    if layout == "CN":
        return array.T
    if layout == "NCHW":
        array = array.transpose(0, 2, 3, 1)
    return array.reshape(-1, array.shape[-1])

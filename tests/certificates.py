"""Problems small enough to be certified, and in which settings: what the reference and autodiff are compared at."""

import itertools

import numpy as np
from cases import PAIRS, covering

from bnbench.problem import ACTIVATIONS, Problem

# (activation, normalization, ddof, eps); of those that run always each value, and no pair that is compiled for alone.
SETTINGS = covering(
    [(*pair, ddof, eps) for pair, ddof, eps in itertools.product(PAIRS, (0, 1), (0.0, 1e-5, 1.0))],
    [
        ("relu", "batch", 0, 0.0),
        ("relu", "batch", 1, 1.0),
        ("tanh", "batch", 1, 0.0),
        ("gaussian", "batch", 0, 1e-5),
        ("sigmoid", "none", 1, 1e-5),
        ("identity", "none", 0, 1.0),
    ],
)
LARGEST = 20_000  # N p1 p2


def problems(activation, normalization, ddof, eps, drawn=2):
    """Sizes up to N p1 p2 = 20,000, some of them drawn; one without normalization."""
    if normalization == "none":
        yield Problem(40, 5, 6, activation, "none", ddof, eps, seed=9)
        return
    random = np.random.default_rng([ACTIVATIONS.index(activation), ddof, round(eps * 1e6)])
    sizes = [(3, 1, 1), (50, 20, 20), (5000, 2, 2)]
    while len(sizes) < 3 + drawn:
        size = tuple(int(2 ** random.uniform(0, high)) for high in (9, 5, 5))
        if size[0] > ddof + 1 and np.prod(size) <= LARGEST:
            sizes.append(size)
    for seed, size in enumerate(sizes):
        yield Problem(*size, activation, ddof=ddof, eps=eps, seed=seed)


def parts(gradients):
    """Name and flat array of each part that is there."""
    return {name: np.asarray(part).reshape(-1) for name, part in gradients._asdict().items() if part is not None}

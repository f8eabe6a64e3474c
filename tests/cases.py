"""Which of a test's parameters run always, and which with `-m exhaustive` alone; together they are all that it had."""

import itertools

import pytest

from bnbench.problem import ACTIVATIONS, DTYPES
from bnbench.variants.base import SIMPLEST

# (activation, normalization, dtype), for each of which kernels are compiled: all there are, and the few that tests
# share. The few hold every value and both normalizations in both dtypes; what is normalized and smooth is tanh in
# float64 and the Gaussian, the one whose derivative takes B too, in float32. The first is for tests about none of them.
# softplus needs B as the Gaussian does and leaky ReLU has ReLU's kink, so that kernels have no case of their own: each
# is tried once a normalization and once a dtype.
NORMALIZATIONS = SIMPLEST["normalizations"]  # of every form
SETTINGS = list(itertools.product(ACTIVATIONS[:5], NORMALIZATIONS, DTYPES))
SETTINGS += [("softplus", "batch", "float64"), ("softplus", "none", "float32")]
SETTINGS += [("leaky-relu", "batch", "float32"), ("leaky-relu", "none", "float64")]
FEW = [("relu", "batch", "float64"), ("tanh", "batch", "float64")]
FEW += [("gaussian", "batch", "float32"), ("sigmoid", "none", "float64"), ("identity", "none", "float32")]
PAIRS = list(itertools.product(ACTIVATIONS, NORMALIZATIONS))  # for each of which the reference is compiled
FEW_PAIRS = list(dict.fromkeys(setting[:2] for setting in FEW))


def covering(rows, few=None):
    """The `rows` of a parametrized test, tuples or single values, all but some marked `exhaustive`.

    Those that run always are the rows in `few`; without it a small choice, the same in every process, in which every
    pair of values of two columns occurs that occurs in `rows`.
    """
    rows = list(rows)
    chosen = _pairwise(rows) if few is None else list(few)
    unknown = [row for row in chosen if row not in rows]
    if unknown or not chosen:
        raise ValueError(f"few has {unknown or 'no row'}; allowed are rows of the test")
    return [_parameter(row, () if row in chosen else pytest.mark.exhaustive) for row in rows]


def _parameter(row, marks):
    return pytest.param(*row, marks=marks) if isinstance(row, tuple) else pytest.param(row, marks=marks)


def _pairwise(rows):
    """Greedily: the row with the most pairs that no chosen one has, the first of them, until every pair has one."""
    pairs = {place: set(itertools.combinations(enumerate(row), 2)) for place, row in enumerate(rows)}
    left, chosen = set().union(*pairs.values()), []
    while left:
        best = max(pairs, key=lambda place: len(pairs[place] & left))
        left -= pairs[best]
        chosen.append(rows[best])
    return chosen

"""Which of a test's parameters run always, and which with `-m exhaustive` alone; together they are all that it had."""

import itertools

import pytest


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

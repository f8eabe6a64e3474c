"""What `fit` and `predict` are given beside X and y, checked: linear terms and the labels of units."""

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from bnbench import arrays

NEGLIGIBLE = 1e-10  # of a column's size: what is left of one that the effects absorb


def linear_terms(linear: Any, N: int, dtype: Any) -> tuple[np.ndarray, list[str] | None]:
    """The linear terms (N,q), and their names where they are columns of a data frame; one column may come as (N,).

    Raises:
        ValueError: another number of rows, no column, an entry that is no finite number.
    """
    W = arrays.read("linear", linear)
    W = W[:, None] if W.ndim == 1 else W
    if W.ndim != 2 or len(W) != N or not W.shape[1]:
        raise ValueError(f"linear has shape {np.shape(linear)}; with this X allowed is ({N}, q), a column a linear term")
    if not (finite := np.isfinite(W)).all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise ValueError(f"linear[{row}, {column}] is {W[row, column]}; allowed are finite numbers: fill or drop them")
    names = getattr(linear, "columns", None)
    if names is None and isinstance(getattr(linear, "name", None), str):
        names = [linear.name]
    return W.astype(dtype, order="C"), None if names is None else [str(name) for name in names]


def labels_of(units: Any, N: int) -> list:
    """The label of every row's unit.

    Raises:
        ValueError: no list of N labels, or one that cannot be looked up.
    """
    dates = isinstance(units, np.ndarray) and units.dtype.kind in "mM"  # tolist would make some of them numbers
    rows = units.tolist() if hasattr(units, "tolist") and not dates else units
    if isinstance(rows, str | bytes | Mapping | Set) or not isinstance(rows, Iterable) or getattr(units, "ndim", 1) != 1:
        given = f"shape {units.shape}" if hasattr(units, "shape") else f"type {type(units).__name__}"
        raise ValueError(f"units has {given}; allowed is a label for each of the {N} rows")
    labels = list(rows)
    if len(labels) != N:
        raise ValueError(f"units has {len(labels)} labels; with this X allowed are {N}, one a row")
    try:
        hash(tuple(labels))
    except TypeError as error:
        raise ValueError(f"units has a label that cannot be one ({error}); allowed are text, numbers, dates") from None
    return labels


class Sample(NamedTuple):
    """Rows of data.

    Attributes:
        X, y: inputs (N,p1) and outcome (N,), of one dtype.
        W: linear terms (N,q), or None.
        labels: the label of every row's unit, or None.
    """

    X: np.ndarray
    y: np.ndarray
    W: np.ndarray | None
    labels: list | None

    def take(self, rows: np.ndarray) -> "Sample":
        """These rows of it."""
        W = None if self.W is None else self.W[rows]
        return Sample(self.X[rows], self.y[rows], W, self.labels and [self.labels[row] for row in rows])

    def units(self) -> tuple[list | None, np.ndarray | None]:
        """The units' labels as they first appear, and of every row the place of its own among them."""
        if self.labels is None:
            return None, None
        known: dict = {}
        places = np.array([known.setdefault(label, len(known)) for label in self.labels])
        return list(known), places

    def split(self, random: np.random.RandomState, share: float, loss: str) -> tuple["Sample", "Sample"]:
        """The rows to fit to, and a share of the rows that is held out at random.

        Of each unit the rows that its effect takes to exist are never held out: one, or one of each outcome.

        Raises:
            ValueError: nothing would be held out.
        """
        _, unit = self.units()
        order = random.permutation(len(self.y))
        if unit is not None:
            kinds = {"squared": 0 * self.y, "logistic": self.y, "poisson": self.y > 0}[loss]
            _, first = np.unique(np.stack([unit, kinds])[:, order], axis=1, return_index=True)
            order = np.concatenate([np.delete(order, first), order[first]])
            count = min(round(share * len(order)), len(order) - len(first))
        else:
            count = round(share * len(order))
        if count < 1:
            raise ValueError(
                f"early_stopping=True with validation_fraction={share:g} holds out no row of {len(order)}; allowed are "
                "more rows, or early_stopping=False"
            )
        return self.take(np.sort(order[count:])), self.take(np.sort(order[:count]))


def check_terms(sample: Sample, intercept: bool, penalised: bool) -> None:
    """Refuse linear terms whose coefficients no data could tell apart.

    Raises:
        ValueError: a term that the units' effects or the intercept absorb, or one that others make up.
    """
    if sample.W is None or penalised:
        return
    _, unit = sample.units()
    ones = np.ones(len(sample.y))
    inner = within(sample.W.astype(np.float64), 0 * ones.astype(int) if unit is None and intercept else unit, ones)
    sizes = np.linalg.norm(sample.W, axis=0)
    absorbed = np.linalg.norm(inner, axis=0) <= NEGLIGIBLE * sizes
    if absorbed.any():
        by = "within any unit, so that the units' effects absorb it" if unit is not None else "over the rows" + (
            ", so that the intercept absorbs it" if intercept else "")
        raise ValueError(
            f"linear term {int(absorbed.argmax())} does not vary {by} ({np.count_nonzero(absorbed)} such terms): its "
            "coefficient does not exist; allowed are terms that vary there, or linear_penalty > 0"
        )
    rank = np.linalg.matrix_rank(inner / np.linalg.norm(inner, axis=0))
    if rank < inner.shape[1]:
        raise ValueError(
            f"linear has {inner.shape[1]} terms of which {rank} are independent: some are sums of others; allowed are "
            "independent terms, or linear_penalty > 0"
        )


def within(columns: np.ndarray, group: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """Columns (N,k) less their weighted mean in each group; unchanged where there is none."""
    if group is None:
        return columns
    totals = np.bincount(group, weights)
    means = [np.bincount(group, weights * column) / totals for column in columns.T]
    return columns - np.stack(means, axis=1)[group]

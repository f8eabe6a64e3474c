"""What `fit` and `predict` are given beside X and y, checked: linear terms and the labels of units."""

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
        raise ValueError(
            f"linear has shape {np.shape(linear)}; with this X allowed is ({N}, q), a column a linear term"
        )
    if not (finite := np.isfinite(W)).all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise ValueError(f"linear[{row}, {column}] is {W[row, column]}; allowed are finite numbers: fill or drop them")
    names = getattr(linear, "columns", None)
    if names is None and isinstance(getattr(linear, "name", None), str):
        names = [linear.name]
    return W.astype(dtype, order="C"), None if names is None else [str(name) for name in names]


def refuse_chunks(*given: Any) -> None:
    """Refuse arrays of Dask's, which scikit-learn would load into memory without a word.

    Raises:
        ValueError: one of them is.
    """
    if arrays.of_dask(*given):
        raise ValueError(
            "an array is Dask's, which estimators do not take; allowed are arrays in memory: to fit to rows in chunks "
            "give scipy.optimize.minimize what bnbench.prepare makes of them, to predict call X.map_blocks"
        )


class Sample(NamedTuple):
    """Rows of data.

    Attributes:
        X, y: inputs (N,p1) and outcome (N,), of one dtype.
        W: linear terms (N,q), or None.
        unit: of every row the number of its unit, from 0, or None.
    """

    X: np.ndarray
    y: np.ndarray
    W: np.ndarray | None
    unit: np.ndarray | None

    def take(self, rows: np.ndarray) -> "Sample":
        """These rows of it."""
        return Sample._make(None if part is None else part[rows] for part in self)

    def absorbed(self, intercept: bool) -> np.ndarray | None:
        """The group of each row whose level is estimated: its unit, or all rows where there is an intercept."""
        return self.unit if self.unit is not None or not intercept else np.zeros(len(self.y), int)

    def split(self, random: np.random.RandomState, share: float, loss: str) -> tuple["Sample", "Sample"]:
        """The rows to fit to, and a share of the rows that is held out at random.

        Of each unit the rows that its effect takes to exist are never held out: one, or one of each outcome.

        Raises:
            ValueError: nothing would be held out.
        """
        order = random.permutation(len(self.y))
        if self.unit is not None:
            kinds = {"squared": 0 * self.y, "logistic": self.y, "poisson": self.y > 0}[loss]
            _, first = np.unique(np.stack([self.unit, kinds])[:, order], axis=1, return_index=True)
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
    ones, unit = np.ones(len(sample.y)), sample.unit
    inner = within(sample.W.astype(np.float64), sample.absorbed(intercept), ones)
    sizes = np.linalg.norm(sample.W, axis=0)
    absorbed = np.linalg.norm(inner, axis=0) <= NEGLIGIBLE * sizes
    if absorbed.any():
        by = (
            "within any unit, so that the units' effects absorb it"
            if unit is not None
            else "over the rows" + (", so that the intercept absorbs it" if intercept else "")
        )
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

"""What the library's calls are given, read and checked: each error names the argument and says what is allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from bnbench import arrays
from bnbench.problem import DTYPES, Problem, Statistics
from bnbench.variants import Variant, variants
from bnbench.variants.registry import find

AUTO = "fused-numba", "matrix-numpy"  # what variant="auto" stands for: the first that is available
LARGE_BYTES = 2**30  # from here on, the free memory is checked first
LISTS = ("G1", "gamma", "beta")  # where there are several layers
MOST_SIZES = 4  # sizes of minibatches that are kept set up


def is_deep(G1: Any) -> bool:
    """Whether Γ1 is a list of matrices, one a layer, and not one matrix as rows of numbers."""
    return isinstance(G1, list | tuple) and arrays.rank(G1) > 2


def check_inputs(inputs: object) -> None:
    """Raise ValueError where inputs is neither True nor False."""
    if not isinstance(inputs, bool | np.bool_):
        raise ValueError(f"inputs is {arrays.quoted(inputs)}; allowed are True and False")


@functools.cache
def absolute_sum() -> Callable[[np.ndarray], float]:
    """What adds up |v| of a flat array, compiled; Numba is imported when there are arrays to look at."""
    from bnbench.sums import absolute_sum

    return absolute_sum


def size(name: str, array: np.ndarray) -> float:
    """Σ |entries|, infinite where it overflows; an entry that is NaN or infinite is refused."""
    total = absolute_sum()(array.reshape(-1))
    if not total < np.inf:
        finite = np.isfinite(array)
        if not finite.all():
            place = tuple(int(i) for i in np.argwhere(~finite)[0])
            index = ", ".join(map(str, place))
            count = int(np.size(finite) - np.count_nonzero(finite))
            raise ValueError(f"{name}[{index}] is {array[place]} ({count} such entries); allowed are finite numbers")
        return np.inf
    return total


def finite(part: Any) -> bool:
    """Whether an array of an answer, a number or None, has finite entries alone."""
    if type(part) is np.ndarray and part.flags.carray:
        return bool(absolute_sum()(part.reshape(-1)) < np.inf) or bool(np.isfinite(part).all())  # the sum may overflow
    return part is None or bool(np.isfinite(part).all())


def chosen_variant(name: object) -> type[Variant]:
    """The variant of a name, or that which "auto" stands for."""
    if isinstance(name, str) and name == "auto":
        return next(cls for cls in map(find, AUTO) if cls is not None and not cls.unavailable())
    cls = find(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"variant is {name!r}; allowed are auto, {', '.join(variants())}")
    return cls


def width(G1: Any) -> int:
    """The number of hidden nodes of one matrix Γ1."""
    shape = arrays.read("G1", G1).shape
    if len(shape) != 2:
        raise ValueError(f"G1 has shape {shape}; allowed is (p1, p2), or a list of such matrices, one a layer")
    return shape[1]


def common_dtype(read: dict[str, Any], asked: Any = None) -> np.dtype:
    """The one dtype of all arrays: that of the first float array, else the one asked for, else float64."""
    if asked is not None and (not isinstance(asked, str | type | np.dtype) or np.dtype(asked).name not in DTYPES):
        raise ValueError(f"dtype is {asked!r}; allowed are {', '.join(DTYPES)}")
    own = next((array.dtype for array in read.values() if array is not None and array.dtype.kind == "f"), None)
    if asked is not None and own is not None and np.dtype(asked) != own:
        raise ValueError(f"dtype is {np.dtype(asked).name} and X or y is {own}; allowed is theirs, or none")
    return np.dtype(own.name) if own else np.dtype(asked or "float64")  # the one object that NumPy has of each


def as_array(name: str, array: np.ndarray, dtype: np.dtype, *, copy: bool = False) -> np.ndarray:
    """An array from `arrays.read`, made C-contiguous and of a dtype; copied only where needed, unless `copy`."""
    if array.dtype.kind == "f" and array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype} and X is {dtype}; allowed is one dtype for all arrays "
            "(prepare takes dtype=... where X and y are whole numbers)"
        )
    return np.array(array, dtype, order="C") if copy else np.ascontiguousarray(array, dtype)


def checked_data(
    X: np.ndarray | None, y: np.ndarray | None, dtype: np.dtype, *, copy: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """X and y checked, read-only, and Σ |X_ik|; arrays of their own with copy."""
    if X is None or y is None:
        raise ValueError(f"{'X' if X is None else 'y'} is None; allowed is an array")
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; allowed is (N, p1)")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y has shape {y.shape}; with X of shape {X.shape} allowed is {X.shape[:1]}")
    held, sizes = [], []
    for name, given in (("X", X), ("y", y)):
        array = as_array(name, given, dtype, copy=copy)
        sizes.append(size(name, array))
        array = array.view()  # read-only, always: to Numba that is a type of its own, compiled for anew
        array.flags.writeable = False
        held.append(array)
    return held[0], held[1], float(sizes[0])


def check_memory(cls: type[Variant], problem: Problem, regime: str) -> None:
    """Refuse a problem that does not fit into memory, before anything is allocated."""
    parameters = 4 * problem.p1 * problem.p2 * np.dtype(problem.dtype).itemsize
    if max(parameters, problem.batch_bytes * problem.p2 // problem.p1) < LARGE_BYTES:
        return
    from bnbench.measure.environment import available_bytes

    needs, free = parameters + cls.needs_bytes(problem, regime), available_bytes()
    if needs > free:
        raise ValueError(
            f"p2 is {problem.p2}, with N {problem.N} and p1 {problem.p1}: variant {cls.name} needs "
            f"{needs / 2**30:.3g} GiB for a step, {free / 2**30:.3g} GiB are free; reduce N, p1 or p2"
        )


def read_all(**parts: Any) -> tuple[dict[str, Any], int | list[int]]:
    """The arrays of a call by name, as `arrays.read` gives them, and the width of the hidden layer, or a list of them.

    Raises:
        ValueError: one is no array, G1 has an entry that is no matrix.
    """
    given = named(**parts)
    for name, part in given.items():  # before all else, for G1 says whether the others are lists
        if name.startswith("G1") and arrays.read(name, part).ndim != 2:
            raise ValueError(f"{name} has shape {np.shape(part)}; allowed is (p_in, p_out)")
    read: dict[str, Any] = {name: None if part is None else arrays.read(name, part) for name, part in given.items()}
    widths = [array.shape[1] for name, array in read.items() if name.startswith("G1")]
    return read, widths if is_deep(parts["G1"]) else widths[0]


def named(**parts: Any) -> dict[str, Any]:
    """Arrays by name, those of lists as G1[0]; of statistics as mean[0] and var[0]."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if name == "statistics":
            for place, (mean, var) in enumerate(pairs_of(part)):
                at = f"[{place}]" if arrays.rank(part) > 2 else ""
                found |= {f"mean{at}": mean, f"var{at}": var}
        elif name in LISTS and is_deep(parts["G1"]) and isinstance(part, list | tuple):
            found |= {f"{name}[{place}]": one for place, one in enumerate(part)}
        else:
            found[name] = part
    return found


def pairs_of(statistics: Any) -> list:
    """(mean, variance) of each layer, of one where they came without a list; none of None."""
    if statistics is None:
        return []
    told = "allowed are (mean, variance), or a list of them, one a layer"
    if not isinstance(statistics, list | tuple | np.ndarray):
        raise ValueError(f"statistics is of type {type(statistics).__name__}; {told}")
    pairs = list(statistics) if arrays.rank(statistics) > 2 else [statistics]
    pairs = [pair[:2] if isinstance(pair, Statistics) else pair for pair in pairs]
    for pair in pairs:
        if not isinstance(pair, list | tuple | np.ndarray) or arrays.rank(pair) < 1 or len(pair) != 2:
            raise ValueError(f"statistics has an entry that is no pair; {told}")
    return pairs


def labels_of(units: Any, N: int) -> tuple[list | None, Any]:
    """The sorted labels of the units and, for every row, the place of its own among them."""
    if units is None:
        return None, None
    dates = isinstance(units, np.ndarray) and units.dtype.kind in "mM"  # tolist would make some of them numbers
    rows = units.tolist() if hasattr(units, "tolist") and not dates else units
    if getattr(units, "ndim", 1) != 1:
        raise ValueError(f"units has shape {units.shape}; with this X allowed is ({N},)")
    if isinstance(rows, str | bytes | Mapping | Set) or not isinstance(rows, Iterable):
        raise ValueError(f"units is of type {type(units).__name__}; allowed is a label for each of {N} rows")
    rows = list(rows)
    if len(rows) != N:
        raise ValueError(f"units has {len(rows)} entries; with this X allowed are {N}")
    try:
        found = set(rows)
        if missing := [label for label in found if _is_missing(label)]:
            row = 1 + rows.index(missing[0])
            raise ValueError(f"units has {missing[0]!r} in row {row}; allowed is a label in every row")
        labels = sorted(found)
    except TypeError as error:
        raise ValueError(f"units cannot be sorted ({error}); allowed are hashable labels of one kind") from None
    places = {label: place for place, label in enumerate(labels)}
    return labels, np.array([places[row] for row in rows])


def _is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, or a data frame's word for them."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # of pandas' NA
        return True


def chosen_rows(rows: Any, N: int, least: int) -> tuple[Any, int]:
    """The rows of a minibatch, a slice or row numbers (n,), checked, and how many they are: at least `least`."""
    if isinstance(rows, slice):
        try:
            count = len(range(*rows.indices(N)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"rows is {rows}: {error}; allowed are a slice, or row numbers (n,)") from None
        chosen: Any = rows
    else:
        chosen = arrays.read("rows", rows)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise ValueError(
                f"rows has shape {chosen.shape} and dtype {chosen.dtype}; allowed are a slice, or row numbers (n,)"
            )
        outside = chosen[(chosen < -N) | (chosen >= N)]
        if outside.size:
            raise ValueError(f"rows has {outside[0]}; with this X allowed are {-N} to {N - 1}")
        count = len(chosen)
    if count < least:
        raise ValueError(f"rows has {count} rows; allowed are at least {least}")
    return chosen, count


def part(array: Any, rows: Any) -> Any:
    """These rows of a C-contiguous array, copied only where they do not lie one after the other; None of None."""
    return None if array is None else np.ascontiguousarray(array[rows])


def keep(kept: dict, key: Any, value: Any, most: int) -> None:
    """Put a value last into a dictionary of so many at most, whose first is the one to go."""
    if len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value

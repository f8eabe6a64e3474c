"""Arrays and tables of any kind, read in one way by the library's calls and by `--data`.

Data frames are recognised by their attributes, so that pandas is never imported here.
"""

import re
from decimal import Decimal
from numbers import Real
from typing import Any, NoReturn

import numpy as np

ALLOWED = "allowed are float64, float32 and whole numbers"
SHOWN = 40  # characters of a value that a message quotes
COMMA = "has a comma"
KINDS = {  # of entries of a column that are no number: what to do about them
    r"[?*.\-–—]+": "it marks a missing value, fill or drop it",
    r"[^\w]*\d[\d.]*,[\d.,]*": f"it {COMMA}, leave it out or write a point",
    r".*\d\s*%": "it is a percentage, leave the sign out",
    r"\d{1,4}([-/. ])\w{1,9}\1\d{1,4}\b.*": "it is a date, encode or drop it",
}
ENCODE = "encode or drop it"


def read(name: str, value: Any) -> np.ndarray:
    """The numbers of an array, a list, a data frame (a column each) or a series, in the machine's byte order.

    The result is float64 or float32, or whole numbers or bools as they were: these have no dtype of their own,
    the caller picks one. Arrays that are already like this are returned unchanged, and their entries are not checked.

    Raises:
        ValueError: something in it is no number (text, dates, complex numbers, masked entries; of a data frame
            missing and infinite ones too); one line that names the array, and the column and row or the index.
    """
    if type(value) is np.ndarray and value.dtype.isnative and value.dtype in (np.float64, np.float32):
        return value
    if value is None:
        raise ValueError(f"{name} is None; allowed is an array")
    if hasattr(value, "iloc"):
        array = _frame(name, value) if hasattr(value, "columns") else column(name, value)
    else:
        array = _numbers(name, _unmasked(name, value))
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        raise ValueError(f"{name} is of dtype {array.dtype}; {ALLOWED}")
    return array


def of_dask(*values: Any) -> bool:
    """Whether one of these is an array or a data frame of Dask's, which is not imported for the question."""
    return any(type(value).__module__.partition(".")[0] == "dask" for value in values)


def rank(value: Any) -> int:
    """The number of dimensions of an array, a data frame or nested lists, of these by their deepest entry."""
    if isinstance(value, list | tuple):
        return 1 + max(map(rank, value), default=0)
    return getattr(value, "ndim", 0)


def column(label: str, series: Any) -> np.ndarray:
    """The finite numbers of a pandas series of any dtype, nullable and Arrow's too; a ValueError begins with label."""
    missing = series.isna().to_numpy(bool)
    if missing.any():
        raise ValueError(f"{label} has {_entries(missing.sum(), 'missing')} (first in row {missing.argmax() + 1}), "
                         "fill or drop them")  # fmt: skip
    dtype = series.dtype
    if str(dtype) == "category":
        raise ValueError(f"{label} is categorical (row 1 is {quoted(series.iloc[0])}), {ENCODE}")
    if getattr(dtype, "kind", "O") in "iufb":
        dtype = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))  # of nullable, of sparse, its own
        array = _numbers(label, series.to_numpy(dtype))
    else:
        array = _numbers(label, series.to_numpy(), KINDS)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        raise ValueError(f"{label} has {_entries(np.sum(~finite), 'infinite')} (first in row {finite.argmin() + 1}), "
                         "drop these rows")  # fmt: skip
    return array


def _frame(name: str, frame: Any) -> np.ndarray:
    columns = [column(f"column {label!r} of {name}", frame.iloc[:, k]) for k, label in enumerate(frame.columns)]
    floats = [array.dtype for array in columns if array.dtype.kind == "f"]
    kinds = floats or [array.dtype for array in columns] or [np.dtype(float)]
    array = np.empty(frame.shape, np.result_type(*kinds))
    for k, values in enumerate(columns):
        array[:, k] = values
    return array


def _unmasked(name: str, value: Any) -> np.ndarray:
    """The value as an array; masks that mask something are refused, where numpy.asarray would drop them."""
    parts = value if isinstance(value, list | tuple) else [value]
    for part in parts:
        if np.ma.isMaskedArray(part) and (count := int(np.ma.getmaskarray(part).sum())):
            raise ValueError(f"{name} is masked in {count} entries; allowed are numbers: fill or drop them")
    try:
        return np.asarray(value)
    except Exception as error:  # of whatever library the value is
        raise ValueError(f"{name} cannot be read as an array: {_first_line(error)}; {ALLOWED}") from error


def _numbers(name: str, array: np.ndarray, kinds: dict[str, str] | None = None) -> np.ndarray:
    """The array if it holds numbers; `kinds` is given for a column of a data frame."""
    if array.dtype.kind == "O":
        array = _objects(name, array, kinds)
    elif array.dtype.kind in "US":
        _refuse_text(name, array, kinds)
    elif array.dtype.kind not in "iufb":
        example = f" (row 1 is {quoted(array[0])})" if array.ndim == 1 and array.size else ""
        raise ValueError(f"{name} is of dtype {array.dtype}{example}{', ' + ENCODE if kinds else '; ' + ALLOWED}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _objects(name: str, array: np.ndarray, kinds: dict[str, str] | None) -> np.ndarray:
    """Python's numbers as a numeric array; the first entry that is not a number is named."""
    if array.ndim == 0:
        raise ValueError(f"{name} is a {type(array.item()).__name__}; allowed is an array of numbers")
    wrong = [place for place, entry in np.ndenumerate(array) if not isinstance(entry, Real | Decimal | np.bool_)]
    if wrong:
        _refuse_text(name, array, kinds, wrong)
    numbers = np.array(array.tolist())
    if numbers.dtype.kind in "iufb" and numbers.shape == array.shape:
        return numbers
    try:
        return array.astype(np.float64)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{name} holds a number beyond float64: {_first_line(error)}") from error


def _refuse_text(
    name: str, array: np.ndarray, kinds: dict[str, str] | None, wrong: list[tuple[int, ...]] | None = None
) -> NoReturn:
    """Name the first entry that is not a number; in text, the first that does not parse as one."""
    wrong = list(np.ndindex(array.shape)) if wrong is None else wrong
    if not wrong:
        raise ValueError(f"{name} is of dtype {array.dtype}; {ALLOWED}")
    wrong = [place for place in wrong if not _reads_as_number(array[place])] or wrong
    place = wrong[0]
    where = f"{name} in row {place[0] + 1}" if array.ndim == 1 else f"{name}[{', '.join(map(str, place))}]"
    said = f"{where} is {quoted(array[place])}, no number ({_entries(len(wrong), 'such')})"
    if kinds is None:
        raise ValueError(f"{said}; {ALLOWED}")
    text = str(array[place]).strip()
    raise ValueError(f"{said}: {next((mend for kind, mend in kinds.items() if re.fullmatch(kind, text)), ENCODE)}")


def _reads_as_number(entry: object) -> bool:
    try:
        return isinstance(entry, str) and float(entry) is not None
    except ValueError:
        return False


def _entries(count: int, kind: str) -> str:
    return f"{count} {kind} {'entry' if count == 1 else 'entries'}"


def quoted(value: Any) -> str:
    """A value on one line, shortened, as a message shows it."""
    text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

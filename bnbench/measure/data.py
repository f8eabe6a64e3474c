"""A real table as the data of a sweep: X and y from a CSV, Parquet or NumPy file."""

import contextlib
import hashlib
import mmap
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnbench import arrays
from bnbench.problem import Batch, Problem

SUFFIXES = (".csv", ".parquet", ".npy")
LINE_BYTES = 64  # of a cache


class Table(NamedTuple):
    """X (rows, p1) and y (rows,) of a table in float64, with its name and a hash of its numbers."""

    X: np.ndarray
    y: np.ndarray
    name: str
    digest: str


def read_table(path: str | Path, target: str) -> Table:
    """Read a table; the target column is y, all others are X, in the file's order.

    In a .npy file, a matrix, the target is a column's number, counted from 0; negative counts from the end.

    Raises:
        ValueError: no such file or format, a Parquet file without pyarrow, no such target, text, missing or infinite
            values, no rows or no column besides the target; the message names the column.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"data file is {path.name}; allowed are files ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"data file {path} is not there")
    frame = _read(path)
    if not str(target):
        raise ValueError("data is given without a target; allowed is --target with the outcome's column")
    if path.suffix == ".npy":
        columns = len(frame.columns)
        if not re.fullmatch(r"-?[0-9]+", str(target)) or not -columns <= int(target) < columns:
            raise ValueError(f"target is {target!r}; allowed is a column number, 0 to {columns - 1}")
        target = int(target) % columns
    frame.columns = [str(column) for column in frame.columns]
    target = str(target)
    if list(frame.columns).count(target) != 1:
        names = ", ".join(frame.columns[:12]) + (", …" if len(frame.columns) > 12 else "")
        raise ValueError(f"target {target!r} is not one column of {path.name}; its columns are {names}")
    if frame.shape[0] == 0 or frame.shape[1] < 2:
        raise ValueError(
            f"{path.name} is {frame.shape[0]} rows by {frame.shape[1]} columns; allowed is at least 1 by 2"
        )
    numbers = np.empty(frame.shape)
    for place, name in enumerate(frame.columns):
        numbers[:, place] = arrays.column(f"column {name!r} of {path.name}", frame.iloc[:, place])
    at = frame.columns.get_loc(target)
    X = np.ascontiguousarray(np.delete(numbers, at, axis=1))
    y = np.ascontiguousarray(numbers[:, at])
    return Table(X, y, path.name, hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()[:16])


class NoRoomError(Exception):
    """A table has no room where the processes of a sweep are to find it; the message is one line."""


class Stored(NamedTuple):
    """A table as the processes of a sweep find it: the number of an open file that they inherit, rows and columns."""

    file: int
    rows: int
    p1: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, p1) and y (rows,), mapped from the file."""
        numbers = np.frombuffer(mmap.mmap(self.file, 0, access=mmap.ACCESS_READ))
        return numbers[: -self.rows].reshape(self.rows, self.p1), numbers[-self.rows :]


@contextlib.contextmanager
def stored(table: Table | None):
    """Put a table where the processes of a sweep find it: a file without a name, gone when the last of them is.

    Raises:
        NoRoomError: the temporary directory cannot take it.
    """
    if table is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        try:
            table.X.tofile(file)
            table.y.tofile(file)
        except OSError as error:
            size = (table.X.nbytes + table.y.nbytes) / 2**20
            raise NoRoomError(
                f"{tempfile.gettempdir()} cannot take a copy of the table, {size:.3g} MiB ({error}); "
                "allowed is TMPDIR=… with a folder that has room"
            ) from error
        yield Stored(file.fileno(), *table.X.shape)


def sample_batch(problem: Problem, table: Stored | None) -> Batch:
    """The batch of a problem: the leading rows of a table, or drawn data where there is none.

    X and y begin on a cache line: elsewhere by luck, from 16 bytes to 16, loops over the rows may be a sixth slower.
    """
    if table is not None:
        X, y = (array[: problem.N] for array in table.read())
        batch = problem.sample(X=np.array(X, problem.dtype), y=np.array(y, problem.dtype))
    else:
        batch = problem.sample()
    return batch._replace(X=_on_a_line(batch.X), y=_on_a_line(batch.y))


def _on_a_line(array):
    room = np.empty(array.nbytes + LINE_BYTES, np.uint8)
    first = -room.ctypes.data % LINE_BYTES
    copy = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy


def _read(path):
    import pandas

    try:
        if path.suffix == ".csv":
            return pandas.read_csv(path, float_precision="round_trip")
        if path.suffix == ".parquet":
            return pandas.read_parquet(path)
        array = np.load(path, allow_pickle=False)
    except ImportError as error:
        raise ValueError(
            f"data file {path.name} is read by pyarrow, which is not installed; pip install 'bnbench[parquet]' adds it"
        ) from error
    except Exception as error:
        raise ValueError(f"data file {path.name} could not be read: {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        raise ValueError(f"data file {path.name} holds no matrix; allowed is an array of two dimensions")
    return pandas.DataFrame(array)

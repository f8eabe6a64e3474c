"""A real table as the data of a sweep: X and y from a text (CSV), Parquet or NumPy file."""

import contextlib
import hashlib
import itertools
import mmap
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bnbench import arrays
from bnbench.measure.delimited import COMPRESSED, DECIMALS, NUMBER, TableError, opened, read
from bnbench.problem import Batch, Problem

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT = (".csv", ".tsv", ".txt", ".data")
SUFFIXES = (*TEXT, ".parquet", ".npy")
MOST_NAMED = 12  # columns, in a message
LINE_BYTES = 64  # of a cache


class Table(NamedTuple):
    """X (rows, p1) and y (rows,) of a table in float64, with its name and a hash of its numbers.

    inputs and target are the names of the columns, notes what its reader should know, a sentence each.
    """

    X: np.ndarray
    y: np.ndarray
    name: str
    digest: str
    inputs: tuple[str, ...] = ()
    target: str = ""
    notes: tuple[str, ...] = ()


def read_table(
    path: str | Path, target: str, *, header: bool = True, decimal: str = ".", rows: int | None = None
) -> Table:
    """Read a table; the target column is y, all others are X, in the file's order.

    Leading columns without a name, which `DataFrame.to_csv` and R's `write.csv` make of the rows' labels, are left out.
    In a .npy file, a matrix, and without a header the target is a column's number, counted from 0; negative counts from
    the end.

    Args:
        path: a text file (its separator is found out), Parquet or .npy; or one of these compressed; or a folder of
            Parquet files, which Dask reads part by part, so that memory has to hold the numbers and one part.
        target: the outcome's column.
        header: whether the first row of a text file has the names of the columns.
        decimal: the decimal point of a text file, "." or ",".
        rows: of a folder, so many leading rows are wanted; parts beyond them are not read.

    Raises:
        TableError: no such file or format, a Parquet file without pyarrow, no such target, no header, rows of different
            lengths, text, missing or infinite values, no rows or no column besides the target; the message names every
            column that is to be mended.
    """
    path, target = Path(path), str(target).strip()
    if not path.exists():
        raise TableError(f"data file {path} is not there")
    if not target:
        raise TableError("data is given without a target; name the outcome's column by --target")
    notes: list[str] = []
    if path.is_dir():
        if not header or decimal != DECIMALS[0]:
            raise TableError(f"--no-header and --decimal are for text files; {path.name} is none: leave them out")
        names, numbers = _read_folder(path, rows, notes)
        _check_shape(names, len(numbers), target, path.name)
    else:
        frame, kind = _read(path, header, decimal)
        if kind == ".npy" or not header:
            target = _numbered(target, frame.shape[1])
            frame.columns = [str(column) for column in frame.columns]
        else:
            frame = _named(frame, path.name, notes)
            if kind in TEXT:
                _refuse_data_as_names(frame, path.name)
        names = list(frame.columns)
        _check_shape(names, len(frame), target, path.name)
        numbers = _numbers(frame, path.name)
    notes += [f"column {name!r} of {path.name} counts the rows; it is an input like the others"
              for name, column in zip(names, numbers.T, strict=True) if name != target and _counts(column)]  # fmt: skip
    at = names.index(target)
    X = np.ascontiguousarray(np.delete(numbers, at, axis=1))
    y = np.ascontiguousarray(numbers[:, at])
    digest = hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest()[:16]
    return Table(X, y, path.name, digest, tuple(names[:at] + names[at + 1 :]), target, tuple(notes))


def _check_shape(names: list[str], rows: int, target: str, file: str) -> None:
    """Refuse a table without the target, rows or another column."""
    if names.count(target) != 1:
        which = f"{names.count(target)} columns" if target in names else "no column"
        raise TableError(f"target {target!r} is {which} of {file}; its columns are {_listed(names)}")
    if rows == 0 or len(names) < 2:
        raise TableError(f"{file} is {rows} rows by {len(names)} columns; expected at least 1 by 2")


def _read_folder(path: Path, rows: int | None, notes: list[str]) -> tuple[list[str], np.ndarray]:
    """The names and the numbers (rows, columns) of a folder of Parquet files, of its leading rows where so many do."""
    if not any(path.rglob("*.parquet")):
        raise TableError(f"data folder {path.name} has no file ending in .parquet; expected a folder of such files")
    try:
        import dask.dataframe
    except ImportError as error:
        raise TableError(
            f"data folder {path.name} is read by dask.dataframe, which is not installed; pip install 'bnbench[dask]' "
            "adds it"
        ) from error
    try:
        whole = dask.dataframe.read_parquet(path)
        sizes = whole.map_partitions(len).compute(scheduler="synchronous").tolist()
    except Exception as error:  # of whichever library reads it
        raise TableError(f"data folder {path.name} could not be read: {' '.join(str(error).split())}") from error
    total = sum(sizes) if rows is None else min(rows, sum(sizes))
    if total < sum(sizes):
        notes.append(f"of {path.name} the leading {total} of {sum(sizes)} rows were read")
    names: list[str] = []
    numbers, held = np.empty((0, 0)), 0
    for place, part in enumerate(whole.partitions):
        if held == total and place:
            break
        frame = part.compute(scheduler="synchronous").iloc[: total - held]
        frame = _named(frame, path.name, notes if place == 0 else [])
        if place == 0:
            names, numbers = list(frame.columns), np.empty((total, frame.shape[1]))
        numbers[held : held + len(frame)] = _numbers(frame, f"part {place + 1} of {path.name}")
        held += len(frame)
    return names, numbers


def described(table: Table | None) -> dict:
    """What environment.json says of a table; nothing where there is none."""
    if table is None:
        return {}
    rows = len(table.y)
    return {"table": {"name": table.name, "rows": rows, "target": table.target, "inputs": list(table.inputs)}}


def _read(path: Path, header: bool, decimal: str) -> "tuple[DataFrame, str]":
    """The frame of a file, and its kind."""
    import pandas

    try:
        with opened(path) as (file, kind):
            if kind not in SUFFIXES:
                raise TableError(
                    f"data file is {path.name}; expected one ending in {', '.join(SUFFIXES)}, or in one of these and "
                    f"{', '.join(COMPRESSED)}, or a .zip with one"
                )
            if kind in TEXT:
                return read(file, path.name, tabs=kind == ".tsv", header=header, decimal=decimal), kind
            if not header or decimal != DECIMALS[0]:
                raise TableError(f"--no-header and --decimal are for text files; {path.name} is none: leave them out")
            if kind == ".parquet":
                return pandas.read_parquet(file), kind
            array = np.load(file, allow_pickle=False)
    except TableError:
        raise
    except ImportError as error:
        raise TableError(
            f"data file {path.name} is read by pyarrow, which is not installed; pip install 'bnbench[parquet]' adds it"
        ) from error
    except Exception as error:  # of whichever library reads it
        raise TableError(f"data file {path.name} could not be read: {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        raise TableError(f"data file {path.name} holds no matrix; expected an array of two dimensions")
    return pandas.DataFrame(array), kind


def _numbered(target: str, columns: int) -> str:
    """The name of a column that is given by its number."""
    if not re.fullmatch(r"-?[0-9]{1,9}", target) or not -columns <= int(target) < columns:
        raise TableError(
            f"target is {target!r}; expected a column number, 0 to {columns - 1}, or -1 to {-columns} from the end"
        )
    return str(int(target) % columns)


def _named(frame: "DataFrame", file: str, notes: list[str]) -> "DataFrame":
    """The frame with the columns that have names; a note on those that are left out.

    Raises:
        TableError: a column has numbers and no name, and others before it have one.
    """
    frame.columns = [str(column).strip() for column in frame.columns]
    unnamed = [not name or bool(re.fullmatch(r"Unnamed: \d+", name)) for name in frame.columns]
    labels = len(list(itertools.takewhile(bool, unnamed)))
    if labels:
        notes.append(
            f"left out of {file}: the first {'column' if labels == 1 else f'{labels} columns'}, without a name "
            "(the rows' labels, as DataFrame.to_csv and R's write.csv write them)"
        )
    filled = ~frame.isna().all().to_numpy()
    kept = [place for place in range(labels, len(unnamed)) if filled[place] or not unnamed[place]]
    if nameless := [place for place in kept if unnamed[place]]:
        raise TableError(f"{file} has no name for column {nameless[0] + 1} of its {len(unnamed)}: give it one")
    if len(kept) < len(unnamed) - labels:
        notes.append(f"left out of {file}: columns without a name or an entry (rows that end with a separator)")
    return frame.iloc[:, kept]


def _refuse_data_as_names(frame: "DataFrame", file: str) -> None:
    """Refuse a header that is a row of data: each column of numbers has a number for its name, and not its own."""
    names = list(frame.columns)
    over_numbers = [name for name, dtype in zip(names, frame.dtypes, strict=True) if dtype.kind in "iuf"]
    if over_numbers and all(map(NUMBER.fullmatch, over_numbers)) and names != [str(k) for k in range(len(names))]:
        raise TableError(
            f"{file} seems to have no header, its first row is {_listed(names)}: use --no-header, which names the "
            "columns 0, 1, …, or give them names"
        )


def _numbers(frame: "DataFrame", file: str) -> np.ndarray:
    """The entries, or a TableError with all columns that are to be mended."""
    numbers, wrong = np.empty(frame.shape), []
    for place, name in enumerate(frame.columns):
        try:
            numbers[:, place] = arrays.column(f"column {name!r}", frame.iloc[:, place])
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        more = f"; {len(wrong) - MOST_NAMED} columns more" if len(wrong) > MOST_NAMED else ""
        commas = "; --decimal , reads decimal commas" if any(arrays.COMMA in words for words in wrong) else ""
        raise TableError(f"{file}: {'; '.join(wrong[:MOST_NAMED])}{more}{commas}")
    return numbers


def _counts(column: np.ndarray) -> bool:
    """Whether a column counts its rows from 0 or from 1."""
    return len(column) > 2 and column[0] in (0, 1) and np.array_equal(column, np.arange(len(column)) + column[0])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


class NoRoomError(Exception):
    """A table has no room where the processes of a sweep are to find it; the message is one line."""


class SharedTable(NamedTuple):
    """A table as the processes of a sweep find it: the number of an open file that they inherit, rows and columns."""

    file: int
    rows: int
    p1: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, p1) and y (rows,), mapped from the file."""
        numbers = np.frombuffer(mmap.mmap(self.file, 0, access=mmap.ACCESS_READ))
        return numbers[: -self.rows].reshape(self.rows, self.p1), numbers[-self.rows :]


@contextlib.contextmanager
def shared(table: Table | None) -> Iterator[SharedTable | None]:
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
        yield SharedTable(file.fileno(), *table.X.shape)


def sample_batch(problem: Problem, table: SharedTable | None) -> Batch:
    """The batch of a problem: the leading rows of a table, or drawn data where there is none.

    X and y begin on a cache line: elsewhere by luck, from 16 bytes to 16, loops over the rows may be a sixth slower.
    """
    if table is not None:
        X, y = (array[: problem.N] for array in table.read())
        batch = problem.sample(X=np.array(X, problem.dtype), y=np.array(y, problem.dtype))
    else:
        batch = problem.sample()
    return batch._replace(X=_on_a_line(batch.X), y=_on_a_line(batch.y))


def _on_a_line(array: np.ndarray) -> np.ndarray:
    room = np.empty(array.nbytes + LINE_BYTES, np.uint8)
    first = -room.ctypes.data % LINE_BYTES
    copy = room[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy

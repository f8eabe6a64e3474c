"""Tables in text files as people have them: compression, encoding, separator and header are found out, or refused."""

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import itertools
import lzma
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "blanks"}
DECIMALS = (".", ",")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
HEAD_BYTES = 2**16  # of a file, from which its encoding and separator are told
LOOKED_AT = 20  # rows of them
COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}  # and .zip, with one file in it


class TableError(ValueError):
    """A table cannot be read as it is; the message is one line that says what to do about it."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """The bytes of a file, uncompressed, and the ending that says what they are, in small letters."""
    ending = path.suffix.lower()
    if ending == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
            if len(names) != 1:
                raise TableError(f"{path.name} holds {len(names)} files; expected a .zip with one: unpack it")
            with archive.open(names[0]) as file:
                yield file, Path(names[0]).suffix.lower()
    elif ending in COMPRESSED:
        with COMPRESSED[ending](path) as file:
            yield file, Path(path.stem).suffix.lower()
    else:
        with open(path, "rb") as file:
            yield file, ending


def read(file: IO[bytes], name: str, *, tabs: bool, header: bool, decimal: str) -> "DataFrame":
    """The columns of a text file as a data frame, whose labels are the names in its header, or 0, 1, … without one.

    Args:
        file: its bytes, which can be read twice.
        name: what messages call it.
        tabs: whether tabs are tried before commas.
        header: whether the first row has the names.
        decimal: the decimal point, "." or ",".

    Raises:
        TableError: it is no text, not in UTF-8 or UTF-16, has no rows, or a row with more or fewer fields than the
            header.
    """
    import pandas

    head = file.read(HEAD_BYTES)
    encoding = next((code for mark, code in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in head:
        raise TableError(f"{name} is no text in UTF-8 (it has NUL bytes): save it as CSV in UTF-8")
    try:
        separator = _separator(head.decode(encoding, "replace"), tabs)
        text = _rewound(file, encoding)
        labels: list[Any] | None = _next_row(text, separator) if header else None
        if header and labels is None:
            raise TableError(f"{name} is empty; expected a header and rows of numbers")
        try:
            frame = pandas.read_csv(
                text, sep=r"\s+" if separator == " " else separator, header=None, skipinitialspace=True,
                decimal=decimal, low_memory=False, **_rounded_right(pandas),
            )  # fmt: skip
        except pandas.errors.EmptyDataError:
            raise TableError(f"{name} has no rows of numbers") from None
        except pandas.errors.ParserError as error:
            _refuse_uneven(text, encoding, name, separator, header)
            raise TableError(f"{name} could not be read: {' '.join(str(error).split())}") from error
        labels = list(range(frame.shape[1])) if labels is None else labels
        if len(labels) != frame.shape[1] or frame.isna().any(axis=None):  # short rows are filled up
            _refuse_uneven(text, encoding, name, separator, header)
    except UnicodeDecodeError as error:
        raise TableError(
            f"{name} is not in UTF-8 (byte 0x{error.object[error.start]:02x}), perhaps in Latin-1: "
            f"save it in UTF-8, as by iconv -f LATIN1 -t UTF-8"
        ) from None
    except csv.Error as error:
        raise TableError(f"{name} could not be read: {error}") from error
    for place in [place for place, dtype in enumerate(frame.dtypes) if dtype.kind == "O"]:
        with contextlib.suppress(ValueError, TypeError):
            frame[place] = frame[place].astype("float64")  # whole numbers beyond 64 bits
    frame.columns = labels
    return frame


def _rounded_right(pandas: Any) -> dict[str, str]:
    """The argument by which numbers are read to the last digit, where that is not the default."""
    version = tuple(map(int, pandas.__version__.split(".")[:2]))
    return {"float_precision": "round_trip"} if version < (3, 1) else {}


def _separator(head: str, tabs: bool) -> str:
    """What separates the fields: the first that splits some row as it does the header, else all rows alike."""
    candidates = sorted(SEPARATORS, key=lambda separator: separator != "\t") if tabs else list(SEPARATORS)
    fits, even, splits = [], [], []
    for separator in candidates:
        rows = _rows(io.StringIO(head, newline=""), separator)
        widths = [len(row) for _, row in itertools.islice(rows, 1 + LOOKED_AT)]
        first, later = widths[:1], widths[1:]
        fits += [separator] * (first > [1] and first[0] in later)
        even += [separator] * (len(set(later)) == 1 and later[0] > 1)
        splits += [separator] * (first > [1])
    return (fits or even or splits or candidates)[0]


def _rows(text: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its last line."""
    lines = (line.strip() for line in text) if separator == " " else text
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for row in reader:
        if row:
            yield reader.line_num, [field.strip() for field in row]


def _next_row(text: Iterable[str], separator: str) -> list[str] | None:
    return next((row for _, row in _rows(text, separator)), None)


def _rewound(file: Any, encoding: str) -> io.TextIOWrapper:
    file.seek(0)
    return io.TextIOWrapper(file, encoding=encoding, newline="")


def _refuse_uneven(text: io.TextIOWrapper, encoding: str, name: str, separator: str, header: bool) -> None:
    """Name the first row that has not as many fields as the first one."""
    rows = _rows(_rewound(text.detach(), encoding), separator)
    _, first = next(rows)
    for number, (line, row) in enumerate(rows, 1 if header else 2):
        if len(row) != len(first):
            where = "the header" if header else "row 1"
            raise TableError(
                f"{name} has rows of different lengths: {len(first)} in {where}, {len(row)} in row {number} "
                f"(line {line}), with {SEPARATORS[separator]} between fields; give every row as many"
            )

"""People's own files, a kind each: read right, or refused in one line that says how to mend them."""

import bz2
import gzip
import io
import lzma
import zipfile
from typing import NamedTuple

import numpy as np
import pandas
import pytest

from bnbench import cli
from bnbench.measure.data import described, read_table
from bnbench.report import answers, markdown, tables

PLAIN = "a,b,y\n1.5,2,3\n4,5.25,6\n7,8,9\n"
X, Y = [[1.5, 2], [4, 5.25], [7, 8]], [3, 6, 9]
LABELS = "left out of t.csv: the first column, without a name (the rows' labels"


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, PLAIN)
    return file.getvalue()


def parquet():
    pytest.importorskip("pyarrow")
    pandas.read_csv(io.StringIO(PLAIN)).convert_dtypes().to_parquet(file := io.BytesIO())
    return file.getvalue()


def npy(array):
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


class Case(NamedTuple):
    """A file, what is said of it (a note, or its refusal), and how it is read."""

    content: str | bytes
    words: str = ""
    file: str = "t.csv"
    target: str = "y"
    header: bool = True
    decimal: str = "."

    def path(self, folder):
        content = self.content() if callable(self.content) else self.content
        return made(folder, self.file, content)

    def read(self, folder):
        return read_table(self.path(folder), self.target, header=self.header, decimal=self.decimal)


def made(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


READ = {
    "commas": Case(PLAIN),
    "an ending in capitals": Case(PLAIN, file="T.CSV"),
    "semicolons": Case(PLAIN.replace(",", ";")),
    "semicolons, commas in a name": Case('a (kg, dry);"b;c";y\n1.5;2;3\n4;5.25;6\n7;8;9\n'),
    "tabs": Case(PLAIN.replace(",", "\t")),
    "a .tsv": Case(PLAIN.replace(",", "\t"), file="t.tsv"),
    "bars": Case(PLAIN.replace(",", "|"), file="t.txt"),
    "blanks, some at both ends": Case("  a b   y\n1.5  2 3 \n  4 5.25 6\n7 8 9", file="t.data"),
    "quotes and blanks behind commas": Case('"a", "b", "y"\r\n"1.5", 2, 3\r\n4, 5.25, 6\r\n7, 8, "9"\r\n'),
    "blank lines": Case("\n" + PLAIN.replace("\n", "\n\n")),
    "a name of two lines": Case('"a\nA",b,y\n1.5,2,3\n4,5.25,6\n7,8,9\n'),
    "UTF-8 with a mark": Case(PLAIN.encode("utf-8-sig")),
    "UTF-16": Case(PLAIN.replace("a,", "größe,").encode("utf-16")),
    "gzip": Case(gzip.compress(PLAIN.encode()), file="t.csv.gz"),
    "bzip2": Case(bz2.compress(PLAIN.replace(",", "\t").encode()), file="t.tsv.bz2"),
    "xz": Case(lzma.compress(PLAIN.encode()), file="t.csv.XZ"),
    "zip": Case(zipped("inner.CSV", "__MACOSX/inner.csv"), file="t.zip"),
    "decimal commas": Case(PLAIN.replace(",", ";").replace(".", ","), decimal=","),
    "numbers as text": Case(PLAIN.replace("2,", '"2e0",')),
    "row numbers of to_csv": Case(",a,b,y\n0,1.5,2,3\n1,4,5.25,6\n2,7,8,9\n", LABELS),
    "row names of write.csv": Case('"","a","b","y"\n"Mazda RX4",1.5,2,3\n"x, y",4,5.25,6\n"z",7,8,9\n', LABELS),
    "row numbers, read and written again": Case("Unnamed: 0,a,b,y\n5,1.5,2,3\n2,4,5.25,6\n9,7,8,9\n", LABELS),
    "labels of two columns": Case(
        ",,a,b,y\nu,0,1.5,2,3\n,1,4,5.25,6\nv,0,7,8,9\n", "left out of t.csv: the first 2 columns, without a name"
    ),
    "rows that end with a comma": Case(PLAIN.replace("\n", ",\n"), "rows that end with a separator"),
    "columns that to_csv has numbered": Case(PLAIN.replace("a,b,y", "0,1,2"), target="2"),
    "the same with row numbers": Case(",0,1,2\n0,1.5,2,3\n1,4,5.25,6\n2,7,8,9\n", LABELS, target="2"),
    "no header": Case(PLAIN[6:], target="2", header=False),
    "no header, from the end": Case(PLAIN[6:], target="-1", header=False),
    "Parquet": Case(parquet, file="t.parquet"),
    "npy": Case(npy(np.column_stack([X, Y])), file="t.npy", target="-1"),
    "a target in blanks": Case(PLAIN.replace("y", " y "), target=" y"),
}
REFUSED = {
    "longer rows, from the first": Case(
        "a,y\n1,2,3\n4,5,6\n", "lengths: 2 in the header, 3 in row 1 (line 2), with commas between"
    ),
    "a longer row": Case("a,b,y\n1,2,3\n\n4,5,6,7\n", "lengths: 3 in the header, 4 in row 2 (line 4)"),
    "a shorter row": Case(
        "a;b;y\n1;2;3\n4;5\n7;8;9\n", "lengths: 3 in the header, 2 in row 2 (line 3), with semicolons between"
    ),
    "the first row shorter": Case("a,b,y\n1,2\n4,5,6\n", "lengths: 3 in the header, 2 in row 1 (line 2)"),
    "a longer row, no header": Case(
        "1,2,3\n4,5,6,7\n", "lengths: 3 in row 1, 4 in row 2 (line 2)", target="0", header=False
    ),
    "a title above the header": Case("Houses of Boston\n" + PLAIN, "lengths: 1 in the header, 3 in row 1 (line 2)"),
    "row names of write.table": Case(
        'a b y\n"1" 1.5 2 3\n"2" 4 5 6\n',
        "lengths: 3 in the header, 4 in row 1 (line 2), with blanks between",
        file="t.txt",
    ),
    "no header": Case(PLAIN[6:], "no header, its first row is 1.5, 2, 3: use --no-header"),
    "no header, a label in every row": Case(
        "5.1,3.5,setosa\n4.9,3.0,setosa\n", "--no-header", file="t.data", target="2"
    ),
    "a column without a name": Case(PLAIN.replace("a,b,y", "a,,y"), "no name for column 2 of its 3: give it one"),
    "no such target": Case(PLAIN, "target 'z' is no column of t.csv; its columns are a, b, y", target="z"),
    "a target twice": Case(PLAIN.replace("b", "y"), "target 'y' is 2 columns of t.csv"),
    "a target left out": Case(PLAIN, "--target", target=""),
    "a superscript for a target": Case(
        npy(np.column_stack([X, Y])),
        "target is '²'; expected a column number, 0 to 2, or -1 to -3 from the end",
        file="t.npy",
        target="²",
    ),
    "a number beyond the columns": Case(npy(np.column_stack([X, Y])), "target is '-4'", file="t.npy", target="-4"),
    "a number of many digits": Case(PLAIN[6:], "expected a column number", target="9" * 5000, header=False),
    "a name without a header": Case(PLAIN[6:], "target is 'y'; expected a column number, 0 to 2", header=False),
    "a question mark": Case(
        PLAIN.replace("4", "?"),
        "'a' in row 2 is '?', no number (1 such entry): it marks a missing value, fill or drop it",
    ),
    "a dash": Case(PLAIN.replace("4", "-"), "'a' in row 2 is '-', no number (1 such entry): it marks a missing value"),
    "thousands": Case(
        PLAIN.replace("4", '"1,452"'),
        "'a' in row 2 is '1,452', no number (1 such entry): it has a comma, leave it out or write a point",
    ),
    "decimal commas": Case(
        PLAIN.replace(",", ";").replace(".", ","), "'a' in row 1 is '1,5', no number (1 such entry): it has a comma"
    ),
    "the flag for them": Case(PLAIN.replace(",", ";").replace(".", ","), "--decimal , reads decimal commas"),
    "money": Case(PLAIN.replace("4", '"$1,452.30"'), "it has a comma"),
    "per cent": Case(
        PLAIN.replace("4", "12 %"),
        "'a' in row 2 is '12 %', no number (1 such entry): it is a percentage, leave the sign out",
    ),
    "dates": Case(PLAIN.replace("4", "2024-02-01 08:30"), "it is a date, encode or drop it"),
    "dates in words": Case(PLAIN.replace("4", "19-Sep-03"), "it is a date, encode or drop it"),
    "text": Case(PLAIN.replace("4", "Bath"), "'a' in row 2 is 'Bath', no number (1 such entry): encode or drop it"),
    "missing": Case(PLAIN.replace("4", "NA"), "'a' has 1 missing entry (first in row 2), fill or drop them"),
    "infinite": Case(PLAIN.replace("4", "inf"), "'a' has 1 infinite entry (first in row 2)"),
    "all that is to be mended": Case(
        "a,b,y,c\n1,x,3,1\n452.0,y,,?\n?,z,5,2\n",
        "t.csv: column 'a' in row 3 is '?', no number (1 such entry): it marks a missing value, fill or drop it; "
        "column 'b' in row 1 is 'x', no number (3 such entries): encode or drop it; "
        "column 'y' has 1 missing entry (first in row 2), fill or drop them; "
        "column 'c' in row 2 is '?'",
    ),
    "very many columns": Case(",".join(f"c{k}" for k in range(99)) + ",y\n" + 99 * "x," + "1\n", "; 87 columns more"),
    "Latin-1": Case(
        PLAIN.replace("a,", "größe,").encode("latin-1"),
        "not in UTF-8 (byte 0xf6), perhaps in Latin-1: save it in UTF-8",
    ),
    "Latin-1, further down": Case(PLAIN.replace("7", "Süd").encode("latin-1"), "not in UTF-8 (byte 0xfc)"),
    "UTF-16 without a mark": Case(PLAIN.encode("utf-16-le"), "no text in UTF-8"),
    "a workbook named .csv": Case(b"PK\x03\x04\x14\x00\x06\x00", "no text in UTF-8 (it has NUL bytes): save it as CSV"),
    "a workbook": Case(b"PK", "data file is t.xlsx; expected one ending in .csv, .tsv", file="t.xlsx"),
    "a .zip of two": Case(zipped("a.csv", "b.csv"), "t.zip holds 2 files; expected a .zip with one", file="t.zip"),
    "gzip of who knows what": Case(gzip.compress(PLAIN.encode()), "data file is t.gz; expected", file="t.gz"),
    "gzip in name alone": Case(PLAIN, "t.csv.gz could not be read: Not a gzipped file", file="t.csv.gz"),
    "gzip, torn": Case(gzip.compress(PLAIN.encode())[:-9], "could not be read", file="t.csv.gz"),
    "nothing": Case("", "t.csv is empty"),
    "no rows": Case("a,b,y\n", "t.csv has no rows"),
    "one column": Case("y\n1\n2\n", "2 rows by 1 columns"),
    "a quote that never ends": Case('a,b,y\n1,"2,3\n4,5,6\n', "in row 1 (line"),
    "no header of a Parquet file": Case(
        b"PAR1", "--no-header and --decimal are for text files", file="t.parquet", target="0", header=False
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_as_it_was_meant(tmp_path, kind):
    # catches: a row number or label that becomes an input, another separator, encoding or compression that is not seen
    table = READ[kind].read(tmp_path)
    assert (table.X.tolist(), table.y.tolist()) == (X, Y)
    assert READ[kind].words in "".join(table.notes)
    assert len(table.notes) == bool(READ[kind].words)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_in_one_line_that_says_how_to_mend_it(tmp_path, capsys, kind):
    # catches: columns shifted by one, a first row taken for names, one column named where three are to be mended, a
    # codec's or a parser's own words
    case = REFUSED[kind]
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its words are compared
        case.read(tmp_path)
    assert case.words in str(refused.value)
    flags = ["--data", str(case.path(tmp_path)), f"--target={case.target}", *["--no-header"] * (not case.header)]
    assert cli.main(["sweep", *flags, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert len(said.err) < 2000
    assert not (tmp_path / "run").exists()


def test_numbers_are_read_to_the_last_digit_however_long(tmp_path):
    # catches: pandas' quick parser, which is off by an ulp; whole numbers beyond 64 bits, which it leaves as text
    entries = [repr(number) for number in (np.random.default_rng(0).normal(size=200) * 1e-9).tolist()]
    entries += ["12345678901234567890123", "-1", "0.30000000000000004"]
    rows = "".join(f"{x},98765432109876543210,1\n" for x in entries)
    table = read_table(made(tmp_path, "t.csv", "a,b,y\n" + rows), "y")
    assert table.X.tolist() == [[float(x), 98765432109876543210.0] for x in entries]


def test_a_column_that_counts_rows_is_an_input_and_said(tmp_path):
    # catches: `id` left out behind somebody's back, or taken without a word
    table = read_table(made(tmp_path, "t.csv", "id,b,y\n1,2,1\n2,5,2\n3,8,3\n"), "y")
    assert table.X[:, 0].tolist() == [1, 2, 3]
    assert [note for note in table.notes if "'id' of t.csv counts the rows" in note] == list(table.notes)


def test_names_of_a_table_are_in_the_run_and_its_summary(tmp_path):
    # catches: a report that does not say which table it is about
    table = read_table(made(tmp_path, "houses.csv", PLAIN), "y")
    environment = described(table)
    assert environment == {"table": {"name": "houses.csv", "rows": 3, "target": "y", "inputs": ["a", "b"]}}
    heading = "Data: houses.csv, y from 2 inputs (a, b)."
    assert answers.source(environment) == heading
    assert heading in markdown.page(tables.frame([]), environment)
    assert answers.source(described(None)) == ""


@pytest.mark.parametrize("flags", [["--no-header"], ["--decimal", ","], ["--target", "y"]])
def test_flags_about_a_table_need_one(capsys, flags):
    # catches: a flag that is ignored
    assert cli.main(["sweep", *flags]) == 2
    assert f"{flags[0]} is given without --data" in capsys.readouterr().err

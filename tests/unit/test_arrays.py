"""Arrays and tables are read one way, by the library and by --data, and what is no number is named."""

import decimal
import subprocess
import sys

import numpy as np
import pandas
import pytest

from bnbench import arrays, cli
from bnbench.measure.data import read_table

ROWS = [[1.5, 2.0], [0.0, 1.0], [3.25, 0.0]]
NUMBERS = np.array(ROWS)
FRAME = pandas.DataFrame({"a": [1.5, 0.0, 3.25], "b": [2, 1, 0]})
READABLE = {
    "list": ROWS,
    "big-endian": NUMBERS.astype(">f8"),
    "mask of nothing": np.ma.array(NUMBERS, mask=False),
    "objects": NUMBERS.astype(object),
    "decimals": [[decimal.Decimal(str(x)) for x in row] for row in ROWS],
    "frame": FRAME,
    "nullable": FRAME.convert_dtypes(),
    "nullable floats": FRAME.astype("Float64"),
    "Arrow": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "sparse": FRAME.astype(pandas.SparseDtype("float64", 0.0)),
    "column of objects": FRAME.astype(object),
}


@pytest.mark.parametrize("held", READABLE)
def test_numbers_are_read_however_they_are_held(held):
    # catches: bool, Int64, Float64 and Arrow columns or big-endian arrays refused by one reader and taken by the other
    found = arrays.read("X", READABLE[held])
    assert (found.dtype, found.dtype.isnative) == (np.float64, True)
    np.testing.assert_array_equal(found, NUMBERS)


def test_dtypes_are_kept_where_they_are_ones_of_the_library():
    # catches: float32 read as float64, whole numbers that force a dtype on other arrays, a copy of what is fine
    single = NUMBERS.astype(np.float32)
    assert arrays.read("X", single) is single
    frame = pandas.DataFrame({"f": [0.5, 1.5], "n": pandas.array([1, 2], "Int64"), "b": pandas.array([True, False])})
    assert arrays.read("X", frame.astype({"f": "float32"})).dtype == np.float32
    assert arrays.read("X", frame.astype({"f": "Float32"})).dtype == np.float32
    assert arrays.read("X", frame).dtype == np.float64
    assert arrays.read("X", frame[["n", "b"]]).dtype.kind == "i"
    assert arrays.read("y", frame["b"]).dtype.kind == "b"
    assert arrays.read("y", np.arange(3, dtype=">i4")).dtype == np.int32


def frame(values, dtype=None):
    return pandas.DataFrame({"fine": [1.0, 2, 3], "town": pandas.Series(values, dtype=dtype)})


REFUSED = {
    "a mask": (np.ma.array(NUMBERS, mask=NUMBERS > 3), "X is masked in 1 entries"),
    "masked rows": ([np.ma.array([1.0, 2.0], mask=[0, 1]), np.ones(2)], "X is masked in 1 entries"),
    "complex": (NUMBERS + 1j, "X is of dtype complex128"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "X is of dtype datetime64[D] (row 1 is datetime.date(2020, 1, 1))"),
    "text": (np.array([["1", "2"], ["3", "4,5"]]), "X[1, 1] is '4,5', no number (1 such entry)"),
    "half precision": (NUMBERS.astype(np.float16), "X is of dtype float16"),
    "None among objects": ([[1.0, 2.0], [None, 3.0]], "X[1, 0] is None, no number (1 such entry)"),
    "complex objects": (np.array([1, 2j], object), "X in row 2 is 2j, no number"),
    "beyond float64": ([1.5, 10**400], "X holds a number beyond float64"),
    "ragged": ([[1, 2], [3]], "X cannot be read as an array"),
    "nothing": (None, "X is None"),
    "a mapping": ({"a": 1}, "X is a dict"),
    "a mark for missing": (
        frame(["1", "2", "?"]),
        "column 'town' of X in row 3 is '?', no number (1 such entry): it marks",
    ),
    "a column of strings": (frame(["1", "x", "3"], "string"), "column 'town' of X in row 2 is 'x', no number"),
    "a date": (frame(pandas.to_datetime(["2020"] * 3)), "column 'town' of X is of dtype datetime64"),
    "a time of Arrow": (frame(["2020-01-01"] * 3, "timestamp[s][pyarrow]"), "column 'town' of X is of dtype"),
    "a category": (frame([1, 2, 3], "category"), "column 'town' of X is categorical (row 1 is 1)"),
    "a gap": (frame([1, None, 2], "Int64"), "column 'town' of X has 1 missing entry (first in row 2)"),
    "an infinity": (frame([1, 2, np.inf]), "column 'town' of X has 1 infinite entry (first in row 3)"),
    "a gap in a series": (pandas.Series([np.nan, 1.0]), "X has 1 missing entry (first in row 1)"),
}


@pytest.mark.parametrize("held", REFUSED)
def test_what_is_no_number_is_named_with_its_place(held):
    # catches: a mask or an imaginary part that is dropped, "dtype object" without a column, a traceback of many lines
    value, words = REFUSED[held]
    with pytest.raises(ValueError, match=r"allowed|beyond|encode|drop") as refused:
        arrays.read("X", value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tensor_that_wants_its_gradient_is_a_sentence():
    torch = pytest.importorskip("torch")
    assert arrays.read("X", torch.ones(2, 2)).dtype == np.float32
    with pytest.raises(ValueError, match=r"^X cannot be read as an array: .*requires grad[^\n]*$"):
        arrays.read("X", torch.ones(2, 2, requires_grad=True))


def test_the_library_and_data_read_a_table_alike(tmp_path):
    # catches: two readers that part ways again
    table = READABLE["nullable"].assign(y=[True, False, True])
    table.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet", "y")
    np.testing.assert_array_equal(read.X, arrays.read("X", table[["a", "b"]]))
    frame(["1", "2", "?"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"t\.csv: column 'town' in row 3 is '\?', no number"):
        read_table(tmp_path / "t.csv", "fine")


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    # catches: rows in another order, rows that are not wanted, text in a later part
    pytest.importorskip("dask.dataframe")
    table = pandas.DataFrame(np.arange(40.0).reshape(10, 4) ** 1.5, columns=["a", "b", "y", "c"])
    folder = tmp_path / "rows"
    folder.mkdir()
    for place, (first, end) in enumerate(((0, 3), (3, 4), (4, 10))):
        table.iloc[first:end].to_parquet(folder / f"part.{place}.parquet")
    read = read_table(folder, "y")
    np.testing.assert_array_equal(read.X, table[["a", "b", "c"]])
    np.testing.assert_array_equal(read.y, table["y"])
    assert (read.name, read.inputs, read.notes) == ("rows", ("a", "b", "c"), ())
    few = read_table(folder, "y", rows=4)
    np.testing.assert_array_equal(few.y, table["y"][:4])
    assert few.notes == ("of rows the leading 4 of 10 rows were read",)
    table.iloc[4:].assign(b=["1", "2", "?", "4", "5", "6"]).to_parquet(folder / "part.2.parquet")
    with pytest.raises(ValueError, match=r"part 3 of rows: column 'b' in row 3 is '[?]', no number"):
        read_table(folder, "y")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data folder empty has no file ending in \.parquet"):
        read_table(folder / "empty", "y")


def test_a_parquet_file_without_pyarrow_says_what_to_install(tmp_path, monkeypatch, capsys):
    # catches: pandas' paragraph about engines, or a traceback, where the extra is not installed
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    for engine in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, engine, None)
    sentence = "data file t.parquet is read by pyarrow, which is not installed; pip install 'bnbench[parquet]' adds it"
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - all of it is compared
        read_table(path, "y")
    assert str(refused.value) == sentence
    assert cli.main(["sweep", "--data", str(path), "--target", "y", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"bnbench: {sentence}\n"


def test_pandas_is_not_imported_for_arrays():
    code = "import sys; from bnbench import arrays; arrays.read('X', [[1]]); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

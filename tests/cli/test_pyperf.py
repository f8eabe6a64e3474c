"""A run as a file of pyperf: its tools read it and say what our summary says."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from records import FOUR, frame, timed, typed

from bnbench import store
from bnbench.cli import main

pytest.importorskip("pyperf")
ENVIRONMENT = {
    "schema": store.SCHEMA, "machine_id": "m", "command": "python -m bnbench sweep", "date": "2026-11-20T10:00:00+0000",
    "machine": {"host": "h", "system": "Linux", "cpu": "Z80", "processors": 2}, "plan": {},
    "software": {"python": "3.11.7", "bnbench": "0.1.0"},
}  # fmt: skip


def write(folder, records):
    folder.mkdir()
    (folder / store.ENVIRONMENT).write_text(json.dumps(ENVIRONMENT))
    (folder / store.JOURNAL).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def scaled(records, factor):
    rng = np.random.default_rng(3)
    return [
        record | {"samples_s": [factor * s * float(rng.lognormal(0, 0.05)) for s in record["samples_s"] * 9]}
        for record in records
    ]


def pyperf(*arguments):
    done = subprocess.run([sys.executable, "-m", "pyperf", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def in_seconds(text):
    """What pyperf prints as a number and a unit, as seconds, and half of its last digit."""
    number, unit = text.split()
    scale = {"sec": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    decimals = len(number.partition(".")[2])
    return float(number) * scale, 0.5000001 * 10**-decimals * scale


def test_pyperf_reads_it_and_agrees(tmp_path, monkeypatch, capsys):
    # catches: seconds of a sample for seconds of a step, samples lost or joined to another cell, names that repeat,
    # passes that are not pyperf's runs
    monkeypatch.setenv("COLUMNS", "200")
    passes = timed("fused-numba", "fused", 77, np.linspace(1e-6, 2e-6, 9).tolist(), passes=[4, 3, 2])
    runs = {"a": [*scaled(FOUR, 1), passes], "b": [*scaled(FOUR, 1.5), passes]}
    for name, records in runs.items():
        assert main(["report", str(write(tmp_path / name, records)), "--pyperf", str(tmp_path / f"{name}.json")]) == 0
    stats = pyperf("stats", tmp_path / "a.json")
    table = frame(runs["a"])
    found = re.findall(r"^(\S+) N=(\d+) p1=4 p2=8 .*?^Median \+- MAD: +(\S+ \S+)", stats, re.S | re.M)
    assert len(found) == len(table) == 5
    for variant, N, text in found:
        median, half = in_seconds(text)
        [mine] = table.loc[(table["variant"] == variant) & (table["N"] == int(N)), "median_s"]
        assert median == pytest.approx(mine, abs=half, rel=0)
    assert "loops-numba N=100 p1=4 p2=8 float64 relu batch fresh 2 threads\n" in stats
    assert re.search(r"fused-numba N=77.*Number of run with values: 3", stats, re.S)
    assert f"Loop iterations per value: {FOUR[0]['inner_loops']}" in stats

    against = pyperf("compare_to", tmp_path / "a.json", tmp_path / "b.json")
    means = re.findall(r"Mean \+- std dev: \[a\] (\S+ \S+) .*? -> \[b\] (\S+ \S+)", against)
    assert len(means) == len(FOUR)
    for place, pair in enumerate(means):
        for name, text in zip("ab", pair, strict=True):
            mean, half = in_seconds(text)
            assert mean == pytest.approx(np.mean(runs[name][place]["samples_s"]), abs=half, rel=0)

    capsys.readouterr()
    assert main(["report", str(tmp_path / "a"), "--pyperf", str(tmp_path / "a.json")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "a"), "--pyperf", str(tmp_path / "none" / "a.json")]) == 2


def test_names_are_unique_and_say_what_differs():
    # catches: two cells under one name, which pyperf refuses, or a name that does not say which is which
    from bnbench.report.pyperf import names

    one = FOUR[0]
    others = [{"dtype": "float32"}, {"regime": "fixed"}, {"normalization": "none"}, {"threads": 1}]
    others += [{"eps": 0.0}, {"ddof": 1}, {"activation": "tanh"}]
    found = names(typed([one, *(one | other for other in others)]))
    assert len(set(found)) == len(found)
    assert found[0] == "loops-numba N=100 p1=4 p2=8 float64 relu batch fresh 2 threads ddof=0 eps=1e-05"


def test_without_pyperf_the_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    # catches: an ImportError shown as a traceback
    monkeypatch.setitem(sys.modules, "pyperf", None)
    assert main(["report", str(write(tmp_path / "a", FOUR)), "--pyperf", str(tmp_path / "a.json")]) == 2
    assert "pip install 'bnbench[pyperf]'" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()

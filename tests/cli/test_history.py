"""The history of many runs: planted steps are found where they are, and nowhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import Page, timed

from bnbench import store
from bnbench.cli import main
from bnbench.compare import history
from bnbench.folder import Folder

ROOT = Path(__file__).parents[2]
MACHINE = {"host": "h", "system": "Linux", "cpu": "Z80", "processors": 2, "memory_gib": 4}
TIMES = {
    ("fused-numba", 10): 1e-6,
    ("fused-numba", 1000): 4e-4,
    ("matrix-numpy", 10): 3e-5,
    ("matrix-numpy", 1000): 2e-3,
}


def samples(median, seed, noise=0.01, count=21):
    """Lognormal samples with exactly this median."""
    drawn = np.random.default_rng(seed).lognormal(0, noise, count)
    return (median * drawn / np.median(drawn)).tolist()


def run(folder, day, factors=None, left_out=(), cpu="Z80", **more):
    """Write a run of `TIMES`, some of them times a factor; the folder."""
    folder.mkdir(parents=True)
    described = {
        "schema": store.SCHEMA, "machine_id": cpu, "command": "python -m bnbench sweep", "plan": {"dtype": ["float64"]},
        "date": f"2026-05-{day:02d}T08:00:00+0200", "machine": MACHINE | {"cpu": cpu},
        "software": {"numba": f"0.{day}"},
    }  # fmt: skip
    (folder / store.ENVIRONMENT).write_text(json.dumps(described | more))
    records = []
    for place, ((variant, N), median) in enumerate(TIMES.items()):
        if (variant, N) not in left_out:
            median *= (factors or {}).get((variant, N), 1)
            records.append(timed(variant, "matrix", N, samples(median, 100 * day + place)))
    (folder / store.JOURNAL).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_a_planted_step_is_found_where_it_is_and_nowhere_else(tmp_path, capsys):
    # catches: runs in the order given for that of their dates, a step missed, turned around or put to another run or
    # cell, noise or a lasting change taken for a step, the ratio of the wrong pair, a gap that hides a step
    slow, gone = ("fused-numba", 1000), ("matrix-numpy", 10)
    runs = [
        run(tmp_path / "2026-05-01-host-a", 1),
        run(tmp_path / "2026-05-02-host-b", 2),
        run(tmp_path / "2026-05-03-host-c", 3, {slow: 1.2}, left_out=[gone]),
        run(tmp_path / "2026-05-04-host-d", 4, {slow: 1.2, gone: 0.5}),
        run(tmp_path / "2026-05-05-host-e", 5, {slow: 1.2, gone: 0.5}),
    ]
    order = [3, 0, 4, 2, 1]
    assert main(["history", *(str(runs[place]) for place in order), "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "history.csv", keep_default_na=False, na_values={"ratio": [""]})
    assert list(table) == history.COLUMNS
    assert list(table["run"].unique()) == ["host-a", "host-b", "host-c", "host-d", "host-e"]
    assert len(table) == 5 * 4 - 1
    steps = table[table["verdict"].isin(["faster", "slower"])]
    found = {tuple(row) for row in steps[["run", "against", "variant", "N", "verdict"]].to_numpy(dtype=object)}
    assert found == {("host-c", "host-b", *slow, "slower"), ("host-d", "host-b", *gone, "faster")}
    assert sorted(steps["ratio"]) == [pytest.approx(0.5, rel=0.02), pytest.approx(1.2, rel=0.02)]
    assert (table.loc[table["run"] == "host-a", "verdict"] == "").all()
    others = table[(table["run"] != "host-a") & ~table["verdict"].isin(["faster", "slower"])]
    assert (others["verdict"] == "same").all()
    for row in table.itertuples():
        place = ["host-a", "host-b", "host-c", "host-d", "host-e"].index(row.run)
        factor = {slow: 1.2 if place >= 2 else 1, gone: 0.5 if place >= 3 else 1}.get((row.variant, row.N), 1)
        assert row.median_s == pytest.approx(factor * TIMES[row.variant, row.N], rel=1e-12)
        assert row.ci_low_s < row.median_s < row.ci_high_s
    said = capsys.readouterr().out
    assert "2 steps in 4 cells over 5 runs: 1 slower, 1 faster, 13 the same." in said
    assert [line.split()[-1] for line in said.splitlines() if "host-b" in line] == ["faster", "slower"]

    source = (tmp_path / "out" / "history.html").read_text()
    page = Page(source)
    assert page.tags.count("img") == 1
    assert not {"script", "link"} & set(page.tags)
    assert all(link.startswith(("data:image/svg+xml,", "#")) for link in page.links)
    assert "numba: 0.1, 0.2" in "".join(page.text)
    assert str(tmp_path) not in source

    narrow = ["--variants", "matrix-numpy", "--sizes", "1000x4x8", "--threshold", "1.5", "--json"]
    assert main(["history", *map(str, runs), "--out", str(tmp_path / "narrow"), *narrow]) == 0
    rows = json.loads(capsys.readouterr().out)["medians"]
    assert {(row["variant"], row["N"]) for row in rows} == {("matrix-numpy", 1000)}
    assert len(rows) == 5


def test_a_change_of_machine_is_refused_or_marked_and_never_a_step(tmp_path, capsys):
    # catches: another machine's speed taken for a change of the code; a run not compared with the last one of its own
    runs = [str(run(tmp_path / "a", 1)), str(run(tmp_path / "b", 2, dict.fromkeys(TIMES, 3.0), cpu="6502"))]
    runs += [str(run(tmp_path / "c", 3, {("fused-numba", 10): 1.3}))]
    out = tmp_path / "out"
    assert main(["history", *runs, "--out", str(out)]) == 2
    assert "b differs from the run before it in cpu: Z80, 6502" in capsys.readouterr().err
    assert not out.exists()
    assert main(["history", *runs, "--out", str(out), "--force"]) == 0
    table = pd.read_csv(out / "history.csv", keep_default_na=False)
    assert (table.loc[table["run"] == "b", "verdict"] == "").all()
    last = table[table["run"] == "c"].set_index(["variant", "N"])
    assert (last["against"] == "a").all()
    assert last["verdict"].to_dict() == dict.fromkeys(TIMES, "same") | {("fused-numba", 10): "slower"}
    assert "a dashed vertical line" in (out / "history.html").read_text().lower()

    # in a run's folder: its report, made again, leaves the pictures that history.html's reader may look for
    assert main(["history", *runs, "--out", runs[0], "--force"]) == 0
    drawn = sorted((tmp_path / "a" / "plots").glob("history*"))
    assert drawn
    assert main(["report", runs[0]]) == 0
    assert sorted((tmp_path / "a" / "plots").glob("history*")) == drawn


def test_runs_made_side_by_side_are_compared_in_pairs(tmp_path):
    # catches: pairs compared as if one run had nothing to do with the other, old and new of one date turned around
    rng = np.random.default_rng(0)
    drift = rng.lognormal(0, 0.2, 40)  # met by both alike
    folders = []
    for side, factor in (("new", 1.02), ("old", 1.0)):
        folder = run(tmp_path / "pair" / side, 1, interleaved="abc", side=side)
        times = (1e-3 * factor * drift * rng.lognormal(0, 0.001, 40)).tolist()
        record = timed("fused-numba", "fused", 10, times, passes=[8] * 5)
        (folder / store.JOURNAL).write_text(json.dumps(record) + "\n")
        folders.append(str(folder))
    [old, new] = history.table(history.read(folders)).to_dict("records")
    assert (old["run"], new["run"]) == ("old", "new")
    assert new["verdict"] == "slower"
    assert new["ratio"] == pytest.approx(1.02, abs=0.002)


def test_pairs_of_other_passes_are_refused(tmp_path, capsys):
    # catches: samples paired with those of another pass, or a traceback, where one of two folders was altered
    folders = []
    for side, passes in (("old", [8] * 5), ("new", [20] * 2)):
        folder = run(tmp_path / side, 1, interleaved="abc", side=side)
        record = timed("fused-numba", "fused", 10, samples(1e-3, 1, count=40), passes=passes, peak_bytes=None)
        (folder / store.JOURNAL).write_text(json.dumps(record) + "\n")
        folders.append(str(folder))
    for command in (["compare", *folders], ["history", *folders, "--out", str(tmp_path / "out")]):
        assert main(command) == 2
        assert "fused-numba at N=10, p1=4, p2=8 has no passes in common" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_pytest_benchmark_stand_beside(tmp_path, capsys):
    # catches: ids, parameters or statistics of tests/benchmarks/test_step.py or of pytest-benchmark read wrongly, a
    # verdict on them; times of all sizes in one table, each relative to the smallest size's
    file = tmp_path / "saved.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/benchmarks/test_step.py"]
    command += ["-k", "matrix-numpy and 10x7x4", "--benchmark-only", f"--benchmark-json={file}"]
    own = {name: value for name, value in os.environ.items() if "XDIST" not in name}  # there it would time nothing
    subprocess.run([*command, "--benchmark-max-time=0.01"], check=True, cwd=ROOT, env=own, capture_output=True)
    content = json.loads(file.read_text())
    [benchmark] = content["benchmarks"]
    assert (benchmark["name"], benchmark["group"]) == ("test_step[matrix-numpy-10x7x4]", "N=10, p1=7, p2=4")
    later = tmp_path / "later.json"  # without its samples, as --benchmark-save writes it
    stats = {name: value for name, value in benchmark["stats"].items() if name != "data"} | {"median": 7e-3}
    content |= {"datetime": "2199-01-01T00:00:00", "benchmarks": [benchmark | {"stats": stats}]}
    later.write_text(json.dumps(content))
    folders = [str(run(tmp_path / "a", 1)), str(run(tmp_path / "b", 2))]
    files = ["--pytest-benchmark", str(later), "--pytest-benchmark", str(file)]
    assert main(["history", *folders, *files, "--out", str(tmp_path / "out"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["medians"]
    assert [row["run"] for row in rows] == ["a"] * 4 + ["b"] * 4 + ["saved.json", "later.json"]
    saved, last = rows[-2:]
    assert (saved["variant"], saved["N"], saved["p1"], saved["p2"]) == ("matrix-numpy", 10, 7, 4)
    assert saved["median_s"] == pytest.approx(benchmark["stats"]["median"])
    assert saved["ci_low_s"] <= saved["median_s"] <= saved["ci_high_s"]
    assert main(["history", *files, "--out", str(tmp_path / "two")]) == 0
    assert "files of pytest-benchmark are drawn and not judged" in capsys.readouterr().out
    content["machine_info"]["node"] += "-2"
    later.write_text(json.dumps(content))
    assert main(["history", *folders, *files, "--out", str(tmp_path / "no")]) == 2
    assert "later.json differs from the run before it in machine: " in capsys.readouterr().err
    assert (last["median_s"], last["ci_low_s"], last["verdict"], last["source"]) == (7e-3, None, "", "pytest-benchmark")


def test_what_is_not_drawn_is_said_and_steps_come_first(tmp_path):
    # catches: a page without end, cells dropped in silence, a step among what is left out
    from bnbench.report.plots import history as plots

    cells = [(N, p1) for N in (10, 100, 1000) for p1 in range(1, 12)]
    assert len(cells) > plots.PANELS * plots.FIGURES
    for day in (1, 2):
        folder = run(tmp_path / f"r{day}", day)
        records = [
            timed("a", "loops", N, samples(1e-3 * (1.5 if day == 2 and (N, p1) == (1000, 11) else 1), p1), p1)
            for N, p1 in cells
        ]
        (folder / store.JOURNAL).write_text("".join(json.dumps(record) + "\n" for record in records))
    entries = history.read([tmp_path / "r1", tmp_path / "r2"])
    table = history.table(entries)
    assert plots.ordered(table)[0][:2] == (1000, 11)
    Folder(tmp_path).put("plots/history-9.png", "of an earlier one")
    drawn = plots.draw(table, entries, Folder(tmp_path))
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "history-2.png", "history-2.svg", "history.png", "history.svg",
    ]  # fmt: skip
    left = len(cells) - plots.PANELS * plots.FIGURES
    assert f"{left} cells more" in drawn[-1].caption
    assert "cells more" not in drawn[0].caption


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    # catches: a traceback, and anything written where nothing can be drawn
    a, b = (str(run(tmp_path / name, day)) for day, name in enumerate("ab", 1))
    other, text = tmp_path / "other.json", tmp_path / "text.json"
    other.write_text(json.dumps({"machine_info": {"node": "h", "cpu": {}}, "benchmarks": [], "datetime": "2026-05-01"}))
    text.write_text("[")
    other_suite = json.loads(other.read_text())["machine_info"] | {"machine": "x86_64"}
    unnamed = tmp_path / "unnamed.json"
    unnamed.write_text(
        json.dumps({"machine_info": other_suite, "datetime": "2026-05-01", "benchmarks": [{"name": "x"}]})
    )
    cases = [
        ([], "two or more"),
        ([a], "two or more"),
        ([a, b, a], "given twice"),
        ([a, b, "--variants", "fused-nunba"], "timed in these runs are"),
        ([a, b, "--variants", ""], "variant is ''"),
        ([a, b, "--sizes", "10x4"], "NxP1xP2"),
        ([a, b, "--sizes", ""], "NxP1xP2"),
        ([a, b, "--sizes", "11x4x8"], "11x4x8, which none of these runs has timed"),
        ([a, b, "--threshold", "0.9"], "above 1"),
        ([a, b, "--pytest-benchmark", str(tmp_path / "none.json")], "cannot be read"),
        ([a, b, "--pytest-benchmark", str(other)], "not a file of pytest-benchmark"),
        ([a, b, "--pytest-benchmark", str(text)], "not a file of pytest-benchmark"),
        ([a, b, "--pytest-benchmark", str(unnamed)], "no benchmark of tests/benchmarks/test_step.py"),
        ([a, b, "--out", str(text / "below")], "cannot be written"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for arguments, word in cases:
        flags = arguments if "--out" in arguments else [*arguments, "--out", str(tmp_path / "out")]
        code = main(["history", *flags])
        said = capsys.readouterr()
        assert (code, said.out, said.err.count("\n")) == (2, "", 1), (arguments, said)
        assert word in said.err, (arguments, said)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_lasting_change_and_its_cause_are_on_the_page(tmp_path, capsys):
    # catches: a slow machine shown as a step of every variant, a change drawn or told at another run, causes that are
    # in one of page, table and JSON alone
    slow = ("fused-numba", 1000)
    runs = []
    for day in range(1, 15):
        factors = dict.fromkeys(TIMES, 1.3 if day >= 5 else 1.0)
        factors[slow] *= 1.2 if day >= 10 else 1
        made = {"matrix-numpy": "one", "fused-numba": "new" if day >= 10 else "old", "measuring": "one"}
        runs.append(run(tmp_path / f"2026-05-{day:02d}-host-r{day}", day, factors, fingerprints=made))
    assert main(["history", *map(str, runs), "--out", str(tmp_path / "out"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(c["what"], c["run"], c["cause"], c["cells"], c["of"]) for c in answer["changes"]] == [
        ("the machine", "host-r5", "machine", 2, 2),
        ("fused-numba", "host-r10", "change", 1, 2),
    ]
    assert answer["answer"].endswith(" 2 lasting changes.")
    table = pd.read_csv(tmp_path / "out" / "history.csv", keep_default_na=False)
    assert set(table.loc[table["run"] == "host-r5", "cause"]) == {"machine"}
    changed = table[table["changed"] != ""]
    assert changed[["run", "variant", "N", "cause"]].to_numpy().tolist() == [["host-r10", *slow, "change"]]
    page = " ".join((tmp_path / "out" / "history.html").read_text().split())
    assert "The machine changed: what itself did not change became slower from host-r5 on at 2 of 2 cells" in page
    assert "fused-numba, beside controls that did not, became slower from host-r10 on at 1 of 2 cells, by 1.2" in page
    assert "A diamond is the first run" in page

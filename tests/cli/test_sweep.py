"""The sweep as a user runs it: a process, its files, its exit code, and what it does when things go wrong."""

import contextlib
import gc
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas
import psutil
import pytest
from cases import covering
from conftest import BARE, BUILT_IN, ON_CUDA, PEERS, PLUGINS, bnbench
from records import rows

from bnbench import store
from bnbench.measure import data, worker
from bnbench.problem import Problem

CONTRACT = [
    *["variant", "family", "device", "host", "N", "p1", "p2", "depth", "linear", "units", "dtype", "activation"],
    *["normalization", "loss", "threads", "regime", "status", "reason", "median_s", "ci_low_s", "ci_high_s"],
    *["samples", "inner_loops", "compile_s", "prepare_s", "peak_bytes", "gflops", "limit_s", "limit_fraction"],
    *["max_error_ratio"],
]
FAULTS = {
    "raises": ("failed", "ArithmeticError: the plug-in gave up"),
    "exits": ("crashed", "exited with status 3"),
    "exits-hard": ("crashed", "exited with status 4"),
    "segfaults": ("crashed", "SIGSEGV"),
    "allocates": ("out-of-memory", ""),
    "hangs": ("timeout", "time-out"),
    "gives-none": ("invalid", "returned None"),
    "gives-four": ("invalid", "returned 4 values"),
    "gives-nan": ("invalid", "dbeta is not finite (1 of 3"),
    "misses-one": ("invalid", "dgamma is missing"),
    "one-is-none": ("invalid", "dgamma is None"),
    "transposes": ("invalid", "dG1 has shape (3, 2)"),
    "wrong-dtype": ("invalid", "dG2 is of dtype"),
    "gives-text": ("invalid", "dG2 is a str"),
    "refuses-by-error": ("failed", "LookupError: cannot say"),
    "kills-itself": ("crashed", "killed by SIGKILL, by whom is not known"),
    "has-no-signal-name": ("crashed", f"signal {signal.SIGRTMIN + 3}"),
    "forks": ("ok", ""),
    "leaves-a-child": ("crashed", "exited with status 5"),
    "writes-into-the-pipe": ("crashed", "cannot be read"),
    "ignores-load": ("invalid", "after other parameters were loaded: they are ignored"),
    "swaps-in-load": ("invalid", "after other parameters were loaded: "),
    "raises-in-load": ("failed", "LookupError: no new parameters here"),
    "writes-by-address": ("invalid", "it writes to X, which it may only read"),
    "writes-to-y": ("failed", "ValueError: assignment destination is read-only"),
    "turns-wrong": ("invalid", "after it was timed: dG1"),
    "crashes-when-asked": ("crashed", "exited with status 6"),
}
SIMILAR = {"exits", "gives-none", "misses-one", "one-is-none", "transposes", "wrong-dtype", "gives-text"}
SIMILAR |= {"has-no-signal-name", "swaps-in-load", "raises-in-load", "writes-to-y"}  # to another, as a sweep meets it


def statuses(folder):
    return {(r["variant"], r["N"], r["p1"], r["p2"]): r["status"] for r in rows(folder)}


def lives(process):
    """Whether a process is there and no zombie, which init has yet to take note of."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def children_of(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_a_sweep_writes_what_the_contract_says(tmp_path, command, monkeypatch):
    out = tmp_path / "run"
    done = bnbench(
        "sweep", "--N", "10,1000", "--p1", "5", "--p2", "3", "--dtype", "float64,float32", "--regime",
        "fresh,fixed", "--variants", "loops-numba,matrix-numpy", "--sampling", "0.02", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = pandas.read_csv(out / "summary.csv")
    assert list(summary.columns[: len(CONTRACT)]) == CONTRACT
    assert len(summary) == 2 * 2 * 2 * 2
    assert (summary["status"] == "ok").all()
    assert (summary["max_error_ratio"] < 1).all()
    assert (summary["samples"] >= 6).all()
    assert (summary["ci_low_s"] <= summary["median_s"]).all()
    assert (summary["median_s"] <= summary["ci_high_s"]).all()
    assert (summary["median_s"] * summary["inner_loops"] > 3e-3).all(), "5 ms when calibrated, and steps may get faster"
    compiled = summary[summary["variant"] == "loops-numba"]
    assert (compiled["kernels_s"] > 0).all()
    assert compiled["kernels_s"].nunique() == 2, "one kernel for each dtype, whatever the size and the regime"
    compiled = summary["variant"] == "loops-numba"
    assert (summary.loc[compiled, "compile_s"] > 0.3).all(), "of a process that runs this cell alone"
    assert not (summary.loc[~compiled, "compile_s"] > 0.3).any()
    for name in ("environment.json", "journal.jsonl", "summary.md", "report.html"):
        assert (out / name).stat().st_size > 0
    assert {path.suffix for path in (out / "plots").iterdir()} == {".png", ".svg"}
    for record in rows(out):
        assert all(count <= 2 for count in record["threads_in_force"].values())
    rooflines = store.read_environment(out)["rooflines"]
    assert [(roof["when"], roof["dtype"]) for roof in rooflines] == [
        (when, dtype) for when in ("start", "end") for dtype in ("float64", "float32")
    ]
    best = {
        (roof["dtype"], rate): max(other[rate] for other in rooflines if other["dtype"] == roof["dtype"])
        for roof in rooflines
        for rate in ("gemm_flops_s", "triad_bytes_s")
    }
    for row in summary.to_dict("records"):
        size = 8 if row["dtype"] == "float64" else 4
        products = 4 * row["N"] * row["p1"] * row["p2"] / best[row["dtype"], "gemm_flops_s"]
        moved = size * row["N"] * (row["p1"] + 1) / best[row["dtype"], "triad_bytes_s"]
        assert row["limit_s"] == pytest.approx(max(products, moved))
        assert row["limit_fraction"] == pytest.approx(row["limit_s"] / row["median_s"])
    for table in out.glob("*.json*"):
        assert os.getcwd() not in table.read_text()
        assert str(tmp_path) not in table.read_text()
    before = (out / "summary.csv").read_text()
    (out / "summary.csv").unlink()
    monkeypatch.setattr("bnbench.report.plots.draw", lambda *arguments: ([], []))
    assert command("report", out).returncode == 0
    assert (out / "summary.csv").read_text() == before


@pytest.mark.parametrize(
    "names",
    [[name for name in FAULTS if name not in SIMILAR], pytest.param(list(FAULTS), marks=pytest.mark.exhaustive)],
    ids=["some", "all"],
)
def test_faults_cost_their_cell_and_nothing_else(tmp_path, names):
    out = tmp_path / "run"
    done = bnbench(
        "sweep", "--plugin", PLUGINS / "faults.py", "--variants", ",".join([*names, "matrix-numpy"]),
        "--N", "20,300", "--p1", "2", "--p2", "3", "--sampling", "0.01", "--timeout", "8", "--out", out, bare=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    records = {(r["variant"], r["N"]): r for r in rows(out)}
    assert len(records) == 2 * (len(names) + 1)
    for name in names:
        status, reason = FAULTS[name]
        assert records[name, 20]["status"] == "ok", records[name, 20]
        assert (records[name, 300]["status"], reason in records[name, 300]["reason"]) == (status, True), records[
            name, 300
        ]
        assert "\n" not in records[name, 300]["reason"]
    assert records["matrix-numpy", 300]["status"] == "ok"


@pytest.mark.parametrize("sizes", covering(["10,100000", "10,100,1000,10000,100000"], ["10,100000"]))
def test_wrong_derivations_are_invalid_at_every_size(wrong, sizes):
    """Through the whole house: the cell hides some of these mistakes, the derivation check none."""
    names = ["wrong-" + mistake.replace("/", "") for mistake in wrong.MISTAKES]
    done = bnbench(
        "verify", "--plugin", PLUGINS / "wrong.py", "--variants", ",".join([*names, "matrix-numpy"]), "--json",
        "--N", sizes, "--p1", "4", "--p2", "16", "--dtype", "float64,float32",
        "--activation", "relu", "--normalization", "batch", "--regime", "fresh",
    )  # fmt: skip
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert len(rows) == len(sizes.split(",")) * 2 * (len(names) + 1)
    for row in rows:
        expected = "ok" if row["variant"] == "matrix-numpy" else "invalid"
        assert row["status"] == expected, row
        assert expected == "ok" or row["reason"].startswith("derivation check"), row


@pytest.mark.timed
def test_timing_is_true(tmp_path):
    """Steps of a known length are reported at that length; a slow first call is compile time and nothing else."""
    out = tmp_path / "run"
    done = bnbench(
        "sweep", "--plugin", PLUGINS / "clocks.py", "--variants", "spin-2ms,spin-50us,slow-first",
        "--N", "50", "--p1", "3", "--p2", "2", "--sampling", "0.5", "--out", out, bare=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = pandas.read_csv(out / "summary.csv").set_index("variant")
    samples = {record["variant"]: record["samples_s"] for record in rows(out)}
    # the fastest sample: a spin is never too short, and too long where something else had the processor
    assert min(samples["spin-2ms"]) == pytest.approx(2e-3, rel=0.02)
    assert min(samples["spin-50us"]) == pytest.approx(50e-6, rel=0.05)
    assert min(samples["slow-first"]) == pytest.approx(2e-3, rel=0.02)
    for name, values in samples.items():
        assert summary.median_s[name] == pytest.approx(pandas.Series(values).median())
    assert summary.compile_s["slow-first"] - summary.kernels_s["slow-first"] == pytest.approx(0.5, rel=0.04)


SMALL = (
    "--N", "10,40,80", "--p1", "2,3", "--p2", "2", "--variants", "loops-python,matrix-numpy", "--sampling", "0.02",
)  # fmt: skip


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="other C libraries cannot be told")
def test_memory_is_kept_where_that_is_asked_for(tmp_path, command, bare):
    # catches: a flag that never reaches the worker's allocator, faults that are not counted or not by the step, memory
    # that is kept before the cells that return it are done, passes that are lost or made again
    arrays = 70_000 * 64 * 8  # bytes of one that is like Z: larger than any that glibc keeps unasked
    for flags in (["--keep-memory"], ["--memory", "kept,returned", "--passes", "2"]):
        out = tmp_path / f"run{len(flags)}"
        size = ("--sizes", "70000x4x64", "--threads", "1", "--sampling", "1")
        assert command("sweep", "--variants", "matrix-numpy", *size, *flags, "--out", out).returncode == 0
        summary = pandas.read_csv(out / "summary.csv").set_index("memory")
        assert summary.page_faults["kept"] < 1
        if "returned" in flags[1:]:
            assert summary.page_faults["returned"] > arrays / 2**21  # pages are 2 MiB at most
            assert (summary.pass_low_s <= summary.pass_high_s).all()
            assert [len(record["passes"]) for record in rows(out)] == [2, 2]
            assert len((out / store.JOURNAL).read_text().splitlines()) == 4
            before = (out / store.JOURNAL).read_bytes()
            assert command("sweep", "--resume", "--out", out).returncode == 0
            assert (out / store.JOURNAL).read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_the_arrays_of_a_cell_lie(dtype, monkeypatch):
    # catches: X where malloc puts it, a sixth slower by luck; other numbers for it; the same heap in every process
    problem = Problem(37, 3, 2, dtype=dtype)
    drawn = problem.sample()
    table = data.Table(drawn.X.astype(float), drawn.y.astype(float), "t", "")
    for source in (None, table):
        with data.shared(source) as shared:
            for _ in range(8):
                batch = data.sample_batch(problem, shared)
                assert [array.ctypes.data % data.LINE_BYTES for array in batch[:2]] == [0, 0]
        for array, wanted in zip(batch, drawn, strict=True):
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, wanted)
    monkeypatch.setattr(worker, "limit_memory", lambda limit: None)
    process, sizes = worker.Worker("matrix-numpy"), set()
    for _ in range(20):
        process.load(problem, None, 0)
        sizes.add(process.padding.size)
    gc.unfreeze()
    assert len(sizes) > 5
    assert max(sizes) < 4096


@pytest.mark.parametrize("kills", covering([2, 10], [2]))
def test_killed_and_resumed_is_as_undisturbed(tmp_path, kills):
    """kill -9 at random moments, --resume after each: the same records, none twice, no process left behind."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    bare = kills < 10  # or else some moments fall into the machine's limit and the plots
    started = time.monotonic()
    assert bnbench("sweep", *SMALL, "--out", whole, bare=bare).returncode == 0
    length = time.monotonic() - started
    moments = random.Random(7)
    kept = []
    for _ in range(kills):
        program = ("-c", BARE) if bare else ("-m", "bnbench")
        command = [sys.executable, *program, "sweep", *SMALL, "--resume", "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.1, 1.0) * length)
        below = children_of(process.pid)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(below, timeout=5)
        assert not [left for left in alive if lives(left)]
        kept.append(len(rows(out)) if (out / store.JOURNAL).exists() else 0)
    print(f"records after each kill: {kept}")
    assert kept == sorted(kept)
    done = bnbench("sweep", *SMALL, "--resume", "--out", out, bare=bare)
    assert done.returncode == 0, done.stderr
    records = [r.key for r in store.read_journal(out)[0]]
    assert len(records) == len(set(records))
    assert set(records) == {r.key for r in store.read_journal(whole)[0]}
    assert statuses(out) == statuses(whole)
    again = (out / store.JOURNAL).read_bytes()
    assert bnbench("sweep", *SMALL, "--resume", "--out", out, bare=bare).returncode == 0
    assert (out / store.JOURNAL).read_bytes() == again


@pytest.mark.timed
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_within_two_seconds(tmp_path, name):
    out = tmp_path / "run"
    command = [sys.executable, "-c", BARE, "sweep", "--out", str(out), "--variants", "loops-python,loops-numba"]
    command += ["--threads", "1", "--sampling", "0.05"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        (out / store.JOURNAL).exists() and (out / store.JOURNAL).read_bytes().count(b"\n") >= 5
    ):
        time.sleep(0.05)
    below = children_of(process.pid)
    assert len(below) >= 3
    started = time.monotonic()
    process.send_signal(getattr(signal, name))
    _, words = process.communicate(timeout=20)
    took = time.monotonic() - started
    print(f"{name}: {took:.2f} s")
    assert process.returncode == 130
    assert took < 2
    assert "--resume" in words
    assert "Traceback" not in words
    records, remarks = store.read_journal(out)
    assert len(records) >= 5
    assert not remarks
    assert not psutil.wait_procs(below, timeout=1)[1]


def wrong_input(tmp_path):
    """Command lines that are wrong, and a word that their one line must hold."""
    bad = tmp_path / "bad.toml"
    bad.write_text("N = [1,\n")
    unknown = tmp_path / "unknown.toml"
    unknown.write_text("rows = 3\n")
    kind = tmp_path / "kind.toml"
    kind.write_text('N = ["many"]\n')
    syntax = tmp_path / "syntax.py"
    syntax.write_text("def broken(:\n")
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    file = tmp_path / "file"
    file.write_text("")
    table = pandas.DataFrame({"a": [1.0, 2, 3], "b": [3, 1, 2], "town": ["x", "y", "z"], "gap": [1, np.nan, 2]})
    table.to_csv(tmp_path / "text.csv", index=False)
    table[["a", "b", "gap"]].to_parquet(tmp_path / "gap.parquet")
    table[["a", "b"]].assign(c=[1, np.inf, 2]).to_csv(tmp_path / "infinite.csv", index=False)
    table[["a", "b"]].to_csv(tmp_path / "good.csv", index=False)
    np.save(tmp_path / "flat.npy", np.ones(4))
    np.save(tmp_path / "nan.npy", np.array([[1, np.nan], [2, 3]]))
    return [
        (["--variants", "loops-magic"], "loops-magic"),
        (["--N", "-5"], "-5"),
        (["--N", "10,x"], "'x'"),
        (["--N", "10,,20"], "--N"),
        (["--N", "2", "--ddof", "2"], "ddof 2"),
        (["--p1", "0"], "p1 is 0"),
        (["--eps", "-1"], "eps is -1"),
        (["--eps", "nan"], "eps is nan"),
        (["--activation", "swish"], "swish"),
        (["--dtype", "float16"], "float16"),
        (["--regime", "warm"], "warm"),
        (["--threads", "0"], "threads is 0"),
        (["--threads", "100000"], "100000"),
        (["--timeout", "0"], "timeout is 0"),
        (["--time-budget", "soon"], "soon"),
        (["--preset", "huge"], "huge"),
        (["--config", tmp_path / "none.toml"], "none.toml"),
        (["--config", bad], "not TOML"),
        (["--config", unknown], "rows"),
        (["--config", kind], "many"),
        (["--plugin", tmp_path / "none.py"], "none.py"),
        (["--plugin", syntax], "SyntaxError"),
        (["--plugin", empty], "registers no variant"),
        (["--out", file / "below"], "cannot be written"),
        (["--resume"], "--out"),
        (["--bogus"], "--bogus"),
        (["--target", "a"], "--data"),
        (["--data", tmp_path / "good.csv"], "target"),
        (["--data", tmp_path / "good.csv", "--target", "c"], "'c'"),
        (["--data", tmp_path / "good.csv", "--target", "a", "--p1", "3"], "--p1"),
        (["--data", tmp_path / "good.csv", "--target", "a", "--N", "4"], "3 rows"),
        (["--data", tmp_path / "none.csv", "--target", "a"], "not there"),
        (["--data", tmp_path / "text.csv", "--target", "a"], "'town'"),
        (["--data", tmp_path / "gap.parquet", "--target", "a"], "1 missing entry (first in row 2)"),
        (["--data", tmp_path / "infinite.csv", "--target", "a"], "infinite"),
        (["--data", tmp_path / "flat.npy", "--target", "0"], "no matrix"),
        (["--data", tmp_path / "nan.npy", "--target", "1"], "missing"),
        (["--data", file, "--target", "a"], ".csv"),
    ]


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (arguments, word) in enumerate(wrong_input(tmp_path)):
        out = tmp_path / f"out{number}"
        flags = arguments if "--out" in arguments or "--resume" in arguments else [*arguments, "--out", out]
        done = command("sweep", *flags)
        lines = done.stderr.strip().split("\n")
        assert (done.returncode, len(lines), done.stdout) == (2, 1, ""), (arguments, done)
        assert word in lines[0], (arguments, lines)
        assert not out.exists()
        assert not (tmp_path / "results").exists()
    if os.getuid() != 0:  # root may write anywhere
        sealed = tmp_path / "sealed"
        sealed.mkdir(mode=0o500)
        done = command("sweep", "--out", sealed / "run")
        assert (done.returncode, "cannot be written" in done.stderr) == (2, True)
    for arguments in (["report"], ["report", tmp_path / "none"], ["dance"], ["list", "--plugin", "none.py"]):
        done = command(*arguments)
        assert (done.returncode, len(done.stderr.strip().split("\n"))) == (2, 1), done


@pytest.mark.parametrize("suffix", covering(["csv", "parquet", "npy"], ["csv"]))
def test_a_real_table_is_swept_by_leading_rows(tmp_path, command, bare, suffix):
    rng = np.random.default_rng(0)
    table = pandas.DataFrame(rng.normal(50, 9, (64, 4)).round(3), columns=["w", "x", "y", "z"])
    table["flag"] = rng.integers(0, 2, 64).astype(bool)
    path, target = tmp_path / f"table.{suffix}", "y"
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        np.save(path, table.to_numpy(float))
        target = 2
    out = tmp_path / "run"
    arguments = ["sweep", "--data", path, "--target", target, "--p2", "3", "--variants", "matrix-numpy", "--sampling"]
    done = command(*arguments, "0.01", "--out", out)
    assert done.returncode == 0, done.stderr
    assert [key[1:3] for key in statuses(out)] == [(10, 4), (64, 4)]
    names = ["0", "1", "3", "4"] if suffix == "npy" else ["w", "x", "z", "flag"]
    assert store.read_environment(out)["table"] | {"rows": 64, "inputs": names} == store.read_environment(out)["table"]
    for page in ("summary.md", "report.html"):
        assert f"Data: {path.name}, {target} from 4 inputs ({', '.join(names)})." in (out / page).read_text()
    if suffix == "csv":
        table.iloc[:, ::-1].to_csv(path, index=False)
        done = command(*arguments, "0.01", "--out", out, "--resume")
        assert (done.returncode, "data_digest" in done.stderr) == (2, True)


def test_a_table_reaches_the_variant(tmp_path):
    """The rows that the variant sees are the table's leading rows, the target left out of X."""
    table = pandas.DataFrame({"a": [1.0, 2, 3, 4], "t": [5.0, 6, 7, 8], "b": [9.0, 8, 7, 5]})
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "look.py").write_text(
        "import bnbench, numpy as np\n"
        "from bnbench import gradients\n"
        "@bnbench.variant('look', family='matrix')\n"
        "def step(X, y, *p, **conventions):\n"
        "    if len(y) == 3:\n"
        "        assert X.tolist() == [[1, 9], [2, 8], [3, 7]] and y.tolist() == [5, 6, 7]\n"
        "        raise LookupError('seen')\n"
        "    return gradients(X, y, *p, **conventions)\n"
    )
    out = tmp_path / "run"
    bnbench(
        "sweep", "--data", tmp_path / "t.csv", "--target", "t", "--N", "3", "--p2", "2", "--plugin",
        tmp_path / "look.py", "--variants", "look", "--out", out, bare=True,
    )  # fmt: skip
    assert rows(out)[0]["reason"].startswith("LookupError: seen in line 7 of look.py")


def test_time_budget_prunes_what_does_not_fit(tmp_path):
    out = tmp_path / "run"
    started = time.monotonic()
    done = bnbench(
        "sweep", "--N", "10,100,1000,10000,100000", "--p1", "8", "--p2", "8", "--variants", "loops-python",
        "--time-budget", "4", "--out", out, bare=True,
    )  # fmt: skip
    took = time.monotonic() - started
    assert done.returncode == 0
    records = rows(out)
    assert [r["N"] for r in records] == [10, 100, 1000, 10_000, 100_000]
    assert records[0]["status"] == "ok"
    assert records[-1]["status"] == "pruned"
    assert "would take" in records[-1]["reason"] or "time budget" in records[-1]["reason"]
    assert took < 4 + 20, "the budget, and the start and the report beside it"


def test_a_run_whose_time_budget_ended_is_finished_with_another(tmp_path, command, bare):
    # catches: what was pruned counts as done, another budget is refused, flags that have to be typed again
    out = tmp_path / "run"
    sizes = ("--sizes", "10x2x3,20x2x3", "--variants", "matrix-nump*", "--sampling", "0.01")
    done = command("sweep", *sizes, "--time-budget", "0.001", "--out", out)
    assert "the time budget left out 2 of 2 records; to make them: " in done.stderr
    assert set(statuses(out).values()) == {"pruned"}
    done = command("sweep", "--resume", "--out", out, "--time-budget", "300")
    assert done.returncode == 0, done.stderr
    assert statuses(out) == {("matrix-numpy", N, 2, 3): "ok" for N in (10, 20)}
    assert len(pandas.read_csv(out / "summary.csv")) == 2
    before = (out / store.JOURNAL).read_bytes()
    assert command("sweep", "--resume", "--out", out).returncode == 0
    assert (out / store.JOURNAL).read_bytes() == before


def test_a_timed_out_variant_is_not_tried_at_larger_cells(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time, bnbench\n"
        "from bnbench import gradients\n"
        "@bnbench.variant('slow', family='loops')\n"
        "def step(X, *others, **conventions):\n"
        "    time.sleep(60 if len(X) in (50, 100) and X.shape[1] == 2 else 0)\n"
        "    return gradients(X, *others, variant='matrix-numpy', **conventions)\n"
    )
    out = tmp_path / "run"
    done = bnbench(
        "sweep", "--plugin", tmp_path / "slow.py", "--variants", "slow", "--N", "10,50,100", "--p1", "2,8", "--p2",
        "2", "--timeout", "1.5", "--sampling", "0.01", "--out", out, bare=True,
    )  # fmt: skip
    assert done.returncode == 0
    found = {key[1:3]: status for key, status in statuses(out).items()}
    assert found == {
        (10, 2): "ok", (10, 8): "ok", (50, 2): "timeout", (50, 8): "pruned", (100, 2): "pruned", (100, 8): "pruned",
    }  # fmt: skip


def test_config_and_flags_agree(tmp_path, command, bare):
    """A file says what flags say, and flags win over it."""
    config = tmp_path / "c.toml"
    config.write_text(
        'preset = "quick"\nN = [7, 9]\np1 = 2\np2 = [2]\nvariants = ["matrix-numpy"]\nthreads = 1\nsampling_s = 0.01\n'
    )
    out = tmp_path / "run"
    assert command("sweep", "--config", config, "--N", "8", "--out", out).returncode == 0
    assert list(statuses(out)) == [("matrix-numpy", 8, 2, 2)]


def test_list_and_doctor_answer_in_json(command):
    rows = json.loads(bnbench("list", "--json", "--plugin", PLUGINS / "clocks.py").stdout)
    assert [row["name"] for row in rows[-3:]] == ["spin-2ms", "spin-50us", "slow-first"]
    rows = rows[:-3]
    assert [row["name"] for row in rows if row["device"] == "cpu"] == [*BUILT_IN, *PEERS]
    assert {row["name"] for row in rows if row["device"] == "cuda"} == ON_CUDA
    assert all(row["available"] or (row["name"] not in BUILT_IN and row["reason"]) for row in rows)
    assert all(row["description"] for row in rows)
    found = json.loads(command("doctor", "--json").stdout)
    assert found["machine"]["processors"] >= 1
    assert isinstance(found["warnings"], list)


def test_an_entry_point_is_a_plugin(tmp_path):
    """An installed distribution that names its module under bnbench.variants is found, here and in workers."""
    shutil.copy(PLUGINS / "clocks.py", tmp_path / "their_clocks.py")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bnbench.variants]\nclocks = their_clocks\n")
    done = subprocess.run(
        [sys.executable, "-m", "bnbench", "verify", "--N", "9", "--p1", "2", "--p2", "2", "--activation", "relu",
         "--normalization", "batch", "--dtype", "float64", "--regime", "fresh", "--variants", "spin-50us", "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in json.loads(done.stdout)} == {"ok"}

"""The report's numbers equal hand-computed ones, and it survives whatever a journal may hold."""

import base64
import hashlib
import io
import itertools
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from bnbench import report
from bnbench.folder import Folder
from bnbench.report import analysis, answers, html, pages, tables, units
from bnbench.report.plots import DRAWINGS, draw, layout, style
from bnbench.variants import variants

PEAK, MEMORY = 8e10, 3e10  # the synthetic machine, in FLOP/s and byte/s
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}

# name: (family, seconds of overhead a step, GFLOP/s, bytes/s, compile_s). Invented figures: nothing measured.
COSTS = {
    "loops-python": ("loops", 2e-5, 0.004, 2e8, 0.0),
    "loops-numba": ("loops", 6e-7, 1.6, 9e9, 1.9),
    "loops-numba-parallel": ("loops", 1.2e-5, 3.1, 1.4e10, 4.2),
    "matrix-numpy": ("matrix", 3.5e-5, 42.0, 2.4e9, 0.003),
    "matrix-numba": ("matrix", 6e-6, 40.0, 3.1e9, 6.8),
    "matrix-kronecker": ("matrix", 9e-5, 0.05, 1e9, 0.0),
    "fused-numba": ("fused", 1.5e-6, 44.0, 9e9, 8.3),
    "torch-eager": ("autodiff", 1.8e-4, 45.0, 3e9, 0.09),
}
DEFAULT = ["loops-python", "loops-numba", "loops-numba-parallel", "matrix-numpy", "matrix-numba"]


def synthetic(
    variants=DEFAULT,
    N=(10, 100, 1000, 10_000, 100_000),
    p1=(4, 16, 64, 256),
    p2=(4, 16, 64, 256),
    dtypes=("float64",),
    threads=(2,),
    limit_s=0.5,
    seed=0,
):
    """Journal records of an invented cost model with seeded noise: for trying the report, not results."""
    rng = np.random.default_rng(seed)
    records = []
    for name in variants:
        family, overhead, gflops, speed, compile_s = COSTS[name]
        first = True
        for dtype in dtypes:
            for thread in threads:
                for n in sorted(N):
                    for a in p1:
                        for b in p2:
                            small = 1 / (1 + 30 / min(a, b)) if family in ("matrix", "fused") else 1
                            step = (
                                overhead
                                + 4 * n * a * b / (gflops * 1e9 * small)
                                + n * (a + 4 * b) * 8 / speed * (0.5 if dtype == "float32" else 1)
                            )
                            if name == "loops-numba-parallel":
                                step /= thread**0.5
                            cell = {"N": n, "p1": a, "p2": b, "dtype": dtype, "threads": thread}
                            base = {
                                "variant": name,
                                "family": family,
                                "device": "cpu",
                                "machine": "synthetic",
                            }
                            records.append(record(base | cell, step, rng, compile_s if first else 0, limit_s))
                            first = False
    return records


def record(given, step_s, rng, compile_s=0.0, limit_s=math.inf, **overrides):
    """One record as the journal keeps it, around a true step time."""
    common = {
        **{"schema": 1, "machine": "synthetic", "device": "cpu", "activation": "relu"},
        **{"normalization": "batch", "ddof": 0, "eps": 1e-5, "seed": 0, "data": None, "regime": "fresh"},
        **{"dtype": "float64", "threads": 2, "reason": ""},
    }
    n, a, b = given["N"], given["p1"], given["p2"]
    if step_s > limit_s:
        status, reason = (
            ("timeout", "the first step ran past 0.5 s")
            if step_s < 4 * limit_s
            else (
                "pruned",
                f"predicted {step_s:.3g} s a step from N={n // 10}, over the limit of {limit_s:g} s",
            )
        )
        return common | given | {"status": status, "reason": reason} | overrides
    samples = step_s * rng.lognormal(0, 0.02, rng.integers(7, 30)) * (1 + 0.3 * (rng.random() < 0.02))
    unit = UNIT[given.get("dtype", "float64")]
    errors = {}
    for key in ("loss", "dG1", "dgamma", "dbeta", "dG2"):
        error = unit * math.sqrt(n) ** 0.5 * rng.lognormal(0, 0.7)
        tolerance = unit * (20 + math.sqrt(n * a) / 4)
        errors[key] = {"error": error, "tolerance": tolerance, "ratio": error / tolerance}
    baseline = 180_000_000
    size = 4 if given.get("dtype") == "float32" else 8
    temporaries = {"loops": 1, "fused": 0.2}.get(given["family"], 4)
    timing = {
        "prepare_s": 1e-6 * n**0.5,
        "first_step_s": compile_s + step_s,
        "compile_s": compile_s + 1e-4 * rng.random(),
        "inner_loops": max(1, round(5e-3 / step_s)),
        "samples_s": samples.tolist(),
        "peak_bytes": int(baseline + 4096 * rng.integers(0, 40) + size * n * (a + b * temporaries)),
        "baseline_bytes": baseline,
        "max_error_ratio": max(entry["ratio"] for entry in errors.values()),
        "errors": errors,
        "limit_s": max(4 * n * a * b / PEAK, size * n * (a + 1) / MEMORY),
        "gemm_flops_s": PEAK,
        "triad_bytes_s": MEMORY,
    }
    return common | given | {"status": "ok"} | timing | overrides


def timed(variant, family, N, samples_s, p1=4, p2=8, **overrides):
    """A record that is ok, with exactly these samples."""
    given = {"variant": variant, "family": family, "N": N, "p1": p1, "p2": p2}
    made = record(given, 1e-3, np.random.default_rng(0))
    return made | {"samples_s": list(samples_s), "compile_s": 0.0} | overrides


# ---- the table

REQUIRED = [
    "variant",
    "family",
    "device",
    "N",
    "p1",
    "p2",
    "dtype",
    "activation",
    "normalization",
    "threads",
    "regime",
    "status",
    "reason",
    "median_s",
    "ci_low_s",
    "ci_high_s",
    "samples",
    "inner_loops",
    "compile_s",
    "prepare_s",
    "peak_bytes",
    "gflops",
    "limit_s",
    "limit_fraction",
    "max_error_ratio",
    "ddof",
    "eps",
    "baseline_bytes",
    "max_error",
    "outliers",
    "gemm_flops_s",
    "triad_bytes_s",
    "details",
    "noise",
    "steal_share",
    "others_share",
    "switches_per_s",
    "page_faults",
    "cold_s",
    "host_to_device_s",
    "end_to_end_s",
    "kernels_s",
]


def test_frame_holds_hand_computed_figures():
    errors = {
        "loss": {"error": 9.0, "tolerance": 1.0, "ratio": 9.0},
        "dG1": {"error": 3e-15, "tolerance": 1e-14, "ratio": 0.3},
        "dG2": {"error": 5e-15, "tolerance": 1e-13, "ratio": 0.05},
    }
    samples = [9e-3, 1e-3, 8e-3, 2e-3, 7e-3, 3e-3, 6e-3, 4e-3, 5e-3]
    made = timed("a", "loops", 1000, samples, 16, 32, errors=errors, max_error_ratio=9.0)
    table = tables.frame([made])
    assert list(table) == REQUIRED
    row = table.iloc[0]
    # nine samples: between ranks 2 and 8 (coverage 0.9609) and 3 and 7 (0.8203); 0.0778 of the way in coverage is
    # 7 · 0.0778/(2 + 5 · 0.0778) = 0.2279 of the way in rank
    assert (row["median_s"], row["ci_low_s"], row["ci_high_s"]) == pytest.approx((5e-3, 2.2279e-3, 7.7721e-3), rel=1e-4)
    assert row["gflops"] == pytest.approx(4 * 1000 * 16 * 32 / 5e-3 / 1e9)
    assert (row["samples"], row["outliers"]) == (9, 0)
    assert (row["max_error"], row["max_error_ratio"]) == (5e-15, 9.0)
    assert row["limit_s"] == pytest.approx(4 * 1000 * 16 * 32 / 8e10)
    assert row["limit_fraction"] == pytest.approx(row["limit_s"] / 5e-3)
    del made["limit_s"]
    assert math.isnan(tables.frame([made]).iloc[0]["limit_fraction"])


def test_frame_orders_rows_and_keeps_times_of_ok_records_only():
    records = [
        timed("zeta", "loops", 100, [1e-3]),
        timed("alpha", "matrix", 100, [1e-3], status="invalid", reason="dG1: sign"),
        timed("alpha", "matrix", 10, [1e-3]),
        timed("zeta", "loops", 10, [1e-3], dtype="float32"),
        {
            "variant": "torch-eager",
            "family": "autodiff",
            "status": "unavailable",
            "reason": "no torch",
            "N": None,
        },
    ]
    table = tables.frame(records)
    assert table[["variant", "dtype"]].fillna("").values.tolist() == [
        ["zeta", "float32"],
        ["alpha", "float64"],
        ["zeta", "float64"],
        ["alpha", "float64"],
        ["torch-eager", ""],
    ]
    invalid = table[table["status"] == "invalid"].iloc[0]
    timing = [
        "median_s",
        "ci_low_s",
        "ci_high_s",
        "samples",
        "inner_loops",
        "compile_s",
        "prepare_s",
        "gflops",
    ]
    assert invalid[timing].isna().all()
    assert invalid["max_error_ratio"] > 0


def test_tables_of_text_keep_full_precision():
    # catches: a rate or an error that is rounded at a fixed decimal, 1.4e-15 to 0.0
    records = synthetic(N=(10, 100), p1=(4,), p2=(4,))
    records[0] |= {"max_error_ratio": 1.4e-15}
    table = tables.frame(records)
    text = io.StringIO(tables.csv(table))
    back = pd.read_csv(text, float_precision="round_trip")  # or else pandas 2 is off by the last bit
    rows = json.loads(json.dumps(tables.plain_rows(table), allow_nan=False))
    for name in ("median_s", "max_error_ratio", "gflops"):
        np.testing.assert_array_equal(back[name], table[name])
        np.testing.assert_array_equal(np.array([row[name] for row in rows], float), table[name])
    assert 1.4e-15 in [row["max_error_ratio"] for row in rows]


# ---- what the table says

NARROW, WIDE = [9.9e-4, 1e-3, 1.01e-3], [0.9e-3, 1.02e-3, 1.2e-3]


def test_winner_and_ties():
    part = tables.frame(
        [
            timed("a", "loops", 10, NARROW),
            timed("b", "matrix", 10, WIDE),
            timed("c", "fused", 10, [1.1e-3, 1.2e-3, 1.3e-3]),
            timed("a", "loops", 100, [3e-3]),
            timed("b", "matrix", 100, [2e-3]),
        ]
    )
    assert [(row["N"], row["winner"], row["tied"]) for row in analysis.winners(part)] == [
        (10, "a", ["a", "b"]),
        (100, "b", ["b"]),
    ]
    text = tables.markdown(part)
    assert "**1.00\u202fms**" in text
    assert "**1.0\u202fms≈**" in text  # noisy: its interval is ±15 %
    assert "**1.2" not in text
    assert "**2.0\u202fms**" in text


FOUR = [
    timed("loops-numba", "loops", 100, [1e-3], compile_s=2.0),
    timed("loops-numba", "loops", 10_000, [8e-3]),
    timed("matrix-numpy", "matrix", 100, [2e-3]),
    timed("matrix-numpy", "matrix", 10_000, [2e-3]),
]


def test_crossover_and_frontier_of_four_records():
    found = analysis.crossover(tables.frame(FOUR))
    assert found["ratio"].tolist() == [0.5, 4.0]
    # log ratio rises from -ln 2 to 2 ln 2, so it is 0 a third of the way from ln 100 to ln 10000
    assert analysis.frontier(found["N"], found["ratio"]) == [pytest.approx(100 ** (4 / 3))]
    assert analysis.frontier([10, 100], [2.0, 3.0]) == []
    assert analysis.frontier([10, 100, 1000], [0.5, math.nan, 2.0]) == [pytest.approx(100)]
    said = answers.which_is_fastest(tables.frame(FOUR)).lines
    assert (
        "Loops beat the matrix form in 1 of 2 cells with both (N 100), by up to 2.0 times; the matrix form beats them "
        "in 1 (N 10\u202f000), by up to 4.0 times. By N, loops win 1 of 1 at 100, 0 of 1 at 10\u202f000."
    ) in said


def said_of(records, **noise):
    """Everything the three answers say, by question."""
    table = tables.frame(records)
    for name, values in noise.items():
        table[name] = values
    found = answers.answers(table)
    return table, [" ".join([a.verdict, *a.lines, *(line for _, lines in a.settings for line in lines)]) for a in found]


def test_the_first_answer_is_no_where_a_variant_is_wrong_and_says_why():
    # catches: a wrong, failed or unjudged record counted as valid; a "yes" from no judgement at all
    wrong = timed("mine", "matrix", 10, [1e-3], status="invalid", reason="dG1 is off by 0.57 of its size")
    failed = timed("other", "matrix", 10, [1e-3], status="failed", reason="ZeroDivisionError")
    _, (right, _, _) = said_of([*FOUR, wrong, failed, *BARE])
    assert right.startswith("Not of mine: 1 of 5 gradients that were judged are invalid.")
    assert "mine: invalid in 1 record, first at N 10, p1 4, p2 8: dG1 is off by 0.57 of its size" in right
    assert "other: failed in 1 record" in right
    assert "Not judged: 2 records (1 failed, 1 unavailable)." in right
    assert said_of(FOUR)[1][0].startswith("Yes: all 4 gradients that were judged, of 2 variants, ")
    assert said_of(BARE)[1][0].startswith("Not known: no gradient was judged.")


def test_the_second_answer_holds_hand_computed_figures():
    # catches: a share of the limit of another row than the winner's; a framework's or a loser's time in the ratio
    made = [
        timed("fused-numba", "fused", 100, [0.9e-3, 1e-3, 1.1e-3], limit_s=5e-4),
        timed("jax-jit", "autodiff", 100, [3e-3], limit_s=5e-4),
        timed("torch-eager", "autodiff", 100, [9e-3], limit_s=9e-5),
        timed("fused-numba", "fused", 1000, [4e-3], limit_s=1e-3),
        timed("jax-jit", "autodiff", 1000, [2e-3], limit_s=1e-4),
    ]
    _, (_, fastest, slower) = said_of(made)
    assert fastest.startswith("fused-numba is fastest in 1 of 2 cells. ")
    assert "fused-numba takes at most 2.0 times as long as the winner" in fastest
    assert "The fastest of each cell reaches 5\u202f% to 50\u202f% of the machine's limit." in fastest
    assert "least at N 1\u202f000, p1 4, p2 8 (5\u202f%), and most at N 100, p1 4, p2 8 (50\u202f%)" in fastest
    assert (
        "beats the fastest framework in 1 of 2 cells with both, by up to 3.0 times; elsewhere it takes up to 2.0"
        in fastest
    )
    assert "A single run cannot say." in slower
    assert "half of its 1 timing are known to within ±10\u202f%" in slower


def test_page_faults_are_told_of_the_steps_that_have_them():
    # catches: a mean over samples, of which one had them all; a variant named that has none
    made = [
        timed("fused-numba", "fused", 1000, [1e-3] * 3, faults=[0, 0, 900]),
        timed("matrix-numpy", "matrix", 100, [1e-3], faults=[0.1]),
        timed("matrix-numpy", "matrix", 1000, [4e-3] * 3, faults=[2467, 2468.2, 2468.2]),
    ]
    assert "costs page faults: matrix-numpy in 1 of 2 (up to 2\u202f468 a step). With" in said_of(made)[1][1]
    assert "page faults" not in said_of(FOUR)[1][1]


def test_noise_is_counted_and_marked_where_the_table_has_it_and_nowhere_else(tmp_path):
    # catches: a crash where the column is absent or empty; a mark on a quiet median; a noisy loser counted as unsettled
    quiet, (_, fastest, slower) = said_of(FOUR)
    assert "noisy" not in fastest
    assert "mark of noise" not in slower
    assert tables.NOISE_MARK not in tables.markdown(quiet)
    table, (_, fastest, slower) = said_of(FOUR, noise=["noisy, drift", "", "drift", "noisy"])
    assert table[["variant", "N"]].values.tolist()[0] == ["loops-numba", 100]  # the winner at N 100 is noisy
    assert table[["variant", "N"]].values.tolist()[3] == ["matrix-numpy", 10_000]  # and so is that at N 10 000
    assert "Too noisy to rank: 0 of 2 cells" in fastest  # their intervals are apart all the same
    assert "2 of 4 medians are noisy, the fastest in 2 cells among them." in fastest
    assert "3 of 4 timings bear a mark of noise (2 noisy, 2 drift)" in slower
    table.loc[1, "ci_low_s"] = 0.9e-3  # at N 100 the slower one may be as fast
    assert "Too noisy to rank: 1 of 2 cells" in answers.which_is_fastest(table).lines[-1]
    table["noise"] = ["", "noisy", None, ""]  # the slower one at N 100
    assert "Too noisy to rank: 1 of 2 cells" in answers.which_is_fastest(table).lines[-1]
    table.loc[1, "ci_low_s"] = table.loc[1, "median_s"]
    assert "the fastest in 0 cells among them" in answers.which_is_fastest(table).lines[-1]
    [line] = [line for line in tables.markdown(table).splitlines() if tables.NOISE_MARK in line and "|" in line]
    assert line.split("|")[1].strip() == "100"
    assert html.page(table, [], {}, "x").count("<sup title=") == 1


def test_break_even_of_four_records():
    [part] = analysis.parts(tables.frame(FOUR))
    found, reference = analysis.break_even(part.table)
    assert reference == "matrix-numpy"
    assert found[["variant", "N", "compile_s"]].values.tolist() == [
        ["loops-numba", 100, 2.0],
        ["loops-numba", 10_000, 2.0],
    ]
    assert found["calls"].tolist() == [pytest.approx(2.0 / 1e-3), math.inf]


def test_break_even_where_a_setting_met_compiled_code_and_where_numpy_is_absent():
    warm = [row | {"threads": 1} for row in FOUR[1:]] + [timed("loops-numba", "loops", 100, [1e-3], threads=1)]
    one, two = analysis.parts(tables.frame(FOUR + warm))
    for part in (one, two):
        assert set(part.table.loc[part.table["variant"] == "loops-numba", "compile_s"]) == {2.0}
    renamed = [row | {"variant": row["variant"].replace("matrix-numpy", "mine")} for row in FOUR]
    found, reference = analysis.break_even(analysis.parts(tables.frame(renamed))[0].table)
    assert reference == "the fastest variant that does not compile"
    assert found["calls"].iloc[0] == pytest.approx(2000)


def test_the_first_touch_of_memory_is_not_taken_for_compiling():
    """A first step may be many steps slower for its fresh pages alone; a compiler's excess is beyond that."""
    fresh = {"compile_s": 1.3, "baseline_bytes": 2**27, "peak_bytes": 2**27 + 2**29}
    rows = [timed("matrix-kronecker", "matrix", 10, [0.09], **fresh), timed("matrix-numpy", "matrix", 10, [1e-3])]
    rows.append(timed("loops-numba", "loops", 10, [1e-3], compile_s=1.3))
    table = tables.frame(rows)
    assert analysis.compile_times(table).tolist() == [0.0, 0.0, 1.3]
    said = tables.compile_times(table).set_index("variant")[tables.COMPILE_HEAD]
    assert said.to_dict() == {"matrix-kronecker": "none", "matrix-numpy": "none", "loops-numba": units.seconds(1.3)}
    assert tables.compile_note(table) == tables.OLD_COMPILE_NOTE


def test_slope_is_fitted_over_the_upper_half():
    N = np.array([1, 10, 100, 1000, 10_000])
    time = np.where(N < 100, 7e-3, 1e-4 * (N / 100.0) ** 1.5)
    assert analysis.slope(N, time) == pytest.approx(1.5)
    assert math.isnan(analysis.slope([100], [1.0]))
    assert math.isnan(analysis.slope([10, 100_000], [1.0, 2.0])) is True


def test_settings_are_split_and_named_by_what_differs(tmp_path):
    table = tables.frame(synthetic(dtypes=("float64", "float32"), threads=(1, 2), N=(10, 100), p1=(4,), p2=(4,)))
    suffixes = [part.suffix for part in analysis.parts(table)]
    assert suffixes == ["-float32-1thread", "-float32-2threads", "-float64-1thread", "-float64-2threads"]
    plots, _ = draw(table, Folder(tmp_path))
    assert {plot.name for plot in plots} >= {f"winner{suffix}" for suffix in suffixes}
    eps = analysis.parts(tables.frame([FOUR[0], FOUR[0] | {"eps": 0.0}]))
    assert [part.label for part in eps] == [
        "float64, relu, batch normalisation, eps 0, 2 threads, fresh",
        "float64, relu, batch normalisation, eps 1e-05, 2 threads, fresh",
    ]


def test_failures_are_grouped_by_kind_of_reason():
    records = [
        timed("a", "loops", n, [1.0], status="pruned", reason=f"predicted {n / 7:.3g} s a step") for n in range(10, 210)
    ]
    records.append(timed("a", "loops", 9, [1.0], status="failed", reason="x | y\n<b>"))
    found = tables.not_ok(tables.frame(records))
    assert found[["status", "records", "N"]].values.tolist() == [
        ["failed", "1", "9"],
        ["pruned", "200", "10–209"],
    ]
    assert "x \\| y &lt;b>" in tables.markdown(tables.frame(records))


def test_units_keep_honest_digits():
    gap = units.GAP
    for (value, low, high), text in {
        (4.123456e-4, 4.12e-4, 4.13e-4): f"412.3{gap}µs",
        (4.123456e-4, 4.0e-4, 4.3e-4): f"410{gap}µs",
        (1.5, 1.0, 3.5): f"2{gap}s",
        (9.996e-4, 9.9e-4, 10.2e-4): f"1.00{gap}ms",
        (1234.5, 1234.0, 1235.0): f"1{gap}234{gap}s",
        (3e-9, 3e-9, 3e-9): f"3.0{gap}ns",
    }.items():
        assert units.seconds(value, low, high) == text
    assert units.count(99_999) == f"99{gap}999"
    assert units.count(2_500_000) == "2.5 million"
    assert units.bytes_(3 * 2**20) == f"3{gap}MiB"


# ---- the plots


def test_every_plot_is_drawn_the_same_each_time(tmp_path):
    table = tables.frame(synthetic(list(COSTS), N=(10, 1000), p1=(4, 64), p2=(4, 64)))
    rc = dict(matplotlib.rcParams)
    plots, skipped = draw(table, Folder(tmp_path / "one"))
    again, _ = draw(table, Folder(tmp_path / "two"))
    assert [plot.name for plot in plots] == list(DRAWINGS)
    assert skipped == []
    for a, b in zip(plots, again, strict=True):
        assert a.svg.read_bytes() == b.svg.read_bytes()
        assert a.png.read_bytes() == b.png.read_bytes()
        assert a.caption
        assert a.alt
    assert dict(matplotlib.rcParams) == rc


def on_both_devices(N=(1000, 10_000, 100_000), shapes=((16, 16), (64, 64)), device="cuda"):
    """An invented CPU at 60 GFLOP/s, an invented GPU at 30 TFLOP/s with 30 µs a step and copies at 10 GB/s."""
    rng, records = np.random.default_rng(0), []
    for n, (a, b) in itertools.product(N, shapes):
        work, moved = 4 * n * a * b, 8 * n * (a + 1)
        cell = {"N": n, "p1": a, "p2": b}
        gpu_s = 3e-5 + work / 3e13 + moved / 4e12
        own = {"variant": "fused-cuda", "family": "fused", "device": device}
        rates = {"limit_s": work / 6e13, "gemm_flops_s": 6e13, "triad_bytes_s": 4e12}
        records += [
            record({"variant": "fused-numba", "family": "fused"} | cell, 3e-6 + work / 6e10, rng),
            record(own | cell, gpu_s, rng) | rates | {"end_to_end_s": gpu_s + moved / 1e10 + 2e-5},
        ]
    return records


def test_a_run_on_two_devices_says_from_which_N_the_gpu_wins(tmp_path):
    # catches: a crossing that is not the last, copies left out, the plot in a run on one device
    table = tables.frame(on_both_devices())
    cells = analysis.devices(table)
    assert list(cells["cpu"].unique()) == ["fused-numba"]
    small = cells[cells["p1"] == 16]
    step, copied = (
        analysis.wins_from(small["N"], small[name] / small["cpu_s"]) for name in ("device_s", "end_to_end_s")
    )
    assert 1000 < step < 3000 < copied < 100_000
    assert analysis.wins_from([1, 10, 100, 1000], [0.5, 2.0, 0.5, 0.25]) == pytest.approx(10**1.5)
    assert math.isnan(analysis.wins_from([1, 10], [2.0, 1.5]))
    assert math.isnan(analysis.wins_from([1, 10], [0.5, 0.9]))
    assert math.isnan(analysis.wins_from([1, 10], [math.nan, 0.9]))
    plots, _ = draw(table, Folder(tmp_path))
    assert [plot.name for plot in plots if plot.name == "devices"]
    plots, skipped = draw(tables.frame(on_both_devices(device="cpu")), Folder(tmp_path))
    assert "devices" not in {plot.name for plot in plots} | {name for name, _ in skipped}


def test_against_the_frameworks_takes_the_fastest_of_each_family():
    """A slower framework, or a cell where one family is missing, must not make the fused form look better."""
    rows = [
        timed("fused-numba", "fused", 100, [1e-3] * 9),
        timed("torch-eager", "autodiff", 100, [9e-3] * 9),
        timed("jax-jit", "autodiff", 100, [4e-3] * 9),
        timed("matrix-numpy", "matrix", 100, [1e-4] * 9),
        timed("fused-numba", "fused", 1000, [1e-3] * 9),
    ]
    table = tables.against_frameworks(tables.frame(rows))
    assert len(table) == 1
    assert (table["fastest framework"][0], table["times as long"][0]) == ("jax-jit", "4.0")


def test_looks_differ_and_hold_still():
    names = [*style.LOOKS, *(f"plugin-{i}" for i in range(20))]
    assigned = style.looks(names)
    assert len({(look.color, look.marker) for look in assigned.values()}) == len(names)
    assert style.looks(["plugin-0", "matrix-numpy"])["matrix-numpy"] == assigned["matrix-numpy"]


def test_labels_are_spread_and_stay_inside():
    wanted = np.array([0.5, 0.51, 0.52, 0.1, 0.99])
    placed = layout.spread(wanted, 0.1, 0.05, 0.95)
    assert (np.argsort(placed) == np.argsort(wanted)).all()
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-12
    assert placed.min() >= 0.05
    assert placed.max() <= 0.95 + 1e-12
    assert placed[3] == pytest.approx(0.1)
    assert placed[:3].mean() == pytest.approx(0.51)


# ---- the whole report

ENVIRONMENT = {
    "machine": "3f2a",
    "cpu": {"model": "A & B <i>", "cores": 2},
    "blas": [{"api": "openblas"}],
    "note": None,
}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> $\\frac{$ %s {{ 7*7 }} | `x`'
FAILED = [row | {"status": "failed", "reason": HOSTILE} for row in FOUR]
BARE = [{"variant": "jax-jit", "status": "unavailable", "reason": "jax is not installed"}]

DEGENERATE = {
    "nothing": [],
    "no cell": BARE,
    "nulls": [dict.fromkeys(FOUR[0]) | {"variant": "a", "status": "crashed"}, *BARE],
    "one record": FOUR[:1],
    "one sample in each cell": FOUR,
    "all failed": FAILED,
    "loops only": FOUR[:2],
    "matrix only": FOUR[2:],
    "families never meet": [FOUR[0], FOUR[3]],
    "a single N": synthetic(N=(100,), p1=(4, 16), p2=(16,)),
    "a single shape": synthetic(N=(10, 100), p1=(4,), p2=(4,)),
    "scattered shapes": [timed("a", "loops", 10**k, [1e-6 * 10**k], k + 1, 2 * k + 1) for k in range(1, 6)],
    "the same cell twice": [*FOUR, *FOUR],
    "a missing p1": [*FOUR, FOUR[0] | {"p1": None, "status": "crashed", "reason": "gone"}],
    "extreme errors": [
        FOUR[0] | {"max_error_ratio": math.inf, "errors": {"dG1": {"error": math.inf, "ratio": math.inf}}},
        FOUR[1] | {"max_error_ratio": 0.0, "errors": {"dG1": {"error": 0.0, "ratio": 0.0}}},
        FOUR[2] | {"max_error_ratio": None, "errors": {"dG1": None}},
        FOUR[3] | {"peak_bytes": 1, "baseline_bytes": 2},
    ],
    "hostile names": [
        *FAILED,
        *(row | {"variant": HOSTILE + str(i % 2), "reason": HOSTILE, "compile_s": 1.0} for i, row in enumerate(FOUR)),
        *FOUR,
    ],
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_build_survives(tmp_path, case):
    remarks = report.build(DEGENERATE[case], ENVIRONMENT, tmp_path, "python -m bnbench sweep")
    assert len(pd.read_csv(tmp_path / "summary.csv")) == len(DEGENERATE[case])
    assert (tmp_path / "summary.md").read_text().startswith("# ")
    assert (tmp_path / "report.html").stat().st_size > 2000
    drawn = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    skipped = {remark.split()[1] for remark in remarks}
    assert drawn == {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    assert drawn | skipped == set(DRAWINGS)
    assert not drawn & skipped


def test_build_replaces_the_plots_of_an_earlier_one_and_nothing_else(tmp_path):
    report.build(FOUR, {}, tmp_path, "x")
    (tmp_path / "plots" / "notes.txt").write_text("mine")
    (tmp_path / "journal.jsonl").write_text("kept")
    report.build(FOUR[:1], {}, tmp_path, "x")
    assert not (tmp_path / "plots" / "crossover.png").exists()
    assert (tmp_path / "plots" / "time-vs-N.png").exists()
    assert (tmp_path / "plots" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "journal.jsonl").read_text() == "kept"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_data(self, data):
        self.text.append(data)


def test_html_stands_alone_and_escapes_everything(tmp_path):
    # catches: a name or reason read as markup; a script that is not ours; a policy that would not run ours
    command = f"python -m bnbench sweep --plugin '{HOSTILE}'"
    report.build(DEGENERATE["hostile names"], ENVIRONMENT | {HOSTILE: HOSTILE}, tmp_path, command)
    source = (tmp_path / "report.html").read_text()
    page = Page(source)
    assert not {"link", "iframe", "object", "i"} & set(page.tags)
    assert page.tags.count("script") == 1
    script = source.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in source
    assert page.tags.count("img") == len(DRAWINGS)
    assert page.handlers == []
    assert all(link.startswith(("data:image/svg+xml,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(re.findall(r'id="([^"]+)"', source))
    assert "@import" not in source
    assert "url(" not in re.sub(r' src="data:[^"]*"', "", source)
    assert command in "".join(page.text)
    assert "A & B <i>" in "".join(page.text)


def test_every_variant_has_a_page_with_its_formula_and_a_source_that_exists():
    # catches: a built-in variant without a formula, a path that leads nowhere, a plug-in that breaks the page,
    # a first step that is merely slow called compiling, a win counted for the runner-up
    records = [timed(name, cls.family, 100, [1e-3]) for name, cls in variants().items()]
    records += [timed("gone", "loops", 9, [1.0], compile_s=40.0), timed("late", "loops", 9, [2.0], compile_s=0.04)]
    found = {page.name: page for page in pages.pages(tables.frame(records))}
    root = Path(report.__file__).parents[2]
    for name, cls in variants().items():
        if cls.__module__.startswith("bnbench.variants."):
            assert found[name].formula, name
            assert (root / dict(found[name].facts)["Source"]).is_file(), name
            assert found[name].description, name
    assert (found["gone"].formula, found["gone"].description) == ("", [])
    facts = [dict(found[name].facts) for name in ("gone", "late")]
    assert [fact["Compile time"] for fact in facts] == ["40.0\u202fs", "none"]
    assert [fact["Fastest"] for fact in facts] == ["1 of 2 cells", "0 of 2 cells"]
    assert len({page.id for page in found.values()}) == len(found)
    assert list(pages.ids(["a/b", "a b", "*"]).values()) == ["variant-a-b", "variant-a-b-2", "variant-unnamed"]


def test_a_compacted_drawing_keeps_its_colours_its_texts_and_its_references(tmp_path, monkeypatch):
    # catches: a colour renamed as if it were an id (hatched cells went black), a reference that leads nowhere
    with monkeypatch.context() as patched:
        patched.setattr(style, "compact", lambda svg: svg)
        draw(tables.frame(FOUR[:3]), Folder(tmp_path / "plain"))
    draw(tables.frame(FOUR[:3]), Folder(tmp_path / "small"))
    for path in (tmp_path / "plain" / "plots").glob("*.svg"):
        plain, small = path.read_text(), (tmp_path / "small" / "plots" / path.name).read_text()
        colours = [set(re.findall(r"#[0-9a-f]{6}\b", text)) for text in (plain.partition("</metadata>")[2], small)]
        assert colours[0] == colours[1], path.name
        ids = re.findall(r' id="([^"]+)"', small)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', small)) <= set(ids)
        assert plain.count("<use ") == small.count("<use ")
        assert len(small) < 0.7 * len(plain)
        ElementTree.fromstring(small)


def test_importing_the_report_imports_neither_matplotlib_nor_pandas_and_drawing_no_pyplot(tmp_path):
    lines = [
        "import json, sys",
        "from bnbench import report",
        "assert not {'matplotlib', 'pandas', 'jinja2'} & set(sys.modules), 'too eager'",
        f"records = json.loads({json.dumps(FOUR)!r})",
        f"report.build(records, {{}}, {str(tmp_path)!r}, 'x')",
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'",
    ]
    root = Path(report.__file__).parents[2]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=root)

"""The report's numbers equal hand-computed ones, and it survives whatever a journal may hold."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import BARE, FOUR, frame, synthetic, timed, typed

from bnbench import report
from bnbench.report import analysis, answers, html, markdown, pages, tables, units
from bnbench.report.table import NOISE_MARK
from bnbench.variants import variants

# ---- the table


def test_frame_holds_hand_computed_figures():
    errors = {
        "loss": {"error": 9.0, "tolerance": 1.0, "ratio": 9.0},
        "dG1": {"error": 3e-15, "tolerance": 1e-14, "ratio": 0.3},
        "dG2": {"error": 5e-15, "tolerance": 1e-13, "ratio": 0.05},
    }
    samples = [9e-3, 1e-3, 8e-3, 2e-3, 7e-3, 3e-3, 6e-3, 4e-3, 5e-3]
    made = timed("a", "loops", 1000, samples, 16, 32, errors=errors, max_error_ratio=9.0)
    table = frame([made])
    assert list(table) == tables.COLUMNS
    row = table.iloc[0]
    # nine samples: between ranks 2 and 8 (coverage 0.9609) and 3 and 7 (0.8203); 0.0778 of the way in coverage is
    # 7 · 0.0778/(2 + 5 · 0.0778) = 0.2279 of the way in rank
    assert (row["median_s"], row["ci_low_s"], row["ci_high_s"]) == pytest.approx((5e-3, 2.2279e-3, 7.7721e-3), rel=1e-4)
    assert row["gflops"] == pytest.approx(4 * 1000 * 16 * 32 / 5e-3 / 1e9)
    assert (row["samples"], row["outliers"]) == (9, 0)
    assert (row["max_error"], row["max_error_ratio"]) == (5e-15, 9.0)
    assert row["limit_s"] == pytest.approx(4 * 1000 * 16 * 32 / 8e10)
    assert row["limit_fraction"] == pytest.approx(row["limit_s"] / 5e-3)
    assert row["step_bytes"] == row["peak_bytes"] - row["baseline_bytes"]
    assert row["noise"] == "noisy"
    del made["limit_s"]
    assert math.isnan(frame([made]).iloc[0]["limit_fraction"])


def test_frame_orders_rows_and_keeps_times_of_ok_records_only():
    records = [
        timed("zeta", "loops", 100, [1e-3]),
        timed("alpha", "matrix", 100, [1e-3], status="invalid", reason="dG1: sign"),
        timed("alpha", "matrix", 10, [1e-3]),
        timed("zeta", "loops", 10, [1e-3], dtype="float32"),
        timed("torch-eager", "autodiff", 100, [], status="unavailable", reason="no torch"),
    ]
    table = frame(records)
    assert table[["variant", "dtype"]].fillna("").values.tolist() == [
        ["zeta", "float32"],
        ["alpha", "float64"],
        ["zeta", "float64"],
        ["alpha", "float64"],
        ["torch-eager", "float64"],
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
    table = frame(records)
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
    part = frame(
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
    text = markdown.page(part)
    assert "**1.00\u202fms**" in text
    assert "**1.0\u202fms≈**" in text  # noisy: its interval is ±15 %
    assert "**1.2" not in text
    assert "**2.0\u202fms**" in text


def test_crossover_and_frontier_of_four_records():
    found = analysis.crossover(frame(FOUR))
    assert found["ratio"].tolist() == [0.5, 4.0]
    # log ratio rises from -ln 2 to 2 ln 2, so it is 0 a third of the way from ln 100 to ln 10000
    assert analysis.frontier(found["N"], found["ratio"]) == [pytest.approx(100 ** (4 / 3))]
    assert analysis.frontier([10, 100], [2.0, 3.0]) == []
    assert analysis.frontier([10, 100, 1000], [0.5, math.nan, 2.0]) == [pytest.approx(100)]
    said = answers.which_is_fastest(frame(FOUR)).lines
    assert (
        "Loops beat the matrix form in 1 of the 2 cells with both (N 100), by 2.0 times; the matrix form beats loops "
        "in 1 (N 10\u202f000), by 4.0 times. By N, loops win 1 of 1 at 100, 0 of 1 at 10\u202f000."
    ) in said


def test_who_wins_is_said_by_intervals_and_by_how_much_of_what_can_be_ranked():
    # catches: ties counted as won; a factor from medians that the table marks as too noisy to rank
    made = [
        timed("loops-numba", "loops", 10, [4.9e-4, 5.7e-4, 6.8e-4]),
        timed("matrix-numpy", "matrix", 10, [6e-4, 2e-3, 4.5e-3]),  # 3.5 times as long, and may be as fast
        timed("loops-numba", "loops", 100, [4.9e-4, 5.7e-4, 6.8e-4]),
        timed("matrix-numpy", "matrix", 100, [1.2e-3, 3e-3, 4.5e-3]),  # slower for sure, by who knows how much
        timed("loops-numba", "loops", 1000, NARROW),
        timed("matrix-numpy", "matrix", 1000, [1.99e-3, 2e-3, 2.01e-3]),
        timed("loops-numba", "loops", 10_000, [2.99e-3, 3e-3, 3.01e-3]),
        timed("matrix-numpy", "matrix", 10_000, [1.99e-3, 2e-3, 2.01e-3]),
    ]
    [part] = analysis.parts(frame(made))
    cells = analysis.crossover(part.table)
    assert cells["verdict"].tolist() == ["tied", "won", "won", "lost"]
    assert cells["ranked"].tolist() == [False, False, True, True]
    assert (cells["low"] < cells["ratio"]).all()
    assert (cells["ratio"] < cells["high"]).all()
    answer = answers.which_is_fastest(part.table)
    assert answer.verdict.startswith("loops-numba is the fastest in 2 of 4 cells and ties with the fastest in 1.")
    [said] = [line for line in answer.lines if line.startswith("Loops")]
    assert said.startswith(
        "Loops beat the matrix form in 2 of the 4 cells with both (N 100 to 1\u202f000), by 2.0 times in the 1 of "
        "these where neither median is noisy; the matrix form beats loops in 1 (N 10\u202f000), by 1.5 times; "
        "they tie in 1."
    )
    shown = tables.loops_or_matrix(part)
    assert [text.marked for text in shown.rows[0]] == [
        "4 × 8", "tie≈", "loops ≥1.7×≈", "loops 2.0×", "matrix 1.5×",
    ]  # fmt: skip
    assert shown.heads[1:] == ("N = 10", "N = 100", "N = 1\u202f000", "N = 10\u202f000")
    facts = dict(next(page for page in pages.pages(part.table) if page.name == "loops-numba").facts)
    assert facts["Fastest"] == "2 of 4 cells, and tied in 1 more"
    assert answer.verdict.endswith(" Loops beat the matrix form in 2 of 4 cells (lose in 1, tie in 1).")


def test_loops_or_matrix_is_answered_for_each_of_two_settings():
    # catches: a crossover under one setting, such as memory that is kept, given as the only one
    one = [row | {"threads": 1} for row in FOUR[1:]]
    table = frame([*FOUR, *one])
    assert answers.which_is_fastest(table).verdict.endswith(
        "Loops beat the matrix form in 0 of 1 cell with 1 thread (lose in 1), and in 1 of 2 cells with 2 threads (lose "
        "in 1)."
    )
    source = html.page(table, [], {}, "x")
    assert source.count('aria-label="Loops or matrix form, by size: float64') == 2


def test_how_much_a_loser_loses_by_is_said_of_what_can_be_ranked():
    # catches: "at most 10 times as long", of a median that may be half of it
    wide = [6e-3, 1e-2, 2e-2]
    won = [timed(name, name, N, [t]) for N in (10, 20, 30) for name, t in (("a", 1e-3), ("b", 2e-3))]
    lost = [timed("a", "a", 40, [3e-3]), timed("b", "b", 40, [2e-3]), timed("a", "a", 50, wide)]
    said = " ".join(answers.which_is_fastest(frame([*won, *lost, timed("b", "b", 50, [1e-3])])).lines)
    assert "Where it loses, a takes at most 1.5 times as long as the winner in the 1 of these where neither" in said


def test_what_another_process_would_give_is_said_of_those_measured():
    # catches: one process's word for that of all, a win that the next process may turn
    def of(variant, family, N, *medians):
        samples = [median * factor for median in medians for factor in (0.999, 1, 1.001)]
        return timed(variant, family, N, samples, passes=[3] * len(medians))

    made = [
        of("loops-numba", "loops", 10, 1e-3, 1.02e-3, 1.01e-3),
        of("matrix-numpy", "matrix", 10, 3e-3, 2e-3, 2.5e-3),
        of("loops-numba", "loops", 100, 1e-3, 1e-3, 1e-3),
        of("matrix-numpy", "matrix", 100, 9.9e-4, 3e-3, 3e-3),
    ]
    table = frame(made)
    assert (table["passes"] == 3).all()
    assert table[["pass_low_s", "pass_high_s"]].iloc[1].tolist() == [2e-3, 3e-3]
    assert analysis.crossover(table)["verdict"].tolist() == ["won", "tied"]
    [said] = [line for line in answers.which_is_fastest(table).lines if "processes" in line]
    assert said.startswith("Measured in 3 processes one after the other: between them half of 4 medians move by less ")
    assert said.endswith("one more process of the same code is expected within that in 50\u202f% of cells.")
    assert answers.which_is_fastest(frame(FOUR)).lines[-1].startswith("Each cell was measured in one process.")


def test_variants_that_are_not_installed_are_one_line():
    # catches: their sections, rows and records in every count; a variant left out that ran somewhere
    table = frame([*FOUR, *BARE, BARE[0] | {"variant": "loops-numba", "N": 7}])
    assert analysis.absent(table) == ["jax-jit"]
    assert answers.scope(table) == "2 variants on 3 cells: 4 of 5 records ok. 1 variant more is not installed."
    text = markdown.page(table)
    assert text.count("jax-jit") == 1
    assert text.endswith("Not installed: jax-jit. `bnbench list` says how to add them.\n")
    source = html.page(table, [], {}, "x")
    assert source.count("jax-jit") == 1
    assert "jax-jit,autodiff" not in tables.csv(analysis.present(table))
    assert "jax-jit" in tables.csv(table)


def said_of(records, **noise):
    """Everything the three answers say, by question."""
    table = frame(records)
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
    assert "Not judged: 1 record (1 failed)." in right
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
    assert fastest.startswith("fused-numba is the fastest in 1 of 2 cells. ")
    assert "jax-jit takes at most" not in fastest  # where it loses, the winner is too noisy for a factor
    assert "Where it loses, fused-numba takes at most 2.0 times as long as the winner." in fastest
    assert "The fastest of each cell reaches 5\u202f% to 50\u202f% of the machine's limit." in fastest
    assert "least at N 1\u202f000, p1 4, p2 8 (5\u202f%), and most at N 100, p1 4, p2 8 (50\u202f%)" in fastest
    assert (
        "The fused form beats the fastest framework in 1 of the 2 cells with both (N 100), too noisy to say by how "
        "much; the fastest framework beats the fused form in 1 (N 1\u202f000), by 2.0 times."
    ) in fastest
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
    assert NOISE_MARK not in tables.medians(analysis.parts(quiet)[0]).markdown()
    table, (_, fastest, slower) = said_of(FOUR, noise=["noisy, drift", "", "drift", "noisy"])
    assert table[["variant", "N"]].values.tolist()[0] == ["loops-numba", 100]  # the winner at N 100 is noisy
    assert table[["variant", "N"]].values.tolist()[3] == ["matrix-numpy", 10_000]  # and so is that at N 10 000
    assert "Too noisy to rank: 0 of 2 cells" in fastest  # their intervals are apart all the same
    assert "2 of 4 medians are noisy, the fastest in 2 cells among them." in fastest
    assert "3 of 4 timings bear a mark of noise (2 noisy, 2 drift)" in slower
    table.loc[1, "ci_low_s"] = 0.9e-3  # at N 100 the slower one may be as fast
    assert "Too noisy to rank: 1 of 2 cells" in answers.which_is_fastest(table).lines[-2]
    table["noise"] = ["clean", "noisy", None, ""]  # the slower one at N 100
    assert "Too noisy to rank: 1 of 2 cells" in answers.which_is_fastest(table).lines[-2]
    table.loc[1, "ci_low_s"] = table.loc[1, "median_s"]
    assert "the fastest in 0 cells among them" in answers.which_is_fastest(table).lines[-2]
    medians = tables.medians(analysis.parts(table)[0])
    [line] = [line for line in medians.markdown().splitlines() if NOISE_MARK in line]
    assert line.split("|")[1].strip() == "100 × 4 × 8"
    assert html.page(table, [], {}, "x").count("<sup title=") == 2  # the median, and the factor drawn from it


def test_clean_is_what_was_looked_at():
    # catches: an empty word for clean and for unmeasured, "clean" of a sample or two
    made = [timed("a", "loops", 10, [1e-3] * 9), timed("a", "loops", 20, [1e-3] * 3)]
    made += [timed("a", "loops", 30, [1e-3], status="failed", reason="x")]
    assert frame(made)["noise"].tolist() == ["clean", "", ""]


def test_rows_of_several_runs_can_be_told_apart(tmp_path):
    # catches: summaries that cannot be put under each other
    built, _ = report.build(typed(FOUR), {"date": "2026-05-01T08:00:00+0000"}, tmp_path / "before", "x")
    back = pd.read_csv(tmp_path / "before" / "summary.csv", keep_default_na=False)
    assert set(back["run"]) == set(built["run"]) == {"before"}
    assert set(back["date"]) == {"2026-05-01T08:00:00+0000"}
    assert set(back["data"]) == {""}


def test_break_even_of_four_records():
    [part] = analysis.parts(frame(FOUR))
    found, reference = analysis.break_even(part.table)
    assert reference == "matrix-numpy"
    assert found[["variant", "N", "compile_s"]].values.tolist() == [
        ["loops-numba", 100, 2.0],
        ["loops-numba", 10_000, 2.0],
    ]
    assert found["calls"].tolist() == [pytest.approx(2.0 / 1e-3), math.inf]


def test_break_even_where_a_setting_met_compiled_code_and_where_numpy_is_absent():
    warm = [row | {"threads": 1} for row in FOUR[1:]] + [timed("loops-numba", "loops", 100, [1e-3], threads=1)]
    one, two = analysis.parts(frame(FOUR + warm))
    for part in (one, two):
        assert set(part.table.loc[part.table["variant"] == "loops-numba", "compile_s"]) == {2.0}
    renamed = [row | {"variant": row["variant"].replace("matrix-numpy", "mine")} for row in FOUR]
    found, reference = analysis.break_even(analysis.parts(frame(renamed))[0].table)
    assert reference == "the fastest variant that does not compile"
    assert found["calls"].iloc[0] == pytest.approx(2000)


def test_the_first_touch_of_memory_is_not_taken_for_compiling():
    """A first step may be many steps slower for its fresh pages alone; a compiler's excess is beyond that."""
    fresh = {"compile_s": 1.3, "baseline_bytes": 2**27, "peak_bytes": 2**27 + 2**29}
    rows = [timed("matrix-kronecker", "matrix", 10, [0.09], **fresh), timed("matrix-numpy", "matrix", 10, [1e-3])]
    rows.append(timed("loops-numba", "loops", 10, [1e-3], compile_s=1.3))
    table = frame(rows)
    assert analysis.compile_times(table).tolist() == [0.0, 0.0, 1.3]
    shown = tables.compile_times(table)
    said = dict(zip(shown.texts("variant"), shown.texts(tables.COMPILE_HEAD), strict=True))
    assert said == {"matrix-kronecker": "none", "matrix-numpy": "none", "loops-numba": units.seconds(1.3)}
    assert tables.compile_note(table) == tables.OLD_COMPILE_NOTE


def test_failures_are_grouped_by_kind_of_reason():
    records = [
        timed("a", "loops", n, [1.0], status="pruned", reason=f"predicted {n / 7:.3g} s a step") for n in range(10, 210)
    ]
    records.append(timed("a", "loops", 9, [1.0], status="failed", reason="x | y\n<b>"))
    shown = tables.not_ok(frame(records))
    columns = [shown.texts(head) for head in ("status", "records", "N")]
    assert columns == [["failed", "pruned"], ["1", "200"], ["9", "10–209"]]
    assert "x \\| y &lt;b>" in markdown.page(frame(records))


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


def test_against_the_frameworks_takes_the_fastest_of_each_family():
    """A slower framework, or a cell where one family is missing, must not make the fused form look better."""
    rows = [
        timed("fused-numba", "fused", 100, [1e-3] * 9),
        timed("torch-eager", "autodiff", 100, [9e-3] * 9),
        timed("jax-jit", "autodiff", 100, [4e-3] * 9),
        timed("matrix-numpy", "matrix", 100, [1e-4] * 9),
        timed("fused-numba", "fused", 1000, [1e-3] * 9),
    ]
    shown = tables.against_frameworks(analysis.parts(frame(rows))[0])
    assert (shown.texts("fastest framework"), shown.texts("times as long")) == (["jax-jit"], ["4.0"])


# ---- the whole report


def test_every_variant_has_a_page_with_its_formula_and_a_source_that_exists():
    # catches: a built-in variant without a formula, a path that leads nowhere, a plug-in that breaks the page,
    # a first step that is merely slow called compiling, a win counted for the runner-up
    records = [timed(name, cls.family, 100, [1e-3]) for name, cls in variants().items()]
    records += [timed("gone", "loops", 9, [1.0], compile_s=40.0), timed("late", "loops", 9, [2.0], compile_s=0.04)]
    found = {page.name: page for page in pages.pages(frame(records))}
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

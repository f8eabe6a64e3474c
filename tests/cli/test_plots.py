"""Whole reports with their plots: drawn alike each time, from whatever a journal may hold, and safe to open."""

import base64
import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from cases import covering
from matplotlib.text import Text
from records import BARE, COSTS, FAILED, FOUR, HOSTILE, Page, frame, record, synthetic, timed, typed

from bnbench import report
from bnbench.folder import Folder
from bnbench.report import analysis
from bnbench.report.plots import DRAWINGS, draw, layout, style
from bnbench.report.plots.devices import crossing
from bnbench.report.plots.layout import Skipped


def test_settings_are_split_and_named_by_what_differs(tmp_path):
    table = frame(synthetic(dtypes=("float64", "float32"), threads=(1, 2), N=(10, 100), p1=(4,), p2=(4,)))
    suffixes = [part.suffix for part in analysis.parts(table)]
    assert suffixes == ["-float32-1thread", "-float32-2threads", "-float64-1thread", "-float64-2threads"]
    plots, _ = draw(table, Folder(tmp_path))
    assert {plot.name for plot in plots} >= {f"winner{suffix}" for suffix in suffixes}
    eps = analysis.parts(frame([FOUR[0], FOUR[0] | {"eps": 0.0}]))
    assert [part.label for part in eps] == [
        "float64, relu, batch normalisation, eps 0, 2 threads, fresh",
        "float64, relu, batch normalisation, eps 1e-05, 2 threads, fresh",
    ]


def test_every_plot_is_drawn_the_same_each_time(tmp_path):
    table = frame(synthetic(list(COSTS), N=(10, 1000), p1=(4, 64), p2=(4,)))
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
    table = frame(on_both_devices())
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
    plots, skipped = draw(frame(on_both_devices(device="cpu")), Folder(tmp_path))
    assert "devices" not in {plot.name for plot in plots} | {name for name, _ in skipped}


EXTREME = {
    "many variants": [record | {"variant": f"{record['variant']}-{k}"}
                      for k in range(8) for record in synthetic(list(COSTS), (10, 1000), (4, 64), (4,), seed=k)],
    "many cells": synthetic(["loops-numba", "matrix-numpy"], N=[2**k for k in range(14)], p1=range(1, 9), p2=(1, 2, 3)),
    "long names": [record | {"variant": f"{record['variant']}-{'of-somebody-s-plug-in-' * 3}{record['family']}"}
                   for record in synthetic(list(COSTS), N=(10, 1000), p1=(4, 64), p2=(4,))],
    "one cell": synthetic(list(COSTS), N=(10,), p1=(4,), p2=(4,)),
    "one variant": synthetic(["matrix-numpy"], N=(10, 1000)),
    "shapes that form no grid": [timed("loops-numba", "loops", 10 * k, [1e-6 * k], k, 41 - k) for k in range(1, 41)],
    "far apart": [timed(name, family, N, [10.0**-9 * N**power], 1, 1, peak_bytes=2**50, limit_s=1e-9 * N)
                  for name, family, power in (("a", "loops", 0), ("matrix-numpy", "matrix", 1)) for N in (1, 10**9)],
    "little known": [record | {"peak_bytes": None, "limit_s": None, "samples_s": record["samples_s"][:1]} if k % 3 else
                     record for k, record in enumerate(synthetic(N=(10, 1000))) if record["status"] == "ok"],
    "two devices": on_both_devices(),
}  # fmt: skip


def overlapping(figure, monkeypatch):
    """Pairs of texts of a figure, as it is drawn, that lie over each other by more than a pixel."""
    texts, draw_text = [], Text.draw
    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", lambda text, renderer: (texts.append(text), draw_text(text, renderer)))
        figure.draw_without_rendering()
    texts = [text for text in dict.fromkeys(texts) if text.get_visible() and text.get_text().strip()]
    x0, y0, x1, y1 = np.array([Text.get_window_extent(text).extents for text in texts]).T[..., None]
    over = (np.minimum(x1, x1.T) - np.maximum(x0, x0.T) > 1) & (np.minimum(y1, y1.T) - np.maximum(y0, y0.T) > 1)
    return [(texts[a].get_text(), texts[b].get_text()) for a, b in np.argwhere(np.triu(over, 1))]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", covering(EXTREME, ["many variants", "long names", "one cell", "far apart"]))
def test_no_text_of_a_plot_lies_over_another(case, monkeypatch):
    # catches: names at the ends of lines, of ticks or in cells over each other, a layout that collapses, a logarithm of
    # nothing, a figure that no screen shows
    table = frame(EXTREME[case])
    looks = style.looks(table)
    with matplotlib.rc_context(style.RC):
        for part, (name, function) in itertools.product(
            analysis.parts(table), {**DRAWINGS, "devices": crossing}.items()
        ):
            try:
                drawing = function(part, looks)
            except Skipped:
                continue
            layout.head(drawing, part.label)
            assert overlapping(drawing.figure, monkeypatch) == [], name
            assert max(drawing.figure.get_size_inches()) < 40, name


def test_the_classic_forms_and_the_best_are_in_colour_and_told_apart(tmp_path):
    # catches: two variants in one colour, a classic form that is faded, a colour for what never leads, a random choice
    table = frame(synthetic(list(COSTS), N=(10, 1000), p1=(4, 64), p2=(4,)))
    looks = style.looks(table)
    colored = {name for name, look in looks.items() if not look.faded}
    assert colored == {"loops-numba", "matrix-numpy", "fused-numba", "matrix-numba", "loops-numba-parallel"}
    assert len({looks[name].color for name in colored}) == len({looks[name].marker for name in colored}) == len(colored)
    assert style.looks(table.iloc[::-1])["loops-numba"].color == looks["loops-numba"].color
    assert style.short("a" * 40 + "b" * 40) == "a" * 16 + "…" + "b" * 15


def test_names_are_spread_and_stay_inside():
    # catches: names over each other, outside their panel or in another order than the ends of their lines
    wanted = np.array([0.5, 0.51, 0.52, 0.1, 0.99])
    placed = layout.spread(wanted, 0.1, 0.05, 0.95)
    assert (np.argsort(placed) == np.argsort(wanted)).all()
    assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-12
    assert placed.min() >= 0.05
    assert placed.max() <= 0.95 + 1e-12
    assert placed[3] == pytest.approx(0.1)
    assert placed[:3].mean() == pytest.approx(0.51)


def test_what_the_intervals_call_tied_is_drawn_as_won_by_nobody(tmp_path):
    # catches: a winner by its median alone, a count of wins that the cells do not show, a table's name left out
    noisy = [2e-3, 1e-4, 3e-3, 4e-3, 5e-3, 1e-3, 2e-3, 3e-3]
    table = frame([
        *(timed("loops-numba", "loops", N, [1e-3 + 1e-6 * k for k in range(8)]) for N in (10, 100, 1000)),
        timed("matrix-numpy", "matrix", 10, noisy), timed("matrix-numpy", "matrix", 100, [9e-3] * 8),
    ])  # fmt: skip
    looks = style.looks(table)
    [part] = analysis.parts(table)
    crossover, winner = (DRAWINGS[name](part, looks) for name in ("crossover", "winner"))
    shown = [text.get_text() for axes in crossover.figure.axes for text in axes.texts if text.get_text()]
    assert shown == ["tie", "9.0×", "loops", "only", "loops"]
    assert "loops faster in 1, the matrix form faster in 0, tied in 1 of 2 cells with both" in crossover.caption
    assert "cells won (and tied): loops-numba 2 (1), matrix-numpy 0 (1), of 3 cells" in winner.alt
    plots, _ = draw(table, Folder(tmp_path), "wine.csv")
    assert all(plot.caption.endswith("X and y are from wine.csv.") for plot in plots)


def test_an_exponent_stands_only_where_a_power_of_N_describes_the_line():
    # catches: N^-1.27 fitted to noise, an exponent of two medians
    straight, bent = [1e-5, 1e-4, 1.1e-3], [2e-5, 1e-4, 8e-5]
    lines = {"a": straight, "b": bent, "c": bent[:2]}
    table = frame(timed(name, "loops", 10**k, [s]) for name, line in lines.items() for k, s in enumerate(line, 1))
    [part] = analysis.parts(table)
    with matplotlib.rc_context(style.RC):
        [axes] = DRAWINGS["time-vs-N"](part, style.looks(table)).figure.axes
    assert [text.get_text() for text in axes.texts] == ["a  N^1.02", "b", "c"]


ENVIRONMENT = {
    "machine": "3f2a",
    "cpu": {"model": "A & B <i>", "cores": 2},
    "blas": [{"api": "openblas"}],
    "note": None,
}


DEGENERATE = {
    "nothing": [],
    "none here": BARE,
    "nothing known": [*BARE, BARE[0] | {"variant": "a", "status": "crashed", "reason": ""}],
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
    "extreme errors": [
        FOUR[0] | {"max_error_ratio": 1e308, "errors": {"dG1": {"error": 1e308, "ratio": 1e308}}},
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


OFTEN = ["nothing", "nothing known", "one record", "families never meet", "scattered shapes", "extreme errors"]


@pytest.mark.parametrize("case", covering(DEGENERATE, OFTEN))
def test_build_survives(tmp_path, case):
    _, remarks = report.build(typed(DEGENERATE[case]), ENVIRONMENT, tmp_path, "python -m bnbench sweep")
    assert len(pd.read_csv(tmp_path / "summary.csv")) == len(DEGENERATE[case])
    assert (tmp_path / "summary.md").read_text().startswith("# ")
    assert (tmp_path / "report.html").stat().st_size > 2000
    drawn = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    skipped = {remark.split()[1] for remark in remarks}
    assert drawn == {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    assert drawn | skipped == set(DRAWINGS)
    assert not drawn & skipped


def test_build_replaces_the_plots_of_an_earlier_one_and_nothing_else(tmp_path):
    report.build(typed(FOUR), {}, tmp_path, "x")
    (tmp_path / "plots" / "notes.txt").write_text("mine")
    (tmp_path / "journal.jsonl").write_text("kept")
    report.build(typed(FOUR[:1]), {}, tmp_path, "x")
    assert not (tmp_path / "plots" / "crossover.png").exists()
    assert (tmp_path / "plots" / "time-vs-N.png").exists()
    assert (tmp_path / "plots" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "journal.jsonl").read_text() == "kept"


def test_html_stands_alone_and_escapes_everything(tmp_path):
    # catches: a name or reason read as markup; a script that is not ours; a policy that would not run ours
    command = f"python -m bnbench sweep --plugin '{HOSTILE}'"
    report.build(typed(DEGENERATE["hostile names"]), ENVIRONMENT | {HOSTILE: HOSTILE}, tmp_path, command)
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


def test_a_compacted_drawing_keeps_its_colours_its_texts_and_its_references(tmp_path, monkeypatch):
    # catches: a colour renamed as if it were an id (hatched cells went black), a reference that leads nowhere
    with monkeypatch.context() as patched:
        patched.setattr(style, "compact", lambda svg: svg)
        draw(frame(FOUR[:3]), Folder(tmp_path / "plain"))
    draw(frame(FOUR[:3]), Folder(tmp_path / "small"))
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
        "from bnbench.record import Record",
        f"records = [Record.of(row) for row in json.loads({json.dumps(FOUR)!r})]",
        f"report.build(records, {{}}, {str(tmp_path)!r}, 'x')",
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'",
    ]
    root = Path(report.__file__).parents[2]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=root)

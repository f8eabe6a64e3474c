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
from records import BARE, COSTS, FAILED, FOUR, HOSTILE, Page, frame, record, synthetic, timed, typed

from bnbench import report
from bnbench.folder import Folder
from bnbench.report import analysis
from bnbench.report.plots import DRAWINGS, draw, style


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

"""The machine's limit: its counts by hand, its rates by ratios that every machine keeps, its drift by figures."""

import numpy as np
import pytest

from bnbench.commands.sweep import drifts
from bnbench.measure import roofline
from bnbench.problem import Problem
from bnbench.record import Cell, Record


def test_counts_and_limit_by_hand():
    """(1000, 16, 32): 4 N p1 p2 operations, 8 N (p1 + 1) bytes; the larger time rules."""
    problem = Problem(1000, 16, 32)
    assert roofline.step_flops(problem) == 2_048_000
    assert roofline.limit_s(problem, roofline.Roof(1e9, 1e12)) == pytest.approx(2.048e-3)
    assert roofline.limit_s(problem, roofline.Roof(1e12, 1e8)) == pytest.approx(1000 * 17 * 8 / 1e8)
    half = Problem(1000, 16, 32, dtype="float32")
    assert roofline.limit_s(half, roofline.Roof(1e12, 1e8)) == pytest.approx(1000 * 17 * 4 / 1e8)


def test_rates_are_those_of_the_work_done(monkeypatch):
    """A clock that says a second for each piece of work gives back the counts: 2 n³ operations, three arrays."""
    monkeypatch.setattr(roofline, "fastest", lambda work: (work(), 1.0)[1])
    monkeypatch.setattr(roofline, "GEMM_ORDER", 64)
    monkeypatch.setattr(roofline, "ARRAY_BYTES", 2**16)
    for dtype in ("float64", "float32"):
        assert roofline.measure(dtype, 2) == {"gemm_flops_s": 2 * 64**3, "triad_bytes_s": 3 * 2**16}


def test_the_pass_over_memory_covers_the_arrays(monkeypatch):
    """Every entry is written whatever the number of threads: an uneven split would move less than is counted."""
    written = []
    monkeypatch.setattr(roofline, "GEMM_ORDER", 8)
    monkeypatch.setattr(roofline, "BURSTS", 1)
    monkeypatch.setattr(roofline, "ARRAY_BYTES", 8 * 1001)
    real = np.add
    monkeypatch.setattr(np, "add", lambda b, c, out: (written.append(out.size), real(b, c, out=out))[1])
    monkeypatch.setattr(roofline, "fastest", lambda work: (work(), 1.0)[1])
    roofline.measure("float64", 3)
    assert sum(written) == 1001
    assert len(written) == 3


def test_the_limit_is_that_of_the_best_rates_of_a_run():
    """A start that a neighbour disturbed must not put the limit below what was reached."""
    cell, rates = Cell(Problem(1000, 16, 32), 2), {"gemm_flops_s": 1e9, "triad_bytes_s": 2e9}
    record = Record(variant="mine", cell=cell, status="ok", limit_s=2.0, **rates)
    start = {"dtype": "float64", "threads": 2, "gemm_flops_s": 1e9, "triad_bytes_s": 2e9}
    end = start | {"gemm_flops_s": 4e9, "triad_bytes_s": 1e9}
    (under,) = roofline.with_best([record], [start, end])
    assert (under.gemm_flops_s, under.triad_bytes_s) == (4e9, 2e9)
    assert under.limit_s == pytest.approx(4 * 1000 * 16 * 32 / 4e9)
    others = [record.having(limit_s=None), record.having(cell=Cell(cell.problem, 1))]
    assert roofline.with_best(others, [start]) == others


def test_drift_is_said_beyond_a_tenth():
    """Slower and faster alike, for each rate, dtype and thread count on its own."""
    base = {"dtype": "float64", "threads": 2, "gemm_flops_s": 8e10, "triad_bytes_s": 3e10}
    start = base | {"when": "start"}
    assert drifts([start, base | {"when": "end", "gemm_flops_s": 7.5e10, "triad_bytes_s": 3.2e10}]) == []
    (slower,) = drifts([start, base | {"when": "end", "gemm_flops_s": 6e10}])
    assert "matrix products at the end at 0.75" in slower
    (faster,) = drifts([start, base | {"when": "end", "triad_bytes_s": 6e10}])
    assert "memory at the end at 2.00" in faster
    assert drifts([start, base | {"when": "end", "threads": 1, "gemm_flops_s": 1e10}]) == []

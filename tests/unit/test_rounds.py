"""Who gives the next sample at a cell, what several passes say of a variant, and how long a sweep will take."""

import dataclasses
import random

import numpy as np
import pytest

from bnbench.measure import forecast
from bnbench.measure.interference import Interference, Sample
from bnbench.measure.measurement import Measurement
from bnbench.measure.memory import can_keep
from bnbench.measure.noise import noise
from bnbench.measure.passes import joined
from bnbench.measure.plan import Plan
from bnbench.measure.protocol import Calibration
from bnbench.measure.rounds import Limits, Pairs, Singly
from bnbench.problem import Problem
from bnbench.record import Cell, Record

CELL = Cell(Problem(10, 2, 3))
BLANK = Record(variant="mine", cell=CELL, status="ok")


def started(lane, step_s=1e-3):
    return Measurement(lane, CELL, BLANK, calibration=Calibration(1, step_s, []))


def carried_out(rounds, limits, sds):
    """The measurements of these lanes, with samples of 10 ms that scatter so much."""
    rng, order = np.random.default_rng(1), random.Random(1)
    group = [started(lane) for lane in sds]
    while turn := rounds.turn(group, limits, order):
        for measurement in turn:
            measurement.samples.append(Sample(float(rng.lognormal(0, sds[measurement.lane])), Interference()))
            measurement.sampling_s += 0.01
    return {measurement.lane: len(measurement.samples) for measurement in group}


def test_time_is_spent_where_intervals_are_wide():
    # catches: time that a steady variant leaves and nobody takes; one that is sampled for ever; an interval looked at
    # after each sample
    counts = carried_out(Singly(), Limits(0.3, 60), {"steady": 1e-4, "steady too": 1e-4, "wild": 0.1})
    assert counts["steady"] == counts["steady too"] == 10
    assert counts["wild"] == 3 * 30 - 20
    alone = carried_out(Singly(), Limits(0.3, 60), {"wild": 0.1, "wild too": 0.1})
    assert set(alone.values()) == {30}
    assert set(carried_out(Singly(), Limits(0.01, 60), {"wild": 0.1, "steady": 0}).values()) == {6}
    assert set(carried_out(Singly(), Limits(60, 60), {"wild": 0.1}).values()) == {100}
    late = started("late", step_s=40.0)
    late.samples = [Sample(40.0, Interference())] * 6
    assert not Singly().turn([late], Limits(60, 60), random.Random(1))


def test_both_of_a_pair_have_as_many_samples():
    # catches: a lane that goes on without its counterpart
    names = {"a (old)": "a", "a (new)": "a", "b (old)": "b", "b (new)": "b"}
    counts = carried_out(Pairs(names, 12, 3), Limits(9, 60), dict.fromkeys(names, 0.1))
    assert set(counts.values()) == {12}
    counts = carried_out(Pairs(names, 12, 3), Limits(0.01, 60), dict.fromkeys(names, 0.1))
    assert set(counts.values()) == {3}
    order = Pairs(names, 12, 3).turn([started(lane) for lane in names], Limits(9, 60), random.Random(2))
    assert [names[each.lane] for each in order] in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def one_pass(median_s, n=40, seed=0, **more):
    samples = median_s * np.random.default_rng(seed).lognormal(0, 0.005, n)
    return BLANK.having(samples_s=tuple(samples), elapsed_s=1.0, others_s=0.0, stolen_s=0.0, **more)


def test_what_passes_say_of_another_process():
    # catches: the samples of two processes taken for those of one, whose interval holds neither; a process that is
    # slower as a whole called drift or two kinds of samples; a spread of one process
    first, second = one_pass(1.0), one_pass(1.12, seed=1)
    both = joined(first, [first, second])
    assert both.passes == (40, 40)
    assert both.ci_low_s == pytest.approx(min(both.pass_medians_s))
    assert both.ci_high_s == pytest.approx(max(both.pass_medians_s))
    assert noise(both) == ["noisy"]
    assert noise(first) == []
    three = joined(both, [both, one_pass(1.0, seed=2)])
    assert three.passes == (40, 40, 40)
    assert "drift" in noise(joined(first, [first.having(samples_s=tuple(np.linspace(1, 1.2, 40))), first]))


def test_which_record_may_follow_another():
    # catches: a second record of a cell that nobody measured again; a fault in a second process that is not told
    first = one_pass(1.0)
    both = joined(first, [first, one_pass(1.0, seed=1)])
    pruned = BLANK.having(status="pruned", reason="the time budget of 4 s is spent")
    failed = BLANK.having(status="failed")
    assert [both.replaces(first), first.replaces(pruned), failed.replaces(first)] == [True] * 3
    assert [first.replaces(first), first.replaces(both), both.replaces(both), pruned.replaces(first)] == [False] * 4


def test_first_estimates_are_of_what_is_left(monkeypatch):
    # catches: the first cell's compiling taken for what every cell takes
    now = 0.0
    monkeypatch.setattr(forecast.clock, "now", lambda: now)
    plan = Plan(N=(10, 20, 30, 40), p1=(2,), p2=(3,), threads=(1,), sampling_s=0.1)
    cells, names, known = plan.cells(), ["a", "b"], forecast.Forecast(plan)
    for place, took in enumerate((20.0, 0.5)):
        assert known.remaining([(cell, names) for cell in cells[place:]]) is None
        with known.watching(cells[place], names):
            now += took
    assert known.remaining([(cell, names) for cell in cells[2:]]) == pytest.approx(1.0, abs=0.01)
    known.plan = dataclasses.replace(plan, passes=2)
    assert known.remaining([(cell, names) for cell in cells[2:]], 8) == pytest.approx(3.0, abs=0.01)
    known.plan = dataclasses.replace(plan, time_budget=20.0)
    assert known.remaining([(cell, names) for cell in cells[2:]]) == 0, "and not less than none"


@pytest.mark.skipif(not can_keep(), reason="this C library cannot be told")
def test_memory_is_kept_as_well_where_an_array_is_large_enough_to_be_returned():
    # catches: cells measured twice that cannot differ, the large ones once, none where keeping alone is asked for
    both = Plan(N=(10, 1000), p1=(4,), p2=(32,), memory=("returned", "kept"))
    cells = [(cell.problem.N, cell.memory) for cell in both.cells()]
    assert cells == [(10, "returned"), (1000, "returned"), (1000, "kept")]
    assert [cell.memory for cell in Plan(N=(10,), p1=(4,), p2=(32,), memory=("kept",)).cells()] == ["kept"]

"""Why a time moved: planted changes and planted slow machines, on made-up records whose truth is known."""

import numpy as np
import pytest
from records import timed, typed

from bnbench.compare import causes, changes
from bnbench.compare.runs import Run

TIMES = {"fused-numba": 1e-4, "loops-numba": 4e-4, "matrix-numpy": 5e-4, "autograd": 9e-4, "torch-eager": 7e-4}
SIZES = (10, 100, 1000, 5000)


def run(random, *, factors=None, machine=1.0, changed=(), times=TIMES, **environment):
    """A run: each process has its luck, each cell and sample its noise; factors are by variant, or variant and N."""
    rows = []
    for name, step_s in times.items():
        luck = random.normal(0, 0.008)
        for N in SIZES:
            factor = (factors or {}).get(name, (factors or {}).get((name, N), 1))
            median = step_s * N / 1000 * factor * machine * np.exp(luck + random.normal(0, 0.005))
            rows.append(timed(name, "matrix", N, (median * random.lognormal(0, 0.01, 20)).tolist()))
    made = {name: "new" if name in changed else "old" for name in times} | {"measuring": "one"}
    environment = {"plan": {}, "machine": {}, "software": {}, "fingerprints": made} | environment
    return Run(".", environment, typed(rows), [])


def explained(old, new, **more):
    return causes.compare(old, new, threshold=1.05, **more)


def moved(found):
    """The causes of the cells that moved, by variant."""
    return {name: {each.cause for each in found.cells if each.variant == name and each.cause} for name in TIMES}


def test_a_change_and_a_slow_machine_are_told_apart():
    # catches: the machine's factor taken for the variant's or left in it, a variant among its own controls, a slow
    # machine that fails a pull request, a regression that passes because the machine was slow too
    random = np.random.default_rng(1)
    for draw in range(20):
        old = run(random)
        found = explained(old, run(random, factors={"fused-numba": 1.2}, changed=["fused-numba"]))
        assert moved(found) == {name: set() for name in TIMES} | {"fused-numba": {"change"}}, draw
        assert all(each.regression == (each.variant == "fused-numba") for each in found.cells)

        found = explained(old, run(random, machine=1.3, changed=["fused-numba"]))
        assert set().union(*moved(found).values()) == {"machine"}, draw
        assert not any(each.regression for each in found.cells)
        assert {each.verdict for each in found.cells} == {"slower"}

        found = explained(old, run(random, machine=1.3, factors={"fused-numba": 1.3}, changed=["fused-numba"]))
        assert moved(found) == {name: {"machine"} for name in TIMES} | {"fused-numba": {"change"}}, draw
        part = next(each for each in found.variants if each.variant == "fused-numba")
        assert part.low < 1.3 * 1.02
        assert part.high > 1.3 / 1.02
        assert part.controls == pytest.approx(1.3, rel=0.05)


def test_one_cell_alone_is_found():
    # catches: a change at one size lost in the variant's median over all
    random = np.random.default_rng(2)
    found = explained(run(random), run(random, factors={("fused-numba", 1000): 1.2}, changed=["fused-numba"]))
    assert [(each.cell["N"], each.cause) for each in found.cells if each.cause] == [(1000, "change")]
    assert next(each for each in found.variants if each.variant == "fused-numba").ratio < 1.05


def test_what_is_not_known_is_unclear():
    # catches: a cause without a control; one for a variant that is known to be the same; a lone control that is its
    # own; another way of measuring called the machine
    random = np.random.default_rng(3)
    own = {"fused-numba": 1e-4, "loops-numba": 4e-4}
    both = list(own)
    found = explained(run(random, times=own), run(random, times=own, machine=1.3, changed=both))
    assert moved(found)["fused-numba"] == {"unclear"}
    assert found.controls == []
    found = explained(run(random), run(random, factors={"autograd": 1.3}))
    assert moved(found)["autograd"] == {"unclear"}
    assert all(each.regression for each in found.cells if each.cause)
    found = explained(run(random, times=own), run(random, times=own, machine=1.3, changed=["fused-numba"]))
    assert moved(found)["fused-numba"] == {"machine"}
    assert moved(found)["loops-numba"] == {"unclear"}
    for other in ({"fingerprints": {"measuring": "two"}}, {"plan": {"passes": 2}}, {"plan": {"sampling_s": 1.0}}):
        found = explained(run(random), run(random, machine=1.3, **other))
        assert moved(found)["autograd"] == {"method"}, other


def test_controls_are_found_in_runs_that_keep_no_fingerprints():
    # catches: runs of older versions without controls, or with variants that may have changed; controls lost where
    # only some variants are compared
    random = np.random.default_rng(4)
    plain = {"fingerprints": {}, "software": {"python": "3", "numpy": "2"}}
    whole = run(random, **plain), run(random, factors={"fused-numba": 1.2}, **plain)
    assert causes.controls(*whole) == ["matrix-numpy", "autograd", "torch-eager"]
    other = Run(".", whole[1].environment | {"software": {"python": "3", "numpy": "3"}}, whole[1].records, [])
    assert causes.controls(whole[0], other) == ["autograd", "torch-eager"]
    chosen = [
        Run(".", each.environment, [row for row in each.records if row.variant == "fused-numba"], []) for each in whole
    ]
    found = explained(*chosen, whole=whole)
    assert {each.cause for each in found.cells} == {"change"}


def history(random, days, **plant):
    """Runs in a row; machine, factors and fused-numba's fingerprint from the day on that each is planted at."""
    made = []
    for day in range(days):
        given = {name: value for name, (start, value) in plant.items() if day >= start}
        made.append((f"run {day}", run(random, changed=["fused-numba"] if "factors" in given else (), **given)))
    return made


def changed(named):
    return changes.changes(named, [each.records for _, each in named])


def test_lasting_changes_are_found_where_they_are_and_have_their_cause():
    # catches: a change one run off or turned around, the machine's change laid on every variant, an interval that is
    # not its ratio's, a change at some sizes put to all, one bad run taken for a lasting change
    random = np.random.default_rng(5)
    one, other = 1.15, {("fused-numba", 1000): 1.2, ("fused-numba", 5000): 1.2}
    named = history(random, 20, machine=(6, one), factors=(13, other))
    bad = run(random, machine=2.0)
    named[16] = ("run 16", Run(".", named[16][1].environment, bad.records, []))
    first, second = changed(named)
    assert (first.what, first.run, first.before, first.cause) == (changes.THE_MACHINE, "run 6", "run 5", "machine")
    assert first.low < one * 1.03
    assert first.high > one / 1.03
    assert (second.what, second.run, second.cause) == ("fused-numba", "run 13", "change")
    assert second.low < 1.2 < second.high
    assert {N for _, N, *_ in second.cells} == {1000, 5000}
    assert changed(named[:9]) == []  # too few runs


def test_where_nothing_changes_nothing_is_found():
    # catches: an accident for each cell and variant, a drift of the machine that every variant is blamed for
    random = np.random.default_rng(6)
    assert sum(bool(changed(history(random, 12))) for _ in range(12)) <= 1
    drifting = [(f"run {day}", run(random, machine=1.02**day)) for day in range(12)]
    assert {change.what for change in changed(drifting)} == {changes.THE_MACHINE}
